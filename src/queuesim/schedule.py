"""Schedules: when a job scheduler's next job is due, by cron line or fixed interval, and what becomes of missed ticks.

Times are seconds on the queue's clock. Where that clock's second 0 is not the Unix epoch, as in a simulation, a cron
schedule is told so by `origin`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from itertools import count
from typing import Protocol
from zoneinfo import ZoneInfo

from queuesim.errors import QueuesimError
from queuesim.extras import need


class ScheduleError(QueuesimError, ValueError):
    """A schedule that can't be: an unknown zone, a broken cron line, one that never fires, an interval of 0."""


class Missed(StrEnum):
    """What becomes of ticks that came while no worker was there. The job that waits is late, and runs anyway."""

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


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval. Ticks are at whole multiples of it on the calendar, `offset` later, in whole milliseconds
    (BullMQ 6.7)."""

    seconds: float
    offset: float | None = None
    """None: it begins when its scheduler does, and goes on from there."""
    origin: float = 0.0
    """Calendar time of the clock's second 0, in seconds since the Unix epoch."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ScheduleError(f"an interval must be above 0 s, not {self.seconds}")
        if self.offset is not None and not 0 <= self.offset < self.seconds:
            raise ScheduleError(f"an offset must be from 0 s to below the interval, not {self.offset}")

    def after(self, time: float) -> float:
        """The first tick later than `time`."""
        # the division may round a tick onto its neighbour, to either side
        ticks = (self._tick(time, step) for step in count(-1))
        return next(tick for tick in ticks if tick > time)

    def until(self, time: float) -> float:
        """The last tick not later than `time`."""
        ticks = (self._tick(time, step) for step in count(1, -1))
        return next(tick for tick in ticks if tick <= time)

    def _tick(self, time: float, step: int) -> float:
        offset = self.offset or 0.0
        place = math.floor((time + self.origin - offset) / self.seconds) + step
        # whole milliseconds: Redis has no others, and a tick that comes back from there is not its own successor
        return round(place * self.seconds + offset, 3) - self.origin

    def anchored(self, tick: float) -> Every:
        """The same interval, with the offset that puts a tick at `tick`."""
        offset = (tick + self.origin) % self.seconds
        return replace(self, offset=offset if offset < self.seconds else 0.0)


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
        return self._first(math.floor(time + self.origin) + 1 - self.origin, reverse=True)

    def _first(self, time: float, *, reverse: bool) -> float | None:
        cronsim = need("cronsim", "tasks", "cron lines")
        moment = datetime.fromtimestamp(time + self.origin, UTC).astimezone(_zone(self.zone))
        try:
            ticks = cronsim.CronSim(self.line, moment, reverse=reverse)
            for tick in ticks:
                found = float(tick.timestamp()) - self.origin
                # within the hour that comes twice, a line's next tick may be in the first pass: that is over
                if (found < time) if reverse else (found > time):
                    return found
        except cronsim.CronSimError as error:
            raise ScheduleError(f'"{self.line}" is no cron line: {str(error).lower()}; {FIELDS}') from None
        return None


FIELDS = 'write minute, hour, day of month, month, day of week, as "0 * * * *" for every hour'


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ScheduleError(f'there is no time zone "{name}": write it as Europe/Berlin') from None


def following(schedule: Schedule, due: float, now: float, missed: Missed = Missed.SKIP) -> float | None:
    """When the job that follows the one that was due at `due` is due, as it starts at `now`; None if none follows."""
    if missed is Missed.ALL:
        return schedule.after(due)
    if missed is Missed.LATEST:
        latest = schedule.until(now)
        if latest is not None and latest > due:
            return latest
    following_tick = schedule.after(due)
    if isinstance(schedule, Every) and following_tick is not None and following_tick >= now:
        return following_tick  # at this very moment it has not been missed; that of a cron line has (BullMQ 6.7)
    return schedule.after(max(now, due))
