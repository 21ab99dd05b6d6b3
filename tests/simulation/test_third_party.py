"""Third-party asynchronous libraries, unmodified, on the virtual loop."""

import asyncio

import anyio
import anyio.abc
import pytest
import tenacity

from queuesim.simulation.runner import run


def clock():
    return asyncio.get_running_loop().time()


# -- anyio


def test_anyio_task_groups_and_memory_streams():
    async def main():
        send, receive = anyio.create_memory_object_stream(1)

        async def producer():
            async with send:
                for number in range(3):
                    await anyio.sleep(10)
                    await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(producer)
            async with receive:
                log = [(number, clock()) async for number in receive]
        return log

    assert run(main()) == [(0, 10.0), (1, 20.0), (2, 30.0)]


def test_anyio_scopes_and_their_deadlines():
    async def main():
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(100)
        log = [(scope.cancelled_caught, clock())]
        with pytest.raises(TimeoutError):
            with anyio.fail_after(7):
                await anyio.Event().wait()
        log.append(clock())
        with anyio.move_on_after(1):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            log.append(("shielded", clock()))
            await anyio.sleep(3)
        log.append(clock())
        return log

    assert run(main()) == [(True, 5.0), 12.0, ("shielded", 15.0), 15.0]


def test_an_anyio_group_cancels_the_loops_own_sleepers():
    async def main():
        log = []

        async def sleeper(number, *, task_status=anyio.TASK_STATUS_IGNORED):
            task_status.started(number)
            try:
                await asyncio.get_running_loop().sleep(1000)
            finally:
                log.append((number, clock()))

        async with anyio.create_task_group() as group:
            for number in range(4):
                assert await group.start(sleeper, number) == number
            await anyio.sleep(2)
            group.cancel_scope.cancel()
        return log

    # anyio keeps the scopes of these tasks in a set, so it cancels them in an order of their addresses.
    assert sorted(run(main())) == [(number, 2.0) for number in range(4)]


def test_anyio_locks_limiters_and_conditions():
    async def main():
        limiter, lock = anyio.CapacityLimiter(2), anyio.Lock()
        log = []

        async def work(number):
            async with limiter:
                await anyio.sleep(1)
            async with lock:
                log.append((number, clock()))

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(work, number)
        return log

    assert run(main()) == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0), (4, 3.0)]


def test_a_failing_anyio_task_cancels_its_siblings():
    async def main():
        async def fail():
            await anyio.sleep(1)
            raise LookupError("missing")

        async def together():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 100)
                group.start_soon(fail)

        with pytest.raises(ExceptionGroup) as caught:
            await together()
        return str(caught.value.exceptions[0]), clock()

    assert run(main()) == ("missing", 1.0)


# -- tenacity


def test_tenacitys_asynchronous_retry_waits_in_virtual_time():
    async def main():
        attempts = []

        @tenacity.retry(
            wait=tenacity.wait_exponential(multiplier=1), stop=tenacity.stop_after_attempt(5), sleep=asyncio.sleep
        )
        async def flaky():
            attempts.append(clock())
            if len(attempts) < 4:
                raise OSError("not yet")
            return "at last"

        return await flaky(), attempts

    assert run(main()) == ("at last", [0.0, 1.0, 3.0, 7.0])


def test_tenacity_gives_up_by_its_own_rules():
    async def main():
        try:
            async for attempt in tenacity.AsyncRetrying(
                wait=tenacity.wait_fixed(60), stop=tenacity.stop_after_attempt(3)
            ):
                with attempt:
                    raise ConnectionError("down")
        except tenacity.RetryError as error:
            return error.last_attempt.attempt_number, clock()

    assert run(main()) == (3, 120.0)
