"""Workers: slots, waking up, delays, pausing, and what an observer is told. All in virtual time, so exact."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workbench import Bench, now

from queuesim.core.broker import Completed
from queuesim.core.job import Job, JobState, Keep, NewJob
from queuesim.core.worker import Worker, WorkerOptions
from queuesim.simulation.runner import run

# -- slots


@pytest.mark.parametrize("concurrency", [1, 3, 10])
def test_concurrency_is_used_and_never_exceeded(concurrency: int) -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=2.0)
        await bench.queue.add_bulk([("job", None)] * 12)
        async with bench.working(concurrency=concurrency):
            await asyncio.sleep(100)
        assert len(bench.completed) == 12
        assert bench.most_running == min(concurrency, 12)
        assert max(row.ended for row in bench.rows) == 2.0 * -(-12 // concurrency)
        assert {row.slot for row in bench.rows} == set(range(min(concurrency, 12)))

    run(program())


def test_jobs_of_one_worker_start_in_order() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        ids = await bench.queue.add_bulk([("job", None)] * 5)
        async with bench.working():
            await asyncio.sleep(10)
        assert [(row.job_id, row.started, row.ended) for row in bench.rows] == [
            (id, float(i), i + 1.0) for i, id in enumerate(ids)
        ]

    run(program())


def test_workers_with_their_own_concurrency_share_a_queue() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        await bench.queue.add_bulk([("job", None)] * 18)
        async with bench.working(bench.worker("a", concurrency=1), bench.worker("b", concurrency=5)):
            await asyncio.sleep(3.0)
        assert [sum(row.worker == name for row in bench.rows) for name in "ab"] == [3, 15]
        assert sorted(bench.completed, key=int) == [str(i) for i in range(1, 19)]

    run(program())


def test_an_idle_worker_picks_up_at_once() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=0.25)
        async with bench.working():
            for _ in range(5):
                await asyncio.sleep(7.5)
                job_id = await bench.queue.add("job")
                await asyncio.sleep(0.5)
                assert bench.starts[job_id] == [now() - 0.5]

    run(program())


def test_a_bulk_wakes_as_many_idle_workers_as_it_has_jobs() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=10.0)
        async with bench.working(*(bench.worker(name) for name in "abcd")):
            await asyncio.sleep(1.0)
            await bench.queue.add_bulk([("job", None)] * 3)
            await asyncio.sleep(1.0)
            assert [bench.starts[id] for id in sorted(bench.starts)] == [[1.0]] * 3

    run(program())


def test_one_job_is_run_by_one_of_many_idle_workers() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve()
        async with bench.working(*(bench.worker(f"w{i}") for i in range(20))):
            for _ in range(10):
                await asyncio.sleep(0.25)
                await bench.queue.add("job")
            await asyncio.sleep(5)
        assert {id: len(starts) for id, starts in bench.starts.items()} == {str(i): 1 for i in range(1, 11)}

    run(program())


def test_a_job_knows_who_runs_it() -> None:
    async def program() -> None:
        bench = Bench()
        seen: list[Job] = []

        async def handler(job: Job) -> None:
            await asyncio.sleep(1.0)
            seen.append(job)
            assert worker.running == {0: job}
            assert repr(worker) == "<Worker 'anna' on 'bench' running 1 of 2>"

        bench.handle(handler)
        await bench.queue.add("job", {"n": 1})
        worker = bench.worker("anna", concurrency=2)
        async with bench.working(worker):
            await asyncio.sleep(2.0)
        (job,) = seen
        assert (job.processed_by, job.processed_on, job.attempts_started, job.data) == ("anna", 0.0, 1, {"n": 1})
        assert worker.running == {}

    run(program())


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_worker_needs_a_slot(concurrency: int) -> None:
    with pytest.raises(ValueError, match="concurrency must be 1 or more"):
        Bench().worker(concurrency=concurrency)


@pytest.mark.parametrize(
    "options",
    [{"lock_duration": 0.0}, {"lock_renew_time": -1.0}, {"stalled_interval": 0.0}, {"max_stalled": -1},
     {"lock_duration": float("nan")}, {"stalled_interval": float("inf")}],
)  # fmt: skip
def test_worker_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        WorkerOptions(**options)


# -- delays


def test_a_delayed_job_starts_exactly_when_it_is_due() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=0.125)
        ids = [await bench.queue.add("job", delay=delay) for delay in (5.0, 0.5, 2.75, 60.0)]
        async with bench.working():
            await asyncio.sleep(100)
        assert [bench.starts[id] for id in ids] == [[5.0], [0.5], [2.75], [60.0]]

    run(program())


def test_a_job_added_with_a_shorter_delay_wakes_earlier() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=0.125)
        await bench.queue.add("job", delay=60.0)
        async with bench.working():
            await asyncio.sleep(1.0)
            soon = await bench.queue.add("job", delay=2.0)
            await asyncio.sleep(10.0)
            assert bench.starts == {soon: [3.0]}

    run(program())


def test_a_delayed_job_is_not_forgotten_while_some_slots_are_busy() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=100.0)
        due = await bench.queue.add("job", delay=1.0)
        await bench.queue.add("job")
        async with bench.working(concurrency=5):
            await asyncio.sleep(2.0)
            assert bench.starts[due] == [1.0]

    run(program())


def test_more_than_a_thousand_jobs_due_at_once_all_start_then() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        await bench.queue.add_bulk(bench.queue.new_job("job", delay=5.0) for _ in range(2500))
        async with bench.working(concurrency=3000):
            await asyncio.sleep(10.0)
        assert set(map(tuple, bench.starts.values())) == {(5.0,)}
        assert len(bench.starts) == 2500

    run(program())


def test_a_due_job_runs_when_a_global_place_is_given_back() -> None:
    """The worker that frees the place is closing, so another one has to see that a delayed job is due."""

    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=4.0)
        await bench.queue.set_concurrency(1)
        await bench.queue.add("job")
        due = await bench.queue.add("job", delay=1.0)
        first, second = bench.worker("first"), bench.worker("second")
        async with bench.working(first, second):
            await asyncio.sleep(2.0)
            assert await first.close()
            await asyncio.sleep(10.0)
        assert bench.starts[due] == [4.0]

    run(program())


# -- pausing and global concurrency


def test_a_paused_queue_starts_nothing_and_a_resumed_one_at_once() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        async with bench.working(bench.worker("a"), bench.worker("b")):
            await bench.queue.pause()
            await bench.queue.add_bulk([("job", None)] * 2)
            await bench.queue.add("job", delay=3.0)
            await asyncio.sleep(5.0)
            assert bench.starts == {}
            assert await bench.counts() == {"waiting": 3}, "due jobs are promoted meanwhile"
            await bench.queue.resume()
            await asyncio.sleep(5.0)
        assert bench.starts == {"1": [5.0], "2": [5.0], "3": [6.0]}

    run(program())


def test_global_concurrency_holds_over_all_workers() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        await bench.queue.set_concurrency(2)
        await bench.queue.add_bulk([("job", None)] * 6)
        async with bench.working(*(bench.worker(name, concurrency=4) for name in "abc")):
            await asyncio.sleep(1.5)
            await bench.queue.set_concurrency(None)
            await asyncio.sleep(5.0)
        assert sorted(start for (start,) in bench.starts.values()) == [0.0, 0.0, 1.0, 1.0, 1.5, 1.5]

    run(program())


@pytest.mark.parametrize("free", ["clean", "remove"])
def test_a_global_place_that_is_freed_by_hand_is_filled(free: str) -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        await bench.queue.set_concurrency(1)
        await bench.queue.add_bulk([("job", None)] * 2)
        crashed = asyncio.create_task(bench.worker("crashed").run())
        await asyncio.sleep(0.5)
        crashed.cancel()
        async with bench.working():
            await asyncio.sleep(29.5)
            await (bench.queue.clean(0.0, JobState.ACTIVE) if free == "clean" else bench.queue.remove("1"))
            await asyncio.sleep(5.0)
        assert bench.starts["2"] == [30.0]

    run(program())


# -- what is kept, and who is told


def test_the_processors_retention_is_applied() -> None:
    async def program() -> None:
        bench = Bench(keep_completed=Keep(count=2))
        bench.serve(seconds=1.0)
        await bench.queue.add_bulk([NewJob("job")] * 5)
        async with bench.working():
            await asyncio.sleep(10.0)
        assert [job.id for job in await bench.queue.get_jobs(JobState.COMPLETED)] == ["5", "4"]

    run(program())


def test_the_observer_is_told_of_every_attempt() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=2.0)
        await bench.queue.add("job")
        async with bench.working(bench.worker("anna")):
            await asyncio.sleep(5.0)
        (row,) = bench.rows
        assert isinstance(row.outcome, Completed)
        assert (row.worker, row.slot, row.job_id, row.started, row.ended) == ("anna", 0, "1", 0.0, 2.0)

    run(program())


def test_a_worker_reads_the_clock_that_it_is_given() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=2.0)
        await bench.broker.add([NewJob("job")], 1_000_000.0)
        worker = Worker(bench.processor, bench.broker, clock=lambda: 1_000_000.0 + now())
        async with bench.working(worker):
            await asyncio.sleep(5.0)
        job = await bench.queue.get_job("1")
        assert job is not None
        assert (job.processed_on, job.finished_on) == (1_000_000.0, 1_000_002.0)

    run(program())


def test_it_runs_on_an_ordinary_loop_as_well() -> None:
    async def program() -> None:
        bench = Bench()
        done = asyncio.Event()

        async def handler(job: Job) -> None:
            await asyncio.sleep(0)
            if job.id == "20":
                done.set()

        bench.handle(handler)
        async with bench.working(bench.worker("a", concurrency=2), bench.worker("b", concurrency=2)):
            await bench.queue.add_bulk([("job", None)] * 19)
            await bench.queue.add("job", delay=0.01)
            await asyncio.wait_for(done.wait(), 10.0)
        assert len(bench.completed) == 20

    asyncio.run(program())
