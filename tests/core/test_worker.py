"""Workers: slots, waking up, the limiter, delays, locks, stalled jobs, closing. All in virtual time, so exact."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from workbench import Bench, now

from queuesim.broker.base import Completed
from queuesim.errors import DelayedError, RateLimitError
from queuesim.job import Job, JobState, NewJob
from queuesim.limits import Keep, RateLimit
from queuesim.simulation import run
from queuesim.worker import Worker, WorkerOptions

STALLED = "job stalled more than allowable limit"


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


# -- the limiter


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


# -- locks and stalled jobs


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
