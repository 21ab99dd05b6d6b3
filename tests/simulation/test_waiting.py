"""Waiting for SimPy's events in async code."""

import asyncio

import pytest
import simpy

from queuesim.simulation.environment import Environment, until
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import run


def simulate(main):
    """Run `main(env)` on a loop of its own."""
    loop = VirtualLoop()
    return run(main(loop.env), loop=loop)


def test_a_timeout_and_its_value():
    async def main(env):
        return await until(env.timeout(3, value="three")), env.now

    assert simulate(main) == ("three", 3)


def test_an_event_that_has_happened_is_not_waited_for():
    async def main(env):
        event = env.timeout(1, value="old")
        await asyncio.sleep(2)
        return await until(event), env.now

    assert simulate(main) == ("old", 2)


def test_a_resource_is_shared_first_come_first_served():
    async def main(env):
        pool = simpy.Resource(env, capacity=2)
        log = []

        async def use(name):
            with pool.request() as request:
                await until(request)
                log.append((name, env.now))
                await asyncio.sleep(10)

        async with asyncio.TaskGroup() as group:
            for name in "abcde":
                group.create_task(use(name))
        return log, pool.count

    assert simulate(main) == ([("a", 0), ("b", 0), ("c", 10), ("d", 10), ("e", 20)], 0)


def test_a_store_connects_a_process_and_a_task():
    async def main(env):
        store = simpy.Store(env, capacity=1)

        def producer():
            for number in range(4):
                yield env.timeout(2)
                yield store.put(number)
            return "produced"

        process = env.process(producer())
        received = []
        for _ in range(4):
            received.append((await until(store.get()), env.now))
            await asyncio.sleep(3)
        return received, await until(process)

    assert simulate(main) == ([(0, 2), (1, 5), (2, 8), (3, 11)], "produced")


def test_a_container_and_a_priority_resource():
    async def main(env):
        tank = simpy.Container(env, capacity=10)
        desk = simpy.PriorityResource(env, capacity=1)
        log = []

        async def client(name, priority):
            with desk.request(priority=priority) as request:
                await until(request)
                await until(tank.get(1))
                log.append(name)

        clients = [asyncio.create_task(client(name, priority)) for name, priority in (("c", 3), ("a", 1), ("b", 2))]
        await asyncio.sleep(1)
        await until(tank.put(5))
        await asyncio.gather(*clients)
        return log, tank.level

    assert simulate(main) == (["c", "a", "b"], 2)


def test_any_of_and_all_of():
    async def main(env):
        fast, slow = env.timeout(1, "fast"), env.timeout(4, "slow")
        first = await until(env.any_of([slow, fast]))
        seen = [(list(first.values()), env.now)]
        both = await until(fast & slow)
        return [*seen, (list(both.values()), env.now)]

    assert simulate(main) == [(["fast"], 1), (["fast", "slow"], 4)]


def test_a_process_may_wait_for_a_task_through_an_event():
    async def main(env):
        done = env.event()
        log = []

        def process():
            log.append(((yield done), env.now))

        env.process(process())
        await asyncio.sleep(5)
        done.succeed("by a task")
        await asyncio.sleep(0.5)
        return log

    assert simulate(main) == [("by a task", 5)]


def test_a_failure_is_raised_in_every_waiter_and_nowhere_else():
    async def main(env):
        event = env.event()

        async def waiter():
            with pytest.raises(LookupError, match="gone") as caught:
                await until(event)
            return caught.value

        waiters = [asyncio.create_task(waiter()) for _ in range(2)]
        await asyncio.sleep(1)
        error = LookupError("gone")
        event.fail(error)
        assert await asyncio.gather(*waiters) == [error, error]
        assert await waiter() is error  # it has happened by now

    simulate(main)


def test_a_crashed_process_is_raised_in_the_waiter():
    async def main(env):
        def process():
            yield env.timeout(1)
            raise KeyError("crash")

        with pytest.raises(KeyError, match="crash"):
            await until(env.process(process()))
        return env.now

    assert simulate(main) == 1


def test_a_process_that_crashes_with_nobody_waiting_ends_the_run():
    async def main(env):
        def process():
            yield env.timeout(1)
            raise KeyError("crash")

        env.process(process())
        await asyncio.sleep(10)

    with pytest.raises(KeyError, match="crash"):
        simulate(main)


def test_a_timeout_detaches_the_waiter_and_gives_the_request_back():
    async def main(env):
        pool = simpy.Resource(env, capacity=1)
        holder = pool.request()
        await until(holder)

        async def impatient():
            with pool.request() as request:
                await until(request)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(impatient(), 2)
        queue = len(pool.queue)
        pool.release(holder)
        await asyncio.sleep(1)
        return queue, pool.count, env.now

    assert simulate(main) == (0, 0, 3)


def test_cancelling_leaves_the_event_to_others():
    async def main(env):
        event = env.event()
        first, second = asyncio.create_task(until(event)), asyncio.create_task(until(event))
        await asyncio.sleep(1)
        callbacks = len(event.callbacks)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        assert len(event.callbacks) == callbacks - 1
        event.succeed("others")
        return await second

    assert simulate(main) == "others"


def test_an_event_that_fails_after_its_only_waiter_left_ends_the_run():
    async def main(env):
        event = env.event()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(until(event), 1)
        event.fail(LookupError("unseen"))
        await asyncio.sleep(1)

    with pytest.raises(LookupError, match="unseen"):
        simulate(main)


def test_an_event_in_the_instant_of_the_cancellation():
    """The event happens and the task is cancelled at one instant: the cancellation counts, the event goes unused."""

    async def main(env):
        event = env.event()
        task = asyncio.create_task(until(event))
        await asyncio.sleep(1)
        event.succeed()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled(), event.processed or event.triggered

    assert simulate(main) == (True, True)


def test_another_environments_event_is_refused():
    async def main(env):
        with pytest.raises(RuntimeError, match=r"not of this loop's environment"):
            await until(Environment().timeout(1))
        with pytest.raises(RuntimeError, match=r"not of this loop's environment"):
            await until(simpy.Environment().timeout(1))

    simulate(main)


def test_outside_of_a_simulation_it_is_refused():
    async def main():
        with pytest.raises(RuntimeError, match="works in a simulation only"):
            await until(Environment().timeout(1))

    asyncio.run(main())
