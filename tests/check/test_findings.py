from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuesim.check.findings import examine
from queuesim.check.outline import outlines
from queuesim.scenario.file import load_scenario
from queuesim.scenario.schema import Scenario

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


def test_a_blocking_part_longer_than_half_a_lock() -> None:
    jobs = {"a": {"service": 0.1, "blocking": 20.0}}
    assert "run twice" in found(jobs=jobs)["lock shorter than a blocking job"]
    assert "lock shorter than a blocking job" not in found(jobs={"a": {"service": 0.1, "blocking": 10.0}})


def test_a_lock_that_is_renewed_too_late() -> None:
    workers = {"concurrency": 60, "lock_duration": 10.0, "lock_renew": 30.0}
    assert (
        "without being renewed" in found(jobs={"a": {"service": 20.0}}, workers=workers)["lock shorter than slow jobs"]
    )


def test_retention_that_forgets_ids_between_two_scans() -> None:
    message = found(queue={"keep": {"completed": {"count": 100}}}, overdue={"cron": "0 * * * *", "tasks": 10})[
        "retention undoes deduplication"
    ]
    assert "1m40s" in message


def test_a_backoff_that_outlives_the_caller() -> None:
    jobs = {"a": {"service": 0.1, "attempts": 6, "backoff": {"type": "exponential", "delay": 1.0}}}
    assert "31s together" in found(jobs=jobs)["backoff outlives the caller"]


def test_slots_that_the_limiter_leaves_empty() -> None:
    workers = {"concurrency": 50, "limiter": {"max": 100, "duration": 60.0}}
    assert "0.17 jobs" in found(workers=workers)["concurrency that the limiter makes useless"]


def test_what_is_found_is_in_the_scenario_that_is_named() -> None:
    for file in sorted((ROOT / "scenarios").glob("*.yaml")):
        for finding in examine(load_scenario(file)):
            named = ROOT / finding.shown_by
            assert finding.name in {other.name for other in examine(load_scenario(named))}


def test_starts_are_counted_as_a_run_has_them() -> None:
    """Against a simulation: the mean number of attempts."""
    import queuesim

    scenario = {
        "name": "s", "duration": 20_000.0, "drain": True, "queue": {"attempts": 3}, "workers": {"concurrency": 20},
        "jobs": {"a": {"service": 0.1, "errors": {"network": 0.3, "validation": 0.1}}},
        "load": [{"name": "l", "poisson": {"rate": 1.0}}],
    }  # fmt: skip
    (job,) = outlines(Scenario.model_validate(scenario))
    result = queuesim.run(scenario)
    assert job.starts == pytest.approx(len(result.attempts) / len(result.jobs), rel=0.02)
