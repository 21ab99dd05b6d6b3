"""Backoff: how long a job waits before its next attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BackoffStrategy = Callable[[int, BaseException], float | None]
"""Custom backoff: (attempts made, this one included; the error) -> seconds. 0 retries at once; None, or what is no time
(BullMQ has -1), fails the job."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay before each retry.

    Source: BullMQ 6.7: fixed is `delay`; exponential is `delay` * 2**(n-1) with n the attempts made so far. Jitter j
    draws uniformly from [M (1 - j), M) where M is the delay without jitter; j = 1 is "full jitter". BullMQ has no cap;
    `cap` is ours, applied before jitter.
    """

    type: Literal["fixed", "exponential"] = "fixed"
    delay: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """From 0, none, to 1, full."""
    cap: float | None = None
    """Longest delay in seconds, before jitter; None sets no limit."""

    def __post_init__(self) -> None:
        if self.type not in ("fixed", "exponential"):
            raise ValueError(f"backoff type must be 'fixed' or 'exponential', not {self.type!r}")
        if not (self.delay >= 0 and math.isfinite(self.delay)):
            raise ValueError(f"backoff delay must be 0 s or more, not {self.delay}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"backoff jitter must be from 0 to 1, not {self.jitter}")
        if self.cap is not None and not self.cap >= 0:
            raise ValueError(f"backoff cap must be 0 s or more, not {self.cap}")

    def base(self, attempts_made: int) -> float:
        """Seconds before jitter, after `attempts_made` attempts (1 or more)."""
        seconds = self.delay
        if self.type == "exponential" and seconds > 0:
            # 2.0 ** 1024 overflows; no clock reaches that far anyway
            seconds *= 2.0 ** min(attempts_made - 1, 1000)
        return seconds if self.cap is None else min(seconds, self.cap)

    def seconds(self, attempts_made: int, rng: random.Random) -> float:
        """Seconds until the next attempt; draws from `rng` only if there is jitter."""
        base = self.base(attempts_made)
        if not self.jitter:
            return base
        # whole milliseconds, rounded down, as BullMQ has them
        return math.floor((base * (1 - self.jitter) + rng.random() * base * self.jitter) * 1000) / 1000

    def bounds(self, attempts_made: int) -> tuple[float, float]:
        """Shortest and longest delay that `seconds` can return, for whoever checks it."""
        base = self.base(attempts_made)
        return math.floor(base * (1 - self.jitter) * 1000) / 1000 if self.jitter else base, base
