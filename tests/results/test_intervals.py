"""Which end of an interval belongs to it, and which jobs a spread is of: where one more or less is easily counted."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_script import Script

from queuesim.results.levels import Level
from queuesim.results.metrics import measure
from queuesim.results.result import Result

DATABASE = ("DatabaseError", "Database", True)


def test_what_happens_at_the_end_of_an_interval_is_not_its_extreme() -> None:
    level = Level(np.array([1.0, 10.0, 10.0]), np.array([4.0]))
    assert level.extreme(0.0, 10.0) == (1.0, 1.0)
    assert level.extreme(0.0, 10.001) == (2.0, 10.0)
    assert level.extreme(2.0, 4.0, highest=False) == (1.0, 2.0), "it falls to 0 at the end, which is outside"
    assert level.extreme(4.0, 5.0, highest=False) == (0.0, 4.0), "and that is the beginning of the next one"


def test_neighbouring_windows_share_no_moment() -> None:
    script = Script(20.0)
    script.attempt(script.job(0.0), 0.0, 10.0)
    for _ in range(3):
        # three come at 10 s, and two of them wait
        script.attempt(script.job(10.0), 12.0, 13.0)
    result = Result(script.recording())
    assert measure(result, "backlog", "max", start=0.0, end=10.0) == 0
    assert measure(result, "backlog", "max", start=10.0, end=20.0) == 3
    assert result.analysis.occupancy(0.0, 10.0).loc["backlog", "max"] == 0
    assert measure(result, "active", "max", start=5.0, end=10.0) == 1


def test_service_times_are_those_of_finished_jobs() -> None:
    script = Script(20.0)
    done, on = script.job(0.0), script.job(0.0, left="delayed")
    script.attempt(done, 0.0, 2.0)
    script.attempt(on, 0.0, 5.0, "retried", error=DATABASE, backoff=100.0)
    result = Result(script.recording())
    assert result.jobs["service"].tolist() == [2.0, 5.0], "what it has run so far is in the frame"
    service = result.summary().jobs.service
    assert (service.count, service.mean, service.max) == (1, 2.0, 2.0)
    assert result.summary().by_name["mail"].service == service
    assert measure(result, "service", "max") == 2.0
    assert result.analysis.percentiles("service").loc["all", ["count", "max"]].tolist() == [1, 2.0]


@pytest.mark.parametrize(("opened", "windows"), [(10.0, 2), (10.0 - 1e-9, 1)])
def test_a_window_that_opens_at_the_end_of_the_warm_up_is_measured(opened: float, windows: int) -> None:
    script = Script(40.0, warmup=10.0, limiter=(1, 5.0))
    script.window(5.0, 9.0, 1)
    script.window(opened, opened + 5.0, 1)
    script.window(20.0, 25.0, 1)
    for started in (5.0, opened, 20.0):
        script.attempt(script.job(started), started, started + 1.0)
    result = Result(script.recording())
    use, cost = result.summary().limiter, result.analysis.limiter()
    assert use is not None
    assert cost is not None
    assert (use.windows, use.full) == (cost.windows, cost.full) == (windows, windows)
    assert use.time_limited == cost.shut == pytest.approx(5.0 * windows)


def test_a_job_that_is_scheduled_at_the_end_of_the_warm_up_is_measured() -> None:
    script = Script(40.0, warmup=10.0)
    for scheduled in (10.0 - 1e-9, 10.0):
        script.attempt(script.job(scheduled), scheduled, scheduled + 1.0)
    assert Result(script.recording()).summary().jobs.added == 1
