"""``queuesim fit``: what a real backend cost, measured in a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fit(
    recordings: Annotated[list[Path], typer.Argument(help="Directories with jobs.csv, attempts.csv, config.json.")],
) -> None:
    """Measure in recordings what the backend itself cost, and print it as a line for a scenario file.

    queuesim fit scenarios/traces/steady
    """
    from queuesim.recordings.fit import fit_directory
    from queuesim.recordings.observation import RecordingError

    for recording in recordings:
        try:
            fitted = fit_directory(recording)
        except RecordingError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None
        if len(recordings) > 1:
            typer.echo(f"# {recording}")
        typer.echo(f"# attempt from {fitted.attempts_seen} gaps, pickup from {fitted.pickups_seen} starts, ", nl=False)
        typer.echo(f"tick from {fitted.ticks_seen} late retries" if fitted.tick else "tick does not show")
        typer.echo(fitted.as_yaml())
