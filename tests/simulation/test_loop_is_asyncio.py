"""Where the virtual loop once differed from asyncio's: timers that are due, their order, use after close."""

import asyncio

import pytest

from queuesim.simulation.diagnosis import Livelock
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import run


async def polls_until_due():
    loop = asyncio.get_running_loop()
    ran = []
    loop.call_later(0, ran.append, True)
    rounds = 0
    while not ran and rounds < 1000:
        rounds += 1
        await asyncio.sleep(0)
    return rounds


async def order_of_overdue():
    loop = asyncio.get_running_loop()
    order = []
    for delay in (-1, -3, -2):
        loop.call_later(delay, order.append, delay)
    loop.call_at(loop.time() - 4, order.append, -4)
    await asyncio.sleep(0.01)
    return order


async def due_between_chained_callbacks():
    loop = asyncio.get_running_loop()
    order = []

    def chain(depth):
        order.append(depth)
        if depth < 3:
            loop.call_soon(chain, depth + 1)

    loop.call_later(0, order.append, "due")
    loop.call_soon(chain, 1)
    await asyncio.sleep(0.01)
    return order


async def cancelled_while_due():
    loop = asyncio.get_running_loop()
    order = []
    timers = [loop.call_later(-1, order.append, number) for number in range(3)]
    timers[1].cancel()
    loop.call_soon(timers[2].cancel)
    await asyncio.sleep(0.01)
    return order


@pytest.mark.parametrize(
    "program", [polls_until_due, order_of_overdue, due_between_chained_callbacks, cancelled_while_due]
)
def test_timers_that_are_due_run_as_on_asyncios_loop(program):
    assert run(program()) == asyncio.run(program())


def test_a_due_timer_that_sets_another_for_ever_is_a_livelock():
    loop = VirtualLoop()
    loop.most_generations = 1000

    def again():
        loop.call_later(0, again)

    async def main():
        again()
        await asyncio.sleep(1)

    with pytest.raises(Livelock):
        run(main(), loop=loop)


def test_a_stopped_loop_still_runs_what_is_due():
    loop = VirtualLoop()
    ran = []
    loop.call_later(0, ran.append, 1)
    loop.stop()
    loop.run_forever()
    assert ran == [1]
    loop.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.call_later(1, print),
        lambda loop: loop.call_later(-1, print),
        lambda loop: loop.call_at(1, print),
        lambda loop: loop.call_at(float("inf"), print),
    ],
)
def test_a_closed_loop_is_not_used(use):
    for loop in (VirtualLoop(), asyncio.new_event_loop()):
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            use(loop)
