"""The limiter's window, as BullMQ's `limiter` key counts it."""

from __future__ import annotations

MANUAL = 2**53 - 1
"""What a manual rate limit sets the counter to: above any limit."""


class Window:
    """A counter of starts that expires. Closed, it counts 0; the first start opens it."""

    __slots__ = ("count", "expires")

    def __init__(self) -> None:
        self.count = 0
        self.expires = 0.0

    def closes_at(self, max_jobs: int, now: float) -> float | None:
        """When the window that has used up `max_jobs` starts closes; None if a start is free now."""
        if self.count >= max_jobs and now < self.expires:
            return self.expires
        return None

    def start(self, duration: float, now: float) -> bool:
        """Count a start. True if it opened a new window of `duration` seconds."""
        if self.count and now < self.expires:
            self.count += 1
            return False
        self.count = 1
        self.expires = now + duration
        return True

    def hold(self, duration: float, now: float) -> None:
        """Rate-limit by hand for `duration` seconds."""
        self.count = MANUAL
        self.expires = now + duration

    def clear(self) -> None:
        """Forget the window."""
        self.count = 0
        self.expires = 0.0
