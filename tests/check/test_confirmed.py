"""Every finding is confirmed by a run: what can't happen does not happen, and a threshold out of reach fails."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import queuesim
from queuesim.check.check import examine
from queuesim.check.outline import Finding
from queuesim.results.result import Result
from queuesim.scenario.loading import load_scenario
from queuesim.scenario.model import Scenario
from queuesim.scenario.processors import load_processor
from queuesim.testing.soak import random_scenario

ROOT = Path(__file__).parents[2]

LIMITS = (0.001, 0.1, 1.0, 5.0, 20.0, 60.0, 300.0)
"""Seconds that thresholds allow: some are met, some are not."""


def asked_for(load: str | None = None) -> list[Any]:
    """Thresholds of all kinds that findings are about, from far out of reach to easily met."""
    spread = [
        f"{metric}.{statistic} < {limit}s"
        for metric in ("latency", "waiting")
        for statistic in ("mean", "p50", "p90", "p99", "max")
        for limit in LIMITS
    ]
    numbers = [f"throughput > {limit}/min" for limit in (1, 30, 55, 65, 90, 300, 700)]
    numbers += [f"{metric} >= {limit}" for metric in ("added", "completed") for limit in (10, 500, 650, 5000)]
    over = [{"waiting": "p90 < 2s", "over": "1m"}, {"throughput": "> 2/s", "over": "2m"}]
    texts = [*spread, *numbers, "unfinished == 0"]
    if load is None:
        return [*texts, *over]
    return [{**_split(text), "where": {"load": load}} for text in texts]


def _split(text: str) -> dict[str, str]:
    name, rest = text.split(" ", 1)
    metric, _, statistic = name.partition(".")
    return {metric: f"{statistic} {rest}".strip()}


def confirmed(scenario: Scenario) -> list[Finding]:
    """The findings that a run can confirm, each of which it does confirm."""
    own = None if scenario.processor is None else load_processor(scenario.processor, scenario.directory)
    findings = [
        finding
        for finding in examine(scenario, own)
        if finding.key.startswith("thresholds[") or finding.name in CONFIRMED_BY
    ]
    if findings:
        result = queuesim.run(scenario)
        checks = result.checks[result.checks["kind"] == "threshold"].reset_index(drop=True)
        for finding in findings:
            if finding.key.startswith("thresholds["):
                check = checks.iloc[int(finding.key.removeprefix("thresholds[").rstrip("]"))]
                assert not check["ok"], f"{finding.message} A run: {check['value']}"
            else:
                CONFIRMED_BY[finding.name](result, finding.key.split(".")[1])
    return findings


def _no_attempt_is_ok(result: Result, job: str) -> None:
    names = result.jobs.set_index("job")["name"]
    outcomes = result.attempts["outcome"][result.attempts["job"].map(names) == job]
    assert len(outcomes)
    assert not (outcomes == "ok").any()


def _none_starts(result: Result, job: str) -> None:
    jobs = result.jobs[result.jobs["name"] == job]
    assert len(jobs)
    assert jobs["started"].isna().all()


CONFIRMED_BY = {"timeout below the service time": _no_attempt_is_ok, "delay longer than the run": _none_starts}


def scenario_of(**changes: Any) -> Scenario:
    scenario = {
        "name": "s",
        "duration": 600.0,
        "jobs": {"a": {"service": 0.2}},
        "load": [{"name": "l", "poisson": {"rate": 1.0}}],
        "workers": {"concurrency": 4},
    }
    return Scenario.model_validate(scenario | changes)


def names(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings}


# -- closed loads


@pytest.mark.parametrize(
    "service",
    [
        0.4,
        {"exponential": 0.4},
        {"lognormal": {"mean": 0.4, "p99": 3.0}},
        {"gamma": {"mean": 0.4, "cv": 0.3}},
        {"uniform": {"low": 0.1, "high": 0.7}},
    ],
)
@pytest.mark.parametrize(("producers", "think"), [(5, 0.0), (30, 0.0), (60, 1.0), (60, {"exponential": 3.0})])
def test_what_producers_wait_for_each_other_is_no_less_in_a_run(service: Any, producers: int, think: Any) -> None:
    scenario = scenario_of(
        jobs={"a": {"service": service}},
        load=[{"name": "l", "closed": {"producers": producers, "think": think}}],
        thresholds=asked_for(),
    )
    assert "closed load above the slots" in names(confirmed(scenario))


@pytest.mark.parametrize(
    "changes",
    [
        {"jobs": {"a": {"service": 0.4, "errors": {"network": 0.3}, "attempts": 3}}},
        {"jobs": {"a": {"service": 0.4, "errors": {"network": 0.3}, "attempts": 3, "backoff": 2.0}}},
        {"jobs": {"a": {"service": 0.4}, "b": {"service": {"exponential": 2.0}, "weight": 0.2}}},
        {"jobs": {"a": {"service": 0.4, "delay": 2.0}}},
        {"workers": {"concurrency": 50, "limiter": {"max": 100, "duration": 60.0}}},
        {"warmup": 120.0},
        {"drain": True},
        {"overhead": {"add": 0.5, "attempt": 0.1}},
        {"load": [{"name": "l", "closed": {"producers": 60}, "start": 100.0, "duration": 60.0}]},
        {
            "load": [
                {"name": "l", "closed": {"producers": 30}},
                {"name": "m", "closed": {"producers": 30, "think": 2.0}},
            ]
        },
    ],
)
def test_closed_loads_of_all_kinds_wait_no_less_in_a_run(changes: dict[str, Any]) -> None:
    whole = {
        "jobs": {"a": {"service": 0.4}},
        "load": [{"name": "l", "closed": {"producers": 60, "think": 0.5}}],
        "thresholds": asked_for(),
    }
    assert "closed load above the slots" in names(confirmed(scenario_of(**(whole | changes))))


def test_jobs_of_others_thin_out_what_a_closed_load_waits() -> None:
    """Nobody knows which share of all jobs they are; those of the closed load alone do wait."""
    load: list[dict[str, Any]] = [
        {"name": "l", "closed": {"producers": 60}, "jobs": "a"},
        {"name": "o", "poisson": 2.0, "jobs": "b"},
    ]
    jobs = {"a": {"service": 0.4}, "b": {"service": 0.001}}
    scenario = scenario_of(jobs=jobs, load=load, thresholds=asked_for())
    assert "closed load above the slots" not in names(confirmed(scenario))
    scenario = scenario_of(jobs=jobs, load=load, thresholds=asked_for("l"))
    assert "closed load above the slots" in names(confirmed(scenario))


def test_a_bulk_says_nothing_of_the_percentile_of_a_closed_load_beside_it() -> None:
    load: list[dict[str, Any]] = [
        {"name": "l", "closed": {"producers": 2}, "jobs": "a"},
        {"name": "b", "bulk": {"at": 10.0, "size": 200}, "jobs": "b"},
    ]
    jobs = {"a": {"service": 0.01, "priority": 1}, "b": {"service": 1.0, "priority": 2}}
    thresholds = ["latency.p95 < 1s", "waiting.mean < 1s", "latency.p50 < 100ms"]
    confirmed(scenario_of(jobs=jobs, load=load, thresholds=thresholds))


@pytest.mark.parametrize(
    "changes",
    [
        {"load": [{"name": "l", "closed": {"producers": 4}}]},
        {"load": [{"name": "l", "closed": {"producers": 40}}], "jobs": {"a": {"service": 0.4, "lifo": True}}},
        {"load": [{"name": "l", "closed": {"producers": 40, "think": 4.0}}]},
        {"faults": [{"worker.scale": {"at": 1.0, "to": 20}}], "load": [{"name": "l", "closed": {"producers": 60}}]},
    ],
)
def test_producers_that_find_slots_or_pass_others_over_do_not_wait(changes: dict[str, Any]) -> None:
    scenario = scenario_of(**({"thresholds": asked_for()} | changes))
    assert "closed load above the slots" not in names(confirmed(scenario))


# -- attempts that can't end, jobs that can't start


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"service": 2.0, "timeout": 1.0}, True),
        ({"service": 2.0, "timeout": 2.0}, False),
        ({"service": {"uniform": {"low": 1.0, "high": 3.0}}, "timeout": 0.9}, True),
        ({"service": {"uniform": {"low": 1.0, "high": 3.0}}, "timeout": 1.1}, False),
        ({"service": {"exponential": 10.0}, "timeout": 0.1}, False),
        ({"service": 1.0, "blocking": 1.0, "timeout": 1.5}, True),
        ({"service": 0.0, "blocking": 1.0, "timeout": 0.5}, False),
        ({"service": 2.0, "timeout": 1.0, "attempts": 3}, True),
    ],
)
def test_a_timeout_below_the_least_service_time(settings: dict[str, Any], found: bool) -> None:
    findings = confirmed(scenario_of(jobs={"a": settings}))
    assert ("timeout below the service time" in names(findings)) is found


def test_the_least_measured_time_counts(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("ms\n1200\n1500\n4000\n")
    service = {"empirical": {"file": str(tmp_path / "times.csv"), "column": "ms", "unit": "ms"}}
    assert names(confirmed(scenario_of(jobs={"a": {"service": service, "timeout": 1.1}}))) == {
        "timeout below the service time"
    }
    assert confirmed(scenario_of(jobs={"a": {"service": service, "timeout": 1.3}})) == []


def test_a_type_that_nobody_adds_has_no_finding() -> None:
    jobs = {"a": {"service": 0.1}, "b": {"service": 2.0, "timeout": 1.0, "delay": 7200.0}}
    assert confirmed(scenario_of(jobs=jobs, load=[{"name": "l", "poisson": 1.0, "jobs": "a"}])) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"drain": 400.0}, False),
        ({"drain": 200.0}, True),
        ({"drain": True}, False),
        ({"load": [{"name": "l", "bulk": {"at": 150.0, "size": 10}}], "drain": 400.0}, True),
        ({"load": [{"name": "l", "poisson": 1.0, "start": 150.0}], "drain": 400.0}, True),
        ({"load": [{"name": "l", "backlog": 10}]}, True),
    ],
)
def test_a_delay_longer_than_the_run(changes: dict[str, Any], found: bool) -> None:
    jobs = {"a": {"service": 0.1, "delay": 900.0}}
    assert ("delay longer than the run" in names(confirmed(scenario_of(jobs=jobs, **changes)))) is found


def test_the_rows_of_a_trace_have_their_own_delays(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    load = [{"name": "l", "trace": str(trace)}]
    trace.write_text("name,added_ms,delay_ms\na,1000,900000\na,2000,900000\n")
    assert names(confirmed(scenario_of(load=load))) == {"delay longer than the run"}
    trace.write_text("name,added_ms,delay_ms\na,1000,900000\na,2000,0\n")
    assert confirmed(scenario_of(load=load, jobs={"a": {"service": 0.1, "delay": 900.0}})) == []


# -- numbers of jobs


@pytest.mark.parametrize(
    "load",
    [
        {"constant": 1.0},
        {"poisson": 1.0},
        {"poisson": {"from": 2.0, "stages": [{"duration": 600.0, "target": 0.0}]}},
        {"backlog": 600},
        {"bulk": {"every": 10.0, "size": 10}},
        {"closed": {"producers": 3, "think": 2.0}},
        {"closed": {"producers": 1, "think": {"exponential": 0.8}}},
    ],
)
@pytest.mark.parametrize("warmup", [0.0, 60.0])
@pytest.mark.parametrize("drain", [False, True])
def test_a_load_does_not_make_more_jobs_in_a_run(load: dict[str, Any], warmup: float, drain: bool) -> None:
    entries = [{"name": "l", **load}]
    scenario = scenario_of(load=entries, warmup=warmup, drain=drain, thresholds=asked_for())
    assert "threshold above the load" in names(confirmed(scenario))


def test_jobs_that_others_add_are_not_counted_out() -> None:
    faults = [{"producer.burst": {"at": 10.0, "size": 20_000}}]
    scenario = scenario_of(faults=faults, thresholds=["added >= 10000"])
    assert examine(scenario) == []
    assert queuesim.run(scenario).checks["ok"].iloc[0]


# -- outages


@pytest.mark.parametrize("kind", ["redis.outage", "redis.read-only", "redis.restart", "queue.pause"])
@pytest.mark.parametrize(
    ("load", "service"),
    [
        ({"constant": 5.0}, 0.1),
        ({"poisson": 5.0}, {"exponential": 0.5}),
        ({"poisson": 0.5}, 0.1),
        ({"bulk": {"every": 30.0, "size": 30}}, 1.0),
        ({"constant": 0.1}, 50.0),
    ],
)
def test_jobs_wait_no_less_than_a_stoppage_makes_them(kind: str, load: dict[str, Any], service: Any) -> None:
    length = "down" if kind == "redis.restart" else "for"
    scenario = scenario_of(
        jobs={"a": {"service": service}},
        load=[{"name": "l", **load}],
        faults=[{kind: {"at": [100.0, 300.0], length: 60.0}}],
        workers={"concurrency": 6},
        drain=True,
        thresholds=asked_for(),
    )
    assert "outage outlives a threshold" in names(confirmed(scenario))


@pytest.mark.parametrize("seed", range(6))
def test_a_percentile_at_the_edge_of_an_outage_is_left_to_chance(seed: int) -> None:
    """About one job in ten of the run arrives in the outage, as many as the percentile allows."""
    rng = random.Random(seed)
    scenario = scenario_of(
        seed=seed,
        load=[{"name": "l", "poisson": 1.0}],
        faults=[{"redis.outage": {"at": 200.0, "for": rng.uniform(58.0, 68.0)}}],
        drain=True,
        thresholds=["latency.p90 < 1s", "latency.p95 < 1s"],
    )
    assert "thresholds[1]" in {finding.key for finding in confirmed(scenario)}


@pytest.mark.parametrize("seed", range(6))
def test_few_jobs_may_miss_an_outage(seed: int) -> None:
    """Three are expected in it; there may be none."""
    scenario = scenario_of(
        seed=seed,
        load=[{"name": "l", "poisson": 0.05}],
        faults=[{"redis.outage": {"at": 200.0, "for": 60.0}}],
        drain=True,
        thresholds=asked_for(),
    )
    assert "outage outlives a threshold" not in names(confirmed(scenario))


def test_random_outages_are_not_reckoned_with() -> None:
    for timing in (
        {"every": {"exponential": 200.0}, "for": 30.0},
        {"at": 100.0, "for": {"exponential": 60.0}},
        {"while": "waiting > 1000", "for": 30.0},
    ):
        faults = [{"redis.outage": timing}]
        assert confirmed(scenario_of(faults=faults, thresholds=["latency.max < 10s"])) == []


# -- any scenario


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_no_finding_about_a_random_scenario_is_false(seed: int) -> None:
    rng = random.Random(seed)
    made = random_scenario(rng)
    made["thresholds"] = [each for each in asked_for() if isinstance(each, str)]
    confirmed(Scenario.model_validate(made))


# -- the scenarios of the repository

SCENARIOS = sorted(
    file
    for file in [*(ROOT / "scenarios").glob("*.yaml"), *(ROOT / "scenarios" / "museum").glob("*.yaml")]
    if file.stem != "overdue-backlog-per-task"
)
"""One is left out: it takes a minute, and is looked at in tests of its own."""


@pytest.mark.slow
@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_no_finding_about_a_scenario_of_the_repository_is_false(file: Path) -> None:
    scenario = load_scenario(file)
    confirmed(scenario)
    thresholds = [each for each in asked_for() if isinstance(each, str) or scenario.duration > 120]
    more = scenario.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"thresholds": thresholds}
    confirmed(Scenario.model_validate(more, context={"directory": file.parent}))
