"""Retries: how often, after what delay, and which policy holds."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from queuesim.core.errors import ErrorInfo
from queuesim.core.job import Backoff, Job, JobOptions
from queuesim.core.retry import Retries, RetryPolicy

BOOM = RuntimeError("boom")
INFO = ErrorInfo("RuntimeError", "Unknown", retryable=True)
FINAL = ErrorInfo("ValueError", "Validation", retryable=False)


def delay(retries: Retries, made: int = 0, *, info: ErrorInfo = INFO, started: int = 1, **options: Any) -> float | None:
    job = Job("1", "job", {}, JobOptions(**options))
    job.attempts_made, job.attempts_started = made, started
    return retries.delay(job, BOOM, info, random.Random(0))


@pytest.mark.parametrize(("attempts", "delays"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_attempts_are_runs_so_delays_are_one_fewer(attempts: int, delays: int) -> None:
    got = [delay(Retries(), made, attempts=attempts, backoff=Backoff("fixed", 2.0)) for made in range(5)]
    assert got == [2.0] * delays + [None] * (5 - delays)


def test_without_a_backoff_a_retry_comes_at_once() -> None:
    assert delay(Retries(), attempts=2) == 0.0


def test_an_error_that_is_not_retryable_ends_it() -> None:
    assert delay(Retries(), attempts=5, info=FINAL) is None


def test_a_policy_decides_for_its_category_only() -> None:
    retries = Retries({"Unknown": RetryPolicy(retry=False), "Validation": RetryPolicy(retry=True)})
    assert delay(retries, attempts=5) is None
    assert delay(retries, attempts=5, info=FINAL) == 0.0
    assert delay(retries, attempts=5, info=ErrorInfo("X", "Network", True)) == 0.0


def test_a_policy_has_attempts_and_a_backoff_of_its_own() -> None:
    retries = Retries({"Unknown": RetryPolicy(attempts=3, backoff=Backoff("exponential", 1.0))})
    got = [delay(retries, made, attempts=9, backoff=Backoff("fixed", 60.0)) for made in range(4)]
    assert got == [1.0, 2.0, None, None]


def test_a_custom_strategy_goes_first_and_is_told_of_attempt_and_error() -> None:
    seen: list[tuple[int, BaseException]] = []

    def strategy(made: int, error: BaseException) -> float | None:
        seen.append((made, error))
        return made * 10.0

    retries = Retries(strategy=strategy)
    got = [delay(retries, made, attempts=3, backoff=Backoff("fixed", 60.0)) for made in range(3)]
    assert got == [10.0, 20.0, None]
    assert seen == [(1, BOOM), (2, BOOM)]


@pytest.mark.parametrize("answer", [None, -1, -0.5, math.nan, math.inf])
def test_a_strategy_that_names_no_time_fails_the_job(answer: float | None) -> None:
    assert delay(Retries(strategy=lambda made, error: answer), attempts=9) is None


def test_a_strategy_may_retry_at_once() -> None:
    assert delay(Retries(strategy=lambda made, error: 0), attempts=9) == 0


@pytest.mark.parametrize(("started", "expected"), [(1, 0.0), (2, None), (3, None)])
def test_started_attempts_have_a_limit_of_their_own(started: int, expected: float | None) -> None:
    assert delay(Retries(max_started=2), attempts=9, started=started) == expected


@pytest.mark.parametrize(("limit", "started", "too_often"), [(None, 99, False), (2, 2, False), (2, 3, True)])
def test_a_job_started_too_often_is_not_to_run(limit: int | None, started: int, too_often: bool) -> None:
    job = Job("1", "job", {}, attempts_started=started)
    expected = "job started more than allowable limit" if too_often else ""
    assert Retries(max_started=limit).started_too_often(job) == expected
