"""``queuesim check``: say by arithmetic what will go wrong, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from queuesim.cli.refusal import refusing


def check(
    files: Annotated[list[Path], typer.Argument(metavar="SCENARIO", help="Scenario files, in YAML.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what queueing arithmetic expects to go wrong in scenarios. Exit code 1 if there is a finding."""
    found = {}
    with refusing():
        from queuesim.check.findings import examine
        from queuesim.scenario.file import load_scenario

        for file in files:
            found[str(file)] = examine(load_scenario(file))
    if as_json:
        from dataclasses import asdict

        typer.echo(
            json.dumps({file: [asdict(each) for each in findings] for file, findings in found.items()}, indent=1)
        )
    else:
        for name, findings in found.items():
            for finding in findings:
                typer.echo(f"{name}: {finding.key}: {finding.name}: {finding.message} See {finding.shown_by}.")
            if not findings:
                typer.echo(f"{name}: nothing found")
    raise typer.Exit(1 if any(found.values()) else 0)
