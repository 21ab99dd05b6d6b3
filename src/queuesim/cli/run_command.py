"""``queuesim run``: play a scenario, and show what happened."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import RedisUrl, exit_code, interruptible, refusing

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.scenario.model import Scenario


def run(
    scenario: Annotated[Path, typer.Argument(help="A scenario file, in YAML.", metavar="SCENARIO", show_default=False)],
    backend: Annotated[
        str, typer.Option(help="sim: virtual time; fakeredis: virtual time, our Lua scripts; redis: real time.")
    ] = "sim",
    redis_url: RedisUrl = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the scenario's.", show_default=False)] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the file. Repeatable."),
    ] = None,
    processor: Annotated[
        str | None,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="In place of the scenario's.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIRECTORY", help="Write the result here, as Parquet."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a result that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary and the checks as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failed checks.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A progress bar, on a terminal.")] = True,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Run tasks that are ready at once in an order drawn from the seed.")
    ] = False,
    handler_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Real time for which a handler may hold the event loop.")
    ] = 10.0,
    allow_io: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="What handlers may reach for real in virtual time. Repeatable."),
    ] = None,
    no_limit: Annotated[
        bool, typer.Option("--no-limit", help="Play it though it takes more than a day or 64 GB of memory.")
    ] = False,
) -> None:
    """Play a scenario and show what happened.

    Exit code 0: all checks hold. 1: one failed, or the run got stuck. 2: the scenario or the command is wrong.
    130: Ctrl-C, after what was simulated until then has been shown and written; a second Ctrl-C ends it at once.
    """
    if not 0 < handler_limit < math.inf:
        raise typer.BadParameter(f"{handler_limit:g} is no number of seconds above 0", param_hint="'--handler-limit'")
    _check_allow_io(allow_io or [])
    with interruptible():
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            with refusing():
                _check_backend(backend)
                chosen = _load(scenario, changes or [], processor, no_limit=no_limit)
                if output is not None:
                    from queuesim.cli.io import prepare_output

                    prepare_output(output, force=force)
            # a run loads the processor again
            with refusing(), _here_on_path():
                result = _play(
                    chosen,
                    backend,
                    redis_url,
                    seed,
                    shuffle,
                    handler_limit,
                    allow_io or [],
                    bar=progress and not (quiet or as_json),
                    no_limit=no_limit,
                )
        _report(result, as_json=as_json, quiet=quiet)
        if output is not None:
            with refusing():
                result.to_parquet(output)
            if not quiet:
                typer.echo(f"written to {output}", err=True)
        raise typer.Exit(exit_code(result))


def _check_backend(backend: str) -> None:
    from queuesim.scenario.model import check_backend

    check_backend(backend)


def _check_allow_io(entries: list[str]) -> None:
    from queuesim.simulation.allowed_io import parse_pattern

    for entry in entries:
        try:
            parse_pattern(entry)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--allow-io'") from None


def _load(file: Path, changes: list[str], processor: str | None, *, no_limit: bool) -> Scenario:
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import Override, load_with, parse_set

    overrides = [parse_set(change) for change in changes]
    if processor is not None:
        overrides.append(Override(f"--processor {processor}", "processor", processor))
    with _here_on_path():
        return load_with(file, overrides, checks=size_checks(no_limit))


@contextlib.contextmanager
def _here_on_path() -> Iterator[None]:
    """The current directory, where a command line's module is looked for after the scenario's directory."""
    here = os.getcwd()
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _play(
    scenario: Scenario,
    backend: str,
    redis_url: str | None,
    seed: int | None,
    shuffle: bool,
    handler_limit: float,
    allow_io: list[str],
    *,
    bar: bool,
    no_limit: bool,
) -> Result:
    from queuesim.results.views.progress import wants_progress
    from queuesim.runs.run import run as play

    return play(
        scenario,
        backend,
        redis_url=redis_url,
        seed=seed,
        progress=bar and wants_progress(),
        shuffle=shuffle,
        handler_limit=handler_limit,
        allow_io=allow_io,
        no_limit=no_limit,
    )


def _report(result: Result, *, as_json: bool, quiet: bool) -> None:
    from queuesim.cli.io import print_failures, print_json, print_summary

    if as_json:
        print_json(result)
    elif quiet:
        print_failures(result)
    else:
        print_summary(result)
