"""The pinned versions: plain, complete for what pyproject.toml asks for directly, and within what it allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINNED = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}
EXTRAS = PROJECT["optional-dependencies"]
ASKED_FOR = [
    requirement
    for requirement in map(
        Requirement, [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    )
    if requirement.name != PROJECT["name"]
]


def test_every_line_is_a_name_and_a_version() -> None:
    """No address of an index, no path and no option: the file is the same wherever it is used."""
    assert LINES
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!-]*", line)] == []
    assert len(PINNED) == len(LINES)


@pytest.mark.parametrize("requirement", ASKED_FOR, ids=str)
def test_what_is_asked_for_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    version = PINNED.get(canonicalize_name(requirement.name))
    assert version is not None, "make constraints.txt again: tools/pin"
    assert requirement.specifier.contains(version, prereleases=True)


def test_extras_of_our_own_exist() -> None:
    named = [Requirement(line) for extra in EXTRAS.values() for line in extra]
    own = {extra for requirement in named if requirement.name == PROJECT["name"] for extra in requirement.extras}
    assert own <= set(EXTRAS)


def test_an_extra_that_the_program_asks_for_exists() -> None:
    """`need` names an extra in its error message."""
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    asked = {extra for text in sources for extra in re.findall(r'\bneed\("[\w.]+", "(\w+)"', text)}
    assert asked
    assert asked <= set(EXTRAS)
