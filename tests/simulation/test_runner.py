"""Running a program in virtual time, also inside a running loop."""

import asyncio
import logging
import random
import sqlite3
import threading

import pytest

from queuesim.simulation.loop import Interrupted, VirtualLoop
from queuesim.simulation.runner import run


async def now_after(seconds):
    await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


def test_it_returns_what_the_program_returns():
    assert run(now_after(3600)) == 3600


def test_it_raises_what_the_program_raises():
    async def main():
        await asyncio.sleep(1)
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        run(main())


def test_the_loop_is_closed_a_passed_one_too():
    loop = VirtualLoop()
    assert run(now_after(1), loop=loop) == 1
    assert loop.is_closed()


def test_it_wants_a_coroutine_and_one_shuffle():
    with pytest.raises(ValueError, match="a coroutine was expected"):
        run(now_after)
    loop = VirtualLoop()
    with pytest.raises(ValueError, match="belong to the loop"):
        run(now_after(1), loop=loop, shuffle=random.Random(1))
    loop.close()


def test_left_over_tasks_are_cancelled_and_clean_up_in_virtual_time():
    log = []

    async def left_over(number):
        loop = asyncio.get_running_loop()
        try:
            await loop.sleep(1e6)
        finally:
            await loop.sleep(number)
            log.append((number, loop.time()))

    async def main():
        tasks = [asyncio.create_task(left_over(number)) for number in (3, 1, 2)]
        await asyncio.sleep(1)
        return tasks

    assert all(task.cancelled() for task in run(main()))
    assert log == [(1, 2.0), (2, 3.0), (3, 4.0)]


def test_left_over_tasks_are_cancelled_oldest_first():
    log = []

    async def left_over(number):
        try:
            await asyncio.Event().wait()
        finally:
            log.append(number)

    async def main():
        tasks = [asyncio.create_task(left_over(number)) for number in range(50)]
        await asyncio.sleep(1)
        return tasks

    run(main())
    assert log == [*range(50)]


def test_an_exception_in_cleaning_up_goes_to_the_exception_handler(caplog):
    async def left_over():
        try:
            await asyncio.sleep(100)
        finally:
            raise OSError("while cleaning up")

    async def main():
        task = asyncio.create_task(left_over())
        await asyncio.sleep(1)
        return task

    with caplog.at_level(logging.ERROR, logger="asyncio"):
        run(main())
    assert "unhandled exception while the simulation was ended" in caplog.text
    assert "while cleaning up" in caplog.text


def test_asynchronous_generators_are_shut_down():
    log = []

    async def generator():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(2)
            log.append(asyncio.get_running_loop().time())

    async def main():
        agen = generator()
        await anext(agen)
        log.append("main ends")
        return agen

    run(main())
    assert log == ["main ends", 2.0]


def test_context_variables_of_the_caller_are_seen():
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("by the caller")

    async def main():
        return variable.get()

    assert run(main()) == "by the caller"


# -- inside a running loop, as in a notebook's cell


def test_it_runs_inside_a_running_loop_which_then_goes_on():
    async def cell():
        outer, task = asyncio.get_running_loop(), asyncio.current_task()
        seconds = [run(now_after(1000)), run(now_after(2000))]
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        assert await asyncio.create_task(asyncio.sleep(0, "a task")) == "a task"
        return seconds

    assert asyncio.run(cell()) == [1000, 2000]


def test_it_runs_inside_itself():
    async def inner(depth):
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        await asyncio.sleep(depth)
        nested = run(inner(depth - 1)) if depth else []
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        await loop.sleep(depth)
        async with asyncio.timeout(1):
            await asyncio.sleep(0.5)
        return [*nested, loop.time()]

    async def cell():
        return run(inner(2))

    assert asyncio.run(cell()) == [0.5, 2.5, 4.5]


@pytest.mark.parametrize("error", [LookupError, Interrupted, KeyboardInterrupt])
def test_the_outer_loop_is_restored_after_an_error_too(error):
    async def fail():
        await asyncio.sleep(1)
        raise error("in the simulation")

    async def cell():
        outer, task = asyncio.get_running_loop(), asyncio.current_task()
        with pytest.raises(error):
            run(fail())
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is task
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        return "goes on"

    assert asyncio.run(cell()) == "goes on"


def test_tasks_of_the_outer_loop_stand_still_meanwhile():
    async def cell():
        log = []

        async def neighbour():
            log.append("neighbour")

        task = asyncio.create_task(neighbour())
        run(now_after(1000))
        log.append("simulated")
        await task
        return log

    assert asyncio.run(cell()) == ["simulated", "neighbour"]


def test_a_database_connection_of_the_cell_works_in_the_simulation():
    async def cell():
        connection = sqlite3.connect(":memory:")  # bound to this thread by sqlite3

        def insert(value):
            connection.execute("insert into entries values (?)", (value,))
            return threading.current_thread()

        async def main():
            connection.execute("create table entries (value)")
            await asyncio.sleep(60)
            insert(1)
            return await asyncio.to_thread(insert, 2)

        assert run(main()) is threading.current_thread()
        rows = connection.execute("select value from entries").fetchall()
        connection.close()
        return rows

    assert asyncio.run(cell()) == [(1,), (2,)]


def test_generator_hooks_of_the_outer_loop_are_restored():
    async def generator(log):
        try:
            while True:
                yield 1
        finally:
            log.append("closed")

    async def cell():
        log = []
        run(now_after(1))
        async for _ in generator(log):
            break
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return log

    assert asyncio.run(cell()) == ["closed"]
