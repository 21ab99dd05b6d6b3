"""Commands on scenario files: init, validate, check and schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import AsJson, NoLimit, ScenarioFiles, matching
from queuesim.text import shown

if TYPE_CHECKING:
    from queuesim.check.outline import Finding
    from queuesim.scenario.model import Scenario


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The scenario file to write.")] = Path("scenario.yaml"),
) -> None:
    """Write a first scenario to start from.

    Beside it goes the processor that it runs: a Python module with a handler to replace by your own.
    Exit code 2 if one of the files exists.
    """
    for path in write_starter(file):
        typer.echo(f"written: {path}")
    typer.echo(f"now try: queuesim run {file}")


def write_starter(file: Path) -> list[Path]:
    """Write both files, none over another, and return their paths.

    Raises:
        QueuesimError: one of them exists, or the name can't become a module's name.
        OSError: they can't be written.
    """
    from importlib.resources import files

    from queuesim.error import QueuesimError

    module = f"{file.stem}_processor".replace("-", "_")
    if not module.isidentifier():
        raise QueuesimError(f'{file}: "{module}" can\'t be the name of a module: choose a name of letters and digits')
    code = file.with_name(f"{module}.py")
    for path in (file, code):
        if path.exists():
            raise QueuesimError(f"{path} exists: choose another name, or remove it")
    file.parent.mkdir(parents=True, exist_ok=True)
    starter = files("queuesim.cli") / "starter"
    for path, template in ((file, "scenario.yaml"), (code, "processor.py.txt")):
        text = starter.joinpath(template).read_text(encoding="utf-8")
        path.write_text(text.replace("SCENARIO", str(file)).replace("MODULE", module), encoding="utf-8", newline="\n")
    return [file, code]


# -- queuesim validate


def validate(
    scenarios: ScenarioFiles,
    imports: Annotated[
        bool, typer.Option("--import/--no-import", help="Also import the processor that a scenario names.")
    ] = True,
    no_limit: NoLimit = False,
) -> None:
    """Check scenario files without running them. Prints all problems; exit code 2 if there are any."""
    # pydantic waits until a file is to be read: `queuesim --help` does not need it
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import ScenarioError, load_scenario

    wrong = False
    for file in matching(scenarios):
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
    """A scenario in a line: its name, its duration, and what it consists of."""
    from queuesim.units import format_duration

    parts = [f"{scenario.name}, {format_duration(scenario.duration)}"]
    for noun, things in (("job type", scenario.jobs), ("load", scenario.load), ("threshold", scenario.thresholds)):
        if things:
            parts.append(f"{len(things)} {noun}{'' if len(things) == 1 else 's'}")
    if scenario.processor:
        parts.append(f"processor {scenario.processor}")
    return ", ".join(parts)


# -- queuesim check


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENARIO|MODULE:PROCESSOR", help="Scenario files, in YAML, or processors.", show_default=False
        ),
    ],
    as_json: AsJson = False,
    no_limit: NoLimit = False,
) -> None:
    """Predict by queueing arithmetic what will go wrong. Exit code 1 if there is a finding.

    For instance: queuesim check my_scenario.yaml my_service.jobs:processor
    """
    found = {target: _examine(target, no_limit=no_limit) for target in map(str, matching(targets))}
    if as_json:
        keys = ("name", "key", "message", "shown_by", "expected")
        plain = {
            target: [{key: getattr(each, key) for key in keys} for each in findings]
            for target, findings in found.items()
        }
        typer.echo(json.dumps(plain, indent=1))
    else:
        for target, findings in found.items():
            for each in findings:
                typer.echo(shown(f"{target}: {each.key}: {each.name}: {each.message} See {each.shown_by}."))
            if not findings:
                typer.echo(shown(f"{target}: nothing found"))
    raise typer.Exit(1 if any(found.values()) else 0)


def _examine(target: str, *, no_limit: bool) -> list[Finding]:
    from queuesim.check.check import examine, examine_processor
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import load_scenario
    from queuesim.scenario.processors import load_processor, processor_of

    if ":" in target and not Path(target).exists():
        return examine_processor(load_processor(target, Path()))
    scenario = load_scenario(target, check_processor=True, checks=size_checks(no_limit))
    own = processor_of(scenario)
    return examine(scenario, own)


# -- queuesim schema


def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of scenario files, with which editors complete and check them."""
    from queuesim.scenario.loading import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
