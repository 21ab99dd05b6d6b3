"""Observers, log handlers and metrics that raise: counted, reported once, and no job is stranded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from workbench import Bench, now

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.containment import LOG_HANDLERS, Contained, log
from queuesim.core.job import Job, RateLimit
from queuesim.simulation.runner import run

FULL = OSError(28, "No space left on device")


@pytest.fixture
def no_log_errors() -> Iterator[None]:
    """The process's count of log handlers' errors, as it is in a new process."""
    yield
    LOG_HANDLERS.count, LOG_HANDLERS.first = 0, None


class Faulty:
    """An observer that raises at some of its calls, whichever they are."""

    def __init__(self, error: BaseException, *calls: int) -> None:
        self.error = error
        self.calls = calls
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return self._call

    def _call(self, *arguments: Any) -> None:
        self.count += 1
        if self.count in self.calls:
            raise self.error


@pytest.mark.parametrize("error", [FULL, BrokenPipeError(), SystemExit(1), asyncio.CancelledError()], ids=repr)
def test_an_observer_that_raises_strands_no_job(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def program() -> None:
        bench = Bench(concurrency=2)
        bench.serve(seconds=1.0)
        worker = bench.worker("w")
        worker._observer = observer = Faulty(error, 3, 4)
        await bench.queue.add_bulk([("job", None)] * 10)
        async with bench.working(worker):
            await asyncio.sleep(5.5)
            assert await bench.counts() == {"completed": 10}, "two at a time, one second each"
        assert observer.count == 10
        assert worker.observer_errors.count == 2
        assert worker.observer_errors.first is error

    run(program())
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the observer of worker 'w' raised {type(error).__name__}. No job is affected. Further errors of it are "
        "counted and not reported"
    )
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_an_interrupt_in_an_observer_is_not_contained() -> None:
    contained = Contained("an observer")
    with pytest.raises(KeyboardInterrupt):
        contained.raised(KeyboardInterrupt())
    assert contained.count == 0


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_an_observer_of_a_queue_that_raises_strands_no_job(kind: str) -> None:
    async def program() -> None:
        bench = Bench(concurrency=1, limiter=RateLimit(1, 1.0))
        if kind == "redis":
            bench.broker = bench.queue.broker = RedisBroker("bench", FakeServer())
        bench.broker.observe(observer := Faulty(FULL, *range(1, 100)))
        bench.serve(seconds=0.25)
        await bench.queue.add_bulk([("job", None)] * 5)
        async with bench.working():
            await asyncio.sleep(6.0)
            assert await bench.counts() == {"completed": 5}
        assert [starts for (starts,) in bench.starts.values()] == [0.0, 1.0, 2.0, 3.0, 4.0]
        if kind == "memory":
            bench.broker.flush()
        assert bench.broker.observer_errors.count == observer.count >= 5

    run(program())


def test_a_recorder_that_raises_fails_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without its records has no result."""
    import queuesim
    from queuesim.results.recorder import Recorder

    def attempt(*arguments: Any, **named: Any) -> None:
        raise ZeroDivisionError("no record")

    monkeypatch.setattr(Recorder, "attempt", attempt)
    scenario = queuesim.Scenario.model_validate(
        {"name": "s", "duration": "10s", "jobs": {"a": {"service": "1s"}}, "load": [{"name": "l", "constant": "1/s"}]}
    )
    with pytest.raises(ZeroDivisionError, match="no record"):
        queuesim.run(scenario)


class BrokenHandler(logging.Handler):
    """As one without `handleError` around what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.records = 0

    def handle(self, record: logging.LogRecord) -> bool:
        self.records += 1
        raise BrokenPipeError("nobody reads this log")


@pytest.mark.usefixtures("no_log_errors")
def test_a_log_handler_that_raises_is_counted_and_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("queuesim.test_containment")
    logger.addHandler(handler := BrokenHandler())
    try:
        for number in range(3):
            log(logger, logging.ERROR, "message %d", number)
    finally:
        logger.removeHandler(handler)
    assert handler.records == 3
    assert LOG_HANDLERS.count == 3
    assert capsys.readouterr().err == "queuesim: a log handler raised BrokenPipeError: nobody reads this log\n"


@pytest.mark.usefixtures("no_log_errors")
def test_a_broken_log_strands_no_job_of_an_unreadable_scheduler() -> None:
    """The worker logs that it puts such a job off, and its slot goes on."""
    from queuesim.core.scheduler import Every, ScheduleError

    logger = logging.getLogger("queuesim.core.worker")
    logger.addHandler(handler := BrokenHandler())

    async def program() -> None:
        bench = Bench(concurrency=1)
        bench.serve(seconds=1.0)
        await bench.queue.upsert_scheduler("s", Every(3600.0), "job")

        async def unreadable(scheduler_id: str) -> Any:
            raise ScheduleError("the cron pattern can't be read")

        bench.broker.scheduler = unreadable
        async with bench.working():
            await bench.queue.add("job")
            await asyncio.sleep(10.0)
            assert await bench.counts() == {"completed": 1, "delayed": 1}

    try:
        run(program())
    finally:
        logger.removeHandler(handler)
    assert handler.records == LOG_HANDLERS.count == 1


def test_sys_exit_in_a_handler_ends_neither_the_worker_nor_its_neighbours() -> None:
    import sys

    async def program() -> None:
        bench = Bench(concurrency=2)

        async def handler(job: Job) -> float:
            await asyncio.sleep(1.0)
            if job.id == "1":
                sys.exit(3)
            return now()

        bench.handle(handler)
        await bench.queue.add_bulk([("job", None)] * 4)
        async with bench.working():
            await asyncio.sleep(3.0)
            assert await bench.counts() == {"completed": 3, "failed": 1}
        assert [failure.reason for failure in bench.failures] == ["the handler called sys.exit(3)"]

    run(program())
