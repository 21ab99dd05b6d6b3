"""Simulated operating-system processes: blocking, freezing and killing."""

import asyncio
import gc
import random
import subprocess
import sys
import textwrap
import weakref

import pytest
import simpy

from queuesim.simulation.environment import until
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import CURRENT, Process
from queuesim.simulation.runner import run


class Log(list):
    """Entries with the virtual time at which they were made."""

    def __call__(self, *words):
        self.append((asyncio.get_running_loop().time(), *words))


async def tick(log, name, period=1.0):
    """Log every `period` seconds, with asyncio's sleep and the loop's own in turn."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            await asyncio.sleep(period)
            log(name)
            await loop.sleep(period)
            log(name)
    except asyncio.CancelledError:
        log(name, "cancelled")
        raise


# -- belonging


def test_what_is_started_in_a_process_belongs_to_it():
    async def main():
        loop = asyncio.get_running_loop()
        process = Process("worker")
        seen = []

        async def inner():
            seen.append(CURRENT.get())
            loop.call_soon(lambda: seen.append(CURRENT.get()))
            loop.call_later(1, lambda: seen.append(CURRENT.get()))
            await asyncio.sleep(2)

        async def outer():
            await asyncio.create_task(inner())

        await asyncio.create_task(outer(), context=process.context)
        with process.enter():
            task = asyncio.create_task(inner())
        await task
        await process.run(lambda: asyncio.create_task(inner()))
        assert process.run(lambda first, second: (first, CURRENT.get(), second), 1, 2) == (1, process, 2)
        assert CURRENT.get() is None
        return [entry is process for entry in seen]

    assert run(main()) == [True] * 9


# -- freezing


@pytest.mark.parametrize("shuffle", [None, 1])
def test_nothing_of_a_frozen_process_runs_until_it_is_thawed(shuffle):
    log = Log()

    async def main():
        process = Process("worker")
        inside = asyncio.create_task(tick(log, "inside"), context=process.context)
        outside = asyncio.create_task(tick(log, "outside"))
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(2)
        process.thaw()
        await asyncio.sleep(2)
        inside.cancel()
        outside.cancel()

    run(main(), shuffle=None if shuffle is None else random.Random(shuffle))
    assert [entry for entry in log if entry[1] == "outside"][:5] == [(time, "outside") for time in (1, 2, 3, 4, 5)]
    assert [entry for entry in log if entry[1] == "inside"][:3] == [(time, "inside") for time in (1, 3.5, 4.5)]


def test_what_came_due_meanwhile_runs_in_order():
    log = Log()

    async def main():
        loop = asyncio.get_running_loop()
        process = Process("worker")
        event = loop.env.timeout(4)

        async def later(delay, sleep):
            await sleep(delay)
            log("slept", delay)

        async def waiting():
            await until(event)
            log("event")

        with process.enter():
            tasks = [
                asyncio.create_task(later(5, asyncio.sleep)),
                asyncio.create_task(later(3, loop.sleep)),
                asyncio.create_task(waiting()),
            ]
            loop.call_later(2, log, "timer")
            cancelled = loop.call_later(2.5, log, "cancelled meanwhile")
        await asyncio.sleep(1)
        process.freeze()
        assert repr(process) == "<Process worker, frozen>"
        await asyncio.sleep(9)
        loop.call_soon(log, "was ready before the thaw")
        cancelled.cancel()
        process.thaw()
        assert repr(process) == "<Process worker, running>"
        await asyncio.gather(*tasks)

    run(main())
    assert log == [
        (10, "timer"),
        (10, "slept", 3),
        (10, "event"),
        (10, "was ready before the thaw"),
        (10, "slept", 5),
    ]


def test_freezes_count():
    async def main():
        process = Process("worker")
        log = Log()
        with process.enter():
            asyncio.get_running_loop().call_later(1, log, "ran")
        process.freeze()
        process.freeze()
        await asyncio.sleep(2)
        process.thaw()
        await asyncio.sleep(2)
        process.thaw()
        await asyncio.sleep(2)
        with pytest.raises(RuntimeError, match="isn't frozen"):
            process.thaw()
        return log

    assert run(main()) == [(4, "ran")]


def test_freezing_takes_what_is_ready_at_that_very_moment():
    """Also in the middle of a generation of ready callbacks, where the loop does not look."""

    async def main():
        loop = asyncio.get_running_loop()
        process = Process("worker")
        log = Log()
        with process.enter():
            loop.call_soon(log, "inside, before")
        loop.call_soon(process.freeze)
        with process.enter():
            loop.call_soon(log, "inside, after")
        loop.call_soon(log, "outside")
        await asyncio.sleep(1)
        process.thaw()
        await asyncio.sleep(1)
        return log

    assert run(main()) == [(0, "inside, before"), (0, "outside"), (1, "inside, after")]


def test_a_task_cancelled_while_frozen_ends_after_the_thaw():
    log = Log()

    async def main():
        process = Process("worker")
        sleeper = asyncio.create_task(tick(log, "sleeper", 10), context=process.context)
        due = asyncio.create_task(tick(log, "due", 2), context=process.context)
        await asyncio.sleep(1)
        process.freeze()
        await asyncio.sleep(3)
        sleeper.cancel()
        due.cancel()
        await asyncio.sleep(3)
        log("thaw")
        process.thaw()
        await asyncio.wait([sleeper, due])

    run(main())
    assert log == [(7, "thaw"), (7, "sleeper", "cancelled"), (7, "due", "cancelled")]


def test_a_run_that_ends_with_a_frozen_process_cleans_up_in_it():
    log = Log()

    async def main():
        process = Process("worker")
        task = asyncio.create_task(tick(log, "inside"), context=process.context)
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(5)
        return task

    assert run(main()).cancelled()
    assert log == [(1, "inside"), (6.5, "inside", "cancelled")]


def test_freezing_costs_the_fast_path_only_while_it_lasts(monkeypatch):
    async def main():
        process = Process("worker")
        process.freeze()
        await asyncio.sleep(1)
        process.thaw()
        await asyncio.sleep(1)
        monkeypatch.setattr(VirtualLoop, "_run_attentively", None)
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert run(main()) == 3


# -- blocking


def test_a_blocking_handler_holds_its_process_and_no_other():
    log = Log()

    async def main():
        process, other = Process("worker"), Process("other")

        async def handler():
            await asyncio.sleep(0.5)
            log("computes")
            await process.block(3)
            log("computed")
            await asyncio.sleep(0.25)
            log("ends")

        tasks = [
            asyncio.create_task(tick(log, "same"), context=process.context),
            asyncio.create_task(handler(), context=process.context),
            asyncio.create_task(tick(log, "other"), context=other.context),
        ]
        await tasks[1]
        assert process.runs

    run(main())
    assert log[:8] == [
        (0.5, "computes"),
        (1, "other"),
        (2, "other"),
        (3, "other"),
        (3.5, "computed"),
        (3.5, "same"),
        (3.75, "ends"),
        (3.75, "same", "cancelled"),
    ]


def test_whoever_blocked_goes_on_first_even_among_shuffled_tasks():
    for seed in range(10):
        log = Log()

        async def main(log=log):
            process = Process("worker")

            async def handler():
                await asyncio.sleep(0.5)
                await process.block(1.5)
                log("handler")

            async def neighbour(number):
                await asyncio.get_running_loop().sleep(number)
                log("neighbour")

            with process.enter():
                async with asyncio.TaskGroup() as group:
                    neighbours = [group.create_task(neighbour(number)) for number in (1, 1.5, 2)]
                    group.create_task(handler())
            return neighbours

        run(main(), shuffle=random.Random(seed))
        assert log[0] == (2, "handler")
        assert log[1:] == [(2, "neighbour")] * 3


def test_blocking_while_frozen_by_somebody_else():
    log = Log()

    async def main():
        process = Process("worker")

        async def handler():
            await process.block(2)
            log("computed")

        task = asyncio.create_task(handler(), context=process.context)
        with process.enter():
            asyncio.get_running_loop().call_later(1, log, "timer")
        await asyncio.sleep(1)
        process.freeze()
        await asyncio.sleep(4)
        process.thaw()
        await task

    run(main())
    assert log == [(5, "computed"), (5, "timer")]


def test_only_the_process_itself_can_block():
    async def main():
        process = Process("worker")
        with pytest.raises(RuntimeError, match="only be blocked from inside"):
            await process.block(1)
        with process.enter():
            for seconds in (-1, float("nan"), float("inf")):
                with pytest.raises(ValueError, match="0 s or more"):
                    await process.block(seconds)

    run(main())


# -- killing


@pytest.mark.parametrize("state", ["running", "frozen", "blocked"])
def test_nothing_of_a_killed_process_ever_runs_again(state):
    log = Log()

    async def main():
        loop = asyncio.get_running_loop()
        process = Process("worker")
        event, future = loop.env.event(), loop.create_future()

        async def finally_logs(awaitable):
            try:
                await awaitable
                log("went on")
            finally:
                log("finally")

        with process.enter():
            for awaitable in (asyncio.sleep(3), loop.sleep(3), until(event), future, asyncio.Event().wait()):
                asyncio.create_task(finally_logs(awaitable)).add_done_callback(log)
            loop.call_later(3, log, "timer")
            blocker = asyncio.create_task(finally_logs(process.block(2) if state == "blocked" else asyncio.sleep(2)))
        outside = asyncio.create_task(tick(log, "outside", 4))
        await asyncio.sleep(1)
        if state == "frozen":
            process.freeze()
            await asyncio.sleep(0.5)
        with process.enter():
            loop.call_soon(log, "ready when it died")
        process.kill()
        process.kill()
        process.freeze()
        process.thaw()
        assert repr(process) == "<Process worker, dead>"
        future.set_result("too late")
        event.fail(LookupError("for the dead alone"))
        blocker.cancel()
        with process.enter():
            stillborn = asyncio.create_task(finally_logs(asyncio.sleep(1)))
        await asyncio.sleep(5)
        gc.collect()
        return outside.done(), stillborn.done()

    assert run(main()) == (False, False)
    gc.collect()
    assert log == [(4, "outside"), (5 + (1.5 if state == "frozen" else 1), "outside", "cancelled")]


def test_a_process_may_kill_itself():
    log = Log()

    async def main():
        process = Process("worker")

        async def suicidal():
            try:
                process.kill()
                log("still here")
                await asyncio.sleep(0)
                log("never")
            finally:
                log("never")

        task = asyncio.create_task(suicidal(), context=process.context)
        await asyncio.sleep(1)
        return task.done()

    assert run(main()) is False
    gc.collect()
    assert log == [(0, "still here")]


def test_a_killed_process_gives_nothing_back():
    """A SimPy request of a killed task stays where it is: that is what a crash does to a pool that does not notice."""

    async def main():
        loop = asyncio.get_running_loop()
        pool = simpy.Resource(loop.env, capacity=1)
        process = Process("worker")

        async def hold():
            with pool.request() as request:
                await until(request)
                await asyncio.sleep(1000)

        task = asyncio.create_task(hold(), context=process.context)
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(1)
        return pool.count, task.done()

    assert run(main()) == (1, False)


class Bulk:
    """Something that takes much memory."""


def test_the_dead_let_go_of_what_they_hold_when_the_loop_is_closed():
    references = []

    class Worker:
        """A worker with a method that waits for ever."""

        def __init__(self):
            self.bulk = Bulk()
            references.append(weakref.ref(self.bulk))

        async def work(self, argument):
            local = Bulk()
            half_way = generator()
            next(half_way)
            references.extend([weakref.ref(argument), weakref.ref(local)])
            await self.inner()
            return local

        async def inner(self):
            async with asyncio.Lock():
                await asyncio.sleep(1000)

    def generator():
        try:
            yield 1
        finally:
            references.append("a generator of the dead was closed")

    async def main():
        process = Process("worker")
        task = asyncio.create_task(Worker().work(Bulk()), context=process.context)
        await asyncio.sleep(1)
        process.kill()
        gc.collect()
        return task.done(), [reference() is None for reference in references]

    assert run(main()) == (False, [False] * 3)
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_the_dead_do_not_take_variables_from_the_living():
    async def main():
        process = Process("worker")
        shared = ["shared with a living function"]

        async def die():
            mine = ["a closure's"]
            keep.append(lambda: (mine, shared))
            await asyncio.sleep(1000)

        keep = []
        task = asyncio.create_task(die(), context=process.context)
        await asyncio.sleep(1)
        process.kill()
        return keep, task.done()

    (closure,), _ = run(main())
    assert closure() == (["a closure's"], ["shared with a living function"])


def test_the_dead_stay_silent_to_the_interpreters_end():
    program = textwrap.dedent(
        """
        import asyncio, gc
        from queuesim.simulation import Process, run

        async def worker():
            try:
                await asyncio.sleep(1000)
            finally:
                print("a finally block ran")

        async def main():
            process = Process("worker")
            for _ in range(3):
                asyncio.create_task(worker(), context=process.context)
            await asyncio.sleep(1)
            process.kill()

        run(main())
        gc.collect()
        print("end")
        """
    )
    ended = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("end\n", "")


def test_outside_of_a_simulation_a_process_cannot_be_halted():
    async def main():
        with pytest.raises(RuntimeError, match="works in a simulation only"):
            Process("worker").freeze()
        with pytest.raises(RuntimeError, match="works in a simulation only"):
            Process("worker").kill()

    asyncio.run(main())
