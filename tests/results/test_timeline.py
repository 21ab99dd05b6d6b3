"""The timeline, bin by bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_script import Script

from queuesim.results.result import Result
from queuesim.results.timeline import percentiles_in_bins

DATABASE = ("DatabaseError", "Database", True)
INVALID = ("ValidationError", "Validation", False)


def busy() -> Result:
    script = Script(25.0, concurrency=2)
    first, second, third = script.job(0.0), script.job(5.0, delay=2.0), script.job(9.0)
    script.attempt(first, 0.0, 10.0)
    script.attempt(third, 10.0, 15.0, "failed", error=INVALID)
    script.attempt(second, 10.0, 12.0, "retried", ready=7.0, error=DATABASE, backoff=5.0, slot=1)
    script.attempt(second, 20.0, 25.0, ready=17.0)
    return Result(script.recording())


def test_each_column() -> None:
    bins = busy().timeline("10s")
    assert bins.index.tolist() == [0.0, 10.0, 20.0]
    assert bins.index.name == "time"
    expected = {
        "added": [3, 0, 0],
        "started": [1, 2, 1],
        "completed": [0, 1, 1],
        "failed": [0, 1, 0],
        "retried": [0, 1, 0],
        "throughput": [0.0, 0.1, 0.2],  # the last bin is 5 s long
        "backlog": [(3 + 1) / 10, 3 / 10, 0.0],
        "backlog_end": [0, 0, 0],
        "active": [1.0, 0.7, 1.0],
        "utilisation": [0.5, 0.35, 0.5],
        "delayed": [0.2, 0.5, 0.0],
        "waiting_p50": [np.nan, 0.5, 3.0],  # of the job that completed 0, of the one that failed 1
        "waiting_p95": [np.nan, 0.95, 3.0],
        "latency_p95": [np.nan, 6 + 0.95 * 4, 18.0],
    }
    assert list(bins.columns) == list(expected)
    for name, values in expected.items():
        assert bins[name].tolist() == pytest.approx(values, nan_ok=True), name


@pytest.mark.parametrize(("every", "count"), [("1m", 1), (5, 5), ("5s", 5), ("500ms", 50), (7.0, 4), ("1h", 1)])
def test_bins(every: str | float, count: int) -> None:
    bins = busy().timeline(every)
    assert len(bins) == count
    assert bins["completed"].sum() == 2


@pytest.mark.parametrize("every", ["soon", "10 parsecs", 0, -1, float("nan"), "0s", 1e-9])
def test_refused_bins(every: str | float) -> None:
    with pytest.raises(ValueError):
        busy().timeline(every)


def test_a_run_of_no_time_has_no_bins() -> None:
    assert len(Result(Script(0.0).recording()).timeline()) == 0


def test_rounding_opens_no_bin_of_its_own() -> None:
    assert len(Result(Script(0.1 + 0.2).recording()).timeline(0.1)) == 3


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1e6)), max_size=40), st.sampled_from([0.0, 37.5, 50, 95, 100]))
def test_percentiles_as_numpy_has_them(points: list[tuple[float, float]], percent: float) -> None:
    edges = np.array([0.0, 10.0, 20.0, 30.0])
    times, values = (np.array([point[i] for point in points], dtype=float) for i in (0, 1))
    (column,) = percentiles_in_bins(edges, times, values, (percent,))
    place = np.minimum(times // 10, 2)
    for row in range(3):
        inside = values[place == row]
        expected = np.percentile(inside, percent) if len(inside) else np.nan
        assert column[row] == pytest.approx(expected, nan_ok=True)
