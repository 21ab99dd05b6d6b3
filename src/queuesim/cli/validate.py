"""``queuesim validate``: say whether scenario files are right, and if not, where and what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from queuesim.scenario.model import Scenario


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="SCENARIO", help="Scenario files, in YAML.")],
    imports: Annotated[
        bool, typer.Option("--import/--no-import", help="Also import the processor that a scenario names.")
    ] = True,
    no_limit: Annotated[
        bool, typer.Option("--no-limit", help="Accept what plays for more than a day or needs more than 64 GB.")
    ] = False,
) -> None:
    """Check scenario files without running them. Exit code 2 if one is not right; all problems are told."""
    # pydantic waits until a file is to be read: `queuesim --help` does not need it
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import ScenarioError, load_scenario
    from queuesim.text import shown

    wrong = False
    for file in files:
        try:
            scenario = load_scenario(file, check_processor=imports, checks=size_checks(no_limit))
        except ScenarioError as error:
            wrong = True
            typer.echo(str(error), err=True)
        else:
            typer.echo(shown(f"{file}: ok: {outline(scenario)}"))
    if wrong:
        raise typer.Exit(2)


def outline(scenario: Scenario) -> str:
    """A scenario in a line: its name, how long it runs, and how much of what it has."""
    from queuesim.units import format_duration

    parts = [f"{scenario.name}, {format_duration(scenario.duration)}"]
    for noun, things in (("job type", scenario.jobs), ("load", scenario.load), ("threshold", scenario.thresholds)):
        count = len(things)
        if count:
            parts.append(f"{count} {noun}{'' if count == 1 else 's'}")
    if scenario.processor:
        parts.append(f"processor {scenario.processor}")
    return ", ".join(parts)
