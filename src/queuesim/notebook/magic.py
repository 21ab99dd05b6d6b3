"""The cell magic ``%%scenario``: a cell of YAML becomes a scenario, and is played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from queuesim.scenario.document import Document, DocumentError
from queuesim.scenario.file import Problem, ScenarioError, build_scenario, dotted
from queuesim.scenario.runner import run
from queuesim.scenario.schema import Scenario

USAGE = "write it as %%scenario [NAME] [--run RESULT] [--seed N]"


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext queuesim`` makes ``%%scenario`` known."""
    shell.register_magic_function(Magic(shell), magic_kind="cell", magic_name="scenario")


class Magic:
    """``%%scenario [NAME] [--run RESULT] [--seed N]`` above a cell of YAML.

    The scenario becomes the variable NAME (``scenario`` unless given) and is shown; with ``--run`` it is played, and
    the result becomes the variable RESULT and is shown in its place. What is wrong with the text is said with its line.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __call__(self, line: str, cell: str) -> object:
        """Make the scenario, and play it if asked to."""
        try:
            name, result, seed = arguments(line)
            scenario = read(cell)
        except (ScenarioError, ValueError) as error:
            # a traceback of this package would hide what the user's cell has wrong
            sys.stderr.write(f"{error}\n")
            return None
        self._shell.user_ns[name] = scenario
        if result is None:
            return scenario
        self._shell.user_ns[result] = played = run(scenario, seed=seed)
        return played


def arguments(line: str) -> tuple[str, str | None, int | None]:
    """The names of the scenario and the result, and the seed, of the magic's line. Raises ValueError."""
    words = iter(line.split())
    name, result, seed = "scenario", None, None
    for word in words:
        if word == "--run":
            result = next(words, "result")
        elif word == "--seed":
            number = next(words, "")
            if not number.isdigit():
                raise ValueError(f"--seed takes a number, not {number!r}; {USAGE}")
            seed = int(number)
        else:
            name = word
    for variable in (name, result):
        if variable is not None and not variable.isidentifier():
            raise ValueError(f"{variable!r} can't be the name of a variable; {USAGE}")
    return name, result, seed


def read(cell: str) -> Scenario:
    """The scenario that a cell's YAML describes. Raises ScenarioError, which names the lines of the cell."""
    try:
        document = Document(cell)
    except DocumentError as error:
        raise ScenarioError([Problem("cell", error.line, dotted(error.location), error.message)]) from None
    return build_scenario(document, file=Path("cell"), check_processor=True)
