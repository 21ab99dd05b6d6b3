"""The soak finds faults that are planted in our own code: the table of reports/detection.md stays true."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.detection import BUGS, DURATION, MOST, detect

from queuesim.testing.soak import attempt, drawn, play_on

REPORT = Path(__file__).parents[2] / "reports" / "detection.md"
SEED = 1
"""Of the report."""
QUICK = ("bull-2235", "lost wake up", "priority reversed", "retried without backoff", "outcome dropped")
"""Those that are found at once."""


def reported() -> dict[str, tuple[int, str]]:
    """By its name, how many schedules each bug took, and what found it."""
    rows = [line.strip("| ").split(" | ") for line in REPORT.read_text().splitlines() if line.startswith("| ")]
    return {name: (int(schedules), problems) for name, schedules, problems in rows[1:]}


def test_every_bug_is_in_the_report_and_was_found() -> None:
    rows = reported()
    assert list(rows) == list(BUGS)
    assert all(schedules <= MOST and problems for schedules, problems in rows.values())


def test_right_code_is_not_found() -> None:
    assert attempt(drawn(SEED, 0, DURATION), play_on("sim", shuffle=False))[1] == []


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUGS]
)
def test_a_planted_bug_is_found_as_soon_as_the_report_says(name: str) -> None:
    schedules, _ = reported()[name]
    found = detect(name, SEED, schedules)
    assert found.schedules is not None
    assert found.problems
