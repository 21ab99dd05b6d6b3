"""Job schedulers: a job that comes again and again. One of its jobs is pending at any time, however many workers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from queuesim.errors import JobError
from queuesim.job import DEFAULT_OPTIONS, Job, JobOptions
from queuesim.schedule import Cron, Every, Missed, ScheduleError, following, on_clock, whole_ms

if TYPE_CHECKING:
    from queuesim.broker.base import Broker


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A job scheduler, as it is stored.

    Its pending job *is delayed* until it is due. When that starts, the worker which took it *adds the next*. So a
    scheduler without workers stands still, and what is pending then runs late.
    """

    id: str
    schedule: Cron | Every
    name: str
    """The type of its jobs."""
    data: str = "{}"
    """What each of its jobs is added with: JSON text."""
    options: JobOptions = DEFAULT_OPTIONS
    missed: Missed = Missed.SKIP
    limit: int | None = None
    """So many jobs at most."""
    start: float | None = None
    """No job is due before then, in seconds on the queue's clock."""
    end: float | None = None
    """No job is due after then."""
    iterations: int = 0
    """Jobs so far, the pending one included."""
    due: float | None = None
    """When the pending job is due; None before it is stored."""
    pending: str | None = None
    """The id of that job."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ScheduleError(f"limit must be 1 or more, not {self.limit}")
        if self.options.job_id is not None:
            raise ScheduleError("the jobs of a scheduler can't have a job_id: it gives each its own")

    def first(self, now: float) -> float:
        """When the first job is due: an interval without an offset begins at once.

        Raises:
            ScheduleError: no tick is within its start and end.
        """
        begin = now if self.start is None else max(now, self.start)
        schedule = self.schedule
        due: float | None
        if isinstance(schedule, Every) and schedule.offset is None:
            # Redis stores the start in the nearest whole millisecond
            started = self.start is None or self.start <= now
            stamp = whole_ms(now, schedule.origin) if started else round((begin + schedule.origin) * 1000)
            due = on_clock(stamp, schedule.origin)
        else:
            due = schedule.after(begin)
        if due is None or self._is_over(due):
            raise ScheduleError(f'scheduler "{self.id}" would never fire: its first tick is after its end')
        return due

    def next(self, now: float) -> float | None:
        """When the job after the pending one is due, as that starts at `now`; None if it was the last."""
        if self.due is None or (self.limit is not None and self.iterations >= self.limit):
            return None
        return self._unless_over(following(self.schedule, self.due, now, self.missed))

    def later(self, due: float) -> float | None:
        """The tick after that at `due`; None if there is none before its end."""
        return self._unless_over(self.schedule.after(due))

    def _unless_over(self, due: float | None) -> float | None:
        return None if due is None or self._is_over(due) else due

    def _is_over(self, due: float) -> bool:
        # Redis stores the end in the nearest whole millisecond
        origin = self.schedule.origin
        return self.end is not None and whole_ms(due, origin) > round((self.end + origin) * 1000)

    def anchored(self, first: float) -> Scheduler:
        """With the offset that its first job gives it, if it is an interval without one."""
        if isinstance(self.schedule, Every) and self.schedule.offset is None:
            return replace(self, schedule=self.schedule.anchored(first))
        return self

    def continues(self, present: Scheduler) -> bool:
        """Whether this is the same interval as that of the scheduler that is there."""
        new, old = self.schedule, present.schedule
        if not isinstance(new, Every) or not isinstance(old, Every):
            return False
        # Redis has whole milliseconds
        starts = [math.inf if start is None else round(start, 3) for start in (self.start, present.start)]
        return starts[0] == starts[1] and new.seconds == old.seconds and new.offset in (None, old.offset)

    def job_id(self, due: float) -> str:
        """The id of the job that is due then (BullMQ 6.7)."""
        return f"repeat:{self.id}:{round(due * 1000)}"


SLOT_TAKEN, SLOTS_TAKEN = -10, -11
"""A JobError's codes: a job of this tick has started already; so it is with all ticks that were tried (BullMQ 6.7)."""
SLOTS = 32
"""Ticks that are tried (BullMQ 6.7)."""


def check_id(scheduler_id: str) -> None:
    """Raise ScheduleError for an id that a new scheduler can't have: part of it could be taken for a tick's time."""
    if not scheduler_id or ":" in scheduler_id:
        raise ScheduleError(f"a scheduler's id is text without ':', not {scheduler_id!r}")


async def upsert(broker: Broker, scheduler: Scheduler, now: float) -> str:
    """Store a scheduler, and add its first job, at the first tick that has none: where clocks differ, another machine
    may have run the next one already. Returns the job's id.

    An interval that the scheduler has already goes on from where it is (BullMQ 6.7): whoever is started again and says
    once more what is to be done every hour does not begin the hour anew.

    Raises:
        ScheduleError: it would never fire, or its id has a ':'.
        JobError: -11, there is a job at each of its next ticks.
    """
    check_id(scheduler.id)
    # a broker that stores calendar times knows what the calendar says at second 0 of its clock
    origin = getattr(broker, "origin", scheduler.schedule.origin)
    scheduler = replace(scheduler, schedule=replace(scheduler.schedule, origin=origin))
    first = scheduler.first(now)
    present = await broker.scheduler(scheduler.id)
    if present is not None and present.due is not None and scheduler.continues(present):
        scheduler, first = replace(scheduler, schedule=present.schedule), present.due
    scheduler = scheduler.anchored(first)
    due: float | None = first
    for _ in range(SLOTS):
        if due is None:
            break
        try:
            return await broker.upsert_scheduler(scheduler, due, now)
        except JobError as error:
            if error.code != SLOT_TAKEN:
                raise
        due = scheduler.later(due)
    raise JobError(scheduler.job_id(first), SLOTS_TAKEN, "schedule")


async def advance(broker: Broker, job: Job, now: float) -> None:
    """Add the job that follows `job`, which has just started. To do it again, for a retry, changes nothing.

    A tick that has a job already is passed over: one that another machine ran whose clock was ahead, or one of an
    earlier scheduler of the same id. BullMQ 6.7 stands still there.

    Raises:
        ScheduleError: what is stored of the scheduler can't be read, so that nobody knows its next tick.
    """
    scheduler = None if job.scheduler_id is None else await broker.scheduler(job.scheduler_id)
    if scheduler is None or scheduler.pending != job.id:
        return
    due = scheduler.next(now)
    tried, gap = 0, 0.0
    while True:
        try:
            await broker.advance_scheduler(scheduler.id, job.id, due, now)
            return
        except JobError as error:
            if error.code != SLOT_TAKEN:
                raise
        assert due is not None
        before, due = due, scheduler.later(due + gap)
        tried += 1
        if tried >= SLOTS and due is not None:
            # the clock was set back by many ticks
            gap = 2 * (due - before)
