"""Trying again while something is unavailable, mostly the broker: exponential backoff with jitter, for ever."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from queuesim.clock import sleep
from queuesim.errors import BrokerUnavailableError

T = TypeVar("T")
Trouble = type[Exception] | tuple[type[Exception], ...]

FIRST_PAUSE = 0.1
"""Seconds before the second try, at most; half of that at least. Each further pause is twice as long."""
LONGEST_PAUSE = 3.0
"""Seconds between two tries at most, so that work goes on soon after the broker is back."""
DOUBLINGS = 10
"""After so many the longest pause is reached."""


async def persist(
    operation: Callable[[], Awaitable[T]],
    rng: random.Random,
    *,
    failed: int = 0,
    trouble: Trouble = BrokerUnavailableError,
) -> T:
    """Try an operation again whenever it raises what passes. Ends by success, another error or cancellation.

    Args:
        operation: makes one try.
        rng: where jitter is drawn from, so that the workers of a queue don't come back in step.
        trouble: which errors pass.
        failed: how many tries failed already; unless it is 0, the first thing is a pause.
    """
    while True:
        if failed:
            pause = min(FIRST_PAUSE * 2 ** min(failed - 1, DOUBLINGS), LONGEST_PAUSE)
            await sleep(rng.uniform(pause / 2, pause))
        try:
            return await operation()
        except trouble:
            failed += 1
