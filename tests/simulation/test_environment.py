"""The SimPy environment under the loop: SimPy's own behaviour, and the heap of timers."""

import asyncio
import math

import pytest
import simpy

from queuesim.simulation.environment import Environment
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import run


def carwash(env, log):
    """SimPy's well-known example, shortened: two machines, five cars, an interruption and a condition."""
    machines = simpy.Resource(env, capacity=2)
    fuel = simpy.Container(env, capacity=100, init=10)
    shop = simpy.Store(env, capacity=3)

    def car(name):
        log.append((env.now, name, "arrives"))
        with machines.request() as request:
            result = yield request | env.timeout(7)
            if request not in result:
                log.append((env.now, name, "leaves"))
                return "left"
            yield env.timeout(5)
            yield fuel.get(5)
            yield shop.put(name)
            log.append((env.now, name, "clean"))
        return "washed"

    def tanker():
        try:
            yield env.timeout(100)
        except simpy.Interrupt as interrupt:
            log.append((env.now, "tanker", interrupt.cause))
            yield fuel.put(50)

    def source():
        truck = env.process(tanker())
        cars = []
        for number in range(5):
            cars.append(env.process(car(f"car {number}")))
            yield env.timeout(number % 2)
        yield env.timeout(12)
        truck.interrupt("called")
        outcome = yield env.all_of(cars[:2])
        log.append((env.now, [*outcome.values()]))
        log.append((env.now, (yield shop.get())))

    env.process(source())


def test_simpy_processes_run_as_on_simpys_environment():
    expected, alone, driven = [], [], []
    simpys = simpy.Environment()
    carwash(simpys, expected)
    simpys.run(until=50)
    assert len(expected) > 10

    env = Environment()
    carwash(env, alone)
    env.run(until=50)
    assert alone == expected

    async def main():
        carwash(asyncio.get_running_loop().env, driven)
        await asyncio.sleep(50)

    run(main())
    assert driven == expected


def test_running_until_an_event_returns_its_value():
    env = Environment()
    assert env.run(env.timeout(3, value="three")) == "three"
    assert env.now == 3


def test_running_alone_it_stops_as_simpy_does():
    env = Environment()
    ticks = []

    def clock():
        while True:
            ticks.append(env.now)
            yield env.timeout(1)

    env.process(clock())
    env.run(until=3)
    assert (env.now, ticks) == (3, [0, 1, 2])
    env.run(until=5)
    assert ticks == [0, 1, 2, 3, 4]
    assert env.peek() == 5


def test_an_empty_environment_has_nothing_to_do():
    env = Environment()
    assert env.peek() == math.inf
    env.run()
    with pytest.raises(simpy.core.EmptySchedule):
        env.step()


def test_running_it_under_a_loop_is_refused():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="the event loop drives this environment"):
            loop.env.run(until=5)
        return loop.time()

    loop = VirtualLoop()
    assert run(main(), loop=loop) == 0
    loop.env.run(until=5)
    assert loop.env.now == 5


def test_stepping_over_a_loops_timer_is_refused():
    loop = VirtualLoop()
    loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="run the loop"):
        loop.env.step()
    assert loop.time() == 0
    loop.close()


def test_cancelled_timers_are_purged_when_they_are_more_than_half():
    async def main():
        loop = asyncio.get_running_loop()
        kept = [loop.call_later(1000 + number, print) for number in range(100)]
        sizes = []
        for number in range(5000):
            loop.call_later(number, print).cancel()
            sizes.append(len(loop.env._queue))
        for timer in kept:
            timer.cancel()
        return max(sizes), len(loop.env._queue), loop.env.peek()

    largest, left, due = run(main())
    assert largest <= 2 * 100 + 2
    assert left <= 65
    assert due == math.inf


def test_sleeps_that_time_out_do_not_pile_up():
    async def main():
        loop = asyncio.get_running_loop()
        sizes = []
        for sleep in [loop.sleep, asyncio.sleep] * 1000:
            try:
                async with asyncio.timeout(1):
                    await sleep(1e6)
            except TimeoutError:
                sizes.append(len(loop.env._queue))
        return len(sizes), max(sizes), loop.time()

    count, largest, now = run(main())
    assert count == 2000
    assert largest < 150
    assert now == 2000


def test_the_count_of_cancelled_timers_stays_right():
    """Whatever takes a cancelled timer out of the heap counts it."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(1, print).cancel()
        asleep = asyncio.create_task(sleeping(loop))
        await asyncio.sleep(0.5)
        asleep.cancel()
        for delay in (1, 1, 2, 3):
            loop.call_later(delay, print).cancel()
        before = loop.env.cancelled
        await asyncio.sleep(5)
        return before, loop.env.cancelled

    assert run(main()) == (6, 0)


async def sleeping(loop):
    await loop.sleep(3)


def test_a_failed_event_ends_the_run_with_its_own_exception():
    error = LookupError("lost")

    async def main():
        asyncio.get_running_loop().env.event().fail(error)
        await asyncio.sleep(1)

    with pytest.raises(LookupError) as caught:
        run(main())
    assert caught.value is error
