"""The virtual calendar: which date a loop's time stands for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


@dataclass(frozen=True, slots=True)
class Calendar:
    """Loop time 0 is the instant `epoch`, which has a time zone. Raises ValueError if it has none."""

    epoch: datetime

    def __post_init__(self) -> None:
        require_zone(self.epoch)

    def date_of(self, time: float) -> datetime:
        """The date at `time` seconds of the loop, in the epoch's time zone, to the microsecond."""
        return (self.epoch.astimezone(UTC) + timedelta(seconds=time)).astimezone(self.epoch.tzinfo)

    def timestamp_of(self, time: float) -> float:
        """Seconds since the Unix epoch at `time` seconds of the loop."""
        return self.epoch.timestamp() + time

    def time_of(self, date: datetime) -> float:
        """Loop time at `date`, in seconds: negative before the epoch. Raises ValueError if it has no time zone."""
        require_zone(date)
        return (date - self.epoch).total_seconds()

    @contextmanager
    def installed(self, loop: VirtualLoop) -> Iterator[None]:
        """In this block `time.time()`, `datetime.now()` and all that rests on them tell this calendar's time.

        It follows `loop`'s time as that moves; the monotonic clocks stay real. It holds for the whole operating-system
        process, threads included, so whoever runs a simulation asks for it by name. Raises MissingExtraError when the
        library time-machine is not installed.
        """
        from queuesim.extras import need

        time_machine = need("time_machine", "calendar", "runs that set time.time() and datetime.now()")
        start = math.floor(self.epoch.timestamp()) * 10**9 + self.epoch.microsecond * 1000
        with time_machine.travel(self.epoch.astimezone(UTC), tick=False) as traveller:
            # Asked on every reading of the clock: nothing need be told when loop time moves.
            traveller.time_ns = lambda: start + round(loop.time() * 1e9)
            yield


def require_zone(date: datetime) -> None:
    """Raise ValueError if `date` has no time zone: it would be no instant."""
    if date.tzinfo is None:
        raise ValueError(f"{date.isoformat()} has no time zone: write {date.isoformat()}+00:00, or tzinfo=timezone.utc")
