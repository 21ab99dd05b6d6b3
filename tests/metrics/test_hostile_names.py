"""Names that a terminal or matplotlib would obey are shown as they are, or escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import queuesim
from queuesim.cli.app import app
from queuesim.metrics.result import Result

FORMULA = "pay $\\frac{a$"


@pytest.fixture(scope="module")
def result() -> Result:
    return queuesim.run(
        {
            "name": "price $\\frac{a$ \x1b[2J\u202e",
            "duration": 60.0,
            "workers": {"concurrency": 2, "name": "w $x$"},
            "jobs": {FORMULA: {"service": 0.01, "errors": {"network": 0.1}}},
            "load": [{"name": "l $\\x$", "poisson": {"rate": 5.0}}],
        }
    )


@pytest.mark.parametrize(
    "what",
    ["overview", "gantt", "attempts", "retry_waterfall", "latency_over_time", "latency_distribution", "throughput"],
)
def test_a_dollar_in_a_name_begins_no_formula(result: Result, what: str, tmp_path: Path) -> None:
    drawn: Any = getattr(result.plot, what)()
    figure = drawn.flat[0].figure if hasattr(drawn, "flat") else drawn.figure
    figure.savefig(tmp_path / "drawn.svg")


def test_a_stored_result_is_shown_without_control_characters(result: Result, tmp_path: Path) -> None:
    result.to_parquet(tmp_path / "r")
    done = CliRunner().invoke(app, ["show", str(tmp_path / "r")])
    assert done.exit_code == 0
    assert "\x1b[2J" not in done.stdout
    assert "\u202e" not in done.stdout
    assert r"\x1b[2J\u202e" in done.stdout
