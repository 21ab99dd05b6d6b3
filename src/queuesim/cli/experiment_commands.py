"""Commands that play many runs: replications of run, sweep and recommend."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from queuesim.cli.io import ExitCode, here_on_path, parsing, prepare_output, print_as_json, share_of, without_nan
from queuesim.error import QueuesimError
from queuesim.text import shown, shown_lines

if TYPE_CHECKING:
    from queuesim.experiments.replications import Replications
    from queuesim.scenario.loading import Override


# -- queuesim run --replications


def replicate_files(
    files: Sequence[Path],
    overrides: Sequence[Override],
    outputs: Mapping[Path, Path],
    *,
    force: bool,
    as_json: bool,
    quiet: bool,
    options: dict[str, Any],
) -> ExitCode:
    """Play several runs of each scenario and show what they say together. Returns the exit code of the command."""
    options["until"] = _widths(options["until"])
    options["confidence"] = share_of(options["confidence"], "--confidence")
    options["may_fail"] = share_of(options["may_fail"], "--may-fail")
    codes: list[ExitCode] = []
    plain: list[dict[str, Any]] = []
    for file in files:
        if len(files) > 1 and not (quiet or as_json):
            typer.echo(f"{chr(10) if codes else ''}{shown(str(file))}")
        try:
            with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), here_on_path():
                found = _replicate(file, overrides, outputs.get(file), force=force, options=options)
        except QueuesimError as error:
            if len(files) == 1:
                raise
            codes.append(ExitCode.REFUSED)
            plain.append({"ok": False, "file": str(file), "error": str(error)})
            typer.echo(shown_lines(str(error)), err=True)
            continue
        codes.append(ExitCode.OK if found.ok else ExitCode.FAILED)
        plain.append({**without_nan(found.as_json()), "file": str(file)})
        if not as_json:
            _show(found, quiet=quiet)
    if as_json:
        print_as_json(plain if len(files) > 1 else plain[0])
    return max(codes)


def _replicate(
    file: Path, overrides: Sequence[Override], output: Path | None, *, force: bool, options: dict[str, Any]
) -> Replications:
    from queuesim.experiments.replications import replicate
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import load_with

    chosen = load_with(file, overrides, checks=size_checks(options["no_limit"]))
    if output is not None:
        prepare_output(output, force=force)
    with parsing("--warmup"):
        found = replicate(chosen, **options)
    if output is not None:
        found.to_parquet(output)
        typer.echo(f"written to {output}", err=True)
    return found


def _widths(given: Sequence[str] | None) -> dict[str, str]:
    from queuesim.experiments.precision import Precision

    widths = {}
    for text in given or ():
        with parsing("--until"):
            figure, equals, width = text.partition("=")
            if not (equals and width.strip()):
                raise ValueError(f"{text} is not a width of an interval: write waiting.p95=5% or waiting.p95=200ms")
            Precision.of(figure.strip(), width.strip())
        widths[figure.strip()] = width.strip()
    return widths


def _show(found: Replications, *, quiet: bool) -> None:
    from rich.console import Console

    if not quiet:
        found.render(Console())
        return
    if not found.ok:
        typer.echo(shown(found.verdict), err=True)
    for status, text in found.lines():
        if status == "failed":
            typer.echo(shown(f"{found.scenario.name}: {text}"), err=True)
