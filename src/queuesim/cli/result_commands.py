"""Commands on stored results and recordings: show, plot, report, compare and fit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import (
    AsJson,
    StoredResult,
    WithTheory,
    exit_code,
    parsing,
    print_json,
    print_summary,
    print_theory,
)
from queuesim.text import shown

if TYPE_CHECKING:
    from rich.table import Table

    from queuesim.recordings.compare import Comparison, Observation
    from queuesim.results.result import Result


def show(
    directory: StoredResult,
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a check failed, as the run did.")] = False,
    theory: WithTheory = False,
) -> None:
    """Print the summary of a stored result.

    Exit code 0, also if checks failed. With --check it is that of the run: 1 if a check failed, or the run got stuck.
    2 if there is no such result.
    """
    from queuesim.results.result import load

    result = load(directory)
    if as_json:
        print_json(result, theory=theory)
    else:
        print_summary(result)
        if theory:
            print_theory(result)
    if check:
        raise typer.Exit(exit_code(result))


# -- queuesim plot


def plot(
    directory: StoredResult,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture; its ending chooses the format (png, svg, pdf, ...). [default: overview.png in "
            "DIRECTORY]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw a stored result as a picture.

    It shows backlog and throughput, latencies, attempts and the limiter's windows. Needs matplotlib, which
    comes with the extra "plot". Exit code 2 if there is no such result, or the picture can't be made.
    """
    from queuesim.results.result import load

    file = directory / "overview.png" if output is None else output
    draw(load(directory), file)
    typer.echo(f"written to {file}", err=True)


def draw(result: Result, file: Path) -> None:
    """Write the overview of a result into a file, without a screen.

    Raises:
        QueuesimError: matplotlib knows no format of that ending.
        MissingExtraError: matplotlib is not installed.
        OSError: the file can't be written.
    """
    from queuesim.error import QueuesimError
    from queuesim.extras import need
    from queuesim.text import unknown

    need("matplotlib", "plot", "plots")
    from matplotlib.figure import Figure

    from queuesim.results.plots import SIZE

    figure = Figure(figsize=SIZE)
    formats = figure.canvas.get_supported_filetypes()
    if (ending := file.suffix.removeprefix(".").lower()) not in formats:
        raise QueuesimError(f"{file}: {unknown('picture format', ending, sorted(formats), 'formats')}")
    result.plot.overview(figure)
    figure.savefig(file)


# -- queuesim report


def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Written by `queuesim run -o`, or a scenario file, which is run.", show_default=False
        ),
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: .html is a page, .md a summary, .xml JUnit. Repeatable.",
            show_default=False,
        ),
    ],
) -> None:
    """Write a report of a run: one HTML file that needs nothing else, a Markdown summary, or JUnit XML for CI.

    Exit code 0: all checks hold. 1: one failed, or the run got stuck; the report is written all the same. 2: there is
    no such run, or a report can't be written.
    """
    from queuesim.results.result import load
    from queuesim.results.views.reports import check_ending, write_report

    for file in output:
        check_ending(file)
    if run.is_dir() or not run.exists():
        result = load(run)
    else:
        from queuesim.runs.run import run as play

        result = play(run)
    for file in output:
        write_report(result, file, command=shlex.join(["queuesim", "report", str(run), "-o", str(file)]))
        typer.echo(f"written to {file}", err=True)
    raise typer.Exit(exit_code(result))


# -- queuesim compare

MOST_SHOWN = 5
"""Differing attempts that are listed."""


def compare(
    first: Annotated[Path, typer.Argument(help="A scenario file, which is run, or a stored result, or a recording.")],
    second: Annotated[Path, typer.Argument(help="What to compare it with: the same.")],
    within: Annotated[
        str | None,
        typer.Option(help="Exit with 1 if mean or p95 of the waiting time differ by more, or any outcome: 3%."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces the seed of a scenario that is run.")] = None,
) -> None:
    """Put two runs side by side: outcomes, waits, latency, throughput, limiter windows.

    A replay beside what a real BullMQ queue did:

        queuesim compare scenarios/bullmq-steady.yaml scenarios/traces/steady --within 3%
    """
    from rich.console import Console

    from queuesim.recordings.compare import compare as put_side_by_side
    from queuesim.units import parse_percent

    with parsing("--within"):
        tolerance = None if within is None else parse_percent(within)
    comparison = put_side_by_side(_observe(first, seed), _observe(second, seed))
    console = Console()
    console.print(_table(comparison))
    console.print(_outcomes(comparison), highlight=False, markup=False)
    if tolerance is not None:
        passed = comparison.identical and comparison.within(tolerance)
        console.print(f"{'✓' if passed else '✗'} outcomes identical, waiting within {within}", highlight=False)
        if not passed:
            raise typer.Exit(1)


def _observe(path: Path, seed: int | None) -> Observation:
    """A recording, a stored result or a scenario, whichever is there."""
    from queuesim.recordings.compare import is_recording, of_recording, of_result

    if path.is_dir():
        if is_recording(path):
            return of_recording(path)
        from queuesim.results.result import load

        return of_result(load(path))
    from queuesim.runs.run import run

    return of_result(run(path, seed=seed))


def _table(comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for head in (comparison.first, comparison.second, "difference"):
        table.add_column(Text(shown(head)), justify="right")
    for row in comparison.rows:
        difference = "" if row.first == row.second else f"{row.difference:+.2%}"
        table.add_row(
            Text(shown(row.name)), _quantity(row.first, row.unit), _quantity(row.second, row.unit), difference
        )
    return table


def _quantity(value: float, unit: str) -> str:
    if not unit:
        return f"{value:,.4g}" if value != int(value) else f"{int(value):,}"
    return f"{value * 1000:,.1f} ms" if unit == "s" else f"{value:,.3f}/s"


def _outcomes(comparison: Comparison) -> str:
    if comparison.identical:
        return f"all {comparison.attempts_compared:,} attempts and all jobs ended the same way"
    differing = [*comparison.attempts_differing, *comparison.states_differing]
    lines = [f"{len(differing):,} attempts or jobs of {comparison.attempts_compared:,} attempts differ:"]
    lines += [f"  {shown(text)}" for text in differing[:MOST_SHOWN]]
    if len(differing) > MOST_SHOWN:
        lines.append(f"  and {len(differing) - MOST_SHOWN:,} more")
    return "\n".join(lines)


# -- queuesim fit


def fit(
    recordings: Annotated[list[Path], typer.Argument(help="Directories with jobs.csv, attempts.csv, config.json.")],
) -> None:
    """Measure in recordings what the backend itself cost, and print it as a line for a scenario file.

    queuesim fit scenarios/traces/steady
    """
    from queuesim.recordings.fit import fit_directory

    for recording in recordings:
        fitted = fit_directory(recording)
        if len(recordings) > 1:
            typer.echo(f"# {recording}")
        tick = f"tick from {fitted.ticks_seen} late retries" if fitted.tick else "tick not measurable"
        typer.echo(f"# attempt from {fitted.attempts_seen} gaps, pickup from {fitted.pickups_seen} starts, {tick}")
        typer.echo(fitted.as_yaml())
