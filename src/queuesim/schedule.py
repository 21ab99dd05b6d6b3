"""Schedules: when a job scheduler's next job is due, by cron line or fixed interval, and what becomes of missed ticks.

Times are seconds on the queue's clock. Where that clock's second 0 is not the Unix epoch, as in a simulation, a cron
schedule is told so by `origin`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
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


def whole_ms(time: float, origin: float) -> int:
    """A time on the queue's clock in whole milliseconds since the Unix epoch, rounded down as by JavaScript's
    `Date.now()`.

    All ticks are compared in this unit. Seconds as floats can't do it: with the calendar as origin they are a fraction
    of a microsecond off, and a tick would come before or after itself.
    """
    return math.floor((time + origin) * 1000 + ROUNDING)


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
