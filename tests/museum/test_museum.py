"""Each scenario of the museum passes on our code, and fails when the bug that it shows is planted."""

from __future__ import annotations

from pathlib import Path

import pytest
from bugs import EXHIBITS

import queuesim
from queuesim import Result

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "museum"


def found(result: Result) -> set[str]:
    """The checks that failed, and the verdict if the run could not go on."""
    stopped = result.facts.stopped
    verdict = [stopped.reason.value] if stopped is not None and stopped.stuck else []
    return {*result.checks[~result.checks["ok"]]["check"], *verdict}


def test_every_exhibit_has_its_bug() -> None:
    assert {path.stem for path in SCENARIOS.glob("*.yaml")} == set(EXHIBITS)


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_passes_on_our_code(name: str) -> None:
    result = queuesim.run(SCENARIOS / f"{name}.yaml")
    assert found(result) == set()
    assert result.ok


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_catches_its_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug, checks = EXHIBITS[name]
    bug(monkeypatch)
    result = queuesim.run(SCENARIOS / f"{name}.yaml")
    assert checks <= found(result)
    assert not result.ok
