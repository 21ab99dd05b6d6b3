"""What a worker process says while its log, its metrics or its port break."""

from __future__ import annotations

import asyncio
import io
import json
import signal
from contextlib import redirect_stderr
from typing import Any, cast

import pytest

from queuesim.core.broker import Completed
from queuesim.core.job import Job
from queuesim.core.processor import Processor
from queuesim.service.log import ServiceLog, make_logger
from queuesim.service.service import ServiceSettings, WorkerService
from queuesim.service.status import Metrics, StatusServer


class Stream(io.StringIO):
    """A stream that can be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def test_lines_that_could_not_be_written_are_counted_and_said() -> None:
    with redirect_stderr(stream := Stream()):
        logger = make_logger("json", "info")
    logger.info("first")
    stream.full = True
    for _ in range(3):
        logger.bind(queue="q").warning("lost")
    logger.debug("nobody wants it")
    assert logger.errors.count == 3
    stream.full = False
    logger.info("fourth")
    logger.info("fifth")
    assert [line["event"] for line in stream.lines] == ["first", "fourth", "log lines lost", "fifth"]
    assert stream.lines[2]["lines"] == 3
    assert stream.lines[2]["error"] == "OSError(28, 'No space left on device')"


def test_a_signal_is_heeded_before_it_is_logged() -> None:
    seen: list[tuple[bool, bool]] = []

    class Slow:
        def signalled(self, name: str, *, again: bool) -> None:
            seen.append((service._stopping.is_set(), service._hurry.is_set()))
            raise BrokenPipeError

    service = WorkerService(Processor("q"), ServiceSettings(), cast(ServiceLog, Slow()))
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            service._signalled(signal.SIGTERM)
    assert seen == [(True, False), (True, True)]


def test_metrics_that_raise_are_counted_and_the_log_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    class Log:
        def attempt(self, worker: str, slot: int, job: Job, *rest: Any) -> None:
            told.append(job.id)

    metrics = Metrics("q")
    metrics._attempts = None
    both = metrics.beside(Log(), ServiceLog(make_logger("json", "info")).errors)
    for number in "123":
        both.attempt("w", 0, Job(number, "a", {}), 1.0, Completed(number, "t"), False)
    assert told == ["1", "2", "3"]
    assert metrics.errors.count == 3
    assert [record.getMessage().partition(".")[0] for record in caplog.records] == ["the metrics raised AttributeError"]


def test_metrics_that_can_not_be_told_are_an_answer_with_status_500() -> None:
    class Broken:
        async def text(self, worker: Any) -> bytes:
            raise ZeroDivisionError

    status = StatusServer(cast(Any, None), cast(Any, None), cast(Any, Broken()), lambda: False)
    code, _, body = asyncio.run(status._answer("GET /metrics HTTP/1.1"))
    assert (code, body) == ("500 Internal Server Error", b"ZeroDivisionError\n")
