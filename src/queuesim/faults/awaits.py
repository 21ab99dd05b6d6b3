"""Faults at the awaits of handlers: an attempt fails, or dies with its worker, in the middle of what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
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
from queuesim.simulation.service_times import ServiceTime
from queuesim.simulation.stepping import Stepped, stepped

FREQUENT = (1, 1, 2, 2, 3, 4, 6)
"""Awaits that are drawn: most handlers have few."""

Attempt = Coroutine[Any, Any, Any]
Raise = Callable[[], BaseException | None]
"""Makes what an await raises; None: the attempt's worker was killed, and nothing of it goes on."""


class Struck(Stepped):
    """The coroutine of an attempt, with a fault at one of its awaits.

    Args:
        coroutine: that of an attempt.
        nth: the await to strike, from 1, of those at which it is suspended.
        late: whether what is awaited comes to its end first.
        strike: called once, when it is struck.
    """

    def __init__(self, coroutine: Attempt, nth: int, late: bool, strike: Raise) -> None:
        super().__init__(coroutine)
        self._left = nth
        self._late = late
        self._strike = strike
        self._struck = False
        self._forever: Attempt | None = None

    def send(self, value: Any) -> Any:
        """Go on to the next await."""
        if self._left == 0 and self._late and not self._struck:
            return self._raise()
        return super().send(value)

    def suspended(self, awaited: Any) -> Any:
        """See Stepped."""
        self._left -= 1
        if self._left == 0 and not self._late:
            return self._raise()
        return awaited

    def _raise(self) -> Any:
        self._struck = True
        error = self._strike()
        if error is None:
            # it is never freed, for Python would run its `finally` then
            self._forever = asyncio.Event().wait()
            return self._forever.send(None)
        return self.throw(error)


class AwaitFault(HandlerFault):
    """Strikes attempts at one of the awaits at which their handlers are suspended."""

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

        def strike() -> BaseException | None:
            self.note_drawn(True)
            if self._finished is not None and not self.active:
                self._finished.detail = f"{self.count} {self.counted}"
            return self.error()

        return stepped(Struck(attempt, nth, late, strike))

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

    def error(self) -> None:
        slot = self.context.here()
        if slot is not None:
            self.context.kill_here(self, slot)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.1)}
