"""The virtual-time loop: order, time, timers, sleeping, stopping, and being interrupted."""

import asyncio
import math
import random
import types

import pytest

from queuesim.simulation.diagnosis import Deadlock, Livelock
from queuesim.simulation.environment import Environment
from queuesim.simulation.loop import Interrupted, VirtualLoop
from queuesim.simulation.runner import run


def started(main, **options):
    """Run `main(loop, log)` and return the log."""
    log = []
    loop = VirtualLoop(**options)
    run(main(loop, log), loop=loop)
    return log


# -- time


def test_time_starts_at_zero_and_is_the_environments():
    loop = VirtualLoop()
    assert loop.time() == 0.0
    assert isinstance(loop.time(), float)

    async def main():
        await asyncio.sleep(2.5)
        return loop.time(), loop.env.now

    assert run(main(), loop=loop) == (2.5, 2.5)


def test_the_environment_may_start_late():
    start = 1.7e9

    async def main(loop, log):
        for delay in (1e-3, 0.25):
            await asyncio.sleep(delay)
            log.append(loop.time())
            await loop.sleep(delay)
            log.append(loop.time())

    log = started(main, env=Environment(start))
    assert log == pytest.approx([start + 0.001, start + 0.002, start + 0.252, start + 0.502], abs=1e-6)


def test_a_delay_that_is_lost_in_a_large_time_does_not_hang():
    """1e-9 s after 1.7e9 s is the same float: the sleep must still end."""

    async def main(loop, log):
        await asyncio.sleep(1e-9)
        await loop.sleep(1e-9)
        log.append(loop.time())

    assert started(main, env=Environment(1.7e9)) == [1.7e9]


def test_a_million_seconds_take_no_time():
    async def main(loop, log):
        for _ in range(1000):
            await asyncio.sleep(1e6)
        log.append(loop.time())

    assert started(main) == [1e9]


def test_all_that_is_ready_runs_before_time_moves():
    async def main(loop, log):
        loop.call_later(1e-12, lambda: log.append("later"))

        def chain(remaining):
            if remaining:
                loop.call_soon(chain, remaining - 1)
            else:
                log.append(("chain", loop.time()))

        chain(20_000)
        await asyncio.sleep(1)

    assert started(main) == [("chain", 0.0), "later"]


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set():
    async def main(loop, log):
        loop.call_at(1.0, log.append, "a")
        loop.call_later(1.0, log.append, "b")
        loop.env.timeout(1.0).callbacks.append(lambda event: log.append("c"))
        task = asyncio.create_task(note_after(loop.sleep(1.0), log, "d"))
        await asyncio.sleep(0)
        loop.call_at(1.0, log.append, "e")
        await asyncio.sleep(2)
        assert task.done()

    assert started(main) == ["a", "b", "c", "d", "e"]


async def note_after(awaitable, log, note):
    await awaitable
    log.append(note)


# -- timers


def test_a_cancelled_timer_never_moves_the_clock():
    async def main(loop, log):
        timer = loop.call_later(100, log.append, "never")
        assert timer.when() == 100
        assert not timer.cancelled()
        timer.cancel()
        timer.cancel()
        assert timer.cancelled()
        task = asyncio.create_task(sleep_long(loop))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        log.append(loop.time())

    loop = VirtualLoop()
    log = []
    run(main(loop, log), loop=loop)
    assert log == [1.0]
    assert loop.time() == 1.0


async def sleep_long(loop):
    await loop.sleep(1000)


def test_with_only_cancelled_timers_left_nothing_can_happen():
    async def main():
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop()
    with pytest.raises(Deadlock, match="deadlock at 0 s"):
        run(main(), loop=loop)
    assert loop.time() == 0


def test_cancelling_a_timer_that_has_fired_is_harmless():
    async def main(loop, log):
        timer = loop.call_later(1, log.append, "fired")
        await asyncio.sleep(2)
        timer.cancel()
        log.append(loop.env.cancelled)

    assert started(main) == ["fired", 0]


def test_overdue_timers_fire_now_and_the_clock_never_goes_back():
    async def main(loop, log):
        await asyncio.sleep(5)
        timer = loop.call_at(1.0, lambda: log.append(loop.time()))
        loop.call_later(-3, lambda: log.append(loop.time()))
        assert timer.when() == 1.0
        await asyncio.sleep(-1)
        await loop.sleep_until(2)
        await loop.sleep(-7)
        log.append(loop.time())
        await asyncio.sleep(1)
        assert log[-1] == 5.0

    assert started(main) == [5.0, 5.0, 5.0]


def test_an_infinite_timer_never_fires():
    async def main(loop, log):
        timer = loop.call_later(math.inf, log.append, "never")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.sleep(math.inf)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await loop.sleep(math.inf)
        timer.cancel()
        log.append((loop.time(), loop.env.peek(), loop.env.cancelled))

    assert started(main) == [(6.0, math.inf, 0)]


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.call_later(math.nan, print),
        lambda loop: loop.call_at(math.nan, print),
        lambda loop: loop.sleep(math.nan).send(None),
        lambda loop: loop.sleep_until(math.nan).send(None),
    ],
)
def test_a_time_that_is_no_number_is_refused(call):
    async def main(loop, log):
        with pytest.raises(ValueError, match="NaN"):
            call(loop)

    started(main)


# -- callbacks


def test_callbacks_run_first_in_first_out_and_may_be_cancelled():
    async def main(loop, log):
        handles = [loop.call_soon(log.append, number) for number in range(4)]
        handles[2].cancel()
        assert handles[2].cancelled()
        assert not handles[1].cancelled()
        loop.call_soon_threadsafe(log.append, "safe")
        await asyncio.sleep(0)

    assert started(main) == [0, 1, 3, "safe"]


def test_handles_are_asyncios_to_whoever_asks():
    loop = VirtualLoop()
    soon, later = loop.call_soon(print), loop.call_later(1, print)
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(later, asyncio.TimerHandle)
    assert "print" in repr(soon)
    assert "at 1 s" in repr(later)
    assert later in {loop.call_later(1, print), later}
    assert later != loop.call_later(1, print)
    soon.cancel()
    later.cancel()
    assert "cancelled" in repr(soon)
    assert "cancelled" in repr(later)
    loop.close()


def test_an_exception_in_a_callback_goes_to_the_exception_handler():
    async def main(loop, log):
        loop.set_exception_handler(lambda loop, context: log.append((context["exception"].args, context["message"])))
        handle = loop.call_soon(fail, "soon")
        loop.call_later(1, fail, "later")
        await asyncio.sleep(2)
        assert "handle" in repr(handle).lower()

    log = started(main)
    assert [arguments for arguments, _ in log] == [("soon",), ("later",)]
    assert all("Exception in callback" in message for _, message in log)


def fail(message):
    raise LookupError(message)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["call_soon", "call_later", "task"])
def test_a_request_to_exit_goes_through(error, how):
    def leave():
        raise error

    async def leave_later():
        await asyncio.get_running_loop().sleep(1)
        leave()

    async def main():
        loop = asyncio.get_running_loop()
        if how == "call_soon":
            loop.call_soon(leave)
        elif how == "call_later":
            loop.call_later(1, leave)
        else:
            task = asyncio.create_task(leave_later())
            task.add_done_callback(lambda task: task.exception())
        await asyncio.sleep(5)

    with pytest.raises(error):
        run(main())


def test_a_closed_loop_takes_no_callbacks():
    loop = VirtualLoop()
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    coroutine = asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coroutine)
    coroutine.close()


# -- sleeping on the loop


def test_a_loops_own_sleep_takes_as_long_as_asyncios():
    async def main(loop, log):
        async def both(delay):
            await loop.sleep(delay)
            log.append(("own", delay, loop.time()))
            await asyncio.sleep(delay)
            log.append(("asyncio", delay, loop.time()))

        await asyncio.gather(*(both(delay) for delay in (3, 1, 2)))

    assert started(main) == [
        ("own", 1, 1.0),
        ("own", 2, 2.0),
        ("asyncio", 1, 2.0),
        ("own", 3, 3.0),
        ("asyncio", 2, 4.0),
        ("asyncio", 3, 6.0),
    ]


def test_a_sleep_of_zero_gives_way_to_all_that_is_ready():
    async def main(loop, log):
        loop.call_soon(log.append, "ready")
        await loop.sleep(0)
        log.append("slept")

    assert started(main) == ["ready", "slept"]


@pytest.mark.parametrize("delay", [5.0, math.inf])
def test_a_cancelled_sleep_ends_at_once(delay):
    async def main(loop, log):
        async def sleeper():
            try:
                await loop.sleep(delay)
            except asyncio.CancelledError as error:
                log.append((loop.time(), error.args))
                raise

        task = asyncio.create_task(sleeper())
        await asyncio.sleep(1)
        task.cancel("enough")
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        log.append((loop.time(), task.cancelling()))

    assert started(main) == [(1.0, ("enough",)), (1.0, 2)]


def test_a_task_that_cancelled_itself_does_not_sleep():
    async def main(loop, log):
        async def suicidal():
            asyncio.current_task().cancel()
            await loop.sleep(5)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(suicidal())
        log.append(loop.time())

    assert started(main) == [0.0]


def test_a_timeout_at_the_very_instant_of_waking_comes_first_if_it_was_set_first():
    async def main(loop, log):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await loop.sleep(1)
        log.append(loop.time())
        async with asyncio.timeout(1 + 1e-9):
            await loop.sleep(1)
        log.append(loop.time())

    assert started(main) == [1.0, 2.0]


def test_cancelling_in_the_instant_of_waking_still_counts():
    async def main(loop, log):
        async def sleeper():
            await loop.sleep(1)
            log.append("woke")
            await loop.sleep(1)
            log.append("woke again")

        loop.call_at(1, lambda: task.cancel())
        task = asyncio.create_task(sleeper())
        await asyncio.wait([task])
        log.append((task.cancelled(), loop.time()))

    assert started(main) == [(True, 1.0)]


def test_a_sleeper_that_swallows_its_cancellation_sleeps_on_as_it_says():
    async def main(loop, log):
        async def stubborn():
            for _ in range(2):
                try:
                    await loop.sleep(10)
                except asyncio.CancelledError:
                    log.append(("cancelled", loop.time()))
            await loop.sleep(2)
            log.append(("done", loop.time()))

        task = asyncio.create_task(stubborn())
        for _ in range(2):
            await asyncio.sleep(1)
            task.cancel()
        await task

    assert started(main) == [("cancelled", 1.0), ("cancelled", 2.0), ("done", 4.0)]


def test_a_task_group_cancels_its_sleepers():
    async def main(loop, log):
        async def failing():
            await loop.sleep(1)
            raise ValueError("no")

        async def sleeper():
            try:
                await loop.sleep(10)
            finally:
                log.append(loop.time())

        async def together():
            async with asyncio.TaskGroup() as group:
                group.create_task(sleeper())
                group.create_task(failing())
                group.create_task(sleeper())

        with pytest.raises(ExceptionGroup):
            await together()
        log.append(loop.time())

    assert started(main) == [1.0, 1.0, 1.0]


def test_sleeping_works_in_asynchronous_generators_and_wait_for():
    async def main(loop, log):
        async def ticks():
            while True:
                await loop.sleep(1)
                yield loop.time()

        async for tick in ticks():
            if tick == 3:
                break
        await asyncio.wait_for(loop.sleep(2), 3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sleep(5), 3)
        log.append(loop.time())

    assert started(main) == [8.0]


def test_sleeping_works_in_a_task_of_another_class():
    async def main(loop, log):
        loop.set_task_factory(lambda loop, coroutine, **options: asyncio.Task(coroutine, loop=loop, **options))
        task = asyncio.create_task(sleep_long(loop))
        assert type(task) is asyncio.Task
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        log.append((task.cancelled(), loop.time()))
        await asyncio.create_task(note_after(loop.sleep(3), log, "slept"))
        log.append(loop.time())

    assert started(main) == [(True, 1.0), "slept", 4.0]


@types.coroutine
def drive(coroutine):
    """Await a coroutine by hand, and change one of its bare yields into a wait for a future."""
    coroutine.send(None)
    yield from asyncio.get_running_loop().create_task(asyncio.sleep(1)).__await__()
    while True:
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return
        yield waits_for


def test_a_sleep_that_somebody_else_drives_still_lasts_its_time():
    async def sleeper(loop):
        await loop.sleep(5)

    async def main(loop, log):
        await asyncio.create_task(run_driven())
        log.append(loop.time())

    async def run_driven():
        await drive(sleeper(asyncio.get_running_loop()))

    assert started(main) == [5.0]


# -- stopping


def test_stop_finishes_the_callbacks_that_were_ready():
    log = []
    loop = VirtualLoop()
    loop.call_soon(log.append, 1)
    loop.call_soon(loop.stop)
    loop.call_soon(log.append, 2)
    loop.call_soon(loop.call_soon, log.append, 3)
    loop.call_later(1, log.append, 4)
    loop.run_forever()
    assert log == [1, 2]
    loop.stop()
    loop.run_forever()
    assert log == [1, 2, 3]
    assert loop.time() == 0
    loop.call_later(2, loop.stop)
    loop.run_forever()
    assert log == [1, 2, 3, 4]
    assert loop.time() == 2
    loop.close()


def test_a_runner_of_asyncio_may_use_it():
    async def main():
        await asyncio.sleep(1000)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main()) == 1000
        assert runner.run(main()) == 2000


def test_an_unfinished_future_is_told_when_the_loop_is_stopped():
    loop = VirtualLoop()
    loop.call_later(1, loop.stop)
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_interrupting_keeps_what_was_done_and_stops_before_the_next_callback():
    log = []

    async def worker():
        loop = asyncio.get_running_loop()
        try:
            while True:
                await loop.sleep(1)
                log.append(loop.time())
                if loop.time() == 3:
                    loop.call_soon(log.append, "not run before the interruption")
                    loop.interrupt()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    loop = VirtualLoop()
    with pytest.raises(Interrupted):
        run(worker(), loop=loop)
    assert log[:3] == [1.0, 2.0, 3.0]
    assert set(log[3:]) == {"not run before the interruption", "cancelled"}
    assert loop.time() == 3
    assert loop.is_closed()


def test_interrupting_works_while_tasks_are_shuffled():
    async def main():
        asyncio.get_running_loop().interrupt()
        await asyncio.sleep(1)

    with pytest.raises(Interrupted):
        run(main(), shuffle=random.Random(1))


# -- livelock


@pytest.mark.parametrize("shuffle", [None, random.Random(1)])
def test_polling_for_ever_at_one_instant_is_told(shuffle):
    async def main():
        alarm = asyncio.create_task(asyncio.sleep(1), name="alarm")
        while not alarm.done():  # noqa: ASYNC110  (polling is what this is about)
            await asyncio.sleep(0)

    loop = VirtualLoop(shuffle=shuffle)
    loop.most_generations = 1000
    with pytest.raises(Livelock, match="livelock at 0 s") as caught:
        run(main(), loop=loop)
    assert "Task-1 is ready to run" in str(caught.value)
    assert "alarm waits for sleep" in str(caught.value)


@pytest.mark.parametrize("sleep", ["asyncio's", "the loop's"])
@pytest.mark.parametrize("shuffle", [None, random.Random(1)])
def test_sleeping_for_less_than_time_can_tell_is_a_livelock_too(sleep, shuffle):
    async def main(loop):
        while True:
            await (asyncio.sleep(1e-9) if sleep == "asyncio's" else loop.sleep(1e-9))

    loop = VirtualLoop(Environment(1.7e9), shuffle=shuffle)
    loop.most_generations = 1000
    with pytest.raises(Livelock, match=r"livelock at 1\.7e\+09 s"):
        run(main(loop), loop=loop)


def test_many_generations_at_different_instants_are_no_livelock():
    async def main():
        for _ in range(30):
            for _ in range(90):
                await asyncio.sleep(0)
            await asyncio.sleep(1)

    loop = VirtualLoop()
    loop.most_generations = 100
    run(main(), loop=loop)
    assert loop.time() == 30


# -- shuffling


def shuffled(seed, tasks=6, waiting=True):
    """The order in which tasks run that are ready together, and one that callbacks run in beside them."""
    log = []

    async def main():
        loop = asyncio.get_running_loop()

        async def note(number):
            if waiting:
                await loop.sleep(1)
            log.append(number)

        made = [asyncio.create_task(note(number)) for number in range(tasks)]
        for letter in "abc":
            loop.call_soon(log.append, letter)
        await asyncio.wait(made)

    run(main(), shuffle=None if seed is None else random.Random(seed))
    return log


@pytest.mark.parametrize("waiting", [True, False])
def test_a_shuffle_permutes_tasks_reproducibly(waiting):
    orders = [shuffled(seed, waiting=waiting) for seed in range(20)]
    assert orders == [shuffled(seed, waiting=waiting) for seed in range(20)]
    tasks = [tuple(entry for entry in order if isinstance(entry, int)) for order in orders]
    assert len(set(tasks)) > 10
    assert all(sorted(order) == [*range(6)] for order in tasks)


def test_a_shuffle_leaves_other_callbacks_in_order():
    for seed in range(10):
        assert [entry for entry in shuffled(seed) if isinstance(entry, str)] == ["a", "b", "c"]


def test_without_a_shuffle_tasks_run_in_their_order():
    assert shuffled(None) == ["a", "b", "c", *range(6)]
    assert shuffled(None, waiting=False) == [*range(6), "a", "b", "c"]


def test_a_shuffle_finds_a_lost_update():
    """Two tasks read and write at one instant: in the fixed order all is well, in another it is not."""

    def final(seed):
        account = {"balance": 0}

        async def deposit(loop):
            await loop.sleep(1)
            balance = account["balance"]
            await asyncio.sleep(0)
            account["balance"] = balance + 1

        async def check(loop):
            await loop.sleep(1)
            await asyncio.sleep(0)
            return account["balance"]

        async def main():
            loop = asyncio.get_running_loop()
            results = await asyncio.gather(deposit(loop), check(loop))
            return results[1]

        return run(main(), shuffle=None if seed is None else random.Random(seed))

    assert final(None) == 1
    assert {final(seed) for seed in range(20)} == {0, 1}
