"""Runs that get on no more: which jobs keep them from ending, and what those wait for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import queuesim
from queuesim import DelayedError, Job, Processor, RateLimitError
from queuesim.brokers.memory import MemoryBroker
from queuesim.core.job import NewJob
from queuesim.results.recorder import Recorder
from queuesim.results.recording import Stop, StopReason, StuckJob
from queuesim.results.result import Result
from queuesim.runs.judging import OWN_CODE, no_progress

FOREVER = asyncio.Event
# a drain without a limit gives up after a day, which takes fakeredis minutes
ENDINGS = pytest.mark.parametrize(("drain", "backend"), [(True, "sim"), (60.0, "sim"), (60.0, "fakeredis")])


def play(handler: Any, drain: bool | float = True, *, backend: str = "sim", **keys: Any) -> Result:
    """Ten jobs, one a second, on one slot."""
    processor = Processor("q", concurrency=keys.pop("concurrency", 1))
    processor.job("mail")(handler)
    scenario = {
        "name": "stuck",
        "duration": 10.0,
        "drain": drain,
        "jobs": {"mail": {}},
        "load": [{"name": "steady", "constant": 1.0}],
        **keys,
    }
    return queuesim.run(scenario, processor=processor, backend=backend)


def stop_of(result: Result) -> Stop:
    assert result.facts.stopped is not None
    assert result.facts.stopped.reason is StopReason.NO_PROGRESS
    assert not result.ok
    return result.facts.stopped


@ENDINGS
def test_a_job_that_is_put_off_for_ever(drain: bool | float, backend: str) -> None:
    async def mail(job: Job) -> None:
        if job.number == 7:
            raise DelayedError(1.0)
        await asyncio.sleep(0.1)

    stop = stop_of(play(mail, drain, backend=backend))
    (job,) = stop.jobs
    assert (job.number, job.type, job.state) == (7, "mail", "delayed")
    assert job.put_off >= 10
    assert stop.at == pytest.approx(9.1 if drain is True else 10.1, abs=1.1)
    assert "job 7 (mail) was put off " in str(stop)


@ENDINGS
def test_a_job_that_limits_the_queue_for_ever(drain: bool | float, backend: str) -> None:
    async def mail(job: Job) -> None:
        if job.number == 7:
            raise RateLimitError(1.0)
        await asyncio.sleep(0.1)

    stop = stop_of(play(mail, drain, backend=backend))
    assert {job.number for job in stop.jobs} == {7, 8, 9, 10}
    assert next(job for job in stop.jobs if job.number == 7).put_off >= 10


@ENDINGS
def test_a_handler_that_waits_for_a_lock_that_it_holds(drain: bool | float, backend: str) -> None:
    lock: list[asyncio.Lock] = []

    async def mail(job: Job) -> None:
        if job.number == 4:
            lock.append(asyncio.Lock())
            await lock[0].acquire()
            await lock[0].acquire()  # never returns

    hanging, *waiting = stop_of(play(mail, drain, backend=backend)).jobs
    line = mail.__code__.co_firstlineno + 4
    assert hanging == StuckJob(
        4, "mail", "active", "worker", "await lock[0].acquire()  # never returns", f"{Path(__file__).name}:{line}"
    )
    assert [job.number for job in waiting] == [5, 6, 7, 8, 9, 10]
    assert {job.state for job in waiting} == {"waiting"}


def test_two_handlers_that_wait_for_each_other() -> None:
    locks: list[asyncio.Lock] = []

    async def mail(job: Job) -> None:
        if not locks:
            locks.extend((asyncio.Lock(), asyncio.Lock()))
        first, second = locks if job.number % 2 else reversed(locks)
        async with first:
            await asyncio.sleep(3)
            async with second:
                pass

    stop = stop_of(play(mail, concurrency=2))
    assert {(job.number, job.awaits) for job in stop.jobs[:2]} == {(1, "async with second:"), (2, "async with second:")}
    assert "hangs in `async with second:` at test_stuck.py:" in str(stop)


def test_what_hangs_in_a_task_of_the_handlers_is_named() -> None:
    async def part() -> None:
        await FOREVER().wait()

    async def mail(job: Job) -> None:
        await asyncio.gather(asyncio.sleep(1), part())

    assert stop_of(play(mail)).jobs[0].awaits == "await FOREVER().wait()"


def test_a_queue_that_is_paused_is_said_to_be() -> None:
    async def stop() -> Stop:
        broker = MemoryBroker("q")
        await broker.add([NewJob("mail", "{}")], 0.0)
        await broker.pause(0.0)
        return await no_progress(broker, Recorder(), [], 3.0)

    stopped = asyncio.run(stop())
    assert str(stopped) == "no progress since 3 s: the queue is paused; job 1 (mail) is waiting"


@pytest.mark.parametrize(
    "keys",
    [
        {"workers": {"limiter": {"max": 1, "duration": 48 * 3600.0}}},
        {"queue": {"attempts": 3, "backoff": 40 * 3600.0}, "jobs": {"mail": {"errors": {"network": 0.5}}}},
    ],
    ids=["slow limiter", "long backoffs"],
)
def test_slow_queues_are_waited_for(keys: dict[str, Any]) -> None:
    scenario = {
        "name": "slow",
        "duration": 5.0,
        "drain": True,
        "jobs": {"mail": {"service": 1.0}},
        "load": [{"name": "steady", "constant": 1.0}],
        **keys,
    }
    if "queue" in keys:
        scenario["jobs"] = {"mail": {"service": 1.0, "errors": {"network": 0.5}}}
    result = queuesim.run(scenario)
    assert result.facts.stopped is None
    assert result.facts.duration > 24 * 3600


def test_a_handler_that_sleeps_for_days_or_puts_its_job_off_is_waited_for() -> None:
    async def mail(job: Job) -> None:
        if job.number == 7:
            await asyncio.sleep(3 * 24 * 3600)
        if job.number == 8 and job.attempts_started < 4:
            raise DelayedError(30 * 3600)

    result = play(mail)
    assert result.facts.stopped is None
    assert (result.jobs["state"] == "completed").all()


def test_a_drain_that_ends_while_handlers_work_has_not_stuck() -> None:
    async def mail(job: Job) -> None:
        await asyncio.sleep(100)

    result = play(mail, 30.0)
    assert result.facts.stopped is None


def test_stuck_jobs_are_stored(tmp_path: Path) -> None:
    async def mail(job: Job) -> None:
        await FOREVER().wait()

    result = play(mail)
    result.to_parquet(tmp_path)
    assert Result.load(tmp_path).facts.stopped == result.facts.stopped


def test_the_packages_own_code_is_where_it_is_looked_for() -> None:
    """The line in which a handler hangs is the user's: the last one outside of these directories."""
    assert all(Path(place).is_dir() for place in OWN_CODE)
