"""``queuesim evaluate``: the task service's score out of 20, computed from evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from queuesim.cli.refusal import refusing


def evaluate(
    backend: Annotated[str, typer.Option(help="sim, fakeredis (virtual time), or redis (real time).")] = "sim",
    database: Annotated[str, typer.Option(help="SQLAlchemy's URL of an empty database.")] = "sqlite://",
    redis_url: Annotated[str | None, typer.Option(help="The server, for the backend redis.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE", help="Switch a feature off, to see its points go. Repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the report here, as Markdown.")] = None,
) -> None:
    """Try every claim of the task service. Exit code 1 unless all score."""
    with refusing():
        from queuesim.evaluation.ground import Ground
        from queuesim.evaluation.score import evaluate as verdicts_of
        from queuesim.evaluation.score import report

        ground = Ground(backend, database, redis_url, frozenset(without or ()))
    verdicts = []
    for verdict in verdicts_of(ground):
        verdicts.append(verdict)
        mark = "✓" if verdict.scored else "✗"
        typer.echo(f"{mark} {verdict.scored}/{verdict.points} {verdict.area}: {verdict.name}: {verdict.evidence}")
    total, possible = sum(v.scored for v in verdicts), sum(v.points for v in verdicts)
    typer.echo(f"{total} of {possible} points on {backend}")
    if output is not None:
        command = f"queuesim evaluate --backend {backend}" + "".join(f' --without "{f}"' for f in without or ())
        with refusing():
            output.write_text(report(ground, verdicts, f"{command} -o {output}"), encoding="utf-8")
    raise typer.Exit(0 if total == possible else 1)
