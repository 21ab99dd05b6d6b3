"""Job schedulers: a job that comes again and again. One of its jobs is pending at any time, however many workers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from queuesim.core.errors import JobError
from queuesim.core.job import DEFAULT_OPTIONS, Job, JobOptions, check_text
from queuesim.error import QueuesimError
from queuesim.extras import need


class ScheduleError(QueuesimError, ValueError):
    """An invalid schedule: an unknown zone, a broken cron line, one that never fires, an interval of 0."""


class Missed(StrEnum):
    """What happens to ticks that came while there was no worker. The job that waits is late, and runs anyway."""

    SKIP = "skip"
    """The others never happen: the next job is the first one in the future (BullMQ 6.7)."""
    LATEST = "latest"
    """Of the others, only the newest still runs."""
    ALL = "all"
    """Each still runs, one after another."""


class Schedule(Protocol):
    """Ticks: instants on the queue's clock."""

    def after(self, time: float) -> float | None:
        """The first tick later than `time`; None if there is none."""
        ...

    def until(self, time: float) -> float | None:
        """The last tick not later than `time`; None if there is none."""
        ...


def whole_ms(time: float, origin: float) -> int:
    """A time on the queue's clock in whole milliseconds since the Unix epoch, rounded down as by JavaScript's
    `Date.now()`.

    All ticks are compared in this unit. Seconds as floats can't do it: with the calendar as origin they are a fraction
    of a microsecond off, and a tick would come before or after itself.
    """
    return math.floor((time + origin) * 1000 + ROUNDING)


def nearest_ms(time: float, origin: float) -> int:
    """The same, rounded to the nearest: as Redis stores the start and the end of a scheduler."""
    return round((time + origin) * 1000)


def on_clock(milliseconds: int, origin: float) -> float:
    """That moment on the queue's clock."""
    return milliseconds / 1000 - origin


ROUNDING = 0.01
"""Milliseconds that a tick may lose as a float: at 2e9 s since the epoch it is less than 0.001."""


def _in_ms(seconds: float, what: str) -> int:
    """Seconds as whole milliseconds. Raises ScheduleError if they are none: Redis stores no fractions."""
    milliseconds = round(seconds * 1000)
    if abs(seconds * 1000 - milliseconds) > ROUNDING:
        raise ScheduleError(f"{what} must be whole milliseconds, not {seconds} s: write {milliseconds / 1000} s")
    return milliseconds


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval of whole milliseconds. Ticks are at whole multiples of it on the calendar, `offset` later
    (BullMQ 6.7).

    Raises:
        ScheduleError: the interval is below 1 ms, the offset is not from 0 s to below the interval, or one of them is
            not in whole milliseconds.
    """

    seconds: float
    offset: float | None = None
    """None: it begins when its scheduler does, and goes on from there."""
    origin: float = 0.0
    """Calendar time of the clock's second 0, in seconds since the Unix epoch."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ScheduleError(f"an interval must be above 0 s, not {self.seconds}")
        if _in_ms(self.seconds, "an interval") == 0:
            raise ScheduleError(f"an interval must be 0.001 s or more, not {self.seconds}")
        if self.offset is not None and not 0 <= self.offset < self.seconds:
            raise ScheduleError(f"an offset must be from 0 s to below the interval, not {self.offset}")
        if self.offset is not None:
            _in_ms(self.offset, "an offset")

    def after(self, time: float) -> float:
        """The first tick later than `time`."""
        return self._tick(time, 1)

    def until(self, time: float) -> float:
        """The last tick not later than `time`."""
        return self._tick(time, 0)

    def _tick(self, time: float, step: int) -> float:
        interval, offset = round(self.seconds * 1000), round((self.offset or 0.0) * 1000)
        place = (whole_ms(time, self.origin) - offset) // interval + step
        return on_clock(place * interval + offset, self.origin)

    def anchored(self, tick: float) -> Every:
        """The same interval, with the offset that puts a tick at `tick`."""
        return replace(self, offset=whole_ms(tick, self.origin) % round(self.seconds * 1000) / 1000)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line, of five fields or six with seconds first, read in a time zone.

    Where the clocks change it does as Debian's cron: a time of day that is skipped fires right after the gap, one that
    comes twice fires the first time only; what fires every hour or oftener keeps doing so.

    Raises:
        ScheduleError: the line is broken or never fires, or there is no such zone.
        MissingExtraError: cronsim is not installed.
    """

    line: str
    zone: str = "UTC"
    origin: float = 0.0
    """Calendar time of the clock's second 0, in seconds since the Unix epoch."""

    def __post_init__(self) -> None:
        _zone(self.zone)
        if self.after(0.0) is None:
            raise ScheduleError(f'the cron line "{self.line}" never fires: there is no such day')

    def after(self, time: float) -> float | None:
        """The first tick later than `time`; None if there is none within 50 years."""
        return self._first(time, reverse=False)

    def until(self, time: float) -> float | None:
        """The last tick not later than `time`; None if there is none within 50 years."""
        # ticks are whole seconds, so that the first one before the next second is not later than `time`
        return self._first(on_clock((whole_ms(time, self.origin) // 1000 + 1) * 1000, self.origin), reverse=True)

    def _first(self, time: float, *, reverse: bool) -> float | None:
        cronsim = need("cronsim", "tasks", "cron lines")
        now = whole_ms(time, self.origin)
        moment = datetime.fromtimestamp(now / 1000, UTC).astimezone(_zone(self.zone))
        try:
            ticks = cronsim.CronSim(self.line, moment, reverse=reverse)
            for tick in ticks:
                found = round(tick.timestamp() * 1000)
                # within the hour that comes twice, a line's next tick may be in the first pass: that is over
                if (found < now) if reverse else (found > now):
                    return on_clock(found, self.origin)
        except cronsim.CronSimError as error:
            raise ScheduleError(f'"{self.line}" is not a cron line: {str(error).lower()}; {FIELDS}') from None
        return None


FIELDS = 'write minute, hour, day of month, month, day of week, as "0 * * * *" for every hour'


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ScheduleError(f'there is no time zone "{name}": write it as Europe/Berlin') from None


def following(schedule: Cron | Every, due: float, now: float, missed: Missed = Missed.SKIP) -> float | None:
    """When the job that follows the one that was due at `due` is due, as it starts at `now`; None if none follows.

    It is later than `due` by a millisecond or more.
    """

    def is_later(time: float, than: float) -> bool:
        return whole_ms(time, schedule.origin) > whole_ms(than, schedule.origin)

    if missed is Missed.ALL:
        return schedule.after(due)
    if missed is Missed.LATEST:
        latest = schedule.until(now)
        if latest is not None and is_later(latest, due):
            return latest
    following_tick = schedule.after(due)
    if isinstance(schedule, Every) and following_tick is not None and not is_later(now, following_tick):
        return following_tick  # at this very moment it has not been missed; that of a cron line has (BullMQ 6.7)
    return schedule.after(max(now, due))


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
    """Maximum number of jobs."""
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
            started = self.start is None or self.start <= now
            stamp = whole_ms(now, schedule.origin) if started else nearest_ms(begin, schedule.origin)
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
        origin = self.schedule.origin
        return self.end is not None and whole_ms(due, origin) > nearest_ms(self.end, origin)

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
        starts = [None if start is None else nearest_ms(start, new.origin) for start in (self.start, present.start)]
        return starts[0] == starts[1] and new.seconds == old.seconds and new.offset in (None, old.offset)

    def job_id(self, due: float) -> str:
        """The id of the job that is due then (BullMQ 6.7)."""
        return f"{REPEAT}{self.id}:{round(due * 1000)}"


REPEAT = "repeat:"
"""What the ids of schedulers' jobs begin with; the scheduler's id and the tick in milliseconds follow (BullMQ 6.7)."""


def scheduler_of(job_id: str) -> str | None:
    """The id of the scheduler that a job is of; None: of none. That of a scheduler of Node's may have colons."""
    return (job_id.removeprefix(REPEAT).rpartition(":")[0] or None) if job_id.startswith(REPEAT) else None


def tick_of(job_id: str) -> float:
    """The tick that a job of a scheduler is for, in seconds on the clock that the queue itself keeps."""
    return int(job_id.rpartition(":")[2]) / 1000


class SchedulerStore(Protocol):
    """What a broker keeps of job schedulers."""

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        """Store a scheduler, in place of another one of its id and of that one's pending job, and add its first job,
        due at `due`. Returns the job's id. Raises JobError (-10) if there is a job of that id that has started."""
        ...

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        """Add a scheduler's next job, if `job_id` is its present one; with `due` None that was the last, and the
        scheduler is gone. Returns the new job's id. Raises JobError (-10) if there is a job of the next one's id;
        nothing has changed then."""
        ...

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        """The scheduler of that id; None if there is none. Raises ScheduleError if it can't be read."""
        ...


SLOT_TAKEN, SLOTS_TAKEN = -10, -11
"""A JobError's codes: a job of this tick has started already; so it is with all ticks that were tried (BullMQ 6.7)."""
SLOTS = 32
"""Ticks that are tried (BullMQ 6.7)."""


def check_id(scheduler_id: str) -> None:
    """Raise ScheduleError for an id that a new scheduler can't have: part of it could be taken for a tick's time."""
    try:
        check_text(scheduler_id, "a scheduler's id")
    except ValueError as error:
        raise ScheduleError(str(error)) from None
    if not scheduler_id or ":" in scheduler_id:
        raise ScheduleError(f"a scheduler's id is text without ':', not {scheduler_id!r}")


async def upsert(broker: SchedulerStore, scheduler: Scheduler, now: float) -> str:
    """Store a scheduler, and add its first job, at the first tick that has none: where clocks differ, another machine
    may have run the next one already. Returns the job's id.

    An interval that the scheduler has already goes on from where it is (BullMQ 6.7): whoever is started again and says
    once more what is to be done every hour does not begin the hour anew.

    Raises:
        ScheduleError: it would never fire, or its id has a ':'.
        JobError: -11, there is a job at each of its next ticks.
    """
    check_id(scheduler.id)
    # a broker that stores calendar times knows the calendar time of second 0 of its clock
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


async def advance(broker: SchedulerStore, job: Job, now: float) -> None:
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
