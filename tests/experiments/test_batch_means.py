"""Batch means of one run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import queuesim
from queuesim.experiments.batches import BatchMeans, batch_means
from queuesim.results.metrics import measure
from queuesim.theory import MMc

STEADY: dict[str, Any] = {
    "name": "steady",
    "duration": "2h",
    "warmup": "10m",
    "workers": {"concurrency": 5},
    "jobs": {"mail": {"service": {"exponential": "1s"}}},
    "load": [{"name": "users", "poisson": "4/s"}],
}


def test_each_batch_is_measured_as_a_run_is() -> None:
    result = queuesim.run(STEADY)
    found = batch_means(result, 11, measured=["waiting.mean", "utilisation"])
    # 110 minutes after the warm-up
    assert list(found.values("waiting.mean")) == [
        measure(result, "waiting", "mean", None, start, start + 600) for start in range(600, 7200, 600)
    ]
    assert found.interval("utilisation").mean == pytest.approx(result.summary().utilisation, rel=1e-9)
    assert found.frame["replications"].tolist() == [11, 11]


def test_the_interval_holds_what_theory_says() -> None:
    found = batch_means(queuesim.run({**STEADY, "duration": "10h"}), 20, confidence=0.99)
    waiting = MMc(arrival_rate=4.0, mean_service=1.0, servers=5).mean_waiting_time
    assert waiting in found.interval("waiting.mean")
    assert 0.8 in found.interval("utilisation")
    assert found.dependent == []


def test_batches_that_are_too_short_are_named() -> None:
    series = np.zeros(200)
    noise = np.random.default_rng(1).normal(size=200)
    for i in range(1, 200):
        series[i] = 0.8 * series[i - 1] + noise[i]
    found = BatchMeans(pd.DataFrame({"waiting.mean": series, "utilisation": noise}), 0.95)
    assert found.dependent == ["waiting.mean"]
    assert "waiting.mean" in found.notes[0]


def test_what_cannot_be_cut_into_batches_is_refused() -> None:
    result = queuesim.run({**STEADY, "duration": "11m"})
    for arguments in (
        {"batches": 1},
        {"measured": ["speed"]},
        {"measured": ["drained"]},
        {"confidence": math.nan},
    ):
        with pytest.raises(ValueError):
            batch_means(result, **arguments)
