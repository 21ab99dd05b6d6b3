"""A worker with a wrong clock: what it does happens by its clock, and is recorded by the run's own."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pandas as pd
import pytest

import queuesim
from queuesim.brokers.memory import MemoryBroker
from queuesim.results.result import Result
from queuesim.runs.worker_clock import SkewedBroker, WorkerClock

AHEAD = 300.0
SCENARIO: dict[str, Any] = {
    "name": "clock",
    "duration": "20m",
    "drain": True,
    "seed": 4,
    "queue": {"attempts": 3, "backoff": {"type": "fixed", "delay": "20s"}},
    "workers": {"count": 2, "name": "w", "concurrency": 3, "limiter": {"max": 20, "duration": "1m"}},
    "jobs": {
        "mail": {"service": "1s", "delay": "3m"},
        "now": {"service": "7s"},
        "flaky": {"service": "2s", "errors": {"network": [1.0, 0.0]}},
    },
    "load": [{"name": "steady", "constant": "9/min"}],
}
BACKENDS = ("sim", "fakeredis")


def play(backend: str, skew: str = "5m") -> Result:
    fault = {"worker.clock": {"at": "5m", "for": "10m", "skew": skew, "worker": "w-1"}}
    return queuesim.run({**SCENARIO, "faults": [fault]}, backend=backend, progress=False)


@functools.cache
def five_minutes_ahead(backend: str) -> Result:
    return play(backend)


@pytest.fixture(params=BACKENDS)
def ahead(request: pytest.FixtureRequest) -> Result:
    return five_minutes_ahead(request.param)


def test_service_times_are_what_the_handlers_took(ahead: Result) -> None:
    took = ahead.attempts.groupby("name", observed=True)["service"]
    assert took.min().to_dict() == pytest.approx({"mail": 1.0, "now": 7.0, "flaky": 2.0})
    assert took.max().to_dict() == pytest.approx({"mail": 1.0, "now": 7.0, "flaky": 2.0})


def test_the_error_of_the_clock_is_a_column_of_its_own(ahead: Result) -> None:
    attempts = ahead.attempts
    wrong = (attempts["worker"] == "w-1") & attempts["started"].between(300, 900, inclusive="left")
    assert wrong.sum() > 20
    assert (attempts["clock_error"] == wrong * AHEAD).all()


def test_delayed_jobs_start_early_and_the_frames_say_so(ahead: Result) -> None:
    mail = ahead.jobs[ahead.jobs["name"] == "mail"]
    early = mail["added"] + mail["delay"] - mail["started"]
    # the fault begins at 300 s: jobs that were added at 120 s or later are due by a clock that is 300 s ahead
    assert early.max() == pytest.approx(180.0, abs=10.0)
    assert mail.loc[early > 1, "started"].between(300, 900).all()
    assert (mail["waiting"] >= 0).all()
    assert (mail["ready"] <= mail["started"]).all()


def test_no_time_is_outside_of_the_run(ahead: Result) -> None:
    duration = ahead.facts.duration
    for times in (
        ahead.attempts["ended"], ahead.jobs["finished"], ahead.events["time"], ahead.limiter["opened"],
    ):  # fmt: skip
        assert times.min() >= 0
        assert times.max() <= duration
    assert duration < 2700 - AHEAD
    assert ahead.events["time"].is_monotonic_increasing


def test_events_and_attempts_tell_the_same_times(ahead: Result) -> None:
    started = ahead.events[ahead.events["kind"] == "active"]
    told = sorted(zip(started["job"], started["time"], strict=True))
    recorded = sorted(zip(ahead.attempts["job"], ahead.attempts["started"], strict=True))
    assert [job for job, _ in told] == [job for job, _ in recorded]
    assert [time for _, time in told] == pytest.approx([time for _, time in recorded], abs=0.001)


def test_windows_of_the_limiter_last_as_long_as_ever(ahead: Result) -> None:
    windows = ahead.limiter
    assert len(windows) > 15
    assert (windows["closes"] - windows["opened"]).max() == pytest.approx(60.0, abs=0.002)
    assert (windows["starts"] <= 20).all()


def test_no_job_stalls_because_of_a_clock(ahead: Result) -> None:
    # Redis times locks and the stalled check by its own clock
    assert not (ahead.events["kind"] == "stalled").any()
    assert set(ahead.attempts["outcome"]) <= {"ok", "retried"}


def test_memory_and_redis_agree() -> None:
    first, second = (five_minutes_ahead(backend).attempts for backend in BACKENDS)
    assert len(first) == len(second)
    # which of two idle workers is woken is each broker's own affair
    for name in ("started", "ended", "ready"):
        assert sorted(first[name]) == pytest.approx(sorted(second[name]), abs=20.0)
    assert first["outcome"].value_counts().to_dict() == second["outcome"].value_counts().to_dict()
    assert set(first["clock_error"]) == set(second["clock_error"]) == {0.0, AHEAD}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_clock_that_is_behind_starts_delayed_jobs_late(backend: str) -> None:
    scenario = {**SCENARIO, "workers": {"name": "w-1"}, "load": [{"name": "few", "backlog": 3, "jobs": "mail"}]}
    fault = {"worker.clock": {"at": "1s", "for": "10m", "skew": "-2m", "worker": "w-1"}}
    jobs = queuesim.run({**scenario, "faults": [fault]}, backend=backend, progress=False).jobs
    assert jobs["ready"].tolist() == pytest.approx([180.0] * 3)
    # due at 180 s, which a clock that is 120 s behind shows at 300 s
    assert jobs["started"].tolist() == pytest.approx([300.0, 301.0, 302.0], abs=0.01)
    assert (jobs["service"] > 0.99).all()


def test_what_is_interrupted_and_what_is_unfinished_is_told_in_the_runs_time() -> None:
    scenario = {
        **SCENARIO,
        "duration": "20s",
        "drain": 0,
        "jobs": {"long": {"service": "30s"}},
        "load": [{"name": "few", "backlog": 9}],
        "faults": [
            {"worker.clock": {"at": "0s", "for": "20s", "skew": "5m", "worker": "w-1"}},
            {"worker.crash": {"at": "10s", "restart": "1s", "worker": "w-1"}},
        ],
    }
    attempts = queuesim.run(scenario, progress=False).attempts
    assert set(attempts["outcome"]) == {"lost", "unfinished"}
    assert attempts["started"].between(0, 20).all()
    lost = attempts[attempts["outcome"] == "lost"]
    assert lost["ended"].tolist() == [10.0] * 3
    assert (attempts.loc[attempts["worker"] == "w-1", "clock_error"] > 0).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_with_right_clocks_has_no_error(backend: str) -> None:
    attempts = queuesim.run({**SCENARIO, "duration": "5m"}, backend=backend, progress=False).attempts
    assert attempts["clock_error"].tolist() == [0.0] * len(attempts)


def test_a_right_clock_is_not_noticed() -> None:
    """A fault of another worker's clock leaves what happens before it as it was, to the bit."""
    fault = {"worker.clock": {"at": "15m", "for": "1m", "skew": "5m", "worker": "w-1"}}
    plain = queuesim.run(SCENARIO, progress=False)
    watched = queuesim.run({**SCENARIO, "faults": [fault]}, progress=False)
    columns = ["job", "worker", "slot", "started", "ended", "outcome"]
    before = [run.attempts.loc[run.attempts["ended"] < 900, columns] for run in (plain, watched)]
    assert len(before[0]) > 100
    pd.testing.assert_frame_equal(*before)


def test_a_start_that_a_failover_made_the_queue_forget_keeps_its_own_times() -> None:
    """The second job starts twice under one number: by the right clock at 13 s, by the wrong one at 19 s."""
    scenario = {
        **SCENARIO,
        "duration": "1m",
        "workers": {"count": 1, "name": "w-1", "concurrency": 1},
        "jobs": {"long": {"service": "6s"}},
        "load": [{"name": "few", "bulk": {"size": 3, "at": "7s"}}],
        "faults": [
            {"redis.failover": {"at": "13500ms", "lose": "1s", "down": "0s"}},
            {"worker.clock": {"at": "14s", "for": "40s", "skew": "1s", "worker": "w-1"}},
        ],
    }
    attempts = queuesim.run(scenario, progress=False).attempts
    second = attempts[attempts["job"] == 2].sort_values("started")
    assert second["started"].tolist() == pytest.approx([13.0, 19.0])
    assert second["attempt"].tolist() == [1, 1]
    assert second["clock_error"].tolist() == [0.0, 1.0]
    assert attempts["service"].tolist() == pytest.approx([6.0] * len(attempts))


def test_which_argument_is_the_time_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at a signature takes longer than the operation."""
    looked: list[Any] = []
    signature = inspect.signature

    def noted(function: Any) -> inspect.Signature:
        looked.append(function)
        return signature(function)

    async def calls() -> None:
        queue = MemoryBroker("q")
        broker: Any = SkewedBroker(queue, WorkerClock(lambda: 100.0), None, queue)  # type: ignore[arg-type]
        for _ in range(50):
            assert await broker.renew([], 30.0, 100.0) == []
            await broker.pause(100.0)
            assert await broker.is_paused()

    monkeypatch.setattr(inspect, "signature", noted)
    asyncio.run(calls())
    assert [function.__name__ for function in looked] == ["renew", "pause", "is_paused"]
