"""The worst of all windows, against every window measured one by one."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_script import Script

from queuesim.results.metrics import METRICS, Kind, measure, meter
from queuesim.results.result import Result
from queuesim.results.sliding import worst_window

STATISTICS = {
    Kind.COUNT: [None],
    Kind.RATE: [None],
    Kind.SPREAD: ["mean", "median", "min", "max", "std", "p95"],
    Kind.LEVEL: ["mean", "min", "max", "last"],
}
CASES = [(name, statistic) for name, metric in METRICS.items() for statistic in STATISTICS[metric.kind]]
OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
DURATION, WARMUP, GRID = 12.0, 2.0, 0.5
JUST_AFTER = 1e-9

moments = st.integers(0, 23).map(lambda step: step * GRID)
lengths = st.integers(0, 8).map(lambda step: step * GRID)
jobs = st.tuples(
    moments,
    lengths,
    lengths,
    st.sampled_from(["ok", "failed", "retried", "unfinished"]),
    st.sampled_from(["completed", "waiting", "lost", "removed"]),
)


def result_of(rows: list[tuple[float, float, float, str, str]]) -> Result:
    """Jobs on a grid of times, so that events meet each other and the edges of windows."""
    script = Script(DURATION, warmup=WARMUP, concurrency=3)
    for added, waiting, service, outcome, left in rows:
        started, ended = added + waiting, added + waiting + service
        if started >= DURATION or left != "completed":
            kept = {"completed": "waiting", "lost": None}.get(left, left)
            number = script.job(added, left=kept)
            if left == "removed":
                script.event(min(started, DURATION), "removed", number)
            continue
        number = script.job(added, left=None if ended <= DURATION and outcome in ("ok", "failed") else "active")
        if ended > DURATION or outcome == "unfinished":
            script.attempt(number, started, math.nan, "unfinished", ready=added)
        elif outcome == "retried":
            script.attempt(number, started, ended, outcome, ready=added, backoff=DURATION)
        else:
            script.attempt(number, started, ended, outcome, ready=added)
        script.event(started, "stalled", number)
    return Result(script.recording())


def every_window(result: Result, metric: str, statistic: str | None, length: float) -> list[tuple[float, float]]:
    """Value and start of windows that start on the grid and just after it, the last one included."""
    last = max(DURATION - length, WARMUP)
    starts = {last, *np.arange(WARMUP, last + GRID / 2, GRID)}
    starts |= {start + JUST_AFTER for start in starts if start + JUST_AFTER < last}
    read = meter(result, metric, statistic)
    return [(read(start, min(start + length, DURATION)), start) for start in sorted(starts)]


def badness(value: float, comparison: str, limit: float) -> float:
    return {"<": value, "<=": value, ">": -value, ">=": -value}.get(comparison, abs(value - limit))


@pytest.mark.parametrize(("metric", "statistic"), CASES)
@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(jobs, max_size=12),
    length=st.sampled_from([0.5, 2.0, 3.5, 10.0, 20.0]),
    comparison=st.sampled_from(list(OPERATORS)),
    limit=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_the_worst_of_all_windows(
    metric: str, statistic: str | None, rows: list[Any], length: float, comparison: str, limit: float
) -> None:
    result = result_of(rows)
    windows = every_window(result, metric, statistic, length)
    known = [(value, start) for value, start in windows if not math.isnan(value)]
    worst = worst_window(result, metric, statistic, {}, length, comparison, limit)
    if not known:
        assert math.isnan(worst.value)
        assert worst.judged == 0
        return
    expected = max(badness(value, comparison, limit) for value, _ in known)
    assert badness(worst.value, comparison, limit) == pytest.approx(expected, rel=1e-7, abs=1e-7)
    assert 0 < worst.judged <= 1
    assert (worst.judged == 1) == (len(known) == len(windows)) or worst.judged > 0.99
    if metric in ("throughput", "utilisation") or statistic == "mean":
        return  # brute force rounds differently
    failed = [start for value, start in known if not OPERATORS[comparison](value, limit)]
    assert (worst.failed_at is not None) == bool(failed)
    if failed:
        end = min(failed[0] + length, DURATION)
        assert worst.failed_at == pytest.approx(end, abs=GRID / 2 + 1e-6)


@pytest.mark.parametrize(("metric", "statistic"), CASES)
def test_the_window_that_is_named_has_the_value_that_is_named(metric: str, statistic: str | None) -> None:
    result = result_of(
        [(3.0, 0.5, 1.0, "ok", "completed"), (4.0, 1.5, 2.5, "failed", "completed"), (6.5, 1.0, 0.5, "ok", "completed")]
    )
    for comparison in OPERATORS:
        worst = worst_window(result, metric, statistic, {}, 3.0, comparison, 0.5)
        named = measure(result, metric, statistic, start=worst.start, end=worst.end)
        assert named == pytest.approx(worst.value, nan_ok=True)


def completions(*times: float, duration: float = 20.0) -> Result:
    script = Script(duration)
    for time in times:
        script.attempt(script.job(0.0), 0.0, time, ready=0.0)
    return Result(script.recording())


def test_what_happens_at_the_start_of_a_window_is_in_it_and_what_happens_at_its_end_is_not() -> None:
    # 5 s apart: no half-open window of 5 s holds both
    assert worst_window(completions(4.0, 9.0), "completed", None, {}, 5.0, "<", 2).value == 1
    assert worst_window(completions(4.0, 8.9), "completed", None, {}, 5.0, "<", 2).value == 2
    worst = worst_window(completions(4.0, 8.9), "completed", None, {}, 5.0, "<", 2)
    assert (worst.start, worst.end) == (3.900000001, 8.900000001)


def test_the_last_window_holds_what_happened_at_the_very_end() -> None:
    worst = worst_window(completions(15.0, 20.0), "completed", None, {}, 5.0, "<", 2)
    assert (worst.value, worst.start, worst.end, worst.failed_at) == (2, 15.0, 20.0, 20.0)


def test_the_last_window_is_judged_with_its_end_only() -> None:
    """The job that ends with the run brings the minimum down, and no window leaves it out."""
    result = result_of([(2.0, 0.0, 2.5, "ok", "completed"), (6.0, 4.0, 2.0, "ok", "completed")])
    assert worst_window(result, "service", "min", {}, 10.0, "<", 0.0).value == 2.0


def test_sums_of_floats_move_nothing_over_an_edge() -> None:
    times = np.cumsum(np.full(200, 0.1))
    result = completions(*times, duration=float(times[-1]))
    for comparison in ("<", ">"):
        # [0, 5) holds those at 0.1 to 4.9
        worst = worst_window(result, "completed", None, {}, 5.0, comparison, 50)
        assert worst.value == (51 if comparison == "<" else 49)


def test_a_level_that_never_changes_has_exactly_that_mean() -> None:
    script = Script(1000.0, concurrency=3)
    for slot in range(3):
        script.attempt(script.job(0.0), 0.1, math.nan, "unfinished", ready=0.0, slot=slot)
    script.facts.warmup = 0.7
    assert worst_window(Result(script.recording()), "utilisation", None, {}, 33.3, "<=", 1.0).value == 1.0


def test_a_mean_that_passes_through_the_limit_is_equal_to_it_on_the_way() -> None:
    script = Script(20.0)
    script.attempt(script.job(10.0), 10.0, 20.0, ready=10.0)
    worst = worst_window(Result(script.recording()), "active", "mean", {}, 4.0, "!=", 0.3)
    assert worst.value == 0.3
    assert worst.end == pytest.approx(11.2)
    # a mean above half is first reached when half of the window is behind the start of the job
    assert worst_window(Result(script.recording()), "active", "mean", {}, 4.0, "<=", 0.5).failed_at == pytest.approx(12)
