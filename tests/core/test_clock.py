"""The queue's clock: the loop's time, or one that was set for a task and those that it starts."""

from __future__ import annotations

import asyncio

import pytest

from queuesim.core.clock import now, set_clock, sleep, sleep_until
from queuesim.simulation.runner import run


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


@pytest.mark.parametrize("offset", [None, 1_000.0])
def test_sleeping_by_the_queues_clock(offset: float | None) -> None:
    async def program() -> list[float]:
        loop = asyncio.get_running_loop()
        start = 0.0 if offset is None else offset
        if offset is not None:
            set_clock(lambda: offset + loop.time())
        seen = []
        await sleep_until(start + 2.5)
        seen.append(loop.time())
        await sleep_until(start + 1.0)
        seen.append(loop.time())
        await sleep(0.5)
        return [*seen, loop.time()]

    assert run(program()) == [2.5, 2.5, 3.0]


def test_sleeping_on_an_ordinary_loop() -> None:
    async def program() -> float:
        before = now()
        await sleep(0.01)
        await sleep_until(now() + 0.01)
        return now() - before

    assert asyncio.run(program()) >= 0.015
