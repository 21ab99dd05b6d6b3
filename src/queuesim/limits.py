"""Limits: how many jobs may start in a window, and how many finished jobs are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A fixed-window limiter: at most `max` starts in a window of `duration` seconds.

    The window opens at the first start after the last one expired. It is neither aligned to the clock nor sliding,
    so up to ``2 * max - 1`` starts can fall into one instant around a boundary, and unused allowance is lost.
    Retries and runs after a stall count like first runs (BullMQ 6.7).
    """

    max: int
    """Starts per window, 1 or more."""
    duration: float
    """Length of a window in seconds."""

    def __post_init__(self) -> None:
        if self.max < 1:
            raise ValueError(f"a rate limit needs max >= 1, not {self.max}")
        if not (self.duration > 0 and math.isfinite(self.duration)):
            raise ValueError(f"a rate limit needs a duration above 0 s, not {self.duration}")


@dataclass(frozen=True, slots=True)
class Keep:
    """How many finished jobs stay in the store, and for how long.

    Jobs are only evicted when another job finishes in the same state; there is no timer (BullMQ 6.7).
    """

    count: int | None = None
    """The newest `count` jobs stay; None keeps all, 0 keeps none."""
    age: float | None = None
    """Jobs that finished more than `age` seconds ago go; None sets no limit."""
    limit: int = 1000
    """At most this many jobs are evicted by age at one time."""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 0:
            raise ValueError(f"keep needs a count of 0 or more, not {self.count}")
        if self.age is not None and not self.age >= 0:
            raise ValueError(f"keep needs an age of 0 s or more, not {self.age}")
        if self.limit < 1:
            raise ValueError(f"keep needs a limit of 1 or more, not {self.limit}")


KEEP_ALL = Keep()
"""BullMQ's default: finished jobs stay for ever."""
