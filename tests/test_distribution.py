"""The distribution's name: on the index, `queuesim` is another project's, so no command of ours may install that."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from queuesim.extras import DISTRIBUTION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHOWN = [
    *ROOT.glob("*.md"),
    *(
        path
        for folder in ("src", "docs", "notebooks", "reports", "scenarios", "tools", "benchmarks", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".png", ".pyc"}
    ),
]
"""What people read or run."""

INSTALLS = re.compile(r"\bpip3?\s+(?:install|download|wheel)\b[^\n;&|`#]*")
STRANGER = re.compile(r"""(?<![\w./-])queuesim(?![\w./-])""")
"""The bare name, as pip would look it up; a path such as ./queuesim is none."""


def installs_stranger(text: str) -> list[str]:
    """The commands in a text that would install the other project."""
    # a line goes on in the next one, unless that is another item of a list, as in workflow files
    joined = re.sub(r"\\?\n\s+(?!\s|- )", " ", text)
    return [command for command in INSTALLS.findall(joined) if STRANGER.search(command)]


def test_no_page_and_no_hint_installs_the_stranger() -> None:
    assert len(SHOWN) > 300
    found = {str(path.relative_to(ROOT)): installs_stranger(path.read_text(encoding="utf-8")) for path in SHOWN}
    assert {path: commands for path, commands in found.items() if commands} == {}


@pytest.mark.parametrize(
    "text",
    [
        'pip install "queuesim[worker]"',
        "pip install queuesim",
        "python -m pip install -U 'queuesim>=0.1'",
        "matplotlib: pip install\n    queuesim[plot]",
        "pip install \\\n  queuesim",
    ],
)
def test_such_a_command_is_recognised(text: str) -> None:
    assert installs_stranger(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install -e . && .venv/bin/queuesim run",
        "pip install 'queue-windtunnel[plot]'",
        "pip install ./queuesim",
        "- run: pip install -e .  # then: queuesim run",
        "steps:\n  - run: pip install -e .\n  - run: queuesim run a.yaml",
    ],
)
def test_other_commands_are_not(text: str) -> None:
    assert not installs_stranger(text)


def test_the_hints_name_the_distribution_of_pyproject() -> None:
    assert PROJECT["name"] == DISTRIBUTION


def test_commands_for_a_clone_ask_for_extras_that_exist() -> None:
    asked = {
        extra
        for path in SHOWN
        for extras in re.findall(r"-e '\.\[([\w,]+)\]'", path.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert {"worker", "embedded", "notebook", "test"} <= asked <= set(PROJECT["optional-dependencies"])
