"""Exit codes: what a command's end says to a shell or to CI."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuesim.metrics.result import Result


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    """All checks hold."""
    FAILED = 1
    """A check failed, or the run could not go on."""
    REFUSED = 2
    """The input or the command is wrong."""
    INTERRUPTED = 130
    """Ctrl-C; 128 and the signal's number, as shells have it."""


def exit_code(result: Result) -> ExitCode:
    """The code that a run ends with."""
    # not at the top: a command's help needs no numpy
    from queuesim.metrics.recording import StopReason

    stopped = result.facts.stopped
    if stopped is not None and stopped.reason is StopReason.INTERRUPTED:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if result.ok else ExitCode.FAILED
