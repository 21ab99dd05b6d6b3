"""Unmodified asyncio programs: each leaves the same log on the virtual loop as on asyncio's own."""

import asyncio
import contextvars
import selectors
import time

import pytest

from queuesim.simulation.runner import run

TICK = 0.05
"""A program's unit of time, in seconds: on the real loop what happens at different ticks must stay apart."""


async def timeouts(log):
    try:
        async with asyncio.timeout(TICK):
            await asyncio.sleep(5 * TICK)
    except TimeoutError:
        log("timed out")
    async with asyncio.timeout(5 * TICK) as scope:
        await asyncio.sleep(TICK)
        scope.reschedule(asyncio.get_running_loop().time() + 3 * TICK)
        await asyncio.sleep(TICK)
    log("in time", scope.expired())
    try:
        async with asyncio.timeout(4 * TICK):
            try:
                async with asyncio.timeout(TICK):
                    await asyncio.Event().wait()
            except TimeoutError:
                log("inner")
            await asyncio.sleep(TICK)
        log("outer held")
        async with asyncio.timeout(0):
            await asyncio.sleep(TICK)
    except TimeoutError:
        log("at once")


async def waiting_for(log):
    async def slow(result):
        try:
            await asyncio.sleep(2 * TICK)
            return result
        except asyncio.CancelledError:
            log("slow was cancelled")
            raise

    log(await asyncio.wait_for(slow("fast enough"), 10 * TICK))
    try:
        await asyncio.wait_for(slow("too slow"), TICK)
    except TimeoutError:
        log("gave up")
    log(await asyncio.wait_for(slow("no limit"), None))
    done, pending = await asyncio.wait(
        [asyncio.create_task(slow(1)), asyncio.create_task(asyncio.sleep(9 * TICK, 2))],
        return_when=asyncio.FIRST_COMPLETED,
    )
    log("first", [task.result() for task in done], len(pending))
    for task in pending:
        task.cancel()
    log([repr(result) for result in await asyncio.gather(*pending, return_exceptions=True)])


async def task_groups(log):
    async def child(name, delay, error=None):
        try:
            await asyncio.sleep(delay * TICK)
            if error:
                raise error
            log(name, "ended")
            return name
        except asyncio.CancelledError:
            log(name, "cancelled")
            raise

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(child(name, delay)) for name, delay in (("a", 3), ("b", 1), ("c", 2))]
    log([task.result() for task in tasks])
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child("d", 5))
            group.create_task(child("e", 1, ValueError("first")))
            group.create_task(child("f", 0.5))
            await asyncio.sleep(9 * TICK)
    except* ValueError as errors:
        log("group", [str(error) for error in errors.exceptions])


async def queues(log):
    queue = asyncio.Queue(2)

    async def producer():
        for number in range(5):
            await queue.put(number)
            log("put", number)
        await queue.put(None)

    async def consumer():
        while (item := await queue.get()) is not None:
            await asyncio.sleep(TICK)
            log("got", item)
            queue.task_done()
        queue.task_done()

    await asyncio.gather(producer(), consumer())
    await queue.join()
    priorities = asyncio.PriorityQueue()
    for item in (3, 1, 2):
        priorities.put_nowait(item)
    log([priorities.get_nowait() for _ in range(3)])
    try:
        await asyncio.wait_for(queue.get(), TICK)
    except TimeoutError:
        log("empty", queue.qsize())
    queue.put_nowait("kept")
    log(await queue.get())


async def synchronisation(log):
    event, lock, semaphore = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
    condition, barrier = asyncio.Condition(), asyncio.Barrier(3)

    async def worker(name):
        await event.wait()
        async with semaphore:
            log(name, "inside")
            await asyncio.sleep(TICK)
        async with lock:
            log(name, "locked")
        async with condition:
            await condition.wait_for(lambda: len(done) >= 2)
            log(name, "condition")
        await barrier.wait()
        log(name, "past the barrier")

    done = []
    workers = [asyncio.create_task(worker(name)) for name in "xyz"]
    await asyncio.sleep(TICK)
    event.set()
    await asyncio.sleep(4 * TICK)
    for number in range(2):
        async with condition:
            done.append(number)
            condition.notify_all()
        await asyncio.sleep(TICK)
    await asyncio.gather(*workers)


async def gathering(log):
    async def child(name, delay, fail=False):
        try:
            await asyncio.sleep(delay * TICK)
        except asyncio.CancelledError:
            log(name, "cancelled")
            raise
        if fail:
            raise RuntimeError(name)
        return name

    log(await asyncio.gather(child("a", 2), child("b", 1)))
    log([repr(result) for result in await asyncio.gather(child("c", 1, True), child("d", 2), return_exceptions=True)])
    survivor = asyncio.create_task(child("e", 3))
    try:
        await asyncio.gather(child("f", 1, True), survivor)
    except RuntimeError as error:
        log("failed", str(error), survivor.done())
    log(await survivor)
    both = asyncio.gather(child("g", 5), child("h", 5))
    await asyncio.sleep(TICK)
    both.cancel()
    try:
        await both
    except asyncio.CancelledError:
        log("gather cancelled")


async def shielding(log):
    async def precious():
        await asyncio.sleep(2 * TICK)
        log("precious ended")
        return "precious"

    task = asyncio.create_task(precious())
    try:
        await asyncio.wait_for(asyncio.shield(task), TICK)
    except TimeoutError:
        log("stopped waiting", task.done())
    log(await task)


async def completing(log):
    tasks = [asyncio.create_task(asyncio.sleep(delay * TICK, delay)) for delay in (3, 1, 2)]
    for next_one in asyncio.as_completed(tasks):
        log(await next_one)
    try:
        for next_one in asyncio.as_completed([asyncio.create_task(asyncio.sleep(5 * TICK))], timeout=TICK):
            await next_one
    except TimeoutError:
        log("too late")


async def generators(log):
    async def ticks(name, count):
        try:
            for number in range(count):
                await asyncio.sleep(TICK)
                yield number
        finally:
            await asyncio.sleep(TICK)
            log(name, "closed")

    log([number async for number in ticks("whole", 3)])
    async for _ in ticks("left", 3):
        break
    explicit = ticks("explicit", 3)
    log(await anext(explicit))
    await explicit.aclose()
    try:
        await explicit.athrow(ValueError)
    except (ValueError, StopAsyncIteration) as error:
        log(type(error).__name__)
    await asyncio.sleep(3 * TICK)


async def threads(log):
    variable = contextvars.ContextVar("variable", default="unset")

    def blocking(result):
        log("in the thread", variable.get())
        variable.set("changed there")
        if isinstance(result, Exception):
            raise result
        return result

    variable.set("set")
    log(await asyncio.to_thread(blocking, 5))
    try:
        await asyncio.to_thread(blocking, OSError("disk"))
    except OSError as error:
        log("failed", str(error))
    log(variable.get())
    log(await asyncio.get_running_loop().run_in_executor(None, lambda: variable.get()))


async def context_variables(log):
    variable = contextvars.ContextVar("variable", default=0)

    async def child():
        variable.set(variable.get() + 1)
        await asyncio.sleep(TICK)
        return variable.get()

    variable.set(10)
    log(await asyncio.gather(child(), child()), variable.get())
    context = contextvars.copy_context()
    context.run(variable.set, 20)
    log(await asyncio.create_task(child(), context=context), context[variable])
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: log("soon", variable.get()), context=context)
    loop.call_later(TICK, lambda: log("later", variable.get()))
    variable.set(30)
    await asyncio.sleep(2 * TICK)


async def callbacks(log):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.add_done_callback(lambda future: log("first", future.result()))
    future.add_done_callback(lambda future: log("second"))
    loop.call_soon(log, "before")
    loop.call_later(TICK, future.set_result, "result")
    log(await future)
    await asyncio.sleep(0)
    loop.call_soon(log, "cancelled").cancel()
    loop.set_exception_handler(lambda loop, context: log("handler", repr(context["exception"])))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(log, "after")
    await asyncio.sleep(TICK)
    loop.set_exception_handler(None)


async def cancellation(log):
    async def stubborn():
        for attempt in range(3):
            try:
                await asyncio.sleep(9 * TICK)
            except asyncio.CancelledError as error:
                log("cancelled", attempt, error.args)
                if attempt == 2:
                    raise
        return "never"

    task = asyncio.create_task(stubborn())
    for message in ("one", "two", "three"):
        await asyncio.sleep(TICK)
        task.cancel(message)
    try:
        await task
    except asyncio.CancelledError:
        log("ended", task.cancelled(), task.cancelling())
    early = asyncio.create_task(stubborn())
    early.cancel()
    log(await asyncio.gather(early, return_exceptions=True) == [] or early.cancelled())

    async def chain(depth):
        if depth:
            try:
                await chain(depth - 1)
            finally:
                log("unwound", depth)
        else:
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(chain(3))
    await asyncio.sleep(TICK)
    task.cancel()
    await asyncio.wait([task])


async def left_over(log):
    async def background():
        try:
            await asyncio.sleep(1000)
        finally:
            log("cleaning up")
            await asyncio.sleep(TICK)
            log("clean")

    task = asyncio.create_task(background())
    await asyncio.sleep(TICK)
    log("main ends", task.done())


async def order(log):
    async def step(name, rounds):
        for number in range(rounds):
            log(name, number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name, rounds in (("a", 3), ("b", 2), ("c", 4)):
            group.create_task(step(name, rounds))
        log("body")


def name_of(program):
    """The identity of a test."""
    return program.__name__


PROGRAMS = [
    timeouts,
    waiting_for,
    task_groups,
    queues,
    synchronisation,
    gathering,
    shielding,
    completing,
    generators,
    threads,
    context_variables,
    callbacks,
    cancellation,
    left_over,
    order,
]


class PatientSelector(selectors.DefaultSelector):
    """Lets the time that asyncio would wait pass on the clock of its loop."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "the program waits for ever"
        self.now += timeout
        return super().select(0)


class PatientLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, unchanged but for the clock: the reference."""

    def __init__(self):
        self.selector = PatientSelector()
        super().__init__(self.selector)

    def time(self):
        return self.selector.now


def patiently(coroutine):
    """Run on asyncio's own loop, with a clock that waits for nothing."""
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        return runner.run(coroutine)


def log_of(runner, program):
    """What `program` logs when `runner` runs it."""
    entries = []
    runner(program(lambda *words: entries.append(words)))
    return entries


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program is not threads], ids=name_of)
def test_a_program_leaves_the_same_log_as_on_asyncios_loop(program):
    log = log_of(run, program)
    assert len(log) > 1
    assert log == log_of(patiently, program)


@pytest.mark.parametrize("program", [timeouts, waiting_for, queues, generators, threads, left_over], ids=name_of)
def test_a_program_leaves_the_same_log_as_in_real_time(program):
    assert log_of(run, program) == log_of(asyncio.run, program)


@pytest.mark.parametrize("program", PROGRAMS, ids=name_of)
def test_a_program_takes_no_real_time(program, monkeypatch):
    monkeypatch.setitem(program.__globals__, "TICK", 1e6)
    started = time.process_time()
    assert log_of(run, program) == log_of(run, program)
    assert time.process_time() - started < 5
