"""Handlers that are ordinary functions: each runs in a thread, so that its worker goes on meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.job import RUNNING_JOB, Job, JobState
from queuesim.core.processor import HandlerThreads, Processor, is_async
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker, WorkerOptions
from queuesim.simulation.runner import run

PATIENCE = 20.0


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - of what threads do no event tells
            await asyncio.sleep(0.005)


async def ended(queue: Queue, *ids: str) -> list[Job]:
    """The jobs, once all of them have completed or failed."""
    while True:
        jobs = [job for job_id in ids if (job := await queue.get_job(job_id)) is not None]
        if all(job.finished_on is not None for job in jobs):
            return jobs
        await asyncio.sleep(0.005)


def work(processor: Processor, program: Callable[[Queue, Worker], Awaitable[None]], **options: Any) -> None:
    """Run a program beside a worker, on asyncio's own loop."""

    async def main() -> None:
        queue = Queue(MemoryBroker(processor.queue))
        worker = Worker(processor, queue.broker, **options)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(PATIENCE):
            await program(queue, worker)
            await worker.close(0.1)
            await running

    asyncio.run(main())


def test_ordinary_functions_run_beside_each_other_and_beside_the_loop() -> None:
    processor = Processor("q", concurrency=3)
    together = threading.Barrier(3)

    @processor.job("plain")
    def plain(job: Job) -> list[Any]:
        together.wait(PATIENCE)
        running = RUNNING_JOB.get()
        return [threading.current_thread() is threading.main_thread(), running is not None and running.id]

    async def program(queue: Queue, worker: Worker) -> None:
        ids = [await queue.add("plain") for _ in range(2)]
        # the third that the barrier waits for is a thread that this loop starts while they run
        await until(lambda: together.n_waiting == 2)
        await asyncio.to_thread(together.wait, PATIENCE)
        assert [job.return_value for job in await ended(queue, *ids)] == [[False, "1"], [False, "2"]]

    work(processor, program)


def test_locks_are_renewed_while_an_ordinary_function_runs() -> None:
    processor = Processor("q")
    over = threading.Event()

    @processor.job("long")
    def long(job: Job) -> bool:
        return over.wait(PATIENCE)

    async def program(queue: Queue, worker: Worker) -> None:
        renewed: list[float] = []
        renew = queue.broker.renew

        async def counted(*arguments: Any) -> Any:
            renewed.append(time.monotonic())
            return await renew(*arguments)

        queue.broker.renew = counted  # type: ignore[method-assign]
        job_id = await queue.add("long")
        await until(lambda: len(renewed) >= 6)  # longer than its first lock would have lasted
        assert await queue.get_state(job_id) is JobState.ACTIVE
        over.set()
        (job,) = await ended(queue, job_id)
        assert (job.return_value, job.attempts_started, worker.stalled) == (True, 1, 0)

    work(processor, program, options=WorkerOptions(lock_duration=0.4, stalled_interval=0.2))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such address"), "no such address"),
        (SystemExit(3), "the handler called sys.exit(3)"),
        (StopIteration(1), "coroutine raised StopIteration"),
        (asyncio.CancelledError("given up"), "given up"),
    ],
    ids=repr,
)
def test_what_an_ordinary_function_raises_is_its_jobs_failure(error: BaseException, reason: str) -> None:
    processor = Processor("q")

    @processor.job("bad")
    def bad(job: Job) -> None:
        raise error

    async def program(queue: Queue, worker: Worker) -> None:
        (job,) = await ended(queue, await queue.add("bad"))
        assert job.failed_reason == reason
        assert "in bad" in job.stacktrace[0]

    work(processor, program)


def test_the_attempt_of_an_ordinary_function_fails_when_its_time_is_up() -> None:
    processor = Processor("q")
    over = threading.Event()

    @processor.job("slow", timeout=0.05)
    def slow(job: Job) -> bool:
        return over.wait(PATIENCE)

    @processor.job("quick")
    def quick(job: Job) -> str:
        return "done"

    async def program(queue: Queue, worker: Worker) -> None:
        jobs = await ended(queue, await queue.add("slow"), await queue.add("quick"))
        assert [job.failed_reason for job in jobs] == ["TimeoutError", None]
        assert jobs[1].return_value == "done"
        over.set()

    work(processor, program)


def test_an_ordinary_function_that_never_ends_does_not_keep_a_worker_from_ending() -> None:
    processor = Processor("q")
    over = threading.Event()

    @processor.job("stuck")
    def stuck(job: Job) -> bool:
        return over.wait(PATIENCE)

    async def program(queue: Queue, worker: Worker) -> None:
        await queue.add("stuck")
        await until(lambda: worker.running)

    began = time.monotonic()
    work(processor, program)
    assert time.monotonic() - began < PATIENCE / 2
    over.set()


def test_a_function_that_ends_after_its_loop_harms_nobody() -> None:
    threads, over, raised = HandlerThreads(), threading.Event(), []

    async def main() -> None:
        waiting = asyncio.ensure_future(threads.call(lambda _: over.wait(PATIENCE), None))
        await asyncio.sleep(0)
        waiting.cancel()

    before, threading.excepthook = threading.excepthook, raised.append
    try:
        asyncio.run(main())
        over.set()
        # the same thread, once it is free, takes the next call
        assert asyncio.run(threads.call(lambda number: number + 1, 1)) == 2
    finally:
        threading.excepthook = before
    assert not raised


def test_threads_are_used_again_and_are_as_many_as_the_calls_at_one_time() -> None:
    threads, together = HandlerThreads(), threading.Barrier(3)

    async def main() -> None:
        for number in range(5):
            assert await threads.call(lambda n: n, number) == number
            await until(lambda: threads._idle._value == 1)
        assert threads._count == 1
        await asyncio.gather(*(threads.call(lambda _: together.wait(PATIENCE), None) for _ in range(3)))
        assert threads._count == 3

    asyncio.run(main())


def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
import asyncio, os
from queuesim.core.processor import THREADS
async def call():
    async with asyncio.timeout(10):
        return await THREADS.call(lambda n: n + 1, 1)
assert asyncio.run(call()) == 2
child = os.fork()
if not child:
    os._exit(0 if asyncio.run(call()) == 2 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_in_virtual_time_an_ordinary_function_runs_in_the_loop() -> None:
    processor = Processor("q")
    seen: list[bool] = []

    @processor.job("plain")
    def plain(job: Job) -> None:
        seen.append(threading.current_thread() is threading.main_thread())

    async def main() -> None:
        queue = Queue(MemoryBroker("q"))
        worker = Worker(processor, queue.broker)
        running = asyncio.create_task(worker.run())
        await queue.add("plain")
        await asyncio.sleep(1.0)
        await worker.close()
        await running

    run(main())
    assert seen == [True]


def test_which_handlers_are_coroutine_functions() -> None:
    async def coroutine(job: Job) -> None: ...

    class Asynchronous:
        async def __call__(self, job: Job) -> None: ...

        async def method(self, job: Job) -> None: ...

    class Ordinary:
        def __call__(self, job: Job) -> None: ...

    assert all(map(is_async, (coroutine, partial(coroutine), Asynchronous(), Asynchronous().method)))
    assert not any(map(is_async, (print, lambda job: coroutine(job), Ordinary(), partial(print))))
