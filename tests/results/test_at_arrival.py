"""What a job finds when it is added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from metrics_script import Script

import queuesim
from queuesim.results.result import Result, load
from queuesim.theory import MMc


def test_a_job_finds_what_was_there_just_before_it() -> None:
    script = Script(concurrency=2)
    for scheduled, started in (
        (0.0, 0.0),
        (0.0, 0.0),
        (1.0, 10.0),
        (1.0, 10.0),
        (2.0, 10.0),
        (10.0, 10.0),
        (99.0, 99.0),
    ):
        script.attempt(script.job(scheduled), started, started + 10.0)
    jobs = Result(script.recording()).jobs
    assert list(jobs["backlog_at_arrival"]) == [0, 0, 0, 0, 2, 3, 0]  # those of one moment all find the same
    assert list(jobs["utilisation_at_arrival"]) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_poisson_arrivals_see_time_averages() -> None:
    """Wolff 1982: Poisson Arrivals See Time Averages. So the mean of what they find is the mean over time."""
    model = {"name": "mm5", "duration": 10_000.0, "workers": {"concurrency": 5}, "seed": 3}
    jobs = {"job": {"service": {"exponential": 1.0}}}
    result = queuesim.run({**model, "jobs": jobs, "load": [{"name": "p", "poisson": {"rate": 4.0}}]})
    summary, theory = result.summary(), MMc(arrival_rate=4.0, mean_service=1.0, servers=5)
    assert result.jobs["backlog_at_arrival"].mean() == pytest.approx(summary.backlog_mean, rel=0.05)
    assert result.jobs["utilisation_at_arrival"].mean() == pytest.approx(summary.utilisation, rel=0.02)
    all_busy = (result.jobs["utilisation_at_arrival"] == 1.0).mean()
    assert all_busy == pytest.approx(theory.probability_of_waiting, rel=0.05)


def test_no_slots_and_no_jobs() -> None:
    script = Script(concurrency=0)
    assert len(Result(script.recording()).jobs) == 0
    script.job(1.0, left="waiting")
    assert np.isnan(Result(script.recording()).jobs["utilisation_at_arrival"][0])


def test_a_result_that_was_stored_without_is_completed() -> None:
    jobs = load(Path(__file__).parent / "data" / "version-1").jobs
    assert list(jobs["backlog_at_arrival"]) == [0, 0]
