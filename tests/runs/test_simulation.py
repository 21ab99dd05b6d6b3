"""A simulated run: its workers and limits, how it ends, and what is left then."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from playing import column, own, play, rows
from queuesim import Job, Queue, RateLimit
from queuesim.results.recording import StopReason

ONE = {"bulk": {"size": 1, "at": 0.0}}
DAY = 24 * 3600.0


async def hang(job: Job) -> None:
    await asyncio.Event().wait()


# -- workers


def test_workers_of_several_kinds() -> None:
    kinds = [
        {"name": "big", "concurrency": 3},
        {"name": "small", "count": 2, "start": 2.0},
        {"name": "late", "start": 50.0},
    ]
    result = play({"backlog": 12}, service=10.0, workers=kinds)
    assert result.facts.workers == 4
    assert result.facts.concurrency == 6
    first = result.attempts.groupby("worker", observed=True)["started"].agg(["min", "count"])
    assert first.loc["big"].tolist() == [0, 8]
    assert first.loc["small-1"].tolist() == [2, 2]
    assert first.loc["small-2"].tolist() == [2, 2]
    assert "late" not in first.index


def test_each_slot_runs_one_job_at_a_time() -> None:
    result = play({"backlog": 7}, service=1.0, workers={"concurrency": 3})
    starts = [(slot, start) for slot, start in rows(result, "slot", "started")]
    assert sorted(starts) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_workers_never_share_a_name() -> None:
    kinds = [{"name": "w-2"}, {"name": "w", "count": 2}]
    result = play({"backlog": 3}, service=10.0, workers=kinds)
    assert len(set(result.attempts["worker"])) == 3


def test_own_concurrency_and_limiter_hold_where_the_scenario_says_nothing() -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(1)

    processor = own(handler, concurrency=2, limiter=RateLimit(3, 10.0))
    result = play({"backlog": 4}, processor=processor)
    assert column(result, "started") == [0, 0, 1, 10]
    assert (result.facts.concurrency, result.facts.limiter) == (2, (3, 10.0))
    workers = {"concurrency": 1, "limiter": {"max": 1, "duration": 5.0}}
    result = play({"backlog": 4}, processor=processor, workers=workers)
    assert column(result, "started") == [0, 5, 10, 15]
    assert (result.facts.concurrency, result.facts.limiter) == (1, (1, 5.0))


# -- limits


def test_the_queues_concurrency_holds_over_all_workers() -> None:
    result = play({"backlog": 7}, service=1.0, workers={"count": 3, "concurrency": 3}, queue={"concurrency": 2})
    assert column(result, "started") == [0, 0, 1, 1, 2, 2, 3]


def test_limiter_windows_are_recorded() -> None:
    result = play({"backlog": 5}, service=1.0, workers={"concurrency": 5, "limiter": {"max": 2, "duration": 10.0}})
    assert column(result, "started") == [0, 0, 10, 10, 20]
    windows = result.limiter[["opened", "closes", "max", "starts"]]
    assert list(windows.itertuples(index=False, name=None)) == [(0, 10, 2, 2), (10, 20, 2, 2), (20, 30, 2, 1)]
    assert result.facts.limiter == (2, 10.0)


def test_a_window_opens_with_the_first_start_after_the_last_one() -> None:
    limiter = {"limiter": {"max": 9, "duration": 10.0}}
    result = play({"bulk": {"size": 1, "every": 7.0, "offset": 3.0}}, duration=30.0, workers=limiter)
    assert result.limiter["opened"].tolist() == [3, 17]
    assert result.limiter["starts"].tolist() == [2, 2]


def test_the_queues_rate_limit_holds_for_all_workers() -> None:
    shared = {"max": 2, "duration": 10.0}
    result = play({"backlog": 5}, service=1.0, workers={"count": 3}, queue={"rate_limit": shared})
    assert column(result, "started") == [0, 0, 10, 10, 20]
    assert result.facts.limiter == (2, 10.0)


def test_of_a_shared_rate_limit_the_max_goes_first_and_of_a_workers_own_the_duration() -> None:
    result = play(
        {"backlog": 5},
        service=1.0,
        workers={"concurrency": 5, "limiter": {"max": 4, "duration": 5.0}},
        queue={"rate_limit": {"max": 2, "duration": 10.0}},
    )
    assert column(result, "started") == [0, 0, 5, 5, 10]
    assert result.facts.limiter == (2, 5.0)


# -- the end


def test_a_run_ends_when_its_time_is_up() -> None:
    result = play({"backlog": 3}, service=4.0, duration=10.0)
    facts = result.facts
    assert (facts.scenario, facts.backend, facts.seed, facts.stopped) == ("played", "sim", 0, None)
    assert (facts.duration, facts.asked, facts.warmup) == (10, 10, 0)
    assert facts.epoch == 1735689600
    assert facts.wall > 0
    assert column(result, "state") == ["completed", "completed", "active"]
    assert rows(result, "job", "started", "outcome")[-1] == (3, 8, "unfinished")
    assert math.isnan(result.attempts["ended"].tolist()[-1])


def test_where_jobs_are_left() -> None:
    jobs = {
        "active": {"service": 999.0},
        "waiting": {"service": 1.0},
        "urgent": {"service": 1.0, "priority": 5},
        "later": {"service": 1.0, "delay": 999.0},
    }
    result = play(*({**ONE, "jobs": name} for name in jobs), jobs=jobs)
    assert dict(zip(column(result, "name"), column(result, "state"), strict=True)) == {
        "active": "active",
        "waiting": "waiting",
        "urgent": "prioritized",
        "later": "delayed",
    }


def test_a_failed_attempt_leaves_its_job_delayed() -> None:
    faults = {"service": 1.0, "errors": {"network": 1.0}, "attempts": 2, "backoff": 999.0}
    result = play(ONE, jobs={"a": faults})
    assert rows(result, "outcome", "backoff") == [("retried", 999)]
    assert column(result, "state") == ["delayed"]


def test_a_run_without_jobs() -> None:
    result = play({"constant": 0.0}, workers={"start": 5.0}, thresholds=["lost == 0", "added == 0"])
    assert len(result.jobs) == len(result.attempts) == len(result.events) == 0
    assert result.facts.duration == 100
    assert result.ok
    assert result.summary().jobs.added == 0
    assert math.isnan(result.summary().jobs.success_rate)


def test_warm_up_jobs_are_marked_and_left_out() -> None:
    result = play({"constant": 1.0}, service=0.5, duration=10.5, warmup=4.0)
    assert column(result, "warmup") == [True] * 3 + [False] * 7
    assert result.summary().jobs.added == 7
    assert result.facts.warmup == 4


def test_a_handler_that_waits_for_ever_ends_with_the_run() -> None:
    result = play({"backlog": 2}, processor=own(hang), duration=1000.0)
    assert result.facts.duration == 1000
    assert result.facts.stopped is None
    assert rows(result, "job", "outcome") == [(1, "unfinished")]
    assert column(result, "state") == ["active", "waiting"]


# -- draining


def test_drain_goes_on_until_all_jobs_are_done() -> None:
    result = play({"backlog": 5}, service=4.0, duration=10.0, drain=True)
    assert (result.facts.duration, result.facts.asked, result.facts.stopped) == (20, 10, None)
    assert set(column(result, "state")) == {"completed"}


def test_drain_makes_no_new_load() -> None:
    result = play({"constant": 1.0}, {"closed": {"producers": 1}}, service=3.0, duration=10.5, drain=True)
    assert max(column(result, "added")) <= 10.5
    assert set(column(result, "state")) == {"completed"}


def test_drain_for_some_time() -> None:
    result = play({"backlog": 9}, service=4.0, duration=10.0, drain=6.0)
    assert (result.facts.duration, result.facts.stopped) == (16, None)
    # the fourth ends at the very end, and the fifth starts
    assert Counter(column(result, "state")) == {"completed": 4, "active": 1, "waiting": 4}


def test_nothing_to_drain() -> None:
    assert play({"backlog": 2}, service=4.0, duration=10.0, drain=True).facts.duration == 10
    assert play({"constant": 0.0}, duration=10.0, drain=True).facts.duration == 10


def test_drain_after_the_queue_was_empty_before() -> None:
    result = play(ONE, {"bulk": {"size": 1, "at": 9.0}}, service=5.0, duration=10.0, drain=True)
    assert result.facts.duration == 14
    assert column(result, "state") == ["completed", "completed"]


def test_drain_waits_for_retries_and_delayed_jobs() -> None:
    jobs = {
        "a": {"service": 1.0, "errors": {"network": [1.0, 0.0]}, "attempts": 2, "backoff": 3 * DAY, "delay": 2 * DAY}
    }
    result = play(ONE, jobs=jobs, drain=True)
    # two days of delay, an attempt, three days of backoff, another attempt: longer than any patience
    assert result.facts.duration == 5 * DAY + 2
    assert (result.facts.stopped, column(result, "state")) == (None, ["completed"])


def test_drain_gives_up_on_a_handler_that_hangs() -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(30) if job.number == 1 else await hang(job)

    result = play({"backlog": 2}, processor=own(handler), duration=10.0, drain=True)
    # the second job started at 30, and nothing happened since
    assert result.facts.stopped is not None
    assert (result.facts.stopped.reason, result.facts.stopped.at) == (StopReason.NO_PROGRESS, 30.0)
    assert [(job.number, job.awaits) for job in result.facts.stopped.jobs] == [(2, "await asyncio.Event().wait()")]
    assert result.facts.duration == 30 + DAY
    assert column(result, "state") == ["completed", "active"]
    assert not result.ok


def test_drain_ends_with_its_time_before_patience_does() -> None:
    result = play({"backlog": 1}, processor=own(hang), duration=10.0, drain=DAY)
    assert result.facts.duration == 10 + DAY
    assert result.facts.stopped is not None
    assert (result.facts.stopped.reason, result.facts.stopped.at) == (StopReason.NO_PROGRESS, 0.0)


def test_drain_does_not_wait_for_jobs_that_were_removed() -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(20)
        await Queue(job.broker).drain()

    result = play({"backlog": 4}, processor=own(handler), duration=10.0, drain=True)
    assert result.facts.duration == 20
    assert column(result, "state") == ["completed", "removed", "removed", "removed"]


def test_what_is_cleared_away_after_it_ended_stays_what_it_was() -> None:
    async def handler(job: Job) -> None:
        queue = Queue(job.broker)
        if job.number == 3:
            await queue.remove("1")
            assert await queue.clean(0.0) == ["2"]
        await asyncio.sleep(1)

    result = play({"backlog": 3}, processor=own(handler), duration=10.0)
    assert column(result, "state") == ["completed", "completed", "completed"]
    assert column(result, "finished") == [1, 2, 3]


def test_drain_waits_for_jobs_that_handlers_add() -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(8)
        if job.number < 4:
            await Queue(job.broker).add("a", {"from": job.id})

    result = play(ONE, processor=own(handler), duration=10.0, drain=True)
    assert result.facts.duration == 32
    assert column(result, "added") == [0, 8, 16, 24]


def test_jobs_that_handlers_add_are_recorded() -> None:
    async def handler(job: Job) -> None:
        if job.data.get("children"):
            await Queue(job.broker).add_bulk([("a", {}), ("b", {})])
            await Queue(job.broker).add("a", job_id="own-id", delay=3.0)

    processor = own(handler)
    processor.job("b")(lambda job: None)
    result = play({"bulk": {"size": 1, "at": 1.0}}, processor=processor, jobs={"a": {"data": {"children": True}}})
    assert column(result, "name") == ["a", "a", "b", "a"]
    assert column(result, "id") == ["1", "2", "3", "own-id"]
    assert [load if isinstance(load, str) else "" for load in column(result, "load")] == ["load-1", "", "", ""]
    assert column(result, "finished") == [1, 1, 1, 4]


# -- what handlers do when they are cancelled


def cleaning_up(seconds: float) -> tuple[Any, list[float]]:
    ends: list[float] = []

    async def handler(job: Job) -> None:
        try:
            await hang(job)
        finally:
            await asyncio.sleep(seconds)
            ends.append(asyncio.get_running_loop().time())

    return handler, ends


def test_running_handlers_clean_up_after_the_end() -> None:
    handler, ends = cleaning_up(5.0)
    result = play({"backlog": 2}, processor=own(handler, concurrency=2))
    assert ends == [105, 105]
    assert result.facts.duration == 100
    assert [outcome for (outcome,) in rows(result, "outcome")] == ["unfinished", "unfinished"]


def test_nobody_cleans_up_for_ever() -> None:
    handler, ends = cleaning_up(1e9)
    result = play({"backlog": 2}, processor=own(handler, concurrency=2))
    assert ends == []
    assert result.facts.duration == 100


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(1), lambda: asyncio.Event().wait()], ids=["timer", "event"])
def test_a_handler_that_ignores_its_cancellation_does_not_outlive_the_run(wait: Any) -> None:
    async def handler(job: Job) -> None:
        while True:
            try:
                await wait()
            except asyncio.CancelledError:
                continue

    result = play({"backlog": 1}, processor=own(handler))
    assert (result.facts.duration, result.facts.stopped) == (100, None)
    assert rows(result, "outcome") == [("unfinished",)]


def test_a_task_that_a_handler_left_behind_ends_with_the_run() -> None:
    background = []

    async def tick() -> None:
        try:
            while True:  # noqa: ASYNC110 - nothing would set an event
                await asyncio.sleep(1)
        except asyncio.CancelledError:
            background.append(asyncio.get_running_loop().time())
            raise

    async def handler(job: Job) -> None:
        background.append(asyncio.create_task(tick()))

    assert play(ONE, processor=own(handler)).facts.duration == 100
    assert background[1:] == [100]


def test_nothing_is_recorded_after_the_end() -> None:
    async def handler(job: Job) -> None:
        try:
            await hang(job)
        except asyncio.CancelledError:
            await Queue(job.broker).add("a")
            raise

    result = play(ONE, processor=own(handler, limiter=RateLimit(9, 1.0)))
    assert len(result.jobs) == len(result.attempts) == len(result.limiter) == 1


# -- progress


def test_progress_is_told_a_hundred_times() -> None:
    told: list[tuple[float, int]] = []
    play({"constant": 1.0}, service=0.5, options={"progress": lambda time, finished: told.append((time, finished))})
    assert [time for time, _ in told] == list(range(100))
    assert [finished for _, finished in told][:4] == [0, 0, 1, 2]


def test_an_error_of_a_progress_callback_is_the_callers() -> None:
    def progress(time: float, finished: int) -> None:
        raise LookupError("no bar")

    with pytest.raises(LookupError, match="no bar"):
        play(ONE, options={"progress": progress})
