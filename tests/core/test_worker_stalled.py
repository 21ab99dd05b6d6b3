"""Locks of running jobs, workers that crash, and who recovers what they had."""

from __future__ import annotations

import asyncio

from workbench import Bench, now

from queuesim.core.job import Job, JobState
from queuesim.core.worker import WorkerOptions
from queuesim.simulation.runner import run

STALLED = "job stalled more than allowable limit"


def test_lock_renewal_keeps_a_job_that_takes_longer_than_its_lock() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=200.0)
        await bench.queue.add("job")
        async with bench.working(bench.worker("a"), bench.worker("b")):
            await asyncio.sleep(300.0)
        assert [(row.started, row.ended, row.lost) for row in bench.rows] == [(0.0, 200.0, False)]

    run(program())


def test_a_worker_that_can_not_renew_loses_its_job_and_its_result() -> None:
    """The zombie's lock lapses, another worker runs the job to its end, and the zombie's result is refused."""

    async def program() -> None:
        bench = Bench()
        bench.handle(lambda job: asyncio.sleep(50.0 if job.processed_by == "zombie" else 5.0, job.processed_by))
        await bench.queue.add("job")
        never = WorkerOptions(lock_duration=20.0, lock_renew_time=1000.0)
        async with bench.working(bench.worker("zombie", options=never)):
            await asyncio.sleep(1.0)
            async with bench.working(bench.worker("heir", options=WorkerOptions(stalled_interval=15.0))):
                await asyncio.sleep(100.0)
        assert [(row.worker, row.lost) for row in bench.rows] == [("heir", False), ("zombie", True)]
        job = await bench.queue.get_job("1")
        assert job is not None
        assert (job.return_value, job.attempts_made, job.attempts_started, job.stalled_count) == ("heir", 1, 2, 1)

    run(program())


def test_a_crashed_workers_job_is_recovered_by_another_after_the_check() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=10.0)
        job_id = await bench.queue.add("job")
        crashed = asyncio.create_task(bench.worker("crashed").run())
        await asyncio.sleep(5.0)
        crashed.cancel()
        heir = bench.worker("heir")
        async with bench.working(heir):
            await asyncio.sleep(100.0)
        # locked until 30; checks at 0, 30 (marked as active, by the heir: its first came at 5), 60
        assert bench.starts[job_id] == [0.0, 35.0]
        assert (heir.stalled, bench.completed) == (1, [job_id])

    run(program())


def test_a_job_that_stalls_twice_fails_in_bullmqs_words_and_no_handler_sees_it() -> None:
    async def program() -> None:
        bench = Bench(dead_letters="dead")
        bench.serve(seconds=1000.0)
        job_id = await bench.queue.add("job", attempts=5)
        for name in ("first", "second"):
            worker = asyncio.create_task(bench.worker(name).run())
            await asyncio.sleep(61.0)
            assert len(bench.starts[job_id]) == (1 if name == "first" else 2)
            worker.cancel()
        async with bench.working(bench.worker("third")):
            await asyncio.sleep(200.0)
        assert len(bench.starts[job_id]) == 2
        job = await bench.queue.get_job(job_id)
        assert job is not None
        assert (job.failed_reason, job.stalled_count, await bench.queue.get_state(job_id)) == (STALLED, 2, "failed")
        (failure,) = bench.failures
        assert failure.error is not None
        assert (failure.error.type, failure.error.category) == ("AbandonedError", "Unknown")
        assert (await bench.broker.sibling("dead").counts())[JobState.WAITING] == 1

    run(program())


def test_a_cancelled_handler_that_refuses_to_die_gets_no_other_job() -> None:
    async def program() -> None:
        bench = Bench()

        async def stubborn(job: Job) -> str:
            try:
                await asyncio.sleep(10.0)
            except asyncio.CancelledError:
                await asyncio.sleep(1.0)
            return "done all the same"

        bench.handle(stubborn)
        await bench.queue.add_bulk([("job", None)] * 3)
        task = asyncio.create_task(bench.worker().run())
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.wait([task])
        assert now() == 6.0
        assert await bench.counts() == {"completed": 1, "waiting": 2}

    run(program())
