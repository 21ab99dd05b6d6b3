"""Runs in real time that end early: no job gets on any more, or a threshold failed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import queuesim
from queuesim import DelayedError, Job, JobOptions, Processor
from queuesim.results.recording import Stop, StopReason
from queuesim.results.result import Result
from queuesim.runs.judging import Patience
from queuesim.runs.live import engine

pytestmark = pytest.mark.server


def play(handler: Any, **keys: Any) -> Result:
    """Ten jobs, five a second, on one slot, on a server of the run's own."""
    processor = Processor("q", concurrency=1, defaults=JobOptions(attempts=1))
    processor.job("mail")(handler)
    scenario = {
        "name": "stuck",
        "duration": 2.0,
        "drain": True,
        "jobs": {"mail": {}},
        "load": [{"name": "steady", "constant": 5.0}],
        **keys,
    }
    return queuesim.run(scenario, processor=processor, backend="redis", redis_url="embedded", progress=False)


def stop_of(result: Result) -> Stop:
    assert result.facts.stopped is not None
    assert result.facts.stopped.reason is StopReason.NO_PROGRESS
    assert not result.ok
    return result.facts.stopped


async def hangs_at_four(job: Job) -> None:
    if job.number == 4:
        lock = asyncio.Lock()
        await lock.acquire()
        await lock.acquire()  # never returns


@pytest.mark.parametrize("drain", [True, 2.0])
def test_a_handler_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch, drain: bool | float) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 2.0)
    result = play(hangs_at_four, drain=drain)
    stop = stop_of(result)
    hanging, *waiting = stop.jobs
    assert (hanging.number, hanging.type, hanging.state) == (4, "mail", "active")
    assert hanging.awaits == "await lock.acquire()  # never returns"
    assert {5, 6, 7, 8, 9} <= {job.number for job in waiting}
    assert {job.state for job in waiting} == {"waiting"}
    # since the last job that ended, or since the drain saw that nothing moves
    assert stop.at is not None
    assert result.jobs["finished"].max() <= stop.at <= result.facts.duration


def test_a_job_that_is_put_off_for_ever_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ENDLESS", Patience(rounds=10, seconds=1.0, total=200_000))
    monkeypatch.setattr(engine, "ROUND_LOOK", 0.5)

    async def mail(job: Job) -> None:
        if job.number == 7:
            raise DelayedError(0.05)

    stop = stop_of(play(mail))
    (job,) = stop.jobs
    assert (job.number, job.type) == (7, "mail")
    assert job.put_off >= 10
    assert "job 7 (mail) was put off " in str(stop)


def test_a_drain_that_ends_while_a_handler_sleeps_has_not_stuck() -> None:
    async def mail(job: Job) -> None:
        await asyncio.sleep(60)

    assert play(mail, drain=1.0).facts.stopped is None


def test_a_threshold_ends_the_run_when_it_failed_first() -> None:
    async def mail(job: Job) -> None:
        if job.number in (4, 6):
            raise ValueError("boom")

    result = play(mail, duration=40.0, thresholds=[{"failed": "== 0", "abort": True}])
    stop = result.facts.stopped
    assert stop is not None
    assert stop.reason is StopReason.THRESHOLD
    assert result.facts.duration < 20.0
    failed = result.jobs[result.jobs["state"] == "failed"]
    assert stop.at == pytest.approx(failed["finished"].min(), abs=2e-9)
    row = result.checks.set_index("check").loc["failed == 0"]
    assert not row["ok"]
    assert row["at"] == stop.at


def test_a_threshold_that_fails_because_nothing_ends_does_so_while_a_handler_runs() -> None:
    async def mail(job: Job) -> None:
        await asyncio.sleep(60)

    result = play(mail, duration=40.0, drain=0, thresholds=[{"backlog.max": "< 5", "abort": True}])
    stop = result.facts.stopped
    assert stop is not None
    assert stop.reason is StopReason.THRESHOLD
    assert result.facts.duration < 20.0
    # the sixth job was added: one runs, five wait
    assert stop.at == pytest.approx(result.jobs["ready"].sort_values().iloc[5], abs=2e-9)
