"""Closing a worker, at rest, at work and in the middle of an exchange; a broker that takes its time."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from workbench import Bench, now

from queuesim.core.job import Job
from queuesim.simulation.runner import run

# -- closing


def test_close_waits_for_running_jobs_and_takes_no_more() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=4.0)
        await bench.queue.add_bulk([("job", None)] * 5)
        worker = bench.worker(concurrency=2)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1.0)
        assert await worker.close() is True
        assert now() == 4.0
        await task
        assert await bench.counts() == {"completed": 2, "waiting": 3}

    run(program())


def test_close_with_a_timeout_cancels_what_still_runs() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve("short", seconds=2.0)
        bench.serve("long", seconds=50.0)
        await bench.queue.add_bulk([("short", None), ("long", None)])
        worker = bench.worker(concurrency=2)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1.0)
        assert await worker.close(timeout=3.0) is False
        await task
        assert now() == 4.0
        assert await bench.counts() == {"completed": 1, "active": 1}, "the other one stalls and is recovered"

    run(program())


@pytest.mark.parametrize("how", ["its time is up", "the worker is cancelled"])
def test_a_handler_that_swallows_its_cancellation_is_abandoned_and_said_so(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def program() -> None:
        bench = Bench()

        async def stubborn(job: Job) -> None:
            while now() < 100.0:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(100.0 - now())

        bench.handle(stubborn, "stubborn")
        bench.serve("long", seconds=50.0)
        await bench.queue.add_bulk([("stubborn", None), ("long", None)])
        worker = bench.worker("w", concurrency=2)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1.0)
        if how == "its time is up":
            assert await worker.close(timeout=3.0) is False
            assert now() == 4.0
        else:
            await asyncio.sleep(3.0)
            task.cancel()
        await asyncio.wait([task])
        assert now() == 9.0
        assert {slot: job.id for slot, job in worker.abandoned.items()} == {0: "1"}
        assert await bench.counts() == {"active": 2}, "both stall and are recovered"
        # its lock is gone when it ends, and nobody else has the job
        await asyncio.sleep(100.0)
        assert [(row.job_id, row.lost) for row in bench.rows] == [("1", True)]

    run(program())
    (record,) = caplog.records
    assert record.getMessage() == (
        "worker w abandons job 1 (stubborn): after 5 s their handlers still run, though they were cancelled"
    )


def test_a_handler_may_clean_up_after_its_cancellation() -> None:
    async def program() -> None:
        bench = Bench()

        async def tidy(job: Job) -> None:
            try:
                await asyncio.sleep(50.0)
            finally:
                await asyncio.sleep(4.0)

        bench.handle(tidy)
        await bench.queue.add("job")
        worker = bench.worker()
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1.0)
        assert await worker.close(timeout=0.0) is False
        await task
        assert (now(), worker.abandoned) == (5.0, {})

    run(program())


def test_an_idle_worker_closes_at_once() -> None:
    async def program() -> None:
        bench = Bench()
        worker = bench.worker()
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1.0)
        assert await worker.close() is True
        await task
        assert now() == 1.0

    run(program())


def test_a_worker_that_was_closed_before_it_ran_does_not_run() -> None:
    async def program() -> None:
        bench = Bench()
        await bench.queue.add("job")
        worker = bench.worker()
        assert await worker.close() is True
        await worker.run()
        assert (now(), await bench.counts()) == (0.0, {"waiting": 1})

    run(program())


def test_a_closing_worker_leaves_new_jobs_to_the_others() -> None:
    """It waits for its last job, and must not swallow the wake-up that is meant for an idle worker."""

    async def program() -> None:
        bench = Bench()
        bench.serve("long", seconds=60.0)
        bench.serve("short", seconds=1.0)
        closing = bench.worker("closing", concurrency=2)
        await bench.queue.add("long")
        task = asyncio.create_task(closing.run())
        await asyncio.sleep(1.0)
        async with bench.working(bench.worker("idle")):
            await asyncio.sleep(1.0)
            close = asyncio.create_task(closing.close())
            await asyncio.sleep(1.0)
            job_id = await bench.queue.add("short")
            await asyncio.sleep(10.0)
            assert bench.starts[job_id] == [3.0]
            await asyncio.gather(close, task)

    run(program())


def test_a_job_that_arrives_in_the_instant_of_a_close_goes_to_another_worker() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve()
        closing = bench.worker("closing")
        task = asyncio.create_task(closing.run())
        await asyncio.sleep(1.0)
        async with bench.working(bench.worker("other")):
            await asyncio.sleep(1.0)
            await bench.queue.add("job")
            await closing.close()
            await asyncio.sleep(5.0)
            assert [(row.worker, row.started) for row in bench.rows] == [("other", 2.0)]
        await task

    run(program())


# -- a broker that takes its time


class Distant:
    """A broker some way off: every exchange takes a while, there and back."""

    def __init__(self, broker: Any, seconds: float) -> None:
        self.broker = broker
        self.seconds = seconds
        self.exchanges: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.broker, name)

    async def exchange(self, outcomes: Any, take: int, *rest: Any) -> Any:
        self.exchanges.append((len(outcomes), take))
        await asyncio.sleep(self.seconds / 2)
        reply = await self.broker.exchange(outcomes, take, *rest)
        await asyncio.sleep(self.seconds / 2)
        return reply


def test_outcomes_collect_while_an_exchange_is_under_way() -> None:
    async def program() -> None:
        bench = Bench()
        bench.broker = distant = Distant(bench.broker, 0.5)
        bench.serve(seconds=1.0)
        await bench.queue.add_bulk([("job", None)] * 8)
        async with bench.working(concurrency=4):
            await asyncio.sleep(20.0)
        assert sorted(bench.completed) == [str(i) for i in range(1, 9)]
        # four jobs end together: one goes ahead, three follow in one exchange
        assert distant.exchanges[:3] == [(0, 4), (1, 1), (3, 3)]

    run(program())


@pytest.mark.parametrize("delay", [0.0, 0.125, 0.25, 0.5, 1.0])
def test_close_during_an_exchange_runs_what_it_brings(delay: float) -> None:
    async def program() -> None:
        bench = Bench()
        bench.broker = Distant(bench.broker, 0.5)
        bench.serve(seconds=1.0)
        await bench.queue.add_bulk([("job", None)] * 8)
        worker = bench.worker(concurrency=4)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(delay)
        assert await worker.close() is True
        await task
        counts = await bench.counts()
        assert "active" not in counts
        assert counts.get("completed", 0) in (0, 4)

    run(program())


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_or_run_twice_over_a_distant_broker(seed: int) -> None:
    async def program() -> None:
        rng = random.Random(seed)
        bench = Bench()
        bench.broker = Distant(bench.broker, 0.25)
        bench.handle(lambda job: asyncio.sleep(rng.choice((0.0, 0.125, 0.5, 2.0))))
        async with bench.working(*(bench.worker(name, concurrency=3) for name in "ab")):
            for _ in range(60):
                await bench.queue.add_bulk([("job", None)] * rng.randrange(4))
                await asyncio.sleep(rng.choice((0.0, 0.125, 0.25, 1.0)))
            await asyncio.sleep(60.0)
        assert set(await bench.counts()) == {"completed"}
        assert {len(starts) for starts in bench.starts.values()} == {1}
        assert not any(row.lost for row in bench.rows)
        assert bench.most_running <= 6

    run(program())
