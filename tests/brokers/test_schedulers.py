"""Job schedulers, on every broker."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from redisservers import Clock

from queuesim.core.broker import Broker, Completed, Terms
from queuesim.core.errors import JobError
from queuesim.core.job import Backoff, Deduplication, JobOptions, JobState, Keep, NewJob
from queuesim.core.scheduler import Cron, Every, Missed, Scheduler, advance, upsert

HOUR = 3600.0


def every(seconds: float = 60.0, **more: Any) -> Scheduler:
    return Scheduler("tick", Every(seconds, 0.0), "beat", '{"n":1}', JobOptions(attempts=2), **more)


class Desk:
    def __init__(self, broker: Broker, runner: asyncio.Runner, clock: Clock) -> None:
        self.broker, self.runner, self.clock = broker, runner, clock
        self.start = clock.now

    def do(self, name: str, *arguments: Any) -> Any:
        return self.runner.run(getattr(self.broker, name)(*arguments))

    def upsert(self, scheduler: Scheduler) -> str:
        now = self.clock.now
        job_id: str = self.do("upsert_scheduler", scheduler, scheduler.first(now), now)
        return job_id

    def take(self) -> list[Any]:
        reply = self.do("exchange", [], 10, Terms(), f"t{self.clock.now}", self.clock.now)
        for job in reply.jobs:
            if job.scheduler_id is not None:
                self.runner.run(advance(self.broker, job, self.clock.now))
        return list(reply.jobs)

    def complete(self, job: Any) -> None:
        self.do("exchange", [Completed(job.id, job.token)], 0, Terms(), "done", self.clock.now)

    def pending(self) -> list[str]:
        return [job.id for job in self.do("jobs", JobState.DELAYED, 0, -1, True)]


@pytest.fixture
def desk(broker: Broker, runner: asyncio.Runner, clock: Clock) -> Desk:
    return Desk(broker, runner, clock)


def test_one_job_is_pending_and_each_start_adds_the_next(desk: Desk) -> None:
    ids = [desk.upsert(every())]
    for _ in range(3):
        assert desk.pending() == [ids[-1]]
        assert desk.take() == []
        (scheduler,) = desk.do("schedulers")
        assert scheduler.pending == ids[-1]
        desk.clock.now = scheduler.due
        (job,) = desk.take()
        assert (job.id, job.name, job.data, job.options.attempts) == (ids[-1], "beat", {"n": 1}, 2)
        assert job.scheduler_id == "tick"
        desk.complete(job)
        ids += desk.pending()
    assert len(set(ids)) == 4
    (scheduler,) = desk.do("schedulers")
    assert scheduler.iterations == 4


def test_only_the_present_job_adds_the_next(desk: Desk) -> None:
    first = desk.upsert(every())
    assert desk.do("advance_scheduler", "tick", "repeat:tick:1", desk.clock.now + HOUR, desk.clock.now) is None
    second = desk.do("advance_scheduler", "tick", first, desk.clock.now + HOUR, desk.clock.now)
    assert second is not None
    assert desk.do("advance_scheduler", "tick", first, desk.clock.now + 2 * HOUR, desk.clock.now) is None
    assert sorted(desk.pending()) == sorted([first, second])


def test_upsert_replaces_what_is_pending_but_not_what_runs(desk: Desk) -> None:
    first = desk.upsert(every())
    second = desk.upsert(every(HOUR))
    assert first != second
    assert desk.pending() == [second]
    desk.clock.now = desk.do("schedulers")[0].due
    (job,) = desk.take()
    desk.upsert(every(7.0))
    assert desk.do("state", job.id) is JobState.ACTIVE
    assert len(desk.pending()) == 1


def test_a_scheduler_is_read_as_it_was_written(desk: Desk) -> None:
    now = desk.clock.now
    cron = Cron("30 9 * * 1-5", "Europe/Berlin", getattr(desk.broker, "origin", 0.0))
    written = Scheduler(
        "daily", cron, "report", '{"a":[1,2]}', JobOptions(attempts=5, priority=3), Missed.LATEST, 9, now, now + 9e8
    )
    due = written.first(now)
    job_id = desk.do("upsert_scheduler", written, due, now)
    read = desk.do("scheduler", "daily")
    for name in ("id", "schedule", "name", "data", "options", "missed", "limit"):
        assert getattr(read, name) == getattr(written, name), name
    assert (read.start, read.end, read.due) == pytest.approx((now, now + 9e8, due), abs=0.001)
    assert (read.pending, read.iterations) == (job_id, 1)
    assert desk.do("scheduler", "weekly") is None


def test_with_its_last_job_a_scheduler_is_gone(desk: Desk) -> None:
    first = desk.upsert(every(limit=1))
    desk.clock.now = desk.do("schedulers")[0].due
    (job,) = desk.take()
    assert job.id == first
    assert desk.pending() == []
    assert desk.do("schedulers") == []
    assert desk.do("scheduler", "tick") is None


def test_the_pending_job_is_not_removed_drained_or_lost(desk: Desk) -> None:
    first = desk.upsert(every())
    with pytest.raises(JobError, match="belongs to a job scheduler"):
        desk.do("remove", first, desk.clock.now)
    desk.do("drain", True, desk.clock.now)
    assert desk.pending() == [first]
    desk.clock.now = desk.do("schedulers")[0].due
    assert [job.id for job in desk.take()] == [first]


def test_a_tick_whose_job_has_started_is_refused_and_nothing_has_changed(desk: Desk) -> None:
    """As after a clock that was ahead."""
    first = desk.upsert(every())
    desk.clock.now = desk.do("schedulers")[0].due
    (job,) = desk.take()
    assert job.id == first
    before = (desk.pending(), desk.do("schedulers"))
    desk.clock.now = desk.start
    with pytest.raises(JobError, match="a job of that id already") as refusal:
        desk.upsert(every())
    assert refusal.value.code == -10
    assert (desk.pending(), desk.do("schedulers")) == before
    # the one that is pending may be in its own place
    assert desk.runner.run(upsert(desk.broker, every(), desk.start)) == before[0][0]
    assert desk.pending() == before[0]


def test_removing_a_scheduler_removes_its_job(desk: Desk) -> None:
    desk.upsert(every())
    assert desk.do("remove_scheduler", "tick", desk.clock.now)
    assert not desk.do("remove_scheduler", "tick", desk.clock.now)
    assert desk.pending() == []
    assert desk.do("schedulers") == []


def test_obliterate_takes_schedulers_too(desk: Desk) -> None:
    desk.upsert(every())
    desk.do("pause", desk.clock.now)
    desk.do("obliterate", False, desk.clock.now)
    assert desk.do("schedulers") == []
    assert desk.pending() == []


def test_an_upsert_replaces_the_pending_job_while_paused_too(desk: Desk) -> None:
    """BullMQ 6.7 leaves both jobs pending."""
    desk.do("pause", desk.clock.now)
    for version in (1, 2):
        desk.upsert(replace(every(), data=f'{{"v":{version}}}'))
    jobs = [job for state in (JobState.DELAYED, JobState.WAITING) for job in desk.do("jobs", state, 0, -1, True)]
    assert [job.data for job in jobs] == [{"v": 2}]


@pytest.mark.parametrize("state", [JobState.DELAYED, JobState.WAITING, JobState.PRIORITIZED, JobState.ACTIVE])
def test_clean_spares_the_pending_job(desk: Desk, state: JobState) -> None:
    """As drain does: without that job the scheduler stands still (BullMQ 6.7)."""
    scheduler = every()
    if state is JobState.PRIORITIZED:
        scheduler = replace(scheduler, options=JobOptions(priority=1))
    pending = desk.upsert(scheduler)
    other = desk.do("add", [NewJob("other", options=JobOptions(delay=1e6))], desk.clock.now)[0]
    if state in (JobState.WAITING, JobState.PRIORITIZED):
        desk.do("promote", pending, desk.clock.now)
    if state is JobState.ACTIVE:
        # a worker that died before it added the next
        desk.do("promote", pending, desk.clock.now)
        desk.do("exchange", [], 1, Terms(lock_duration=1.0), "dead", desk.clock.now)
        desk.clock.now += 10.0
    assert desk.do("state", pending) is state
    removed = desk.do("clean", 0.0, 0, state, desk.clock.now)
    assert removed == ([other] if state is JobState.DELAYED else [])
    assert desk.do("state", pending) is state


DEDUPLICATIONS = [
    Deduplication("one"),
    Deduplication("one", ttl=3600.0),
    Deduplication("one", ttl=3600.0, extend=True, replace=True),
    Deduplication("one", keep_last_if_active=True),
]


@pytest.mark.parametrize("deduplication", DEDUPLICATIONS, ids=lambda d: str(d.ttl) + str(d.keep_last_if_active))
def test_a_deduplication_id_does_not_end_a_scheduler(desk: Desk, deduplication: Deduplication) -> None:
    """Its jobs are all added, also while the last one runs, and hold the id against nobody (BullMQ 6.7)."""
    desk.upsert(replace(every(), options=JobOptions(deduplication=deduplication)))
    taken = []
    for _ in range(4):
        desk.clock.now = desk.do("schedulers")[0].due
        taken += desk.take()
    assert len({job.id for job in taken}) == 4
    own = desk.do("add", [NewJob("other", options=JobOptions(deduplication=deduplication, delay=1e6))], desk.clock.now)
    assert not own[0].startswith("repeat:")
    for job in taken:
        desk.complete(job)
    assert len(desk.pending()) == 2
    assert desk.do("schedulers")[0].iterations == 5


@pytest.mark.parametrize("busy", [1, 40])
def test_ticks_that_have_a_job_already_are_passed_over(desk: Desk, busy: int) -> None:
    """As after a clock that was ahead, with finished jobs that are kept: another job per tick, and no end."""
    desk.upsert(every())
    for _ in range(busy + 1):
        desk.clock.now = desk.do("schedulers")[0].due
        (job,) = desk.take()
        desk.complete(job)
    desk.do("remove_scheduler", "tick", desk.clock.now)
    desk.clock.now = desk.start
    # a tick before all of those
    first = desk.do("upsert_scheduler", every(), desk.start, desk.start)
    (job,) = desk.take()
    assert job.id == first
    (scheduler,) = desk.do("schedulers")
    assert desk.pending() == [scheduler.pending]
    assert scheduler.due > desk.start + 60.0 * busy
    assert (scheduler.due - desk.start) % 60.0 == pytest.approx(0.0, abs=1e-3)


def test_the_options_of_a_scheduler_are_all_kept(desk: Desk) -> None:
    options = JobOptions(
        attempts=4, backoff=Backoff("exponential", 2.0, 0.5, 60.0), priority=7, lifo=True, keep_completed=Keep(5, 60.0),
        keep_failed=Keep(0), keep_logs=3, stack_trace_limit=2, size_limit=1000,
    )  # fmt: skip
    desk.upsert(replace(every(), options=options))
    assert desk.do("scheduler", "tick").options == options
    for _ in range(2):
        desk.clock.now = desk.do("schedulers")[0].due
        (job,) = desk.take()
        assert replace(job.options, delay=0.0, job_id=None, timestamp=None) == options
        assert job.priority == 7


@pytest.mark.parametrize(("interval", "offset"), [(0.146, 0.016), (0.285, 0.156), (9.443, 5.251), (38521.0, 19314.789)])
def test_a_job_is_due_at_its_tick_exactly(desk: Desk, interval: float, offset: float) -> None:
    """0.016 + 0.146 is not 0.162 in floats: a worker that looks at the tick finds the job."""
    desk.upsert(Scheduler("tick", Every(interval, offset, getattr(desk.broker, "origin", 0.0)), "beat"))
    for _ in range(5):
        desk.clock.now = desk.do("schedulers")[0].due
        (job,) = desk.take()
        desk.complete(job)
