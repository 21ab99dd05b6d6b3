"""Containment: observers, log handlers and metrics watch the work. Their errors harm no job, no slot and no signal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger("queuesim.core.containment")

FATAL = (KeyboardInterrupt, GeneratorExit)
"""Exceptions that end the program or the coroutine, whatever code is running. SystemExit is not among them: an observer
does not decide when a worker ends."""


class Contained:
    """Counts the errors of a bystander of the work, and reports the first one.

    ::

        try:
            observer.attempt(...)
        except BaseException as error:
            self.observer_errors.raised(error)

    In CPython a `try` that nothing is raised in costs nothing.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        """Who raises, for the report."""
        self.count = 0
        self.first: BaseException | None = None
        self.last: BaseException | None = None
        self.when_first: Callable[[BaseException], object] | None = None
        """Also called with the first error, for a bystander that is needed."""

    def __repr__(self) -> str:
        return f"<Contained {self.what}: {self.count} errors>"

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call the bystander, where that is not done for each job: a call more takes its time."""
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - it may be anybody's code
            self.raised(error)

    def raised(self, error: BaseException) -> None:
        """Count an error. Raises it again if it is none of the bystander's own: KeyboardInterrupt, GeneratorExit."""
        if isinstance(error, FATAL):
            raise error
        self.count += 1
        self.last = error
        if self.first is None:
            self.first = error
            self._report(error)
            if self.when_first is not None:
                self.when_first(error)

    def _report(self, error: BaseException) -> None:
        message = "%s raised %s. No job is affected. Further errors of it are counted and not reported"
        log(logger, logging.ERROR, message, self.what, type(error).__name__, error=error)


class _ContainedHandlers(Contained):
    """The handlers of `logging`. Their errors can't be logged, so the first is written to standard error."""

    def _report(self, error: BaseException) -> None:
        # standard error may be what is broken
        with suppress(Exception):
            sys.stderr.write(f"queuesim: {self.what} raised {type(error).__name__}: {error}\n")
            sys.stderr.flush()


LOG_HANDLERS = _ContainedHandlers("a log handler")
"""Errors of log handlers and filters in this process, while they handled records of this package."""


def log(to: logging.Logger, level: int, message: str, *arguments: object, error: BaseException | None = None) -> None:
    """Log a record, with the traceback of `error` if there is one. Raises nothing that a handler or a filter raises."""
    try:
        to.log(level, message, *arguments, exc_info=error, stacklevel=2)
    except BaseException as fault:  # noqa: BLE001 - a handler may be anybody's code
        LOG_HANDLERS.raised(fault)
