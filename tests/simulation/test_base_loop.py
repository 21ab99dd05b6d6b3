"""Tasks, threads and executors on the virtual loop."""

import asyncio
import concurrent.futures
import threading

import pytest

from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import run


def test_threads_are_this_thread_and_take_no_time():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        thread = await asyncio.to_thread(threading.current_thread)
        return thread is threading.current_thread(), loop.time() - before

    assert run(main()) == (True, 0)


def test_the_result_of_a_thread_arrives_a_turn_later():
    """As from a real thread: whoever is ready runs first."""

    async def main():
        log = []
        asyncio.get_running_loop().call_soon(log.append, "ready before")
        log.append(await asyncio.to_thread(lambda: log.append("in the thread") or "result"))
        return log

    assert run(main()) == ["in the thread", "ready before", "result"]


def test_an_exception_of_a_thread_arrives():
    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        with pytest.raises(OSError, match="disk"):
            await asyncio.get_running_loop().run_in_executor(None, fail, OSError("disk"))

    run(main())


def fail(error):
    raise error


def test_an_executor_of_ones_own_is_not_used():
    async def main():
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, threading.current_thread)

    assert run(main()) is threading.current_thread()


def test_a_synchronous_wrapper_may_run_a_loop_of_its_own_in_a_thread():
    async def main():
        loop = asyncio.get_running_loop()
        result = await asyncio.to_thread(lambda: asyncio.run(asyncio.sleep(0, "from a loop of its own")))
        assert asyncio.get_running_loop() is loop
        return result

    assert run(main()) == "from a loop of its own"


def test_cancelling_whoever_waits_for_a_thread_is_harmless():
    async def main():
        task = asyncio.create_task(asyncio.to_thread(lambda: task.cancel()))
        await asyncio.wait([task])
        return task.cancelled()

    assert run(main()) is True


def test_a_thread_that_asks_to_exit_is_obeyed():
    async def main():
        await asyncio.to_thread(fail, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_task_names_count_from_one_in_every_loop():
    async def main():
        names = [asyncio.current_task().get_name()]
        for name in (None, "mine", None):
            task = asyncio.create_task(asyncio.sleep(0), name=name)
            names.append(task.get_name())
            await task
        return names

    assert run(main()) == run(main()) == ["Task-1", "Task-2", "mine", "Task-4"]


def test_a_task_factory_is_used():
    class Mine(asyncio.Task):
        """A task of the user's own."""

    async def main():
        asyncio.get_running_loop().set_task_factory(
            lambda loop, coroutine, **options: Mine(coroutine, loop=loop, **options)
        )
        task = asyncio.create_task(asyncio.sleep(1, "result"), name="mine")
        return type(task) is Mine, task.get_name(), await task

    assert run(main()) == (True, "mine", "result")


def test_tasks_lists_those_that_are_not_done_oldest_first():
    async def main():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(asyncio.sleep(delay)) for delay in (3, 1, 2)]
        await asyncio.sleep(1.5)
        assert loop.tasks() == [asyncio.current_task(), tasks[0], tasks[2]]

    run(main())


def test_it_says_whether_it_runs():
    loop = VirtualLoop()

    async def main():
        return loop.is_running(), asyncio.get_running_loop() is loop, loop.env.driven

    assert not loop.is_running()
    assert loop.run_until_complete(main()) == (True, True, True)
    assert not loop.is_running()
    assert not loop.env.driven
    loop.close()


def test_it_does_not_run_inside_another_loop_without_run():
    async def main():
        loop = VirtualLoop()
        coroutine = asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="another loop is running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        loop.close()

    asyncio.run(main())
