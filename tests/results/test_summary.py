"""A run in numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_script import Script

from queuesim.results.metrics import measure
from queuesim.results.recording import CheckRow
from queuesim.results.result import Result
from queuesim.results.summary import Spread

DATABASE = ("DatabaseError", "Database", True)
INVALID = ("ValidationError", "Validation", False)


def run() -> Result:
    script = Script(100.0, warmup=10.0, limiter=(2, 20.0))
    script.attempt(script.job(5.0), 5.0, 20.0)
    mail = script.job(10.0)
    script.attempt(mail, 21.0, 23.0, "retried", error=DATABASE, backoff=6.0)
    script.attempt(mail, 30.0, 31.0, ready=29.0)
    script.attempt(script.job(40.0, name="sms"), 41.0, 50.0, "failed", error=INVALID)
    script.job(60.0, left="removed")
    script.job(70.0, left="waiting")
    script.job(2.0)  # lost in the warm-up
    script.window(5.0, 25.0, 2)
    script.window(30.0, 50.0, 2)
    script.window(60.0, 80.0, 2)
    script.checks += [CheckRow("lost == 0", False, 1.0, "== 0"), CheckRow("failed < 5", True, 1.0, "< 5")]
    return Result(script.recording())


def test_counts_leave_the_warm_up_out_but_not_its_losses() -> None:
    jobs = run().summary().jobs
    assert (jobs.added, jobs.completed, jobs.failed, jobs.unfinished, jobs.removed, jobs.lost) == (4, 1, 1, 1, 1, 1)
    assert (jobs.attempts, jobs.retries) == (3, 1)
    assert jobs.success_rate == 0.5
    assert jobs.retry_amplification == 1.5


def test_spreads() -> None:
    jobs = run().summary().jobs
    assert jobs.waiting == Spread(2, 6.0, 6.0, 10.5, pytest.approx(10.9), 11.0)
    assert jobs.latency.mean == (21 + 10) / 2
    assert jobs.service.mean == (3 + 9) / 2


def test_by_name() -> None:
    by_name = run().summary().by_name
    assert set(by_name) == {"mail", "sms"}
    assert by_name["sms"].failed == 1
    assert by_name["mail"].attempts == 2


def test_the_system_in_measured_time() -> None:
    summary = run().summary()
    assert (summary.start, summary.end) == (10.0, 100.0)
    assert summary.throughput == 2 / 90
    assert summary.utilisation == pytest.approx((10 + 2 + 1 + 9) / 90)
    assert (summary.backlog_max, summary.backlog_max_at, summary.backlog_end) == (1, 10.0, 1)
    assert summary.backlog_mean == pytest.approx((11 + 1 + 1 + 30) / 90)


def test_attempts_limiter_and_checks() -> None:
    summary = run().summary()
    assert summary.outcomes == {"ok": 1, "retried": 1, "failed": 1}
    assert summary.errors == {"Database": 1, "Validation": 1}
    assert summary.limiter is not None
    assert (summary.limiter.windows, summary.limiter.full, summary.limiter.time_limited) == (2, 1, 9.0)
    assert summary.checks_failed == ["lost == 0"]


def test_of_nothing() -> None:
    summary = Result(Script().recording()).summary()
    assert summary.jobs.added == 0
    assert math.isnan(summary.jobs.success_rate)
    assert math.isnan(summary.jobs.retry_amplification)
    assert summary.jobs.latency.count == 0
    assert math.isnan(summary.jobs.latency.p95)
    assert (summary.backlog_max, summary.throughput, summary.limiter) == (0, 0.0, None)


def test_it_agrees_with_the_metrics() -> None:
    result = run()
    summary = result.summary()
    for name in ("added", "completed", "failed", "unfinished", "removed", "lost", "attempts", "retries"):
        assert measure(result, name) == getattr(summary.jobs, name), name
    for name in ("waiting", "latency", "service"):
        assert measure(result, name, "p95") == getattr(summary.jobs, name).p95
    assert measure(result, "backlog", "mean") == summary.backlog_mean


@given(st.lists(st.one_of(st.floats(0, 1e6), st.just(math.nan)), max_size=30))
def test_spread_of_anything(values: list[float]) -> None:
    spread = Spread.of(np.array(values, dtype=float))
    known = [value for value in values if value == value]
    assert spread.count == len(known)
    if known:
        assert spread.p50 <= spread.p95 <= spread.p99 <= spread.max == max(known)
