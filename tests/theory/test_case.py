"""Validation cases: what of a run counts, and how each quantity is taken from it."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from queuesim.theory.validation import (
    ValidationCase,
    mean_latency,
    mean_waiting,
    probability_of_waiting,
    waiting_percentile,
)

CASE = ValidationCase("station", "a book", 2.0, {"name": "station"}, (mean_waiting(1.0),))


def frame(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_a_scenario_lasts_for_the_arrivals_asked_for() -> None:
    assert CASE.scenario(1_000) == {"name": "station", "duration": "500.000s", "warmup": "25.000s"}
    with pytest.raises(ValueError, match="100 jobs or more, not 99"):
        CASE.scenario(99)


def test_only_jobs_between_warm_up_and_tail_count() -> None:
    # 1000 jobs last 500 s, of which the last 2 % begin at 490 s
    jobs = frame(
        scheduled=[1.0, 100.0, 489.9, 490.1], finished=[2.0, 101.0, 495.0, math.nan], warmup=[True, False, False, False]
    )
    assert list(CASE.settled(jobs, 1_000)["scheduled"]) == [100.0, 489.9]


def test_a_settled_job_that_never_finished_is_an_error() -> None:
    jobs = frame(scheduled=[100.0, 200.0], finished=[101.0, math.nan], warmup=[False, False])
    with pytest.raises(ValueError, match="station: of 2 jobs between warm-up and tail, 1 did not finish"):
        CASE.settled(jobs, 1_000)
    with pytest.raises(ValueError, match="station: of 0 jobs"):
        CASE.settled(jobs[:0], 1_000)


def test_quantities_are_taken_from_the_columns() -> None:
    jobs = frame(waiting=[0.0, 1.0, 2.0, 1e-12], latency=[1.0, 2.0, 4.0, 5.0], priority=[1, 2, 1, 2])
    assert mean_waiting(0.0).measure(jobs) == pytest.approx(0.75)
    assert mean_waiting(0.0, "second", priority=2).measure(jobs) == pytest.approx(0.5)
    assert mean_latency(0.0).measure(jobs) == 3.0
    assert probability_of_waiting(0.0).measure(jobs) == 0.5
    assert waiting_percentile(0.0, 50).measure(jobs) == pytest.approx(0.5)
