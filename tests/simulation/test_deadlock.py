"""Deadlock and livelock: recognised at once, and told with what every task waits for."""

import asyncio
import contextlib

import anyio
import pytest
import simpy

from queuesim.error import QueuesimError
from queuesim.simulation.diagnosis import MOST_LISTED, Deadlock
from queuesim.simulation.environment import until
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import Process
from queuesim.simulation.runner import run


def deadlock(main):
    """The message of the deadlock in which `main(loop)` ends."""
    loop = VirtualLoop()
    with pytest.raises(Deadlock) as caught:
        run(main(loop), loop=loop)
    assert isinstance(caught.value, QueuesimError)
    return str(caught.value)


async def get(loop):
    await asyncio.Queue().get()


async def put(loop):
    queue = asyncio.Queue(1)
    await queue.put(1)
    await queue.put(2)


async def joined(loop):
    queue = asyncio.Queue()
    queue.put_nowait(1)
    await queue.join()


async def event(loop):
    await asyncio.Event().wait()


async def lock(loop):
    lock = asyncio.Lock()
    await lock.acquire()
    async with lock:
        pass


async def semaphore(loop):
    async with asyncio.Semaphore(0):
        pass


async def condition(loop):
    condition = asyncio.Condition()
    async with condition:
        await condition.wait()


async def barrier(loop):
    await asyncio.Barrier(2).wait()


async def future(loop):
    await loop.create_future()


async def gathered(loop):
    await asyncio.gather(loop.create_future())


async def request(loop):
    pool = simpy.Resource(loop.env)
    await until(pool.request())
    await until(pool.request())


async def store(loop):
    await until(simpy.Store(loop.env).get())


async def anyio_event(loop):
    await anyio.Event().wait()


async def forever(loop):
    await asyncio.sleep(float("inf"))


async def own_forever(loop):
    await loop.sleep(float("inf"))


@pytest.mark.parametrize(
    ("program", "primitive"),
    [
        (get, "Queue.get"),
        (put, "Queue.put"),
        (joined, "Queue.join"),
        (event, "Event.wait"),
        (lock, "Lock.acquire"),
        (semaphore, "Semaphore.acquire"),
        (condition, "Condition.wait"),
        (barrier, "Barrier.wait"),
        (future, "a Future"),
        (gathered, "gather"),
        (request, "a SimPy Request"),
        (store, "a SimPy StoreGet"),
        (anyio_event, "Event.wait"),
        (forever, "sleep"),
        (own_forever, "sleep until inf s"),
    ],
)
def test_the_message_names_task_primitive_and_place(program, primitive):
    message = deadlock(program)
    expected = program.__code__
    lines = range(expected.co_firstlineno + 1, expected.co_firstlineno + 6)
    assert message.startswith("deadlock at 0 s of virtual time")
    assert "1 task(s) left:" in message
    places = [f"Task-1 waits for {primitive} in {program.__name__} ({expected.co_filename}:{line})" for line in lines]
    assert any(place in message for place in places), message


def test_every_task_is_named_oldest_first():
    async def main(loop):
        await asyncio.sleep(2.5)
        ready = asyncio.Event()

        async def inner():
            await ready.wait()

        async def outer():
            await inner()

        async with asyncio.TaskGroup() as group:
            waited_for = group.create_task(outer(), name="the consumer")
            group.create_task(waits_for(waited_for))

    message = deadlock(main)
    lines = message.splitlines()
    assert lines[0].startswith("deadlock at 2.5 s")
    assert lines[1] == "3 task(s) left:"
    assert "Task-1 waits for TaskGroup.__aexit__ in " in lines[2]
    assert "the consumer waits for Event.wait in " in lines[3]
    assert "inner (" in lines[3]
    assert "Task-3 waits for the consumer in waits_for (" in lines[4]


async def waits_for(task):
    await task


def test_many_tasks_are_counted():
    async def main(loop):
        await asyncio.gather(*(event(loop) for _ in range(MOST_LISTED + 10)))

    message = deadlock(main)
    assert message.count("waits for Event.wait") == MOST_LISTED - 1
    assert "and 11 more" in message


def test_killed_and_frozen_processes_are_told():
    async def main(loop):
        process, frozen = Process("worker-1"), Process("worker-2")
        victim = asyncio.create_task(event(loop), context=process.context)
        asyncio.create_task(asyncio.sleep(1), context=frozen.context, name="held").add_done_callback(id)
        await asyncio.sleep(0.5)
        process.kill()
        frozen.freeze()
        await waits_for(victim)

    message = deadlock(main)
    assert "Task-1 waits for Task-2, which was killed, in waits_for" in message
    assert "held waits for sleep" in message
    assert "its process 'worker-2' is frozen" in message
    assert "2 task(s) left" in message


def test_a_loop_without_tasks_that_nobody_stops():
    loop = VirtualLoop()
    loop.call_later(7, id, "no matter")
    with pytest.raises(Deadlock, match=r"deadlock at 7 s.*\nNo task is left") as caught:
        loop.run_forever()
    assert caught.value.time == 7
    loop.close()


def test_a_task_that_will_not_end_is_a_note_on_the_deadlock():
    async def main():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with pytest.raises(Deadlock) as caught:
        run(main())
    assert any("and while the simulation was ended: Deadlock" in note for note in caught.value.__notes__)
