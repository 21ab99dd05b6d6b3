"""Orders of tasks that are ready at the same instant."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import time
from collections import Counter
from itertools import pairwise

import pytest

from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.order import PATIENCE, PriorityOrder, RandomOrder, make_order
from queuesim.simulation.runner import run


def log_of(name: str, seed: int, tasks: int = 4, steps: int = 3) -> list[str]:
    """What tasks of several steps each note, at one instant."""
    log: list[str] = []

    async def work(task: int) -> None:
        for step in range(steps):
            log.append(f"{task}.{step}")
            await asyncio.sleep(0)

    async def program() -> None:
        await asyncio.gather(*(work(task) for task in range(tasks)))

    loop = VirtualLoop(order=make_order(name, random.Random(seed)))
    try:
        run(program(), loop=loop)
    finally:
        loop.close()
    return log


def test_first_in_first_out_takes_turns() -> None:
    assert log_of("fifo", 1) == [f"{task}.{step}" for step in range(3) for task in range(4)]


def test_with_priorities_one_task_runs_until_it_waits() -> None:
    log = log_of("pct-1", 1)
    tasks = [entry.partition(".")[0] for entry in log]
    assert sum(a != b for a, b in pairwise(tasks)) == 3, "each of the four runs through"
    assert log != log_of("pct-1", 2)


def test_priorities_change_at_the_points_that_were_drawn() -> None:
    """With three change points among few steps some task is interrupted."""
    changes = 0
    for seed in range(20):
        log: list[int] = []

        async def work(task: int, log: list[int] = log) -> None:
            for _ in range(5):
                log.append(task)
                await asyncio.sleep(0)

        async def program(work: object = work) -> None:
            await asyncio.gather(*(work(task) for task in range(3)))  # type: ignore[operator]

        loop = VirtualLoop(order=PriorityOrder(random.Random(seed), 3, steps=10))
        run(program(), loop=loop)
        loop.close()
        changes += sum(a != b for a, b in pairwise(log)) > 2
    assert changes > 10


@pytest.mark.parametrize("name", ["random", "pct-1", "pct-3"])
def test_the_same_seed_gives_the_same_order(name: str) -> None:
    assert log_of(name, 5) == log_of(name, 5)
    assert Counter(log_of(name, 5)) == Counter(log_of("fifo", 5))
    assert len({tuple(log_of(name, seed)) for seed in range(8)}) > 3


def test_a_task_that_polls_lets_the_one_run_that_it_waits_for() -> None:
    async def program() -> int:
        done, polls = False, 0

        async def finish() -> None:
            nonlocal done
            await asyncio.sleep(0)
            done = True

        async def poll() -> None:
            nonlocal polls
            while not done:
                polls += 1
                await asyncio.sleep(0)

        await asyncio.gather(poll(), finish())
        return polls

    most = 0
    for seed in range(10):
        loop = VirtualLoop(order=PriorityOrder(random.Random(seed), 1))
        most = max(most, run(program(), loop=loop))
        loop.close()
    assert 10 < most <= 2 * PATIENCE + 10


def test_names() -> None:
    assert make_order("fifo", random.Random(1)) is None
    assert isinstance(make_order("random", random.Random(1)), RandomOrder)
    with pytest.raises(ValueError, match="'lifo' is not an order: write fifo, random, or pct-1 to pct-9"):
        make_order("lifo", random.Random(1))


# -- functions in threads


def thread_log(name: str, seed: int) -> list[int]:
    """The order in which functions in threads are called that are started at one instant."""
    log: list[int] = []

    async def program() -> None:
        await asyncio.gather(*(asyncio.to_thread(log.append, number) for number in range(4)))

    loop = VirtualLoop(order=make_order(name, random.Random(seed)))
    try:
        run(program(), loop=loop)
    finally:
        loop.close()
    return log


def test_functions_in_threads_run_in_a_drawn_order() -> None:
    assert thread_log("fifo", 1) == [0, 1, 2, 3]
    for name in ("random", "pct-2"):
        orders = [thread_log(name, seed) for seed in range(12)]
        assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
        assert len({tuple(order) for order in orders}) > 4
        assert orders == [thread_log(name, seed) for seed in range(12)]


def test_other_tasks_may_run_before_a_function_in_a_thread_does() -> None:
    """A read before `to_thread` and a write in it are two steps."""
    lost = 0
    for seed in range(20):
        shelf = {"stock": 10}

        async def take(shelf: dict[str, int] = shelf) -> None:
            stock = shelf["stock"]
            await asyncio.to_thread(shelf.__setitem__, "stock", stock - 1)

        async def program(take: object = take) -> None:
            await asyncio.gather(take(), take())  # type: ignore[operator]

        loop = VirtualLoop(order=RandomOrder(random.Random(seed)))
        run(program(), loop=loop)
        loop.close()
        lost += shelf["stock"] == 9
    assert lost > 10


def test_a_function_whose_waiter_was_cancelled_before_it_began_is_not_called() -> None:
    called: list[int] = []

    async def program() -> None:
        task = asyncio.create_task(asyncio.to_thread(called.append, 1))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(1)
        assert task.cancelled() or called

    for seed in range(8):
        loop = VirtualLoop(order=RandomOrder(random.Random(seed)))
        run(program(), loop=loop)
        loop.close()
    assert 0 < len(called) < 8


def test_answers_of_a_pools_threads_come_in_a_drawn_order() -> None:
    def slowly(number: int) -> int:
        time.sleep(0.01)
        return number

    def log_of_pool(seed: int) -> list[int]:
        log: list[int] = []

        async def program() -> None:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                futures = [asyncio.wrap_future(pool.submit(slowly, number)) for number in range(4)]
                for future in futures:
                    future.add_done_callback(lambda future: log.append(future.result()))
                await asyncio.gather(*futures)

        loop = VirtualLoop(order=RandomOrder(random.Random(seed)))
        run(program(), loop=loop)
        loop.close()
        return log

    orders = [log_of_pool(seed) for seed in range(8)]
    assert len({tuple(order) for order in orders}) > 3
    assert orders == [log_of_pool(seed) for seed in range(8)]
