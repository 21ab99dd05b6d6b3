"""Workers under a rate limiter, and handlers that ask to be limited or delayed."""

from __future__ import annotations

import asyncio

import pytest
from workbench import Bench, now

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.errors import DelayedError, RateLimitError
from queuesim.core.job import Job, RateLimit
from queuesim.simulation.runner import run


def test_five_starts_a_second() -> None:
    async def program() -> None:
        bench = Bench(limiter=RateLimit(5, 1.0))
        bench.serve(seconds=0.125)
        await bench.queue.add_bulk([("job", None)] * 12)
        async with bench.working(concurrency=5):
            await asyncio.sleep(10)
        assert [starts[0] for starts in bench.starts.values()] == [0.0] * 5 + [1.0] * 5 + [2.0] * 2

    run(program())


def test_a_limit_is_shared_by_workers() -> None:
    async def program() -> None:
        bench = Bench(limiter=RateLimit(5, 1.0))
        bench.serve(seconds=0.125)
        await bench.queue.add_bulk([("job", None)] * 12)
        async with bench.working(*(bench.worker(name, concurrency=3) for name in "abc")):
            await asyncio.sleep(10)
        assert sorted(start for (start,) in bench.starts.values()) == [0.0] * 5 + [1.0] * 5 + [2.0] * 2

    run(program())


def test_twice_max_minus_one_starts_around_a_boundary() -> None:
    async def program() -> None:
        bench = Bench(limiter=RateLimit(5, 1.0))
        bench.serve(seconds=0.0625)
        async with bench.working(concurrency=5):
            await bench.queue.add("job")
            await asyncio.sleep(0.9375)
            await bench.queue.add_bulk([("job", None)] * 12)
            await asyncio.sleep(10)
        starts = [start for (start,) in bench.starts.values()]
        assert starts == [0.0] + [0.9375] * 4 + [1.0] * 5 + [2.0] * 3

    run(program())


def test_a_long_hold_is_looked_at_again_so_that_delayed_jobs_are_promoted() -> None:
    async def program() -> None:
        bench = Bench(limiter=RateLimit(1, 100.0))
        bench.serve(seconds=1.0)
        await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(2.0)
            await bench.queue.add("job", delay=10.0)
            await asyncio.sleep(30.0)
            assert await bench.counts() == {"completed": 1, "waiting": 1}
            await asyncio.sleep(100.0)
        assert list(bench.starts.values()) == [[0.0], [100.0]]

    run(program())


@pytest.mark.parametrize("limiter", [None, RateLimit(100, 1.0)])
def test_a_rate_limit_error_with_a_duration_holds_the_worker(limiter: RateLimit | None) -> None:
    """BullMQ's worker holds after such an error even without a limiter: run against 6.7.0."""

    async def program() -> None:
        bench = Bench(limiter=limiter)

        async def handler(job: Job) -> None:
            await asyncio.sleep(0.5)
            if job.attempts_started == 1:
                raise RateLimitError(5.0)

        bench.handle(handler)
        job_id = await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(20.0)
        assert bench.starts[job_id] == [0.0, 5.5]
        job = await bench.queue.get_job(job_id)
        assert job is not None
        assert (job.attempts_made, job.attempts_started) == (1, 2)

    run(program())


def test_a_rate_limit_error_holds_all_workers_that_have_a_limiter() -> None:
    async def program() -> None:
        bench = Bench(limiter=RateLimit(100, 1.0))

        async def handler(job: Job) -> None:
            if job.id == "1" and job.attempts_started == 1:
                raise RateLimitError(5.0)
            await asyncio.sleep(1.0)

        bench.handle(handler)
        async with bench.working(bench.worker("a"), bench.worker("b")):
            await bench.queue.add("job")
            await asyncio.sleep(1.0)
            await bench.queue.add_bulk([("job", None)] * 2)
            await asyncio.sleep(20.0)
        assert bench.starts == {"1": [0.0, 5.0], "2": [5.0], "3": [6.0]}

    run(program())


@pytest.mark.parametrize("asked", [0.27, 1.02, 1.35])
def test_an_idle_worker_starts_when_the_window_opens_and_not_later(asked: float) -> None:
    """asked + (5.38 - asked) is less than 5.38 by a rounding error: whoever sleeps so long finds the window closed."""
    assert asked + (5.38 - asked) < 5.38

    async def program() -> None:
        # one slot: its worker learns of the limit when the first job ends
        bench = Bench(limiter=RateLimit(1, 5.38), concurrency=1)
        bench.serve(seconds=asked)
        await bench.queue.add_bulk([("job", None)] * 2)
        async with bench.working():
            await asyncio.sleep(10.0)
        assert list(bench.starts.values()) == [[0.0], [5.38]]

    run(program())


@pytest.mark.parametrize("kind", ["memory", "fakeredis"])
def test_a_rate_limit_error_holds_all_slots_of_a_worker_without_a_limiter(kind: str) -> None:
    """Its other slots end jobs meanwhile, and take none."""

    async def program() -> None:
        bench = Bench(concurrency=3)
        if kind == "fakeredis":
            bench.broker = bench.queue.broker = RedisBroker("bench", FakeServer())

        async def handler(job: Job) -> None:
            await asyncio.sleep(0.5)
            if job.id == "1" and job.attempts_started == 1:
                raise RateLimitError(5.0)
            await asyncio.sleep(1.0)

        bench.handle(handler)
        await bench.queue.add_bulk([("job", None)] * 5)
        async with bench.working():
            await asyncio.sleep(20.0)
        assert bench.starts == {"1": [0.0, 5.5], "2": [0.0], "3": [0.0], "4": [5.5], "5": [5.5]}
        assert sorted(bench.completed) == ["1", "2", "3", "4", "5"]

    run(program())


def test_a_later_and_shorter_rate_limit_error_does_not_end_the_hold_of_an_earlier_one() -> None:
    async def program() -> None:
        bench = Bench(concurrency=3)

        async def handler(job: Job) -> None:
            await asyncio.sleep({"1": 1.0, "2": 2.0}.get(job.id, 5.0))
            if job.attempts_started == 1 and job.id in "12":
                raise RateLimitError(10.0 if job.id == "1" else 1.0)

        bench.handle(handler)
        await bench.queue.add_bulk([("job", None)] * 4)
        async with bench.working():
            await asyncio.sleep(40.0)
        # the slot of job 3 is free at 5 s: after the shorter hold, within the longer one
        assert bench.starts == {"1": [0.0, 11.0], "2": [0.0, 11.0], "3": [0.0], "4": [11.0]}

    run(program())


def test_a_rate_limit_error_without_a_limiter_holds_its_own_worker_alone() -> None:
    async def program() -> None:
        bench = Bench()

        async def handler(job: Job) -> None:
            await asyncio.sleep(0.5)
            if job.processed_by == "a" and job.attempts_started == 1:
                raise RateLimitError(5.0)

        bench.handle(handler)
        async with bench.working(bench.worker("a"), bench.worker("b")):
            await bench.queue.add_bulk([("job", None)] * 4)
            await asyncio.sleep(20.0)
        by = {worker: [row.started for row in bench.rows if row.worker == worker] for worker in "ab"}
        assert by["a"] == [0.0], "the others have done everything until it is free"
        assert by["b"] == [0.0, 0.5, 1.0, 1.5]

    run(program())


def test_a_worker_that_holds_can_be_closed() -> None:
    async def program() -> None:
        bench = Bench()

        async def handler(job: Job) -> None:
            raise RateLimitError(5.0)

        bench.handle(handler)
        await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(1.0)
        assert now() == 1.0
        assert await bench.counts() == {"waiting": 1}

    run(program())


@pytest.mark.parametrize("kind", ["memory", "fakeredis"])
@pytest.mark.parametrize("limit", ["none", "of the worker", "of the queue", "by hand"])
def test_a_rate_limit_error_without_a_duration_needs_a_rate_limit(limit: str, kind: str) -> None:
    async def program() -> None:
        bench = Bench(limiter=RateLimit(1, 3.0) if limit == "of the worker" else None)
        if kind == "fakeredis":
            bench.broker = bench.queue.broker = RedisBroker("bench", FakeServer())
        if limit == "of the queue":
            await bench.queue.set_rate_limit(RateLimit(1, 3.0))
            assert await bench.queue.get_rate_limit() == RateLimit(1, 3.0)

        async def handler(job: Job) -> None:
            await asyncio.sleep(0.5)
            if job.attempts_started < 3:
                if limit == "by hand":
                    await bench.queue.rate_limit(2.5)
                raise RateLimitError

        bench.handle(handler)
        await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(20.0)
        if limit == "none":
            assert bench.starts == {"1": [0.0]}
            assert bench.failures[0].reason == (
                "the handler raised RateLimitError without a duration, but neither this worker nor its queue has a "
                "rate limit: raise RateLimitError(seconds), or give the processor a limiter"
            )
        else:
            assert bench.starts == {"1": [0.0, 3.0, 6.0]}
            assert await bench.counts() == {"completed": 1}

    run(program())


def test_a_delayed_error_postpones_and_counts_no_attempt() -> None:
    async def program() -> None:
        bench = Bench()

        async def handler(job: Job) -> None:
            if job.attempts_started < 3:
                raise DelayedError(2.5)

        bench.handle(handler)
        job_id = await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(20.0)
        assert bench.starts[job_id] == [0.0, 2.5, 5.0]
        job = await bench.queue.get_job(job_id)
        assert job is not None
        assert (job.attempts_made, job.attempts_started, job.return_value) == (1, 3, None)

    run(program())
