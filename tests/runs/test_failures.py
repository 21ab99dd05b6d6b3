"""Failures that a scenario asks for: by category and attempt, and of poison jobs."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from playing import column, play, rows

BACKLOG = {"backlog": 4000}


def outcomes(faults: dict[str, Any], load: dict[str, Any] = BACKLOG, **more: Any) -> Any:
    return play(load, jobs={"a": {"service": 0.0, **faults}}, workers={"concurrency": 50}, **more)


@pytest.mark.parametrize("category", ["database", "network", "unknown"])
def test_an_error_that_may_be_retried_is(category: str) -> None:
    result = outcomes({"errors": {category: 1.0}, "attempts": 3}, {"backlog": 1})
    assert rows(result, "attempt", "outcome", "category", "retryable", "message") == [
        (1, "retried", category.capitalize(), True, f"simulated {category} failure"),
        (2, "retried", category.capitalize(), True, f"simulated {category} failure"),
        (3, "failed", category.capitalize(), True, f"simulated {category} failure"),
    ]


def test_a_validation_error_is_not_retried() -> None:
    result = outcomes({"errors": {"validation": 1.0}, "attempts": 3}, {"backlog": 1})
    assert rows(result, "outcome", "category", "retryable") == [("failed", "Validation", False)]


def test_retry_rules_by_category() -> None:
    rules = {"validation": {"retry": True, "attempts": 2, "backoff": 5.0}}
    result = outcomes({"errors": {"validation": 1.0}, "attempts": 9}, {"backlog": 1}, queue={"retry": rules})
    assert rows(result, "started", "outcome") == [(0, "retried"), (5, "failed")]


def test_backoff_grows_as_asked_for() -> None:
    backoff = {"type": "exponential", "delay": 1.0, "cap": 3.0}
    result = outcomes({"errors": {"network": 1.0}, "attempts": 5, "backoff": backoff}, {"backlog": 1})
    assert result.attempts["backoff"].tolist()[:4] == [1, 2, 3, 3]
    assert column(result, "finished") == [9]


def test_errors_come_as_often_as_asked_for() -> None:
    rates = {"database": 0.2, "network": 0.1, "validation": 0.05, "unknown": 0.15}
    counts = Counter(outcomes({"errors": rates}).attempts["category"].dropna())
    for category, rate in rates.items():
        spread = math.sqrt(4000 * rate * (1 - rate))
        assert counts[category.capitalize()] == pytest.approx(4000 * rate, abs=4 * spread)


def test_errors_by_attempt_the_last_entry_for_all_further_ones() -> None:
    errors = {"network": [1.0, 0.5, 0.0], "database": [0.0, 0.5, 1.0]}
    result = outcomes({"errors": errors, "attempts": 5})
    by_attempt = result.attempts.groupby("attempt")["category"].agg(Counter)
    assert by_attempt[1] == {"Network": 4000}
    assert set(by_attempt[2]) == {"Network", "Database"}
    assert by_attempt[2]["Network"] == pytest.approx(2000, abs=4 * math.sqrt(1000))
    assert by_attempt[5] == {"Database": 4000}


def test_poison_jobs_fail_at_every_attempt_and_only_they() -> None:
    result = outcomes({"poison": 0.25, "attempts": 3})
    states = result.jobs["state"].value_counts()
    assert states["failed"] == pytest.approx(1000, abs=4 * math.sqrt(4000 * 0.25 * 0.75))
    failed = result.jobs["state"] == "failed"
    assert set(result.jobs["attempts"][failed]) == {3}
    assert set(result.jobs["attempts"][~failed]) == {1}
    assert set(result.attempts["category"].dropna()) == {"Unknown"}


def test_poison_of_a_category() -> None:
    result = outcomes({"poison": {"probability": 1.0, "category": "validation"}, "attempts": 3}, {"backlog": 2})
    assert rows(result, "outcome", "category") == [("failed", "Validation")] * 2


def test_poison_beside_errors() -> None:
    result = outcomes({"poison": 0.2, "errors": {"network": 0.5}, "attempts": 20})
    attempts = result.jobs["attempts"]
    assert set(attempts[result.jobs["state"] == "failed"]) == {20}
    # without poison every job comes through: twenty heads in a row are a matter of a million throws
    assert (result.jobs["state"] == "failed").sum() == pytest.approx(800, abs=4 * math.sqrt(4000 * 0.16))
    assert set(result.attempts["category"].dropna()) == {"Unknown", "Network"}


def test_the_seed_decides_which_jobs_are_poison() -> None:
    poisoned = [
        {job for job, state in zip(column(result, "job"), column(result, "state"), strict=True) if state == "failed"}
        for result in (outcomes({"poison": 0.3}, {"backlog": 100}, seed=seed) for seed in (1, 1, 2))
    ]
    assert poisoned[0] == poisoned[1] != poisoned[2]


def test_errors_of_one_job_type_leave_those_of_another_alone() -> None:
    shaky = {"service": 0.0, "errors": {"network": 0.5}}
    loads = [{"backlog": 200, "jobs": "a"}, {"backlog": 200, "jobs": "b"}]
    one = play(*loads, jobs={"a": shaky, "b": {"service": 0.0}})
    two = play(*loads, jobs={"a": shaky, "b": shaky})
    assert column(one, "state", "load-1") == column(two, "state", "load-1") != column(two, "state", "load-2")
