"""Faults at the awaits of handlers: an attempt fails, or dies with its worker, in the middle of what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import Field

from queuesim.core.errors import simulated
from queuesim.core.job import Job
from queuesim.faults.base import Need, Settings, draw_probability, fault
from queuesim.faults.handlers import Category, HandlerFault
from queuesim.faults.workers import Killing
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import FaultRow
from queuesim.simulation.process import frames_of
from queuesim.simulation.service_times import ServiceTime
from queuesim.simulation.stepping import Stepped, stepped

FREQUENT = (1, 1, 2, 2, 3, 4, 6)
"""Awaits that are drawn: most handlers have few."""

Attempt = Coroutine[Any, Any, Any]


LOCAL = tuple(
    str(Path(asyncio.__file__).with_name(f"{name}.py")) for name in ("locks", "queues", "taskgroups", "timeouts")
)
"""Where a task waits for others of its own process: no call that could fail."""


class Struck(Stepped):
    """The coroutine of an attempt, with a fault at one of its awaits.

    Args:
        coroutine: that of an attempt.
        nth: the await to strike, from 1, of those at which it is suspended.
        late: whether what is awaited comes to its end first.
        fault: what strikes.
    """

    def __init__(self, coroutine: Attempt, nth: int, late: bool, fault: AwaitFault) -> None:
        super().__init__(coroutine)
        self._left = nth
        self._late = late
        self._fault = fault
        self._due = False
        self._forever: Attempt | None = None

    def send(self, value: Any) -> Any:
        """Go on to the next await."""
        if self._due:
            return self._strike()
        return super().send(value)

    def suspended(self, awaited: Any) -> Any:
        """See Stepped."""
        if self._left == 0 or not self._fault.can_strike(self.coroutine):
            return awaited
        self._left -= 1
        if self._left > 0:
            return awaited
        if self._late:
            self._due = True
            return awaited
        return self._strike(awaited)

    def _strike(self, awaited: Any = None) -> Any:
        self._due = False
        self._fault.note_strike()
        error = self._fault.error()
        if error is None:
            # it is never freed, for Python would run its `finally` then
            self._forever = asyncio.Event().wait()
            return self._forever.send(None)
        if isinstance(error, asyncio.CancelledError) and isinstance(awaited, asyncio.Future) and awaited.cancel():
            # as a task does that is cancelled: what is awaited learns of it, and raises it here
            return awaited
        return self.throw(error)


class AwaitFault(HandlerFault):
    """Strikes attempts at one of the awaits at which their handlers are suspended."""

    of_handlers = True

    nth: int | None = Field(None, ge=1)
    """Which await of an attempt, from 1; drawn for each attempt if left out."""
    effect: Literal["none", "done"] | None = None
    """Whether what is awaited has taken effect (done: only the answer is lost); drawn if left out."""

    def prepare(self) -> None:
        super().prepare()
        self._finished: FaultRow | None = None

    def finish(self, row: FaultRow) -> None:
        super().finish(row)
        # attempts that began while it was on are struck later
        self._finished = row

    def drive(self, job: Job, attempt: Attempt) -> Attempt:
        """See AttemptHook."""
        if not self.drawn():
            return attempt
        nth = self.nth or self.rng.choice(FREQUENT)
        late = self.rng.random() < 0.5 if self.effect is None else self.effect == "done"
        return stepped(Struck(attempt, nth, late, self))

    def note_strike(self) -> None:
        """An attempt is struck."""
        self.note_drawn(True)
        if self._finished is not None and not self.active:
            self._finished.detail = f"{self.count} {self.counted}"

    def can_strike(self, coroutine: Attempt) -> bool:
        """Whether it can strike where an attempt is suspended. A wait for others of the same process is no call that
        could fail; it can be cancelled, and its process can die."""
        *_, innermost = frames_of(coroutine)
        return innermost.f_code.co_filename not in LOCAL

    def error(self) -> BaseException | None:
        """What the await raises; None if the attempt's worker was killed."""
        raise NotImplementedError

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.3)}


@fault("await.error")
class AwaitError(AwaitFault):
    """An await of a handler raises an error, as a call does whose connection breaks."""

    category: Category = "network"
    """What kind of error it raises."""

    def error(self) -> BaseException:
        return simulated(self.category)


@fault("await.timeout")
class AwaitTimeout(AwaitFault):
    """An await of a handler raises TimeoutError."""

    def error(self) -> BaseException:
        return TimeoutError("simulated time-out")


@fault("await.cancel")
class AwaitCancel(AwaitFault):
    """An await of a handler is cancelled."""

    def error(self) -> BaseException:
        return asyncio.CancelledError("simulated cancellation")

    def can_strike(self, coroutine: Attempt) -> bool:
        return True


@fault("await.kill")
class AwaitKill(AwaitFault, Killing):
    """A worker dies as by SIGKILL at an await of an attempt. Another one takes its place."""

    effects = Effect.WORKERS | Effect.UNHEARD
    needs = Need.PROCESSES | Need.SPARES

    restart: ServiceTime = ServiceTime(constant=1.0)
    """How long until its successor runs."""

    def prepare(self) -> None:
        super().prepare()
        self.replace_after(self.sampler("restart"))

    def can_strike(self, coroutine: Attempt) -> bool:
        return True

    def error(self) -> None:
        slot = self.context.here()
        if slot is not None:
            self.context.kill_here(self, slot)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.1)}
