"""What some tests need beyond Python: programs of the machine, and the Debian packages that bring them.

A test that lacks one is skipped by raising `Lacking`. The need travels with the report as data, so that the end of the
session can say in one line what to install.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Need:
    """A program that tests may need."""

    name: str
    packages: tuple[str, ...]
    """Debian's."""
    marker: str
    """Each test that may lack it has this marker: CI runs these again when everything is installed."""


REDIS = Need("redis-server", ("redis-server",), "server")
POSTGRESQL = Need("PostgreSQL", ("postgresql",), "server")
NODE = Need("Node", ("nodejs", "npm"), "node")
CHROMIUM = Need("Chromium", ("chromium",), "browser")
NEEDS = {need.name: need for need in (REDIS, POSTGRESQL, NODE, CHROMIUM)}


class Lacking(pytest.skip.Exception):
    """This test is skipped, for the machine lacks something."""

    def __init__(self, need: Need) -> None:
        super().__init__(f"no {need.name}: apt-get install {' '.join(need.packages)}")
        self.need = need


def note(report: pytest.TestReport, item: pytest.Item, error: BaseException | None) -> None:
    """Write into a report what its test lacks. Such a test without the need's marker fails."""
    if not isinstance(error, Lacking):
        return
    report.lacks = error.need.name
    if item.get_closest_marker(error.need.marker) is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may lack {error.need.name}, but has no marker {error.need.marker}"


def summary(skipped: Iterable[Any], total: int) -> str | None:
    """One line on skipped tests' reports, None if there are none.

    Args:
        skipped: their reports.
        total: the number of all tests that ran or were skipped.
    """
    lacked = Counter(getattr(report, "lacks", None) for report in skipped)
    if not lacked:
        return None
    parts = [f"{lacked[name]:,} for want of {name}" for name in NEEDS if lacked[name]]
    if lacked[None]:
        parts.append(f"{lacked[None]:,} for other reasons (pytest -rs lists them)")
    packages = sorted(package for name in lacked if name is not None for package in NEEDS[name].packages)
    line = f"skipped {lacked.total():,} of {total:,} tests: {', '.join(parts)}"
    return f"{line}. To run these: apt-get install {' '.join(packages)}" if packages else line
