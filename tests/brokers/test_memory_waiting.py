"""Waiting for work: who is woken by what, when, and what becomes of a wake-up whose receiver is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import Completed, Failed, Retried, Returned, Terms
from queuesim.core.job import JobOptions, JobState, NewJob, RateLimit
from queuesim.simulation.runner import run

JOB = NewJob("job")
LATER = NewJob("job", options=JobOptions(delay=60.0))
FOREVER = 1000.0


def now() -> float:
    return asyncio.get_running_loop().time()


class Crowd:
    """Waits at a broker, any number at once, and notes when each wait ended."""

    def __init__(self, broker: MemoryBroker, size: int, until: float | None = None) -> None:
        self.woken: list[float] = []
        self.tasks = [asyncio.create_task(self.wait(broker, until)) for _ in range(size)]

    async def wait(self, broker: MemoryBroker, until: float | None) -> None:
        await broker.wait(until, now())
        self.woken.append(now())


async def settle() -> None:
    """Let everything happen that happens at this instant."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("jobs", "waiters", "woken"), [(1, 3, 1), (2, 3, 2), (5, 3, 3)])
def test_each_job_wakes_one_who_waits(jobs: int, waiters: int, woken: int) -> None:
    async def program() -> None:
        broker = MemoryBroker()
        crowd = Crowd(broker, waiters)
        await asyncio.sleep(1.0)
        assert crowd.woken == []
        await broker.add([JOB] * jobs, now())
        await settle()
        assert crowd.woken == [1.0] * woken

    run(program())


def test_nobody_waits_where_there_is_work() -> None:
    async def program() -> None:
        broker = MemoryBroker()
        await broker.add([JOB], 0.0)
        crowd = Crowd(broker, 3)
        await settle()
        assert crowd.woken == [0.0] * 3

    run(program())


@pytest.mark.parametrize(("until", "woken"), [(5.0, [5.0]), (0.0, [0.0]), (-1.0, [0.0]), (None, [])])
def test_a_wait_ends_at_its_time(until: float | None, woken: list[float]) -> None:
    async def program() -> None:
        crowd = Crowd(MemoryBroker(), 1, until)
        await asyncio.sleep(FOREVER)
        assert crowd.woken == woken

    run(program())


def test_an_earlier_delayed_job_wakes_those_who_sleep_until_the_next() -> None:
    async def program() -> None:
        broker = MemoryBroker()
        await broker.add([LATER], 0.0)
        crowd = Crowd(broker, 2, 60.0)
        await asyncio.sleep(1.0)
        await broker.add([LATER], now())
        await settle()
        assert crowd.woken == [], "it is due after the one that they wait for"
        await broker.add([NewJob("job", options=JobOptions(delay=5.0))], now())
        await settle()
        assert crowd.woken == [1.0] * 2

    run(program())


def test_a_paused_or_full_queue_has_no_work() -> None:
    async def program() -> None:
        broker = MemoryBroker()
        await broker.pause(0.0)
        crowd = Crowd(broker, 1)
        await broker.add([JOB] * 2, 0.0)
        await settle()
        assert crowd.woken == []
        await broker.resume(0.0)
        await settle()
        assert crowd.woken == [0.0]
        await broker.set_concurrency(1, 0.0)
        assert len((await broker.exchange([], 2, Terms(), "t", 0.0)).jobs) == 1
        crowd = Crowd(broker, 1)
        await settle()
        assert crowd.woken == []
        await broker.set_concurrency(None, 0.0)
        await settle()
        assert crowd.woken == [0.0]

    run(program())


def outcome(kind: str) -> Callable[[str, str], object]:
    return {
        "retried": lambda job_id, token: Retried(job_id, token, 0.0, "boom"),
        "returned": lambda job_id, token: Returned(job_id, token),
        "completed": lambda job_id, token: Completed(job_id, token),
    }[kind]


@pytest.mark.parametrize("kind", ["retried", "returned", "completed"])
def test_an_exchange_that_leaves_work_wakes_another(kind: str) -> None:
    async def program() -> None:
        broker = MemoryBroker()
        await broker.set_concurrency(1, 0.0)
        await broker.add([JOB] * 2, 0.0)
        (job,) = (await broker.exchange([], 2, Terms(), "t", 0.0)).jobs
        crowd = Crowd(broker, 2)
        await settle()
        assert crowd.woken == []
        await broker.exchange([outcome(kind)(job.id, "t")], 0, Terms(), "u", 0.0)  # type: ignore[list-item]
        await settle()
        assert crowd.woken == [0.0]

    run(program())


async def retry(broker: MemoryBroker) -> None:
    await broker.retry("1", JobState.FAILED, False, now())


async def retry_all(broker: MemoryBroker) -> None:
    await broker.retry_all(JobState.FAILED, None, now())


async def promote(broker: MemoryBroker) -> None:
    await broker.promote("2", now())


async def promote_all(broker: MemoryBroker) -> None:
    await broker.promote_all(now())


async def clear_rate_limit(broker: MemoryBroker) -> None:
    await broker.clear_rate_limit(now())


async def set_rate_limit(broker: MemoryBroker) -> None:
    await broker.set_rate_limit(RateLimit(1, 1.0), now())


@pytest.mark.parametrize("move", [retry, retry_all, promote, promote_all, clear_rate_limit, set_rate_limit])
def test_what_people_do_to_a_queue_wakes_those_who_wait(move: Callable[[MemoryBroker], Awaitable[None]]) -> None:
    async def program() -> None:
        broker = MemoryBroker()
        await broker.add([JOB, LATER], 0.0)
        await broker.exchange([], 1, Terms(), "t", 0.0)
        await broker.exchange([Failed("1", "t", "boom")], 0, Terms(), "u", 0.0)
        crowd = Crowd(broker, 1)
        await settle()
        assert crowd.woken == []
        await move(broker)
        await settle()
        assert crowd.woken == [0.0]

    run(program())


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_wake_up_whose_receiver_is_cancelled_in_that_instant_goes_to_the_next(cancel_first: bool) -> None:
    async def program() -> None:
        broker = MemoryBroker()
        crowd = Crowd(broker, 2)
        await settle()
        if cancel_first:
            crowd.tasks[0].cancel()
        await broker.add([JOB], 0.0)
        crowd.tasks[0].cancel()
        await settle()
        assert crowd.tasks[0].cancelled()
        assert (crowd.woken, crowd.tasks[1].done()) == ([0.0], True)

    run(program())


def test_a_stalled_job_wakes_who_waits() -> None:
    async def program() -> None:
        broker = MemoryBroker()
        await broker.add([JOB], 0.0)
        await broker.exchange([], 1, Terms(lock_duration=1.0), "t", 0.0)
        await broker.recover_stalled(30.0, 1, 0.0)
        crowd = Crowd(broker, 2)
        await asyncio.sleep(30.0)
        assert await broker.recover_stalled(30.0, 1, now()) == ["1"]
        await settle()
        assert crowd.woken == [30.0]

    run(program())
