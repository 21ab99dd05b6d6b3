"""The markers of tests: given by directory and file, by fixture and by parameter.

pyproject.toml says what each means, CONTRIBUTING.md when to use which.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import REAL

TESTS = Path(__file__).parent

PLACES = {
    "docs": ("docs",),
    "interop": ("server", "node"),
    "brokers/test_embedded.py": ("server",),
    "runs/test_proxy.py": ("server",),
    "runs/test_live_endings.py": ("server",),
    "runs/test_live_faults.py": ("server",),
    "runs/test_second_zero.py": ("server",),
    "service": ("server",),
}
"""What holds for all tests of a directory or file."""

SLOW = ("docs", "evaluation", "interop", "museum")
"""Directories whose tests take long. So does every test by Hypothesis, which draws many examples, and each that stands
in slow_tests.txt: `tools/slow_tests` measures which do."""

MEASURED = frozenset(TESTS.joinpath("slow_tests.txt").read_text().split())
"""Tests, as file::function or file::class::function, that take long on their own or with all of their parameters."""

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
        path = item.path.relative_to(TESTS)
        yield from (marker for place, markers in PLACES.items() if path.is_relative_to(place) for marker in markers)
        name = item.nodeid.removeprefix("tests/").partition("[")[0]
        if name in MEASURED or any(path.is_relative_to(slow) for slow in SLOW):
            yield "slow"
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        yield "slow"
    fixtures = set(getattr(item, "fixturenames", ()))
    undecided = {used for fixture, used in CHOSEN_BY_PARAMETER.items() if fixture in fixtures}
    yield from (marker for fixture, marker in FIXTURES.items() if fixture in fixtures - undecided)
    if callspec := getattr(item, "callspec", None):
        yield from (
            PARAMETERS[value] for value in callspec.params.values() if isinstance(value, str) and value in PARAMETERS
        )
