"""What commands share: options, output of results, exit codes, and the handling of wrong input and Ctrl-C."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from queuesim.error import QueuesimError
from queuesim.extras import need
from queuesim.text import shown, shown_lines

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.results.summary import Totals
    from queuesim.scenario.loading import Override


def print_summary(result: Result) -> None:
    """Tables, charts and checks, as wide as the terminal."""
    from rich.console import Console

    from queuesim.results.views.terminal import render

    render(result, Console())


def print_theory(result: Result) -> None:
    """What queueing theory says of the run: a table for each model that applies, and why the others do not."""
    from rich.console import Console

    from queuesim.results.views.terminal import print_lines
    from queuesim.theory import of
    from queuesim.theory.frame import lines

    console = Console()
    print_lines(["", *lines(of(result), console.width)], console)


def print_failures(result: Result) -> None:
    """On stderr: why the run failed, a line each."""
    from queuesim.results.views.digest import checks

    if result.facts.stopped:
        typer.echo(shown(f"{result.facts.scenario}: stopped early: {result.facts.stopped}"), err=True)
    for check in checks(result):
        if check.status == "failed":
            typer.echo(shown(f"{result.facts.scenario}: {check.text}"), err=True)


def print_json(result: Result, *, theory: bool = False) -> None:
    """A result as JSON, with or without what queueing theory says of it."""
    print_as_json(as_json_of(result, theory=theory))


def print_as_json(value: Any) -> None:
    """Print JSON in pure ASCII, so that it survives every terminal and pipe."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def as_json_of(result: Result, *, theory: bool = False) -> dict[str, Any]:
    """The facts, the summary and the checks. Times are seconds, rates per second; what was not measured is null."""
    from queuesim.results.views.digest import verdict

    summary = result.summary()
    plain_summary = dataclasses.asdict(summary)
    plain_summary["jobs"] |= _shares(summary.jobs)
    for name, totals in summary.by_name.items():
        plain_summary["by_name"][name] |= _shares(totals)
    found = {
        "ok": result.ok,
        "verdict": verdict(result),
        "facts": dataclasses.asdict(result.facts),
        "summary": plain_summary,
        "errors": result.analysis.errors().to_dict(orient="records"),
        "checks": result.checks.to_dict(orient="records"),
    }
    if theory:
        from queuesim.theory import of

        found["theory"] = of(result).to_json_records()
    plain: dict[str, Any] = without_nan(found)
    return plain


def _shares(totals: Totals) -> dict[str, float]:
    return {"success_rate": totals.success_rate, "retry_amplification": totals.retry_amplification}


def without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(each) for each in value]
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


# -- Errors: wrong input ends a command with one message on stderr and exit code 2, never with a traceback


@contextmanager
def guarded() -> Iterator[None]:
    """Around a whole command: our own errors and those of the file system exit with 2, Ctrl-C with 130."""
    try:
        yield
    except QueuesimError as error:
        _refuse(str(error))
    except OSError as error:
        if not error.strerror or isinstance(error, BrokenPipeError):
            raise
        _refuse(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    except KeyboardInterrupt:
        import logging

        # asyncio reports tasks that were cut off when they are garbage-collected: here that is no news
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        typer.echo("aborted", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _refuse(message: str) -> NoReturn:
    typer.echo(shown_lines(message), err=True)
    raise typer.Exit(ExitCode.REFUSED) from None


@contextmanager
def parsing(parameter: str) -> Iterator[None]:
    """Around the parsing of an option or argument: a ValueError or a TypeError becomes a usage error that names the
    parameter."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint=f"'{parameter}'") from None


# -- Parameters that several commands have

WithTheory = Annotated[
    bool, typer.Option("--theory", help="Also show what queueing theory predicts, and how far the run is off.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Processes = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Play in N processes. [default: in this one]", show_default=False),
]
ExecutorKind = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="processes|dask", help="Where to play: with dask, on a cluster.", show_default=False
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="URL", help="Scheduler of the cluster: tcp://10.0.0.5:8786.", show_default=False),
]
CacheDirectory = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIRECTORY",
        help="Keep here what runs measured: the same command goes on where it was interrupted.",
        show_default=False,
    ),
]
Confidence = Annotated[str, typer.Option(metavar="PERCENT", help="Confidence of all intervals.")]
Progress = Annotated[bool, typer.Option("--progress/--no-progress", help="A progress bar, on a terminal.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what is wrong.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the file. Repeatable."),
]
OwnProcessor = Annotated[
    str | None,
    typer.Option("--processor", metavar="MODULE:ATTRIBUTE", help="Replaces the scenario's.", show_default=False),
]
NoLimit = Annotated[
    bool, typer.Option("--no-limit", help="Accept runs that take more than a day or more than 64 GB of memory.")
]
ScenarioFiles = Annotated[
    list[str],
    typer.Argument(
        help="Scenario files, in YAML. A pattern in quotes, such as 'scenarios/**/*.yaml', means all files that match.",
        metavar="SCENARIO...",
        show_default=False,
    ),
]


def overrides_of(changes: Sequence[str] | None, processor: str | None) -> list[Override]:
    """What --set and --processor change in a scenario. Raises OverrideError."""
    from queuesim.scenario.loading import Override, parse_set

    overrides = [parse_set(change) for change in changes or ()]
    if processor is not None:
        overrides.append(Override(f"--processor {processor}", "processor", processor))
    return overrides


def matching(patterns: Sequence[str]) -> list[Path]:
    """The files that are named, and those that match patterns, each once: shells do not expand all patterns.

    Raises:
        typer.BadParameter: no file matches a pattern.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        files = [Path(pattern)]
        if has_magic(pattern) and not files[0].exists():
            files = sorted(Path(path) for path in glob(pattern, recursive=True))
        if not files:
            raise typer.BadParameter(f"no file matches {shown(pattern)}", param_hint="'SCENARIO...'")
        found |= dict.fromkeys(files)
    return list(found)


def share_of(text: str, parameter: str) -> float:
    """A share or a confidence of an option: 95% or 0.95. Usage error for anything else, and for 100 % and more."""
    from queuesim.units import parse_percent

    with parsing(parameter):
        share = float(text) if re.fullmatch(r"0?\.\d+|0", text) else parse_percent(text)
        if not 0 <= share < 1:
            raise ValueError(f"it must be below 100%, not {text}")
        return share


@contextmanager
def chosen_executor(kind: str | None, address: str | None, processes: int | None) -> Iterator[Any]:
    """What --executor, --address and --processes stand for, as experiments take it; closed at the end.

    Raises:
        typer.BadParameter: they do not go together.
        ClusterError: the cluster can't be used.
    """
    from queuesim.text import unknown

    if kind not in (None, "processes", "dask"):
        raise typer.BadParameter(unknown("executor", str(kind), ["processes", "dask"]), param_hint="'--executor'")
    if kind == "dask" and address is None:
        raise typer.BadParameter("dask needs the scheduler: --address tcp://10.0.0.5:8786", param_hint="'--executor'")
    if kind == "dask" and processes is not None:
        raise typer.BadParameter("a cluster has workers of its own", param_hint="'--processes'")
    if kind != "dask" and address is not None:
        raise typer.BadParameter("it goes with --executor dask", param_hint="'--address'")
    if kind == "dask":
        from queuesim.experiments.dask_cluster import Dask

        with Dask(str(address)) as cluster:
            yield cluster
    elif kind == "processes" or processes is not None:
        from queuesim.experiments.executor import Processes as Pool

        with Pool(processes) as pool:
            yield pool
    else:
        yield None


@contextmanager
def here_on_path() -> Iterator[None]:
    """The current directory, where a command line's module is looked for after the scenario's directory."""
    here = os.getcwd()
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


Prefix = Annotated[str, typer.Option(help="Prefix of all keys in Redis; {bull} on a cluster.")]
StoredResult = Annotated[
    Path, typer.Argument(metavar="DIRECTORY", help="Written by `queuesim run -o`.", show_default=False)
]


def _url(help: str) -> Any:
    return typer.Option(metavar="URL", help=help, show_default=False)


PlayedOn = Annotated[
    str | None,
    _url(
        "For redis: redis://HOST:PORT, or embedded for a private server. Default: REDIS_URL, or REDIS_HOST and "
        "REDIS_PORT, or a private server."
    ),
]
"""The server of a command that starts its own where none is named."""
LiveServer = Annotated[
    str | None,
    _url("redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for TLS. Default: REDIS_URL, or REDIS_HOST and REDIS_PORT."),
]
"""The server of a live queue."""
