"""``queuesim report``: a result as a page for people, or as files for CI."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from queuesim.cli.io import interruptible, refusing


def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="What `queuesim run -o` wrote, or a scenario file, which is run.", show_default=False
        ),
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write: .html is a page, .md a summary, .xml JUnit. Repeatable.",
            show_default=False,
        ),
    ],
) -> None:
    """Write a report of a run: one HTML file that needs nothing else, a Markdown summary, or JUnit XML for CI.

    Exit code 0: all checks hold. 1: one failed, or the run got stuck; the report is written all the same. 2: there is
    no such run, or a report can't be written.
    """
    from queuesim.cli.io import exit_code

    with interruptible():
        with refusing():
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
