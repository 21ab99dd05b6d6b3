"""The watchdog interrupts a handler that holds the loop, and disturbs nothing else."""

import asyncio
import random
import signal
import threading
import time

import pytest

from queuesim.core.errors import HandlerBlockedError
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import run
from queuesim.simulation.watchdog import Watchdog

LIMIT = 0.1
"""Seconds: short for the tests, long for a computer."""


def spin():
    while True:
        pass


def watched(main, limit=LIMIT, **options):
    """Run `main(loop)` under a watchdog; its result and how often the watchdog interrupted."""
    loop = VirtualLoop(**options)
    with Watchdog(loop, limit) as watchdog:
        result = run(main(loop), loop=loop)
    return result, watchdog.interruptions


def in_thread(function):
    """Call `function` in a thread of its own."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(function()))
    thread.start()
    thread.join(60)
    return outcome[0]


@pytest.mark.parametrize("where", [lambda function: function(), in_thread], ids=["main thread", "other thread"])
@pytest.mark.parametrize("shuffle", [None, random.Random(1)], ids=["in order", "shuffled"])
@pytest.mark.parametrize("before", ["nothing", "asyncio's sleep", "the loop's sleep"])
def test_a_handler_that_never_awaits_is_interrupted(where, shuffle, before):
    async def main(loop):
        async def handler():
            if before == "asyncio's sleep":
                await asyncio.sleep(3)
            elif before == "the loop's sleep":
                await loop.sleep(3)
            spin()

        task = asyncio.create_task(handler())
        with pytest.raises(HandlerBlockedError):
            await task
        await asyncio.sleep(10)
        return loop.time()

    result, interruptions = where(lambda: watched(main, shuffle=shuffle))
    assert result == (10 if before == "nothing" else 13)
    assert interruptions == 1


def test_the_message_tells_the_limit():
    async def main(loop):
        with pytest.raises(HandlerBlockedError, match=r"held the event loop for more than 0\.1 s of real time"):
            spin()

    assert watched(main) == (None, 1)


def test_a_blocking_call_is_interrupted():
    async def main(loop):
        started = time.monotonic()
        with pytest.raises(HandlerBlockedError):
            time.sleep(60)  # noqa: ASYNC251  (a handler that blocks)
        return time.monotonic() - started

    elapsed, _ = watched(main)
    assert LIMIT <= elapsed < 30


def test_a_blocking_call_in_to_thread_is_interrupted():
    async def main(loop):
        with pytest.raises(HandlerBlockedError):
            await asyncio.to_thread(spin)

    assert watched(main)[1] == 1


def test_a_handler_that_goes_on_is_interrupted_again():
    async def main(loop):
        for _ in range(3):
            with pytest.raises(HandlerBlockedError):
                spin()

    assert watched(main)[1] == 3


def test_short_callbacks_are_left_alone_however_long_the_run():
    async def main(loop):
        until = time.monotonic() + 4 * LIMIT
        steps = 0
        while time.monotonic() < until:
            await loop.sleep(1)
            await asyncio.sleep(0)
            steps += 1
        return steps

    steps, interruptions = watched(main)
    assert steps > 100
    assert interruptions == 0


def test_what_is_no_task_is_left_alone():
    async def main(loop):
        def busy():
            until = time.monotonic() + 3 * LIMIT
            while time.monotonic() < until:
                pass
            return "done"

        future = loop.create_future()
        loop.call_soon(lambda: future.set_result(busy()))
        return await future

    assert watched(main) == ("done", 0)


def test_nothing_is_interrupted_after_the_run():
    loop = VirtualLoop()
    with Watchdog(loop, LIMIT) as watchdog:
        run(asyncio.sleep(5), loop=loop)
        until = time.monotonic() + 3 * LIMIT
        while time.monotonic() < until:
            pass
    assert watchdog.interruptions == 0


def test_the_signal_and_the_timer_are_given_back():
    def handler(number, frame):
        raise AssertionError("the alarm was for the time-out, which is far away")

    handler_before = signal.signal(signal.SIGALRM, handler)
    timer_before = signal.setitimer(signal.ITIMER_REAL, 100.0)
    try:
        loop = VirtualLoop()
        with Watchdog(loop, LIMIT):
            assert signal.getsignal(signal.SIGALRM) is not handler
            run(asyncio.sleep(5), loop=loop)
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer_before)
        signal.signal(signal.SIGALRM, handler_before)


def test_an_alarm_that_came_due_meanwhile_is_not_lost():
    alarms = []
    handler_before = signal.signal(signal.SIGALRM, lambda number, frame: alarms.append(number))
    timer_before = signal.setitimer(signal.ITIMER_REAL, LIMIT / 2)
    try:
        with Watchdog(VirtualLoop(), 60.0) as watchdog:
            until = time.monotonic() + LIMIT
            while time.monotonic() < until:
                pass
            assert alarms == []
        until = time.monotonic() + 30
        while not alarms and time.monotonic() < until:
            pass
        assert alarms == [signal.SIGALRM]
        watchdog.loop.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer_before)
        signal.signal(signal.SIGALRM, handler_before)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_the_limit_is_a_positive_number(limit):
    loop = VirtualLoop()
    with pytest.raises(ValueError, match="positive number"):
        Watchdog(loop, limit)
    loop.close()


def test_the_alarm_of_somebody_else_rings_while_a_run_goes_on():
    """A test's time limit holds for a simulation that never ends."""

    def ring(number, frame):
        raise TimeoutError

    handler_before = signal.signal(signal.SIGALRM, ring)
    timer_before = signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        with Watchdog(VirtualLoop(), LIMIT) as watchdog, pytest.raises(TimeoutError):
            signal.sigtimedwait([], 30)  # what the alarm's handler raises comes out of it
        watchdog.loop.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer_before)
        signal.signal(signal.SIGALRM, handler_before)
