"""``queuesim init``: a first scenario with comments, and the processor that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from queuesim.cli.io import interruptible, refusing


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The scenario file to write.")] = Path("scenario.yaml"),
) -> None:
    """Write a first scenario to start from.

    Beside it goes the processor that it runs: a Python module with a handler to replace by your own.
    Exit code 2 if one of the files is there already.
    """
    with interruptible(), refusing():
        for path in write_starter(file):
            typer.echo(f"written: {path}")
    typer.echo(f"now try: queuesim run {file}")


def write_starter(file: Path) -> list[Path]:
    """Write both files, none over another, and return their paths.

    Raises:
        QueuesimError: one is there already, or the name makes no module's name.
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
            raise QueuesimError(f"{path} is there already: choose another name, or remove it")
    file.parent.mkdir(parents=True, exist_ok=True)
    starter = files("queuesim.cli.starter")
    for path, template in ((file, "scenario.yaml"), (code, "starter_processor.py")):
        text = starter.joinpath(template).read_text(encoding="utf-8")
        path.write_text(text.replace("SCENARIO", str(file)).replace("MODULE", module), encoding="utf-8", newline="\n")
    return [file, code]
