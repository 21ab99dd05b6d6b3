"""Reports: a result on stdout, for people or as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from queuesim.error import QueuesimError
from queuesim.extras import need
from queuesim.text import shown, shown_lines

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.results.summary import Totals


def print_summary(result: Result) -> None:
    """Tables, charts and checks, as wide as the terminal."""
    from rich.console import Console

    from queuesim.results.views.terminal import render

    render(result, Console())


def print_failures(result: Result) -> None:
    """On stderr: why the run is no success, if it is none. A line each."""
    from queuesim.results.views.digest import checks

    if result.facts.stopped:
        typer.echo(shown(f"{result.facts.scenario}: stopped early: {result.facts.stopped}"), err=True)
    for check in checks(result):
        if check.status == "failed":
            typer.echo(shown(f"{result.facts.scenario}: {check.text}"), err=True)


def print_json(result: Result) -> None:
    """`as_json` as text. Pure ASCII, so that it survives every terminal and pipe."""
    typer.echo(json.dumps(as_json(result), indent=2, allow_nan=False))


def as_json(result: Result) -> dict[str, Any]:
    """The facts, the summary and the checks. Times are seconds, rates per second; what was not measured is null."""
    from queuesim.results.views.digest import verdict

    summary = result.summary()
    told = dataclasses.asdict(summary)
    told["jobs"] |= _shares(summary.jobs)
    for name, totals in summary.by_name.items():
        told["by_name"][name] |= _shares(totals)
    found = {
        "ok": result.ok,
        "verdict": verdict(result),
        "facts": dataclasses.asdict(result.facts),
        "summary": told,
        "errors": result.analysis.errors().to_dict(orient="records"),
        "checks": result.checks.to_dict(orient="records"),
    }
    plain: dict[str, Any] = _without_nan(found)
    return plain


def _shares(totals: Totals) -> dict[str, float]:
    return {"success_rate": totals.success_rate, "retry_amplification": totals.retry_amplification}


def _without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- Where results go: a directory that can be written is found out before a run, not after it


class OutputError(QueuesimError):
    """A directory that can't take a result; the message says why, and what helps."""


def prepare_output(directory: Path, *, force: bool = False) -> None:
    """Make the directory, and see that it takes files.

    Args:
        force: overwrite what is there.

    Raises:
        OutputError: it can't be written, or holds something already.
        MissingExtraError: pyarrow is not installed.
    """
    need("pyarrow", "parquet", "Parquet files")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        taken = any(directory.iterdir())
    except FileExistsError:
        raise OutputError(f"{directory} can't be the output: it is a file, not a directory") from None
    except OSError as error:
        raise OutputError(f"{directory} can't be written: {error.strerror or error}") from None
    if taken and not force:
        if (directory / "facts.json").is_file():
            raise OutputError(f"{directory} holds a result already: choose another directory, or --force to overwrite")
        raise OutputError(f"{directory} holds other files: choose another directory, or --force to write among them")


# -- Exit codes: what a command's end says to a shell or to CI


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
    from queuesim.results.recording import StopReason

    stopped = result.facts.stopped
    if stopped is not None and stopped.reason is StopReason.INTERRUPTED:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if result.ok else ExitCode.FAILED


# -- Refusals: wrong input ends a command with one message on stderr and exit code 2, never with a traceback


@contextmanager
def refusing() -> Iterator[None]:
    """Around the part of a command that reads its input: an error of ours, or of the file system, is the input's."""
    try:
        yield
    except Exception as error:
        # imported only now: with asyncio in it, it takes longer than all of the help
        from queuesim.error import QueuesimError

        if isinstance(error, QueuesimError):
            message = str(error)
        elif isinstance(error, OSError) and error.strerror:
            message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        else:
            raise
        typer.echo(shown_lines(message), err=True)
        raise typer.Exit(ExitCode.REFUSED) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Around a whole command: Ctrl-C ends it at once, where nothing else has been arranged."""
    try:
        yield
    except KeyboardInterrupt:
        import logging

        # tasks that were torn out of their work say so when they are forgotten: here that is no news
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        typer.echo("aborted", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


# -- The option ``--redis-url`` of commands that play on a server of their own where none is named

RedisUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="For redis: redis://HOST:PORT, or embedded for a private server. Else REDIS_URL, REDIS_HOST and "
        "REDIS_PORT count, or a private server is started.",
        show_default=False,
    ),
]
