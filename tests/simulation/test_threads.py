"""Real threads that a simulation starts: virtual time waits for them; what they ask of the loop works or is refused."""

import asyncio
import concurrent.futures
import threading
import time
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from queuesim.simulation.diagnosis import BusyThread, Deadlock
from queuesim.simulation.loop import InlineThreadError, VirtualLoop
from queuesim.simulation.runner import run

TEXT = Path(__file__).read_text()


async def anyio_thread():
    return await anyio.to_thread.run_sync(lambda: time.sleep(0.01) or 7)


async def anyio_thread_beside_a_timer():
    async with asyncio.TaskGroup() as group:
        thread = group.create_task(anyio_thread())
        group.create_task(asyncio.sleep(3600))
    return thread.result()


async def anyio_path():
    return await anyio.Path(__file__).read_text() == TEXT


async def anyio_back_in_the_loop():
    return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(later, 5))


async def later(seconds):
    await asyncio.sleep(seconds / 100 if isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop) else seconds)
    return seconds


async def plain_thread_sets_a_future():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    threading.Thread(target=lambda: time.sleep(0.01) or loop.call_soon_threadsafe(future.set_result, 1)).start()
    return await future


async def plain_thread_runs_a_coroutine():
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def work():
        value = asyncio.run_coroutine_threadsafe(later(3), loop).result()
        loop.call_soon_threadsafe(future.set_result, value)

    threading.Thread(target=work).start()
    return await future


async def pool_of_ones_own():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [asyncio.wrap_future(pool.submit(lambda n=n: time.sleep(0.01) or n)) for n in range(5)]
        return await asyncio.gather(*futures)


async def timer_of_threading():
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    threading.Timer(0.01, lambda: loop.call_soon_threadsafe(done.set)).start()
    return await done.wait()


PROGRAMS = [
    anyio_thread,
    anyio_thread_beside_a_timer,
    anyio_path,
    anyio_back_in_the_loop,
    plain_thread_sets_a_future,
    plain_thread_runs_a_coroutine,
    pool_of_ones_own,
    timer_of_threading,
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_result_is_asyncios_every_time(program):
    expected = None if program is anyio_thread_beside_a_timer else asyncio.run(program())
    for _ in range(20):
        assert run(program()) == (7 if expected is None else expected)


@pytest.mark.timeout(60)
def test_work_of_threads_takes_no_virtual_time():
    async def main():
        before = asyncio.get_running_loop().time()
        await anyio_thread()
        await pool_of_ones_own()
        return asyncio.get_running_loop().time() - before

    assert run(main()) == 0


@pytest.mark.timeout(60)
def test_threads_hand_over_in_the_order_of_their_start_however_long_they_take():
    async def main():
        loop = asyncio.get_running_loop()
        order, done = [], loop.create_future()

        def work(number, seconds):
            time.sleep(seconds)
            loop.call_soon_threadsafe(order.append, number)
            loop.call_soon_threadsafe(lambda: len(order) == 4 and not done.done() and done.set_result(None))

        for number, seconds in enumerate((0.03, 0.0, 0.02, 0.01)):
            threading.Thread(target=work, args=(number, seconds)).start()
        await done
        return order

    assert run(main()) == [0, 1, 2, 3]


@pytest.mark.timeout(60)
def test_time_goes_on_while_a_thread_waits_for_it():
    async def main():
        loop = asyncio.get_running_loop()
        asked = threading.Event()
        done = loop.create_future()

        def work():
            asked.wait()
            loop.call_soon_threadsafe(done.set_result, None)

        threading.Thread(target=work).start()
        loop.call_later(100, asked.set)
        await done
        return loop.time()

    assert run(main()) == 100


@pytest.mark.timeout(60)
def test_a_coroutine_for_the_own_loop_is_refused_in_to_thread():
    async def main():
        loop = asyncio.get_running_loop()
        coroutine = asyncio.sleep(1)
        with pytest.raises(
            InlineThreadError, match=r"run_coroutine_threadsafe\(\) can't work inside asyncio.to_thread"
        ):
            await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(coroutine, loop).result())
        coroutine.close()
        called = []
        await asyncio.to_thread(lambda: loop.call_soon_threadsafe(called.append, 1))
        await asyncio.sleep(0)
        return called

    assert run(main()) == [1]


@pytest.mark.timeout(60)
def test_a_thread_that_does_not_end_is_named():
    loop = VirtualLoop()
    loop.thread_limit = 0.2
    stop = []

    def spin():
        while not stop:
            time.sleep(0.001)

    async def main():
        threading.Thread(target=spin, name="spinner").start()
        try:
            await asyncio.sleep(1)
        finally:
            stop.append(True)

    with pytest.raises(BusyThread, match=r"thread 'spinner' in .*spin \(.*\) is still busy after 0\.2 s of real time"):
        run(main(), loop=loop)
    assert issubclass(BusyThread, Deadlock)


@pytest.mark.timeout(60)
def test_threads_that_wait_for_each_other_are_a_deadlock():
    never = threading.Event()

    async def main():
        threading.Thread(target=never.wait, daemon=True).start()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="waits for a Future"):
        run(main())
    never.set()


@pytest.mark.timeout(60)
def test_a_thread_whose_wait_ends_without_effect_is_a_deadlock():
    async def main():
        threading.Thread(target=lambda: threading.Event().wait(0.02)).start()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="waits for a Future"):
        run(main())


@pytest.mark.timeout(60)
def test_a_thread_from_outside_is_heard():
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        asked.append((loop, future))
        while not future.done():
            await asyncio.sleep(1)
            time.sleep(0.001)  # noqa: ASYNC251  (the other thread needs real time)
        return future.result()

    asked = []

    def outsider():
        while not asked:
            time.sleep(0.001)
        loop, future = asked[0]
        loop.call_soon_threadsafe(future.set_result, "heard")

    thread = threading.Thread(target=outsider)
    thread.start()
    assert run(main()) == "heard"
    thread.join()
