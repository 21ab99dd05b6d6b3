"""``queuesim compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.text import shown, shown_lines

if TYPE_CHECKING:
    from rich.table import Table

    from queuesim.recordings.compare import Comparison
    from queuesim.recordings.observation import Observation

SHOWN = 5
"""Differing attempts that are listed."""


def compare(
    first: Annotated[Path, typer.Argument(help="A scenario file, which is run, or a stored result, or a recording.")],
    second: Annotated[Path, typer.Argument(help="What to hold it against: the same.")],
    within: Annotated[
        str | None,
        typer.Option(help="Exit with 1 if mean or p95 of the waiting time differ by more, or any outcome: 3%."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the seed of a scenario that is run.")] = None,
) -> None:
    """Put two runs side by side: outcomes, waits, latency, throughput, limiter windows.

    A replay beside what a real BullMQ queue did:

        queuesim compare scenarios/bullmq-steady.yaml scenarios/traces/steady --within 3%
    """
    from rich.console import Console

    from queuesim.error import QueuesimError
    from queuesim.recordings.compare import compare as put_side_by_side
    from queuesim.units import parse_percent

    try:
        tolerance = None if within is None else parse_percent(within)
        comparison = put_side_by_side(_observe(first, seed), _observe(second, seed))
    except (QueuesimError, ValueError) as error:
        typer.echo(shown_lines(error), err=True)
        raise typer.Exit(2) from None
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
    from queuesim.recordings.observation import is_recording, of_recording, of_result

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
        table.add_row(Text(shown(row.name)), _show(row.first, row.unit), _show(row.second, row.unit), difference)
    return table


def _show(value: float, unit: str) -> str:
    if not unit:
        return f"{value:,.4g}" if value != int(value) else f"{int(value):,}"
    return f"{value * 1000:,.1f} ms" if unit == "s" else f"{value:,.3f}/s"


def _outcomes(comparison: Comparison) -> str:
    if comparison.identical:
        return f"all {comparison.attempts_compared:,} attempts and all jobs ended the same way"
    differing = [*comparison.attempts_differing, *comparison.states_differing]
    lines = [f"{len(differing):,} attempts or jobs of {comparison.attempts_compared:,} attempts differ:"]
    lines += [f"  {shown(text)}" for text in differing[:SHOWN]]
    if len(differing) > SHOWN:
        lines.append(f"  and {len(differing) - SHOWN:,} more")
    return "\n".join(lines)
