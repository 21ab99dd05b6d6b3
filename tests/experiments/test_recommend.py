"""Recommendations: the answer of an exhaustive search with fewer runs, deadlines, costs, and what can't be had."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

import queuesim
from queuesim.experiments.recommend import Recommendation, recommend
from queuesim.experiments.requirement import Requirement, Verdict, parse_deadline, thresholds_of
from queuesim.experiments.stability import busiest_load
from queuesim.experiments.task import CheckOutcome, Measured
from queuesim.experiments.thumb import erlang_servers
from queuesim.scenario.loading import as_scenario, vary
from queuesim.scenario.thresholds import parse_threshold

MAIL: dict[str, Any] = {
    "name": "mail",
    "seed": 4,
    "duration": "10m",
    "warmup": "1m",
    "workers": {"count": 1, "concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": "500ms"}}},
    "load": [{"name": "users", "poisson": "10/s"}],
    "thresholds": ["waiting.p95 < 1s", "lost == 0"],
}


def exhaustive(scenario: Any, path: str, values: list[int], replications: int, require: list[str]) -> int | None:
    """The least value that meets, if all are played."""
    asked = vary(scenario, {"thresholds": require})
    frame = queuesim.sweep(asked, {path: values}, [], replications=replications)
    assert frame.sweep is not None
    requirements = [Requirement.of(each) for each in thresholds_of(asked, ())]
    for place, value in enumerate(values):
        runs = frame.sweep.of(place)
        if all(each.judge(runs, 0.95).verdict is Verdict.MET for each in requirements):
            return value
    return None


def test_the_least_value_is_what_trying_all_finds_with_a_quarter_of_the_runs() -> None:
    values = list(range(1, 13))
    found = recommend(MAIL, {"workers.count": values}, replications=8)
    expected = exhaustive(as_scenario(MAIL), "workers.count", values, 8, MAIL["thresholds"])
    assert found.values == {"workers.count": expected}
    assert found.runs <= 12 * 8 / 4
    assert found.ok
    assert found.scenario.workers[0].count == expected
    assert math.isnan(found.cost)


def test_it_says_what_binds_and_what_is_around_the_answer() -> None:
    found = recommend(MAIL, "workers.count", require=["waiting.p95 < 1s"], replications=8)
    assert found.answer is not None
    assert found.cheaper is not None
    assert found.dearer is not None
    count = found.answer.values["workers.count"]
    assert found.cheaper.values == {"workers.count": count - 1}
    assert found.dearer == ({"workers.count": count + 1}, count + 1)
    assert found.binding == "waiting.p95 < 1s"
    assert found.cheaper.worst.miss > 0
    assert found.answer.worst.miss < 0
    # 5 s of work a second need 3 workers of 2 slots; Erlang's formula says the same or one more
    assert found.rules[0][1] == {"workers.count": 3}
    assert "Erlang C" in found.rules[1][0]


def test_the_cheapest_combination_of_two_parameters() -> None:
    grid = {"workers.count": range(1, 7), "workers.concurrency": range(1, 7)}
    found = recommend(MAIL, grid, cost={"workers.count": 10, "workers.concurrency": 3}, replications=6)
    assert found.answer is not None
    assert found.cost == 10 * found.answer.values["workers.count"] + 3 * found.answer.values["workers.concurrency"]
    assert found.runs < 36 * 6 / 2
    # no cheaper combination has as many slots
    slots = found.answer.values["workers.count"] * found.answer.values["workers.concurrency"]
    cheaper = [
        (count, each)
        for count in range(1, 7)
        for each in range(1, 7)
        if count * each >= slots and 10 * count + 3 * each < found.cost
    ]
    assert cheaper == []
    assert "costs 3 more" in " ".join(found.lines)


def test_nothing_that_meets_is_said_with_the_nearest_and_what_binds() -> None:
    found = recommend(MAIL, {"workers.count": [1, 2]}, replications=6)
    assert (found.ok, found.values, found.answer) == (False, None, None)
    assert found.nearest is not None
    assert found.nearest.values == {"workers.count": 2}
    assert found.binding == "waiting.p95 < 1s"
    assert found.rules[0][1] is None
    assert "4 slots" in found.rules[0][0]


def test_what_no_number_of_workers_can_do_takes_few_runs() -> None:
    limited = {**MAIL, "workers": {"count": 1, "concurrency": 2, "limiter": {"max": 8, "duration": "1s"}}}
    found = recommend(limited, "workers.count", replications=20)
    assert not found.ok
    assert found.runs <= 5
    assert "limiter" in found.rules[0][0]
    # the limiter is what must grow
    limited["workers"]["count"] = 6
    assert recommend(limited, "workers.limiter.max", replications=6).values == {
        "workers.limiter.max": pytest.approx(12, abs=2)
    }


NIGHT = {
    **MAIL,
    "epoch": "2025-01-01T22:00:00+01:00",
    "duration": "3h",
    "warmup": "0s",
    "workers": {"concurrency": 1},
    "load": [{"name": "night", "backlog": 600}, {"name": "users", "poisson": "6/min"}],
    "jobs": {"mail": {"service": {"exponential": "10s"}}},
}


def test_a_deadline_by_the_clock() -> None:
    # 6000 s of work, and 1 s of work a second besides: 2 workers take 6000 s, 3 workers 3000 s
    assert recommend(NIGHT, "workers.count", by="00:00", replications=4).values == {"workers.count": 2}
    found = recommend(NIGHT, "workers.count", by="23:00", replications=4)
    assert found.values == {"workers.count": 3}
    assert found.binding == "backlog gone by 23:00"
    assert found.cheaper is not None
    assert found.cheaper.worst.value == pytest.approx(6000, rel=0.15)
    assert found.rules[0][1] == {"workers.count": 3}


def test_deadlines_as_they_are_written() -> None:
    scenario = as_scenario(NIGHT)
    assert parse_deadline("2h", scenario) == 7200
    assert parse_deadline("22:30", scenario) == 1800
    assert parse_deadline("00:30", scenario) == 9000
    assert parse_deadline("2025-01-01T23:00", scenario) == 3600
    assert parse_deadline("2025-01-01T23:00Z", scenario) == 7200
    drained = as_scenario({**NIGHT, "drain": True})
    assert parse_deadline("21:30", drained) == 23.5 * 3600
    for text in ("21:30", "tomorrow", "4h", "0s", "2024-12-31T22:00", "25:00"):
        with pytest.raises(ValueError, match="deadline"):
            parse_deadline(text, scenario)


def test_a_share_of_the_runs_in_place_of_means() -> None:
    strict = recommend(MAIL, "workers.count", share=0.8, confidence=0.9, replications=15)
    loose = recommend(MAIL, "workers.count", replications=15)
    assert strict.answer is not None
    assert loose.answer is not None
    assert strict.answer.values["workers.count"] >= loose.answer.values["workers.count"]
    with pytest.raises(ValueError, match="29 are needed"):
        recommend(MAIL, "workers.count", share=0.9, replications=20)


def test_the_largest_load_that_is_borne() -> None:
    busy = {**MAIL, "workers": {"count": 3, "concurrency": 2}}
    loads = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    found = recommend(busy, {"load": loads}, largest=True, replications=6)
    # 6 slots, and 5 s of work a second at a load of 1
    assert found.values in ({"load": 0.75}, {"load": 1.0})
    assert found.cheaper is not None
    assert found.cheaper.values["load"] > found.values["load"]
    assert "the next larger one, load 1" in " ".join(found.lines)
    assert "one step down, load" in " ".join(found.lines)
    assert found.rules[0][1] == {"load": 1.0}
    with pytest.raises(ValueError, match="one parameter"):
        recommend(busy, {"load": loads}, largest=True, cost={"load": 1})


def test_where_more_is_worse_all_cheaper_ones_are_tried() -> None:
    require = ["waiting.p95 < 1s", "utilisation > 85%"]
    found = recommend(MAIL, {"workers.count": range(1, 9)}, require=require, replications=6)
    assert not found.ok
    assert "utilisation > 85%" in found.worse
    assert len(found.candidates) == 8
    assert any("one after the other" in line for line in found.lines)
    # with a weaker one there is an answer
    require = ["waiting.p95 < 1s", "utilisation > 50%"]
    found = recommend(MAIL, {"workers.count": range(1, 9)}, require=require, replications=6)
    assert found.answer is not None
    assert found.answer.values["workers.count"] in (3, 4)


def test_the_answer_is_the_same_on_processes_and_from_a_cache(tmp_path: Any) -> None:
    grid = {"workers.count": range(1, 7)}
    here = recommend(MAIL, grid, replications=4, cache=tmp_path)
    there = recommend(MAIL, grid, replications=4, executor=2, cache=tmp_path)
    # as text: NaN is NaN
    assert repr(there.as_json()) == repr(here.as_json())


def test_own_code_is_played(tmp_path: Any) -> None:
    def make() -> queuesim.Processor:
        processor = queuesim.Processor("mail")

        @processor.job("mail")
        async def mail(job: queuesim.Job) -> None:
            import asyncio

            await asyncio.sleep(0.3)

        return processor

    own = {**MAIL, "duration": "2m", "jobs": {"mail": {}}}
    found = recommend(own, {"workers.count": range(1, 5)}, processor=make, replications=3)
    assert found.values == {"workers.count": 2}


# -- requirements


def run(value: float, status: str = "passed", **other: str) -> Measured:
    checks = [CheckOutcome("waiting.p95 < 2s", "threshold", status, value, "< 2s", "s", "")]
    checks += [CheckOutcome(name, "oracle", each, 1.0, "== 0", "", "") for name, each in other.items()]
    return Measured({"drained@60.0": value}, True, tuple(checks), "", 0.0, 0.0, 10)


WAITING = Requirement.of(parse_threshold("waiting.p95 < 2s"))


def test_a_limit_is_met_if_the_bound_of_the_mean_is_below_it() -> None:
    def verdict(values: list[float], confidence: float = 0.95) -> tuple[Verdict, float]:
        found = WAITING.judge([run(value) for value in values], confidence)
        return found.verdict, found.bound

    # mean 1.5, standard error 0.1155; t at 95 %, one-sided, 3 degrees: 2.353
    assert verdict([1.3, 1.5, 1.5, 1.7]) == (Verdict.MET, pytest.approx(1.5 + 2.353 * 0.08165, abs=1e-3))
    assert verdict([1.0, 2.5, 1.0, 2.5])[0] is Verdict.OPEN
    assert verdict([2.4, 2.5, 2.6, 2.5])[0] is Verdict.MISSED
    assert verdict([1.5, 1.5, 1.5]) == (Verdict.MET, 1.5)
    assert verdict([2.0, 2.0])[0] is Verdict.MISSED
    assert verdict([1.0]) == (Verdict.OPEN, math.inf)


def test_runs_with_nothing_to_measure() -> None:
    assert WAITING.judge([run(1.0), run(math.nan, "failed")], 0.95).verdict is Verdict.MISSED
    assert WAITING.judge([run(math.nan, "not judged")] * 3, 0.95).verdict is Verdict.MET


def test_a_deadline_must_hold_in_each_run() -> None:
    deadline = Requirement.drained_by(60.0, "1m")
    assert deadline.judge([run(30.0), run(60.0)], 0.95).verdict is Verdict.MET
    assert deadline.judge([run(30.0), run(61.0)], 0.95).verdict is Verdict.MISSED
    late = deadline.judge([run(30.0), run(math.nan)], 0.95)
    assert (late.verdict, late.value, late.failed) == (Verdict.MISSED, math.inf, 1)


def test_what_else_fails_rules_a_combination_out() -> None:
    processor = queuesim.Processor("mail")

    @processor.job("mail")
    async def mail(job: queuesim.Job) -> None:
        raise ValueError("no such address")

    own = {**MAIL, "duration": "1m", "warmup": "0s", "jobs": {"mail": {}}}
    found = recommend(own, {"workers.count": [1, 2]}, processor=processor, replications=2)
    assert not found.ok
    assert found.binding == "all other checks pass"


# -- rules of thumb


def test_erlangs_formula_where_it_applies() -> None:
    asked = [parse_threshold("waiting.p95 < 1s")]

    def servers(**keys: Any) -> int | None:
        return erlang_servers(as_scenario({**MAIL, **keys}), None, asked)

    # 5 erlangs: with 6 slots 95 % wait for at most 1.23 s, with 7 for 0.47 s
    assert servers() == 7
    assert servers(jobs={"mail": {"service": "500ms"}}) is None
    assert servers(jobs={"mail": {"service": {"exponential": "500ms"}, "errors": {"network": 0.1}}}) is None
    assert servers(load=[{"name": "users", "constant": "10/s"}]) is None
    assert servers(queue={"concurrency": 5}) is None
    assert servers(faults=[{"worker.crash": {"at": "1m"}}]) is None
    assert erlang_servers(as_scenario(MAIL), None, [parse_threshold("backlog.max < 5")]) is None


def test_the_busiest_moment_counts() -> None:
    staged = {"stages": [{"duration": "1m", "target": "40/s"}, {"duration": "1m", "rate": "10/s"}]}
    scenario = as_scenario({**MAIL, "load": [{"name": "users", "poisson": staged}]})
    assert busiest_load(scenario, None).work == pytest.approx(20)


# -- views and bad input


def test_it_is_shown_in_a_terminal_and_in_a_notebook() -> None:
    found = recommend(MAIL, {"workers.count": range(1, 9)}, cost={"workers.count": 12.5}, replications=4)
    console = Console(width=200, record=True, file=io.StringIO())
    found.render(console)
    text = console.export_text()
    for part in (found.headline, "(cost ", "the next cheaper one", "one step up", "rule of thumb", "common seeds"):
        assert part in text
    assert found.headline in found._repr_html_()
    assert found.headline in repr(found)
    assert set(found.tried["requirement"]) == {"waiting.p95 < 1s", "lost == 0", "all other checks pass"}
    assert isinstance(found, Recommendation)


@pytest.mark.parametrize(
    ("parameters", "options", "named"),
    [
        ("workers.cuont", {}, "did you mean"),
        ("jobs.mail.service", {}, "values"),
        ("queue.backoff", {}, "values"),
        ({}, {}, "parameter"),
        ({"workers.count": []}, {}, "no values"),
        ({"workers.count": [1, math.nan]}, {}, "nan"),
        ({"workers.count": [0, 1]}, {}, "too small"),
        ({"workers.count": [1, 2], "workers.concurrency": [1, 2]}, {}, "costs"),
        ({"workers.count": [1, 2]}, {"cost": {"workers.cuont": 1}}, "did you mean"),
        ({"workers.count": [1, 2]}, {"cost": {"workers.count": 0}}, "above 0"),
        ({"workers.count": [1, 2]}, {"cost": {"workers.count": math.nan}}, "above 0"),
        ({"jobs.mail.service": ["1s", "2s"]}, {"cost": {"jobs.mail.service": 1}}, "no numbers"),
        (
            {"workers.count": [1, 2], "workers.concurrency": [1, 2]},
            {"cost": {"workers.count": 1}},
            "workers.concurrency is missing",
        ),
        ("workers.count", {"require": ["speed < 3"]}, "unknown metric"),
        ("workers.count", {"require": ["fast"]}, "threshold"),
        ("workers.count", {"confidence": 0.4}, "confidence"),
        ("workers.count", {"confidence": math.nan}, "confidence"),
        ("workers.count", {"share": 1.0}, "share"),
        ("workers.count", {"replications": 1}, "replications"),
        ("workers.count", {"by": "soon"}, "deadline"),
    ],
)
def test_bad_input_is_refused_before_anything_is_played(
    parameters: Any, options: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def played(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("queuesim.experiments.task.run", played)
    with pytest.raises(ValueError, match=named):
        recommend(MAIL, parameters, **options)


def test_a_scenario_without_thresholds_needs_a_requirement() -> None:
    with pytest.raises(ValueError, match="require"):
        recommend({**MAIL, "thresholds": []}, "workers.count")
