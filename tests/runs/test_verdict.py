"""Thresholds judged over runs: the worst window, and when an extreme was reached."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import queuesim
from queuesim.results.metrics import measure
from queuesim.results.result import Result
from queuesim.runs.judging import judge, judgement
from queuesim.scenario.thresholds import Threshold, Where, parse_threshold
from queuesim.units import format_duration

UNEVEN: dict[str, Any] = {
    "name": "uneven",
    "seed": 3,
    "duration": 300.0,
    "warmup": 20.0,
    "drain": True,
    "queue": {"attempts": 4, "backoff": 1.5},
    "workers": [{"name": "w", "count": 2, "concurrency": 5, "limiter": {"max": 20, "duration": 10.0}}],
    "jobs": {
        "mail": {"service": {"gamma": {"mean": 0.5, "cv": 2}}, "errors": {"database": 0.2, "validation": 0.03}},
        "text": {"priority": 2, "weight": 0.5, "service": 0.3},
    },
    "load": [{"name": "steady", "poisson": 1.5}, {"name": "bursts", "bulk": {"every": 60.0, "size": 40}}],
}
"""Completions come in bursts, as the limiter opens, with gaps that windows a tenth of their length apart step over."""


@pytest.fixture(scope="module")
def uneven() -> Result:
    return queuesim.run(UNEVEN)


def over(text: str, seconds: float, **where: str) -> Threshold:
    plain = parse_threshold(text)
    return Threshold(
        plain.metric, plain.statistic, plain.operator, plain.limit, Where(**where), seconds, written=plain.written
    )


def slowest_window(result: Result, length: float) -> float:
    """The lowest throughput of any window, by trying those that start just after a completion, at the beginning, or
    that end with one."""
    jobs, start, end = result.jobs, result.facts.warmup, result.facts.duration
    done = np.sort(jobs["finished"].to_numpy()[(jobs["state"] == "completed").to_numpy()])
    starts = [start, *(done + 1e-9), *(done - length)]
    counts = [((done >= s) & (done < s + length)).sum() for s in starts if start <= s < end - length]
    return float(min([*counts, (done >= end - length).sum()]) / length)


def test_a_window_between_two_tenths_is_not_passed_over(uneven: Result) -> None:
    worst = slowest_window(uneven, 50.0)
    tenths = np.arange(70.0, uneven.facts.duration, 5.0)
    seen = min(measure(uneven, "throughput", start=end - 50, end=end) for end in tenths)
    assert worst < seen
    (row,) = judge(uneven, [over(f"throughput >= {(worst + seen) / 2}/s", 50.0)])
    assert not row.ok
    assert row.value == pytest.approx(worst)
    (row,) = judge(uneven, [over(f"throughput >= {worst!r}/s", 50.0)])
    assert row.ok
    assert row.at is not None
    start, end = (format_duration(round(moment, 3)) for moment in (row.at - 50, row.at))
    assert row.detail == f"worst window: from {start} to {end}"


def test_a_window_that_fails_before_the_worst_one_is_told(uneven: Result) -> None:
    came = judgement(uneven, over("latency.p95 < 40s", 50.0))
    assert came.failed_at is not None
    assert came.row.at is not None
    assert came.failed_at < came.row.at
    assert "failed first in the window until " in came.row.detail


def test_windows_in_which_there_is_nothing_are_not_judged(uneven: Result) -> None:
    row = judgement(uneven, over("latency.p95 < 40s", 50.0, job="fax")).row
    assert (row.ok, row.status, row.judged) == (True, "not judged", 0.0)
    assert math.isnan(row.value)
    assert judgement(uneven, over("latency.p95 < 9000s", 50.0)).row.judged == 1.0
    short = judgement(uneven, over("latency.p95 < 9000s", 0.2)).row
    assert short.status == "passed"
    assert 0 < short.judged < 1


def test_whole_runs_tell_when_a_maximum_was_reached(uneven: Result) -> None:
    jobs = uneven.jobs[~uneven.jobs["warmup"]]
    slowest = jobs.loc[jobs["latency"].idxmax()]
    latency, backlog, total = judge(
        uneven, [parse_threshold(text) for text in ("latency.max < 1s", "backlog.max < 1", "latency.mean < 1s")]
    )
    assert latency.at == pytest.approx(slowest["finished"], abs=1e-9)
    summary = uneven.summary()
    assert (backlog.value, backlog.at) == (summary.backlog_max, summary.backlog_max_at)
    assert total.at is None


def test_counts_tell_when_they_went_beyond_their_limit(uneven: Result) -> None:
    jobs = uneven.jobs
    counts = (jobs["state"] == "failed").to_numpy() & ~jobs["warmup"].to_numpy()
    ends = np.sort(jobs["finished"].to_numpy()[counts])
    for text, place in (("failed < 3", 2), ("failed <= 3", 3), ("failed == 0", 0)):
        came = judgement(uneven, parse_threshold(text))
        assert came.failed_at == came.row.at == pytest.approx(ends[place], abs=1e-9)
    assert judgement(uneven, parse_threshold("failed < 3000")).row.at is None


STARVED: dict[str, Any] = {
    "name": "starved",
    "duration": 600.0,
    "warmup": 10.0,
    "workers": {"concurrency": 5},
    "jobs": {
        "urgent": {"service": 1.0, "priority": 1},
        "minor": {"service": 1.0, "priority": 9},
    },
    "load": [{"name": "all", "constant": 10.0, "jobs": "urgent"}, {"name": "rest", "constant": 1.0, "jobs": "minor"}],
}
"""The jobs of one type start only before the others have filled the slots."""


@pytest.fixture(scope="module")
def starved() -> Result:
    return queuesim.run(STARVED)


def open_ages(result: Result, job: str, until: str, since: float = 0.0) -> tuple[list[float], int]:
    """Latencies or waits of the jobs that finished or started from `since` on, and ages of those that did not."""
    jobs = result.jobs[(result.jobs["name"] == job) & ~result.jobs["warmup"]]
    done = jobs[jobs[until] >= since]
    ages = (result.facts.duration - jobs.loc[jobs[until].isna(), "added"]).tolist()
    return [*done["latency" if until == "finished" else "waiting"], *ages], len(ages)


@pytest.mark.parametrize(("metric", "until"), [("latency", "finished"), ("waiting", "started")])
@pytest.mark.parametrize("window", [None, 60.0])
def test_jobs_that_never_start_make_an_upper_limit_fail(
    starved: Result, metric: str, until: str, window: float | None
) -> None:
    plain = parse_threshold(f"{metric}.p95 < 20s")
    threshold = Threshold(metric, "p95", "<", 20.0, Where(job="minor"), window, written=plain.written)
    row = judgement(starved, threshold).row
    values, count = open_ages(starved, "minor", until, 0.0 if window is None else 540.0)
    assert count > 500
    assert (row.ok, row.at) == (False, 600.0)
    assert row.value == pytest.approx(np.percentile(values, 95))
    assert row.detail == f"{count} jobs that had not {until} by then counted with their time so far"


@pytest.mark.parametrize("text", ["latency.p95 < 20m", "latency.min < 5m", "latency.max > 1s", "service.max < 2s"])
def test_open_jobs_change_nothing_where_they_prove_nothing(starved: Result, text: str) -> None:
    row = judgement(starved, parse_threshold(text)).row
    assert row.ok
    assert row.value == measure(starved, *text.partition(" ")[0].split("."))
    assert row.detail == ""


def test_a_delay_that_is_not_over_is_no_wait() -> None:
    jobs = {"now": {"service": 1.0}, "later": {"service": 1.0, "delay": 595.0}}
    load = [{"name": name, "constant": 0.5, "jobs": name} for name in jobs]
    result = queuesim.run({**STARVED, "warmup": 0.0, "jobs": jobs, "load": load})
    row = judgement(result, parse_threshold("latency.max < 2s")).row
    assert (row.ok, row.detail) == (True, "")
