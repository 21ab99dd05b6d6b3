from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import queuesim
from queuesim import Backoff, Job, JobOptions, Keep, Processor, RateLimit
from queuesim.check.check import CAUSES, examine, examine_processor
from queuesim.check.fluid import Fluid
from queuesim.check.outline import Finding, outlines, slots
from queuesim.cli.app import app
from queuesim.core.retry import RetryPolicy
from queuesim.scenario.loading import load_scenario, load_with, parse_set
from queuesim.scenario.model import Scenario
from queuesim.scenario.processors import load_processor
from queuesim.tasks.store import TaskStore
from queuesim.tasks.task_service import task_processor
from queuesim.testing.soak import random_scenario

ROOT = Path(__file__).parents[2]


def found(**changes: Any) -> dict[str, str]:
    scenario = {
        "name": "s",
        "duration": 3600.0,
        "jobs": {"a": {"service": 0.1}},
        "load": [{"name": "l", "poisson": {"rate": 1.0}}],
        "workers": {"concurrency": 1},
    }
    return {finding.name: finding.message for finding in examine(Scenario.model_validate(scenario | changes))}


def test_a_healthy_scenario_has_no_finding() -> None:
    assert found() == {}


def test_retries_are_what_lifts_arrivals_above_the_limiter() -> None:
    limiter = {"concurrency": 1, "limiter": {"max": 70, "duration": 60.0}}
    assert "limiter below arrivals" not in found(workers=limiter)
    failing = {"a": {"service": 0.1, "errors": {"network": 0.5}, "attempts": 3}}
    message = found(workers=limiter, jobs=failing)["limiter below arrivals"]
    assert "60/min arrive" in message
    assert "105/min starts" in message
    assert "allows 70/min" in message


def test_a_limiter_of_some_workers_does_not_limit_the_others() -> None:
    limited = {"name": "x", "limiter": {"max": 10, "duration": 60.0}}
    assert "limiter below arrivals" in found(workers=[limited, {**limited, "name": "y"}])
    assert "limiter below arrivals" not in found(workers=[limited, {"name": "y", "concurrency": 2}])
    # a limiter of the queue is one of all workers
    queue = {"rate_limit": {"max": 10, "duration": 60.0}}
    assert "limiter below arrivals" in found(workers=[limited, {"name": "y"}], queue=queue)


def test_validation_errors_are_not_retried() -> None:
    jobs = {"a": {"service": 0.1, "errors": {"validation": 0.5}, "attempts": 3}}
    limiter = {"concurrency": 1, "limiter": {"max": 70, "duration": 60.0}}
    assert "limiter below arrivals" not in found(workers=limiter, jobs=jobs)


def test_too_few_slots() -> None:
    assert "3 are needed" in found(jobs={"a": {"service": 2.5}})["too few slots"]


@pytest.mark.parametrize(("per", "outlives"), [("task", True), ("page", False)])
def test_an_overdue_batch_that_outlives_its_period(per: str, outlives: bool) -> None:
    changes: dict[str, Any] = {
        "jobs": {"overdue-tasks-notification": {"service": 0.2}},
        "workers": {"concurrency": 5, "limiter": {"max": 100, "duration": 60.0}},
        "overdue": {"cron": "0 * * * *", "backlog": 200_000, "per": per},
    }
    scenario = Scenario.model_validate({"name": "s", "duration": 3600.0, **changes})
    messages = [f.message for f in examine(scenario) if f.name == "overdue batch outlives its period"]
    assert bool(messages) is outlives
    if outlives:
        assert "33h20m" in messages[0]


def test_a_blocking_part_that_outlasts_a_lock() -> None:
    jobs: dict[str, Any] = {"a": {"service": 0.1, "blocking": 20.0}}
    assert "lock shorter than a blocking job" not in found(jobs=jobs), "alone, it has just been locked"
    workers = {"concurrency": 20}
    assert "run twice" in found(jobs=jobs, workers=workers)["lock shorter than a blocking job"]
    jobs["a"]["blocking"] = 14.0
    assert "lock shorter than a blocking job" not in found(jobs=jobs, workers=workers)
    jobs["a"]["blocking"] = 31.0
    assert "after 30s" in found(jobs=jobs)["lock shorter than a blocking job"]


def test_a_lock_that_is_renewed_too_late() -> None:
    workers = {"concurrency": 60, "lock_duration": 10.0, "lock_renew": 30.0}
    assert "renewed every 15s" in found(jobs={"a": {"service": 20.0}}, workers=workers)["lock shorter than slow jobs"]


def test_retention_that_forgets_ids_between_two_scans() -> None:
    message = found(queue={"keep": {"completed": {"count": 100}}}, overdue={"cron": "0 * * * *", "tasks": 10})[
        "retention undoes deduplication"
    ]
    assert "1m40s" in message


FAILING = {
    "a": {"service": 0.1, "attempts": 6, "backoff": {"type": "exponential", "delay": 1.0}, "errors": {"network": 0.3}}
}


def test_a_backoff_that_outlives_a_caller_who_waits() -> None:
    closed = [{"name": "l", "closed": {"producers": 1}}]
    assert "31s together" in found(jobs=FAILING, load=closed)["backoff outlives the caller"]
    assert "31s together" in found(jobs=FAILING, thresholds=["latency.max < 20s"])["backoff outlives the caller"]


def test_nobody_waits_for_a_background_job() -> None:
    assert found(jobs=FAILING) == {}
    assert found(jobs=FAILING, thresholds=["lost == 0", "latency.max < 40s"]) == {}


def test_what_a_percentile_leaves_out_may_take_longer() -> None:
    """30 % come to a second attempt, 9 % to a third, 2.7 % to a fourth: 95 % have waited for 1 s + 2 s at most."""
    assert found(jobs=FAILING, thresholds=["latency.p95 < 4s"]) == {}
    assert "3s together" in found(jobs=FAILING, thresholds=["latency.p95 < 2s"])["backoff outlives the caller"]


def test_a_job_that_never_fails_never_waits_for_a_retry() -> None:
    jobs = {"a": {**FAILING["a"], "errors": {}}}
    assert found(jobs=jobs, thresholds=["latency.max < 20s"]) == {}


def test_many_attempts_whose_backoff_has_a_cap() -> None:
    """2**n of the 1 100th attempt is beyond all floats; the cap comes first."""
    jobs = {"a": {"service": 0.1, "errors": {"network": 0.5}, "attempts": 1100}}
    queue = {"backoff": {"type": "exponential", "delay": 1.0, "cap": 900.0}}
    assert found(jobs=jobs, queue=queue) == {}
    message = found(jobs=jobs, queue=queue, thresholds=["latency.max < 1h"])["backoff outlives the caller"]
    # 2**k up to 512 s are 1 023 s, and then 15 minutes each; after 41 attempts one job in 10**12 is left
    assert "1100 attempts at most" in message
    uncapped = {"backoff": {"type": "exponential", "delay": 1.0}}
    message = found(jobs=jobs, queue=uncapped, thresholds=["latency.max < 1h"])["backoff outlives the caller"]
    assert "more than 1,000 years" in message


@pytest.mark.parametrize(
    ("course", "needed"),
    [
        ({"from": 10.0, "stages": [{"duration": 1800.0, "target": 0.1}]}, 1),
        ({"stages": [{"duration": 1800.0, "rate": 25.0}]}, 3),
        ({"stages": [{"duration": 60.0, "target": 5.0}, {"duration": 60.0, "rate": 15.0}]}, 2),
        ({"stages": [{"duration": 7200.0, "target": 30.0}]}, 2),
    ],
)
def test_the_busiest_moment_is_looked_for_in_the_course_that_a_run_plays(course: dict[str, Any], needed: int) -> None:
    """The last ramp is cut off by the end of the run, at half of its target."""
    load = [{"name": "l", "poisson": course}]
    jobs = {"a": {"service": 0.1}}
    workers = {"concurrency": needed}
    assert "too few slots" not in found(load=load, jobs=jobs, workers=workers)
    jobs = {"a": {"service": 0.1 * (needed + 0.05) / (needed - 0.5 if needed > 1 else 1)}}
    assert "too few slots" in found(load=load, jobs=jobs, workers=workers)


def test_loads_that_come_one_after_the_other_are_not_added_up() -> None:
    load = [
        {"name": "morning", "constant": 8.0, "duration": 600.0},
        {"name": "evening", "constant": 8.0, "start": 1200.0},
    ]
    assert found(load=load) == {}
    load[1]["start"] = 300.0
    assert "1.6 s of work" in found(load=load)["too few slots"]


def test_slots_that_the_limiter_leaves_empty() -> None:
    workers = {"concurrency": 50, "limiter": {"max": 100, "duration": 60.0}}
    assert "0.17 jobs" in found(workers=workers)["concurrency that the limiter makes useless"]


@pytest.mark.parametrize(
    ("queue", "job"),
    [
        ({}, {"errors": {"network": 0.3, "validation": 0.1}}),
        ({"retry": {"validation": {"retry": True}}}, {"errors": {"network": 0.3, "validation": 0.3}}),
        ({"retry": {"network": {"attempts": 8}, "database": {"retry": False}}}, {"errors": {"network": 0.5}}),
        ({"retry": {"database": {"retry": False}}}, {"errors": {"network": 0.3, "database": 0.4}}),
        ({}, {"errors": {"network": [0.9, 0.5, 0.1]}, "attempts": 5}),
        ({}, {"poison": 0.2}),
        ({"retry": {"unknown": {"attempts": 10}}}, {"poison": 0.1, "errors": {"network": 0.3}}),
        ({}, {"poison": {"probability": 0.5, "category": "validation"}}),
        ({}, {"service": {"exponential": 0.1}, "timeout": 0.1}),
        ({}, {"blocking": {"exponential": 0.2}, "errors": {"network": 0.5}}),
    ],
)
def test_starts_and_work_are_counted_as_a_run_has_them(queue: dict[str, Any], job: dict[str, Any]) -> None:
    scenario = {
        "name": "s", "duration": 6_000.0, "drain": True, "queue": {"attempts": 3, **queue},
        "workers": {"count": 20, "concurrency": 1},
        "jobs": {"a": {"service": 0.1, **job}}, "load": [{"name": "l", "poisson": {"rate": 1.0}}],
    }  # fmt: skip
    (outline,) = outlines(Scenario.model_validate(scenario))
    result = queuesim.run(scenario)
    assert outline.starts == pytest.approx(len(result.attempts) / len(result.jobs), rel=0.03)
    held = (result.attempts["ended"] - result.attempts["started"]).sum()
    assert outline.work == pytest.approx(held / len(result.jobs), rel=0.04)


EXAMPLES = sorted((ROOT / "scenarios" / "check").glob("*.yaml"))
HEALED: dict[str, dict[str, Any]] = {
    "limiter below arrivals": {"workers.limiter.max": 100},
    "too few slots": {"workers.concurrency": 3},
    "overdue batch outlives its period": {"overdue.per": "page"},
    "lock shorter than a blocking job": {"workers.lock_duration": "60s"},
    "lock shorter than slow jobs": {"workers.lock_renew": "5s"},
    "retention undoes deduplication": {"queue.keep.completed": 100_000},
    "backoff outlives the caller": {"queue.attempts": 4},
    "batch outlives a threshold": {"workers.concurrency": 10},
    "type starved by priority": {"jobs.report.priority": 1},
    "deploy outlives a threshold": {"faults.0.worker.deploy.down": "20s"},
    "deploy grace shorter than slow jobs": {"faults.0.worker.deploy.grace": "30s"},
    "outage outlives a threshold": {"faults.0.redis.outage.for": "200ms"},
    "closed load above the slots": {"load.0.closed.producers": 10},
    "timeout below the service time": {"jobs.export.timeout": "5s"},
    "delay longer than the run": {"jobs.reminder.delay": "10m"},
    "threshold above the load": {"load.0.constant": "20/s"},
    "threshold out of reach": {"jobs.video.service": "4s"},
    "concurrency that the limiter makes useless": {"workers.concurrency": 1},
}
"""What mends each example: the finding is gone then, and so is the trouble."""


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_has_exactly_its_finding_and_the_trouble_that_it_foretells(file: Path) -> None:
    scenario = load_scenario(file)
    (finding,) = examine(scenario, processor_of(scenario))
    assert ROOT / finding.shown_by == file
    result = queuesim.run(scenario)
    assert not result.ok
    assert result.facts.stopped is None
    kinds = set(result.checks.loc[~result.checks["ok"], "kind"])
    assert "threshold" in kinds
    assert "oracle" not in kinds, "the trouble is what was asked for, and no fault of the queue"
    if finding.expected is not None:
        (measured,) = result.checks.loc[~result.checks["ok"], "value"]
        assert finding.expected == pytest.approx(measured, rel=0.1), "the number that it foretells"


@pytest.mark.parametrize("name", HEALED)
def test_an_example_that_is_mended_has_neither(name: str) -> None:
    file = ROOT / "scenarios" / "check" / f"{name.replace(' ', '-')}.yaml"
    overrides = [parse_set(f"{key}={value}") for key, value in HEALED[name].items()]
    scenario = load_with(file, overrides)
    assert examine(scenario, processor_of(scenario)) == []
    assert queuesim.run(scenario).ok


def test_every_finding_has_an_example() -> None:
    assert sorted(name.replace(" ", "-") for name in HEALED) == [file.stem for file in EXAMPLES]
    sources = (ROOT / "src" / "queuesim" / "check").glob("*.py")
    named = {name for source in sources for name in re.findall(r'Finding\(\s+"([^"]+)"', source.read_text())}
    assert named | set(CAUSES) == set(HEALED)


def processor_of(scenario: Scenario) -> Processor | None:
    return None if scenario.processor is None else load_processor(scenario.processor, scenario.directory)


@pytest.mark.parametrize("seed", range(25))
def test_no_valid_scenario_is_too_much_for_it(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng) | {"drain": rng.choice([True, False, 60.0])}
    scenario["queue"]["attempts"] = rng.choice([1, 3, 1000, 10**9])
    scenario["thresholds"] = rng.sample(
        ["latency.p95 < 1s", "waiting.mean < 100ms", "unfinished == 0", "latency.max < 1us", "backlog.max < 3"], 2
    )
    # a burst would have to say of which load
    scenario["faults"] = [fault for fault in scenario["faults"] if "producer.burst" not in fault]
    scenario["load"] += [
        {"name": "b", "bulk": {"every": rng.choice([0.01, 7.0]), "size": rng.choice([1, 10**6])}},
        {"name": "w", "backlog": rng.choice([1, 10**9])},
        {"name": "c", "closed": {"producers": 3}},
        {"name": "r", "constant": {"from": 3.0, "stages": [{"duration": 1e-6, "target": 0.0}]}},
    ]
    for finding in examine(Scenario.model_validate(scenario)):
        assert finding.name in HEALED
        assert finding.message.isprintable()


# -- a scenario with a processor of its own


def test_what_the_scenario_leaves_out_is_the_processors() -> None:
    own = Processor(
        "q",
        concurrency=3,
        limiter=RateLimit(70, 60.0),
        defaults=JobOptions(attempts=6, backoff=Backoff("exponential", 1)),
    )
    scenario = {
        "name": "s", "duration": 3600.0, "processor": "m:p", "load": [{"name": "l", "poisson": 2.0, "jobs": "a"}],
        "workers": {"count": 2},
    }  # fmt: skip
    validated = Scenario.model_validate(scenario)
    names = {finding.name: finding.message for finding in examine(validated, own)}
    assert "120/min arrive" in names["limiter below arrivals"]
    (outline,) = outlines(validated, own)
    assert outline.backoff(0.0) == 31.0, "nobody knows how often a handler of the user's own fails"
    assert slots(validated, own) == 6
    assert examine(validated) == []


# -- a processor alone


def async_handler(timeout: float | None = None, **settings: Any) -> Processor:
    processor = Processor("q", **settings)

    @processor.job("a", timeout=timeout)
    async def handle(job: Job) -> None:
        """Nothing."""

    return processor


def of(processor: Processor) -> dict[str, Finding]:
    return {finding.key: finding for finding in examine_processor(processor)}


def test_a_healthy_processor_has_no_finding() -> None:
    assert of(async_handler(concurrency=50)) == {}


def test_an_ordinary_function_is_no_fault_because_it_runs_in_a_thread() -> None:
    processor = Processor("q", concurrency=5)

    @processor.job("report", timeout=9.0)
    def report(job: Job) -> None:
        """Nothing."""

    assert of(processor) == {}


def test_ids_that_the_limiters_pace_frees_within_the_hour() -> None:
    limited = {"limiter": RateLimit(100, 60.0), "keep_completed": Keep(100)}
    assert "at the limiter's 100/min is 1m" in of(async_handler(**limited))["keep_completed"].message
    assert of(async_handler(limiter=RateLimit(100, 60.0), keep_completed=Keep(6000))) == {}


def test_a_processor_alone_does_not_say_who_waits_for_its_jobs() -> None:
    processor = async_handler(
        defaults=JobOptions(attempts=10, backoff=Backoff("exponential", 1.0)),
        retries={"Network": RetryPolicy(attempts=70)},
    )
    assert of(processor) == {}


def test_slots_that_no_timeout_lets_jobs_fill() -> None:
    limiter = RateLimit(100, 60.0)
    assert "0.83 jobs" in of(async_handler(timeout=0.5, limiter=limiter, concurrency=50))["concurrency"].message
    assert of(async_handler(timeout=30.0, limiter=limiter, concurrency=50)) == {}
    assert of(async_handler(limiter=limiter, concurrency=50)) == {}


def test_the_task_services_own_processor_is_known_for_what_its_retention_does() -> None:
    with TaskStore().opened() as store:
        assert set(of(task_processor(store))) == {"keep_completed"}


# -- the command


def test_the_command_takes_scenarios_and_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checked_jobs.py").write_text(
        "from queuesim import Job, Processor, RateLimit\n"
        "slow = Processor('q', concurrency=50, limiter=RateLimit(100, 60.0))\n"
        "@slow.job('a', timeout=0.5)\n"
        "async def handle(job: Job) -> None: ...\n"
        "good = Processor('q')\n"
    )
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check", "checked_jobs:slow", "checked_jobs:good", str(EXAMPLES[0])])
    assert done.exit_code == 1
    assert "checked_jobs:slow: concurrency: concurrency that the limiter makes useless: at" in done.output
    assert "checked_jobs:good: nothing found" in done.output
    assert f"{EXAMPLES[0]}: jobs.task-created.backoff" in done.output
    told = json.loads(CliRunner().invoke(app, ["check", "--json", "checked_jobs:slow"]).output)
    assert told["checked_jobs:slow"][0]["shown_by"] == (
        "scenarios/check/concurrency-that-the-limiter-makes-useless.yaml"
    )
    assert CliRunner().invoke(app, ["check", "checked_jobs:good"]).exit_code == 0
    for wrong in ("checked_jobs:god", "no_such:p", "no_such.yaml"):
        assert CliRunner().invoke(app, ["check", wrong]).exit_code == 2


def below_capacity(**urgent: Any) -> dict[str, Any]:
    """Two types of jobs that keep three quarters of a slot busy, evenly for four hours."""
    return {
        "duration": 14_400.0,
        "jobs": {"a": {"service": 0.5, **urgent}, "b": {"service": 0.5, "priority": 5}},
        "load": [{"name": "l", "poisson": {"rate": 1.5}}],
    }


@pytest.mark.parametrize("priority", [1, 5])
def test_types_that_come_at_the_same_time_do_not_wait_for_each_other(priority: int) -> None:
    # the fluid is cut into steps of 36 s, in which the jobs of one type must not all go before those of another
    tight = [{"waiting": f"p95 < {limit}", "where": {"job": job}} for limit in ("1s", "5s") for job in "ab"]
    assert found(**below_capacity(priority=priority), thresholds=tight) == {}


def test_a_batch_of_two_types_mixes_them() -> None:
    jobs = {"a": {"service": 1.0}, "b": {"service": 1.0}}
    load = [{"name": "l", "bulk": {"at": 0.0, "size": 200}}]
    late = {job: [{"waiting": "p95 < 100s", "where": {"job": job}}] for job in "ab"}
    for thresholds in late.values():
        # 200 s of work: of either type one job in twenty waits for 190 s
        assert "about 3m" in found(jobs=jobs, load=load, thresholds=thresholds)["batch outlives a threshold"]


def test_the_mean_backlog_of_a_fluid() -> None:
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "duration": 1000.0,
            "workers": {"concurrency": 1},
            "jobs": {"a": {"service": 1.0}},
            "load": [{"name": "l", "bulk": {"at": 100.0, "size": 200}}],
        }
    )
    fluid = Fluid(scenario, outlines(scenario), None)
    # a triangle 200 jobs high and 200 s long; a job starts a service before the curve says that it leaves
    assert fluid.mean_backlog(0.0, 1000.0) == pytest.approx(20.0, rel=0.02)
    assert fluid.mean_backlog(500.0, 1000.0) == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(fluid.mean_backlog(5.0, 5.0))
