"""The log of a worker process: structured events, as JSON lines or for people."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partialmethod
from typing import Any

from queuesim.core.broker import Completed, Failed, Outcome, Retried
from queuesim.core.containment import Contained
from queuesim.core.job import Job
from queuesim.core.worker import Worker
from queuesim.extras import need
from queuesim.text import shown_lines

FORMATS = ("json", "console")


class ContainedLogger:
    """A structlog logger that never raises: a broken pipe or a full disk harms neither jobs nor signals.

    The first line that can be written again is followed by one that says how many were lost.
    """

    def __init__(self, logger: Any, errors: Contained | None = None) -> None:
        self._logger = logger
        self.errors = errors or Contained("the log")
        """What writing lines raised."""
        self._reported = self.errors.count

    def bind(self, **facts: Any) -> ContainedLogger:
        """A logger that adds these facts to each line."""
        return ContainedLogger(self._logger.bind(**facts), self.errors)

    def _write(self, level: str, event: str, **facts: Any) -> None:
        try:
            getattr(self._logger, level)(event, **facts)
        except BaseException as error:  # noqa: BLE001 - the stream may be anything
            self.errors.raised(error)
            return
        lost = self.errors.count - self._reported
        if lost:
            with suppress(Exception):
                self._logger.warning("log lines lost", lines=lost, error=repr(self.errors.last))
                self._reported += lost

    debug = partialmethod(_write, "debug")
    info = partialmethod(_write, "info")
    warning = partialmethod(_write, "warning")
    error = partialmethod(_write, "error")


def make_logger(form: str, level: str) -> ContainedLogger:
    """A structlog logger that writes to standard error.

    Raises:
        MissingExtraError: structlog is not installed.
    """
    structlog = need("structlog", "worker", "worker processes")
    last = [structlog.processors.JSONRenderer()] if form == "json" else [_harmless, structlog.dev.ConsoleRenderer()]
    logger = structlog.wrap_logger(
        # a line and its end in one write: several processes may share the file
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return ContainedLogger(logger)


def drop_unwritten() -> None:
    """Forget what standard error does not take, before the interpreter tries to write it at exit, fails, and makes
    that the exit code."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _harmless(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Names and messages as a terminal can show them; JSON escapes by itself."""
    return {key: shown_lines(value) if isinstance(value, str) else value for key, value in event.items()}


class ServiceLog:
    """The log of one worker process; it also observes the worker's attempts."""

    def __init__(self, logger: ContainedLogger) -> None:
        self._log = logger

    @property
    def errors(self) -> Contained:
        """What writing lines raised."""
        return self._log.errors

    def started(self, worker: Worker, server: str, port: int | None) -> None:
        """It is about to take jobs."""
        self._log = self._log.bind(queue=worker.broker.queue, worker=worker.name)
        facts = {} if port is None else {"port": port}
        self._log.info("started", server=server, concurrency=worker.concurrency, **facts)

    def signalled(self, name: str, *, again: bool) -> None:
        """A signal came."""
        self._log.info("signal", signal=name, hurry=again)

    def draining(self, running: int, deadline: float) -> None:
        """It takes no more jobs."""
        self._log.info("draining", running=running, deadline=deadline)

    def left_behind(self) -> None:
        """The supervisor of this process has gone. It was killed: otherwise it would have stopped this one first."""
        self._log.error("supervisor gone")

    def stopped(self, drained: bool, left: list[str], abandoned: list[str]) -> None:
        """It is over; `left` are the jobs that were cut off, and of them `abandoned` still run."""
        if drained:
            self._log.info("stopped")
        elif abandoned:
            self._log.error("stopped with jobs abandoned", jobs=left, abandoned=abandoned)
        else:
            self._log.warning("stopped with jobs cut off", jobs=left)

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        """See WorkerObserver."""
        facts: dict[str, Any] = {"job": job.id, "name": job.name, "attempt": job.attempts_made + 1}
        if job.processed_on is not None:
            facts["seconds"] = round(ended - job.processed_on, 6)
        if lost:
            self._log.warning("lock lost", **facts)
        elif isinstance(outcome, Failed):
            self._log.error("failed", reason=outcome.reason, **facts)
        elif isinstance(outcome, Retried):
            self._log.warning("retried", reason=outcome.reason, delay=outcome.delay, **facts)
        elif isinstance(outcome, Completed):
            self._log.debug("completed", **facts)
        else:
            self._log.info("put back", kind=type(outcome).__name__.lower(), **facts)
