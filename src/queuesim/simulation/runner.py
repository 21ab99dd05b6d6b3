"""Running a program in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import no_running_loop

T = TypeVar("T")


def run(
    coroutine: Coroutine[Any, Any, T],
    *,
    loop: VirtualLoop | None = None,
    shuffle: random.Random | None = None,
    allow_io: Iterable[str] = (),
) -> T:
    """Run `coroutine` to its end in virtual time and return its result, as `asyncio.run` does in real time.

    Tasks that are left over are cancelled and their cleaning up is awaited, asynchronous generators are shut down,
    and the loop is closed, one that was passed too. It may be called where an event loop is running already, as in a
    notebook's cell: that loop stands still meanwhile.

    Args:
        loop: a loop of your own, in place of ``VirtualLoop(shuffle=shuffle, allow_io=allow_io)``.

    Raises what the program raises, and what `VirtualLoop.run_forever` does.
    """
    if not asyncio.iscoroutine(coroutine):
        raise ValueError(f"a coroutine was expected, not {coroutine!r}")
    if loop is not None and (shuffle is not None or allow_io):
        coroutine.close()
        raise ValueError("these belong to the loop that was passed: VirtualLoop(shuffle=..., allow_io=...)")
    try:
        loop = VirtualLoop(shuffle=shuffle, allow_io=allow_io) if loop is None else loop
    except ValueError:
        coroutine.close()
        raise
    with no_running_loop(), closing(loop):
        try:
            result = loop.run_until_complete(loop.create_task(coroutine))
        except BaseException as error:
            finish_after(loop, error)
            raise
        finish(loop)
        return result


def finish_after(loop: VirtualLoop, error: BaseException) -> None:
    """Finish a run that ended with `error`: what goes wrong now must not hide that, so it becomes a note on it."""
    try:
        finish(loop)
    except Exception as another:  # noqa: BLE001
        error.add_note(f"and while the simulation was ended: {type(another).__name__}: {another}")
        for task in loop.tasks():
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # the note tells of them


def finish(loop: VirtualLoop) -> None:
    """Cancel what is left over, oldest task first, and shut asynchronous generators down."""
    loop.thaw_all()
    left_over = loop.tasks()
    for task in left_over:
        task.cancel()
    if left_over:
        loop.run_until_complete(asyncio.gather(*left_over, return_exceptions=True))
    for task in left_over:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception while the simulation was ended",
                    "exception": task.exception(),
                    "task": task,
                }
            )
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())


# -- The virtual calendar: which date a loop's time stands for


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
    def installed(self, loop: VirtualLoop, ahead: Callable[[], float] = float) -> Iterator[None]:
        """In this block `time.time()`, `datetime.now()` and all that rests on them tell this calendar's time, and
        `ahead()` seconds more.

        It follows `loop`'s time as that moves; the monotonic clocks stay real. It holds for the whole operating-system
        process, threads included, so whoever runs a simulation asks for it by name. Raises MissingExtraError when the
        library time-machine is not installed.
        """
        from queuesim.extras import need

        time_machine = need("time_machine", "calendar", "runs that set time.time() and datetime.now()")
        start = math.floor(self.epoch.timestamp()) * 10**9 + self.epoch.microsecond * 1000
        with time_machine.travel(self.epoch.astimezone(UTC), tick=False) as traveller:
            # Asked on every reading of the clock: nothing need be told when loop time moves.
            traveller.time_ns = lambda: start + round((loop.time() + ahead()) * 1e9)
            yield


def require_zone(date: datetime) -> None:
    """Raise ValueError if `date` has no time zone: it would be no instant."""
    if date.tzinfo is None:
        raise ValueError(f"{date.isoformat()} has no time zone: write {date.isoformat()}+00:00, or tzinfo=timezone.utc")
