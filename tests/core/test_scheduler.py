from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from workbench import Bench

from queuesim.core.errors import JobError
from queuesim.core.job import JobState
from queuesim.core.scheduler import Cron, Every, Missed, ScheduleError
from queuesim.core.worker import Worker, WorkerOptions
from queuesim.simulation.runner import run


def starts(bench: Bench) -> list[float]:
    return sorted(time for times in bench.starts.values() for time in times)


def play(scene: Coroutine[Any, Any, Any]) -> Any:
    return run(scene)


def test_an_interval_fires_at_once_and_then_by_itself() -> None:
    bench = Bench()
    bench.serve()

    async def scene() -> None:
        await bench.queue.upsert_scheduler("tick", Every(10.0), "job", {"n": 1})
        async with bench.working():
            await asyncio.sleep(35)

    play(scene())
    assert starts(bench) == [0.0, 10.0, 20.0, 30.0]


def test_cron_fires_on_the_hour_of_the_calendar() -> None:
    bench = Bench()
    bench.serve()

    async def scene() -> None:
        await bench.queue.upsert_scheduler("hourly", Cron("0 * * * *", origin=1_735_689_600.0 + 600), "job")
        async with bench.working():
            await asyncio.sleep(2 * 3600)

    play(scene())
    assert starts(bench) == [3000.0, 6600.0]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_tick_fires_once_however_many_workers(workers: int) -> None:
    bench = Bench()
    bench.serve(seconds=0.5)

    async def scene() -> None:
        await bench.queue.upsert_scheduler("tick", Every(10.0), "job")
        async with bench.working(*(bench.worker(f"w{i}") for i in range(workers))):
            await asyncio.sleep(95)

    play(scene())
    assert starts(bench) == [10.0 * i for i in range(10)]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        (Missed.SKIP, [35.0, 40.0, 50.0]),
        (Missed.LATEST, [35.0, 35.5, 40.0, 50.0]),
        (Missed.ALL, [35.0, 35.5, 36.0, 36.5, 40.0, 50.0]),
    ],
)
def test_missed_ticks_by_policy(missed: Missed, expected: list[float]) -> None:
    """The worker comes at 35; the job of 0 waits for it, those of 10, 20 and 30 were missed."""
    bench = Bench()
    bench.serve(seconds=0.5)

    async def scene() -> None:
        await bench.queue.upsert_scheduler("tick", Every(10.0), "job", missed=missed)
        await asyncio.sleep(35)
        async with bench.working():
            await asyncio.sleep(20)

    play(scene())
    assert starts(bench) == expected


def test_limit_and_end_let_it_end() -> None:
    bench = Bench()
    bench.serve()

    async def scene() -> None:
        await bench.queue.upsert_scheduler("three", Every(10.0), "job", limit=3)
        async with bench.working():
            await asyncio.sleep(100)
            await bench.queue.upsert_scheduler("ends", Every(10.0), "job", start=200.0, end=225.0)
            await asyncio.sleep(200)

    play(scene())
    assert starts(bench) == [0.0, 10.0, 20.0, 200.0, 210.0, 220.0]


def test_a_retry_does_not_fire_the_schedule_again() -> None:
    bench = Bench()

    async def fails(job: Any) -> None:
        raise ConnectionError("down")

    bench.handle(fails)

    async def scene() -> None:
        await bench.queue.upsert_scheduler("tick", Every(10.0), "job", options=None)
        await bench.queue.upsert_scheduler(
            "tick", Every(10.0), "job", None, bench.queue.new_job("x", attempts=3).options
        )
        async with bench.working():
            await asyncio.sleep(15)

    play(scene())
    assert starts(bench) == [0.0] * 3 + [10.0] * 3


def test_a_worker_that_dies_with_the_job_leaves_the_schedule_alive() -> None:
    bench = Bench()
    bench.serve(seconds=5.0)

    async def scene() -> None:
        await bench.queue.upsert_scheduler("tick", Every(60.0), "job")
        options = WorkerOptions(lock_duration=10.0, stalled_interval=10.0, max_stalled=0)
        for _ in range(3):
            task = asyncio.create_task(Worker(bench.processor, bench.broker, options=options, observer=bench).run())
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(20)
        async with bench.working(bench.worker(options=options)):
            await asyncio.sleep(100)

    play(scene())
    assert any(time >= 100 for time in starts(bench))
    assert len({job for job in bench.starts if job.startswith("repeat:tick:")}) == len(bench.starts) >= 3


def test_upsert_replaces_what_is_pending() -> None:
    bench = Bench()

    async def scene() -> None:
        await bench.queue.upsert_scheduler("s", Cron("0 * * * *"), "job", {"v": 1})
        await bench.queue.upsert_scheduler("s", Cron("30 * * * *"), "job", {"v": 2})
        assert [job.data for job in await bench.queue.get_jobs(JobState.DELAYED)] == [{"v": 2}]
        assert [(s.id, s.due, s.iterations) for s in await bench.queue.schedulers()] == [("s", 1800.0, 1)]
        assert await bench.queue.remove_scheduler("s")
        assert not await bench.queue.remove_scheduler("s")
        assert not any((await bench.queue.counts()).values())

    play(scene())


def test_a_service_that_is_started_again_does_not_begin_its_interval_anew() -> None:
    bench = Bench()
    bench.serve()

    async def scene() -> None:
        async with bench.working():
            for _ in range(8):
                await bench.queue.upsert_scheduler("tick", Every(10.0), "job")
                await asyncio.sleep(4)

    play(scene())
    assert starts(bench) == [0.0, 10.0, 20.0, 30.0]


def test_the_pending_job_can_not_be_removed_alone() -> None:
    bench = Bench()

    async def scene() -> None:
        job_id = await bench.queue.upsert_scheduler("s", Cron("0 * * * *"), "job")
        assert job_id == "repeat:s:3600000"
        with pytest.raises(JobError, match="belongs to a job scheduler"):
            await bench.queue.remove(job_id)
        await bench.queue.add("job", delay=5.0)
        await bench.queue.drain(delayed=True)
        assert [job.id for job in await bench.queue.get_jobs(JobState.DELAYED)] == [job_id]

    play(scene())


def test_what_would_never_fire_is_refused() -> None:
    bench = Bench()

    async def scene() -> None:
        with pytest.raises(ScheduleError, match="never fire"):
            await bench.queue.upsert_scheduler("s", Cron("0 * * * *"), "job", end=100.0)
        with pytest.raises(ScheduleError, match="':'"):
            await bench.queue.upsert_scheduler("a:b", Every(1.0), "job")
        assert await bench.queue.schedulers() == []

    play(scene())
