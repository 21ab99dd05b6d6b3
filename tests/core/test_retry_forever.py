"""Trying again while a broker is unavailable."""

from __future__ import annotations

import asyncio
import random

import pytest

from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.retry import LONGEST_PAUSE, retry_forever
from queuesim.simulation.runner import run


class Flaky:
    """Fails so many times, then says how often it was tried."""

    def __init__(self, failures: float, error: type[Exception] = BrokerUnavailableError) -> None:
        self.failures = failures
        self.error = error
        self.tried: list[float] = []

    async def __call__(self) -> int:
        self.tried.append(asyncio.get_running_loop().time())
        if len(self.tried) <= self.failures:
            raise self.error("away")
        return len(self.tried)


def pauses(flaky: Flaky) -> list[float]:
    return [later - earlier for earlier, later in zip(flaky.tried, flaky.tried[1:], strict=False)]


def test_success_at_once_takes_no_time_and_no_randomness() -> None:
    rng = random.Random(1)
    assert run(retry_forever(Flaky(0), rng)) == 1
    assert rng.getstate() == random.Random(1).getstate()


def test_pauses_double_up_to_the_longest_with_jitter_of_half() -> None:
    flaky = Flaky(2000)
    assert run(retry_forever(flaky, random.Random(1))) == 2001
    limits = [0.1, 0.2, 0.4, 0.8, 1.6] + [LONGEST_PAUSE] * 1995
    assert all(limit / 2 - 1e-9 <= pause <= limit + 1e-9 for pause, limit in zip(pauses(flaky), limits, strict=True))
    assert len({round(pause, 6) for pause in pauses(flaky)}) > 1900, "drawn anew each time"


def test_what_failed_before_counts() -> None:
    flaky = Flaky(0)
    assert run(retry_forever(flaky, random.Random(1), failed=1)) == 1
    assert 0.05 <= flaky.tried[0] <= 0.1


def test_another_error_ends_it() -> None:
    flaky = Flaky(5, ValueError)
    with pytest.raises(ValueError, match="away"):
        run(retry_forever(flaky, random.Random(1)))
    assert len(flaky.tried) == 1


def test_cancellation_ends_it() -> None:
    async def program() -> float:
        task = asyncio.create_task(retry_forever(Flaky(float("inf")), random.Random(1)))
        await asyncio.sleep(100.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.get_running_loop().time()

    assert run(program()) == 100.0
