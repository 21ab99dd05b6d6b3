"""How much real time searches, soaks and scenarios in pytest may take, and what a whole session says of it."""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from queuesim.error import QueuesimError
from queuesim.units import format_duration


@dataclass(slots=True)
class Session:
    """A session of tests."""

    budget: float | None = None
    """Real seconds for each search and each scenario, in place of what they say themselves; None: what they say."""
    accounts: list[Any] = field(default_factory=list)
    """What searches have tried and reached: each a `queuesim.testing.search.Account`."""


SESSION: ContextVar[Session | None] = ContextVar("session", default=None)


class OutOfTime(QueuesimError):  # noqa: N818 - a state of the search, not a mistake
    """The budget is used up in the middle of a run."""


class Budget:
    """So many real seconds from now on.

    Args:
        seconds: None: without an end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._began = time.monotonic()
        self.seconds = math.inf if seconds is None else seconds
        """How many there are in all."""

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left; infinity without an end."""
        return self.seconds - self.spent

    def check(self, simulated: float, ended: int) -> None:
        """The progress of a run: raises OutOfTime when nothing is left."""
        if self.left <= 0:
            budget, played = format_duration(self.seconds), format_duration(round(simulated, 3))
            raise OutOfTime(f"the budget of {budget} was used up when {played} were simulated")
