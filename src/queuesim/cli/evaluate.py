"""``queuesim evaluate``: the task service's score out of 20, computed from evidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import RedisUrl, refusing

if TYPE_CHECKING:
    from queuesim.evaluation.ground import Ground
    from queuesim.evaluation.score import Verdict


def evaluate(
    backends: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            help="sim (default), fakeredis (both in virtual time), or redis (real time). Repeatable.",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://USER@HOST/NAME; SQLite if left out.", show_default=False),
    ] = None,
    redis_url: RedisUrl = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE", help="Switch a feature off, to see its points go. Repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the report here, as Markdown.")] = None,
) -> None:
    """Try every claim of the task service, for a score out of 20. Exit code 1 unless all score.

    For instance: queuesim evaluate --backend sim --backend redis -o evaluation.md
    """
    sections = []
    with refusing():
        from queuesim.evaluation.ground import Ground
        from queuesim.evaluation.score import report

        grounds = [Ground(each, database, redis_url, frozenset(without or ())) for each in backends or ["sim"]]
        for ground in grounds:
            with ground.opened():
                sections.append((ground, list(_told(ground))))
        if output is not None:
            options = [f"--backend {ground.backend}" for ground in grounds] + [
                f'--without "{f}"' for f in without or ()
            ]
            command = " ".join(["queuesim evaluate", *options, f"-o {output}"])
            output.write_text(report(sections, command), encoding="utf-8")
    verdicts = [verdict for _, found in sections for verdict in found]
    raise typer.Exit(0 if all(verdict.scored == verdict.points for verdict in verdicts) else 1)


def _told(ground: Ground) -> Iterator[Verdict]:
    """Each verdict, told as soon as it is there, and the sum at the end."""
    from queuesim.evaluation.score import evaluate as verdicts_of

    total = possible = 0
    for verdict in verdicts_of(ground):
        total, possible = total + verdict.scored, possible + verdict.points
        mark = "✓" if verdict.scored else "✗"
        typer.echo(f"{mark} {verdict.scored}/{verdict.points} {verdict.area}: {verdict.name}: {verdict.evidence}")
        yield verdict
    typer.echo(f"{total} of {possible} points on {ground.backend}")
