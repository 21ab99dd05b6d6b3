"""Job schedulers, on every broker."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from redisplaces import Clock

from queuesim.broker.base import Broker, Completed, Terms
from queuesim.errors import JobError
from queuesim.job import JobOptions, JobState
from queuesim.schedule import Cron, Every, Missed
from queuesim.scheduler import Scheduler, advance, upsert

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
