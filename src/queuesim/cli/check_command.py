"""``queuesim check``: say by arithmetic what will go wrong, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import refusing
from queuesim.text import shown

if TYPE_CHECKING:
    from queuesim.check.outline import Finding


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENARIO|MODULE:PROCESSOR", help="Scenario files, in YAML, or processors.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    no_limit: Annotated[
        bool, typer.Option("--no-limit", help="Examine what plays for more than a day or needs more than 64 GB.")
    ] = False,
) -> None:
    """Say what queueing arithmetic expects to go wrong. Exit code 1 if there is a finding.

    For instance: queuesim check my_scenario.yaml my_service.jobs:processor
    """
    with refusing():
        found = {target: _examine(target, no_limit=no_limit) for target in targets}
    if as_json:
        told = {
            target: [
                {
                    "name": each.name,
                    "key": each.key,
                    "message": each.message,
                    "shown_by": each.shown_by,
                    "expected": each.expected,
                }
                for each in findings
            ]
            for target, findings in found.items()
        }
        typer.echo(json.dumps(told, indent=1))
    else:
        for target, findings in found.items():
            for each in findings:
                typer.echo(shown(f"{target}: {each.key}: {each.name}: {each.message} See {each.shown_by}."))
            if not findings:
                typer.echo(shown(f"{target}: nothing found"))
    raise typer.Exit(1 if any(found.values()) else 0)


def _examine(target: str, *, no_limit: bool) -> list[Finding]:
    from queuesim.scenario.loading import load_processor

    if ":" in target and not Path(target).exists():
        from queuesim.check.check import examine_processor

        return examine_processor(load_processor(target, Path()))
    from queuesim.check.check import examine
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import load_scenario

    scenario = load_scenario(target, check_processor=True, checks=size_checks(no_limit))
    own = None if scenario.processor is None else load_processor(scenario.processor, scenario.directory)
    return examine(scenario, own)
