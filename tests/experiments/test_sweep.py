"""Sweeps over combinations of values."""

from __future__ import annotations

from typing import Any

import pytest

import queuesim
from queuesim.experiments.sweep import sweep

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "duration": "2m",
    "workers": {"concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": "500ms"}}},
    "load": [{"name": "steady", "poisson": "3/s"}],
    "thresholds": ["latency.p95 < 3s"],
}


def test_a_row_for_each_combination_and_seed() -> None:
    told: list[tuple[int, int]] = []
    axes = {"workers.concurrency": [1, 4], "load": [0.5, 1.0]}
    frame = sweep(
        SMALL, axes, ["latency.p95", "throughput"], seeds=2, progress=lambda done, of: told.append((done, of))
    )
    assert list(frame.columns) == ["workers.concurrency", "load", "seed", "latency.p95", "throughput", "ok"]
    assert len(frame) == 8
    assert set(frame["seed"]) == {5, 6}
    assert told == [(i, 8) for i in range(1, 9)]
    slow = frame[(frame["workers.concurrency"] == 1) & (frame["load"] == 1.0)]
    assert not slow["ok"].any()
    assert frame[frame["workers.concurrency"] == 4]["ok"].all()


def test_a_row_is_what_that_run_measures() -> None:
    frame = sweep(SMALL, {"workers.concurrency": [2]}, seeds=[9])
    summary = queuesim.run(SMALL, seed=9).summary()
    assert frame.loc[0, "latency.p95"] == summary.jobs.latency.p95
    assert frame.loc[0, "utilisation"] == summary.utilisation
    assert frame.loc[0, "backlog.max"] == summary.backlog_max


def test_what_cannot_be_swept_is_said_before_anything_runs() -> None:
    with pytest.raises(ValueError, match='unknown metric "speed"'):
        sweep(SMALL, {"load": [1]}, ["speed"])
    with pytest.raises(ValueError, match="latency needs a statistic"):
        sweep(SMALL, {"load": [1]}, ["latency"])
    with pytest.raises(ValueError, match="the axis 'load' has no values"):
        sweep(SMALL, {"load": []})
