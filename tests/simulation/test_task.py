"""Nothing depends on addresses in memory: the same program leaves the same log in every run, and in every process."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys

import pytest
import simpy

from queuesim.simulation.environment import until
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import Process
from queuesim.simulation.runner import run


def busy_log(seed, shuffled):
    """The log of a program that uses a bit of everything, with times and task names."""
    log = []
    loop = VirtualLoop(shuffle=random.Random(seed) if shuffled else None)

    def note(*words):
        log.append((loop.time(), asyncio.current_task().get_name(), *words))

    async def job(number, pool, randomness):
        try:
            async with asyncio.timeout(randomness.expovariate(1) + 0.5):
                with pool.request() as request:
                    await until(request)
                    note("starts", number)
                    await loop.sleep(randomness.expovariate(1))
                if randomness.random() < 0.1:
                    raise RuntimeError(f"job {number} failed")
                note(await asyncio.to_thread(str, "through a thread"))
        except TimeoutError:
            note("timed out", number)
        except asyncio.CancelledError:
            note("cancelled", number)
            raise
        else:
            note("done", number)

    async def batch(first, pool, randomness):
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(first, first + 12):
                    group.create_task(job(number, pool, randomness))
        except* RuntimeError as errors:
            note("batch failed", [str(error) for error in errors.exceptions])

    async def main():
        randomness = random.Random(seed)
        pool = simpy.Resource(loop.env, capacity=3)
        process = Process("worker")
        inside = asyncio.create_task(batch(1000, pool, randomness), context=process.context)
        for first in range(0, 120, 12):
            await batch(first, pool, randomness)
            if first == 48:
                process.freeze()
            if first == 60:
                process.thaw()
        done, pending = await asyncio.wait([inside, *(asyncio.create_task(asyncio.sleep(1)) for _ in range(9))])
        note([task.get_name() for task in done], len(pending))

    run(main(), loop=loop)
    return log


def digest(log):
    return hashlib.sha256(repr(log).encode()).hexdigest()


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_same_seed_leaves_the_same_log(shuffled):
    log = busy_log(7, shuffled)
    assert len(log) > 150
    assert {entry[2] for entry in log if isinstance(entry[2], str)} >= {"starts", "done", "cancelled", "batch failed"}
    ballast = [object() for _ in range(10_000)]  # moves what is allocated next
    assert busy_log(7, shuffled) == log
    del ballast
    assert busy_log(8, shuffled) != log


def test_another_process_leaves_the_same_log():
    expected = digest(busy_log(7, True))
    here = os.path.dirname(__file__)
    program = f"import sys; sys.path.insert(0, {here!r}); import test_task as t; print(t.digest(t.busy_log(7, True)))"
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        assert ended.stdout.strip() == expected


def test_a_set_of_tasks_has_an_order_of_its_own():
    async def main():
        orders = []
        for _ in range(3):
            tasks = {asyncio.create_task(asyncio.sleep(1)) for _ in range(40)}
            first = min(int(task.get_name().removeprefix("Task-")) for task in tasks)
            orders.append([int(task.get_name().removeprefix("Task-")) - first for task in tasks])
            await asyncio.wait(tasks)
        return orders

    assert run(main()) == run(main())


def test_tasks_are_equal_only_to_themselves():
    async def main():
        first, second = asyncio.create_task(asyncio.sleep(1)), asyncio.create_task(asyncio.sleep(1))
        assert first != second
        assert len({first, second, asyncio.current_task()}) == 3
        assert hash(second) == hash(first) + 1
        await asyncio.wait({first, second})

    run(main())
