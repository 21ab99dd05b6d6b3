"""The markers of tests: given here by directory, by fixture and by parameter, and by hand where a test is slow.

pyproject.toml says what each means, CONTRIBUTING.md when to use which.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import REAL

TESTS = Path(__file__).parent

DIRECTORIES = {
    "docs": ("docs",),
    "interop": ("server", "node"),
    "live": ("server",),
}
"""What holds for all tests of a directory."""

FIXTURES = {
    "browser": "browser",
    "default_server": "server",
    "postgres": "server",
    "postgres_url": "server",
    "start_server": "server",
}
"""What holds for a test that uses a fixture, be it through others."""

CHOSEN_BY_PARAMETER = {"place": "start_server", "store": "postgres"}
"""Fixtures that may use one of those above: whether they do, their parameter says."""

PARAMETERS = dict.fromkeys([*REAL, "postgresql", "redis"], "server")
"""What holds for a test with such a parameter."""


def mark(item: pytest.Item) -> None:
    """Give a test the markers that it has by where it is and by what it uses."""
    for name in set(_implied(item)):
        item.add_marker(name)


def _implied(item: pytest.Item) -> Iterator[str]:
    if item.path.is_relative_to(TESTS):
        yield from DIRECTORIES.get(item.path.relative_to(TESTS).parts[0], ())
    fixtures = set(getattr(item, "fixturenames", ()))
    undecided = {used for fixture, used in CHOSEN_BY_PARAMETER.items() if fixture in fixtures}
    yield from (marker for fixture, marker in FIXTURES.items() if fixture in fixtures - undecided)
    if callspec := getattr(item, "callspec", None):
        yield from (
            PARAMETERS[value] for value in callspec.params.values() if isinstance(value, str) and value in PARAMETERS
        )
