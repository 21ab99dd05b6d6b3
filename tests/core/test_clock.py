"""The queue's clock: the loop's time, or one that was set for a task and those that it starts."""

from __future__ import annotations

import asyncio

import pytest

from queuesim.clock import now, set_clock
from queuesim.simulation import run


def test_it_is_the_running_loops_time() -> None:
    async def program() -> list[float]:
        seen = [now()]
        await asyncio.sleep(2.5)
        return [*seen, now()]

    assert run(program()) == [0.0, 2.5]


def test_a_clock_is_inherited_by_tasks_and_ends_with_its_own() -> None:
    async def child() -> float:
        return now()

    async def live() -> float:
        set_clock(lambda: 1_000.0)
        return await asyncio.create_task(child())

    async def program() -> tuple[float, float]:
        return await asyncio.create_task(live()), now()

    assert run(program()) == (1_000.0, 0.0)


def test_there_is_no_time_outside_a_loop() -> None:
    with pytest.raises(RuntimeError):
        now()
