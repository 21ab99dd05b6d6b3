"""Validation: an independent simulator in the place of ours shows that right agrees and wrong differs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from queuesim.theory import MM1, validation
from queuesim.theory.tables import TableRow
from queuesim.theory.validation import ValidationCase, mean_latency, mean_waiting

MODEL = MM1(0.5, 1.0)
QUANTITIES = (mean_waiting(MODEL.mean_waiting_time), mean_latency(MODEL.mean_time_in_system))
CASE = ValidationCase("M/M/1", "Kleinrock vol. 1, 3.2", 0.5, {"service": 1.0}, QUANTITIES)

ROW = TableRow("a table", "M/M/2", "blocking", 0.25, 0.25, "0.25")


def lindley(scenario: dict[str, Any], seed: int) -> Any:
    """A result with the jobs of an M/M/1 of arrival rate 0.5 and the scenario's mean service."""
    duration, warmup = (float(scenario[key].removesuffix("s")) for key in ("duration", "warmup"))
    rng = np.random.default_rng(seed)
    scheduled = np.cumsum(rng.exponential(2.0, int(duration)))
    scheduled = scheduled[scheduled < duration]
    service = rng.exponential(scenario["service"], len(scheduled))
    walk = np.concatenate(([0.0], np.cumsum(service[:-1] - np.diff(scheduled))))
    waiting = walk - np.minimum.accumulate(walk)
    columns = {
        "scheduled": scheduled,
        "finished": scheduled + waiting + service,
        "waiting": waiting,
        "latency": waiting + service,
        "warmup": scheduled < warmup,
    }
    return SimpleNamespace(jobs=pd.DataFrame(columns))


def test_the_right_model_agrees_and_a_slower_one_differs() -> None:
    slower = ValidationCase("slower", "", 0.5, {"service": 1.1}, QUANTITIES)
    comparisons = validation.validate([CASE, slower], replications=10, jobs=20_000, seed=1, run=lindley)
    assert [comparison.case.name for comparison in comparisons] == ["M/M/1", "M/M/1", "slower", "slower"]
    assert [comparison.agrees for comparison in comparisons] == [True, True, False, False]
    assert all(abs(comparison.difference) < 0.03 for comparison in comparisons[:2])
    # M/M/1 with a service of 1.1 s: 1.1 / (1 - 0.55) = 2.44 s in system, where 2 s were expected
    assert comparisons[3].difference == pytest.approx(0.222, abs=0.05)


def test_a_cases_seeds_depend_on_its_name_and_the_seed_only() -> None:
    seen: dict[float, list[int]] = {}

    def note(scenario: dict[str, Any], seed: int) -> Any:
        seen.setdefault(scenario["service"], []).append(seed)
        return lindley(scenario, seed)

    other = ValidationCase("other", "", 0.5, {"service": 0.9}, QUANTITIES)
    validation.validate([CASE, other], replications=3, jobs=200, seed=1, run=note)
    together, others = seen.pop(1.0), seen.pop(0.9)
    validation.validate([CASE], replications=3, jobs=200, seed=1, run=note)
    assert seen.pop(1.0) == together
    validation.validate([CASE], replications=3, jobs=200, seed=2, run=note)
    assert not set(seen.pop(1.0)) & set(together)
    assert len({*together, *others}) == 6


def test_the_command_writes_the_same_page_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "simulate", lindley)
    monkeypatch.setattr(validation, "cases", lambda: (CASE,))
    monkeypatch.setattr(validation, "table_rows", lambda: [ROW])
    monkeypatch.setattr(validation, "approximation_rows", list)
    pages = [tmp_path / name for name in ("first.md", "second.md")]
    for page in pages:
        arguments = ["--seed", "1", "--jobs", "5000", "--replications", "5", "-o", str(page)]
        assert validation.main(arguments) == 0
    text = pages[0].read_text(encoding="utf-8")
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert "Seed 1. Made by `python -m queuesim.theory.validation --seed 1 --jobs 5000 --replications 5" in text
    assert "| M/M/1 | mean waiting time | 1.0000 |" in text
    assert "2 of 2 rows agree." in text
    assert "| a table | M/M/2 | blocking | 0.25 | 0.25 | below 1e-9 | 0.25 | agrees |" in text


def test_the_command_fails_if_a_row_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ValidationCase("wrong", "", 0.5, {"service": 1.0}, (mean_waiting(2.0),))
    monkeypatch.setattr(validation, "simulate", lindley)
    monkeypatch.setattr(validation, "cases", lambda: (CASE, wrong))
    monkeypatch.setattr(validation, "table_rows", lambda: [ROW])
    monkeypatch.setattr(validation, "approximation_rows", list)
    assert validation.main(["--seed", "1", "--jobs", "5000", "--replications", "5"]) == 1
    shown = capsys.readouterr()
    assert "| **differs** |" in shown.out
    assert "2 of 3 rows agree." in shown.out
    assert "wrong: 5 x 5000 jobs" in shown.err


def test_the_command_fails_if_a_table_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "simulate", lindley)
    monkeypatch.setattr(validation, "cases", lambda: (CASE,))
    monkeypatch.setattr(validation, "approximation_rows", list)
    for row, code in ((ROW, 0), (TableRow("a table", "M/M/2", "blocking", 0.25, 0.26), 1)):
        monkeypatch.setattr(validation, "table_rows", lambda row=row: [row])
        assert validation.main(["--seed", "1", "--jobs", "5000", "--replications", "5"]) == code
