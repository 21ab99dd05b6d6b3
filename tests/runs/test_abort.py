"""Thresholds that end a run: what is reported is when they failed first, whenever the run was looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import queuesim
from queuesim.results.recording import Stop, StopReason
from queuesim.results.result import Result
from queuesim.runs.judging import Abort, first_failure
from queuesim.scenario.model import Scenario
from queuesim.scenario.thresholds import parse_threshold

WARMUP = 20.0
DURATION = 600.0
BURST: dict[str, Any] = {
    "name": "burst",
    "seed": 11,
    "duration": DURATION,
    "warmup": WARMUP,
    "queue": {"attempts": 1},
    "workers": {"count": 2, "concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": 0.5}, "errors": {"network": 0.1}}},
    "load": [
        {"name": "steady", "poisson": 4.0},
        {"name": "burst", "poisson": 60.0, "start": 301.0, "duration": 2.0},
    ],
}
Values = npt.NDArray[np.float64]


def scenario(*thresholds: Any) -> dict[str, Any]:
    return {**BURST, "thresholds": list(thresholds)}


@pytest.fixture(scope="module")
def whole() -> Result:
    """The run, which nothing ends early."""
    return queuesim.run(BURST, progress=False)


# -- a recomputation, moment by moment


def so_far(result: Result, metric: str, statistic: str | None, time: float) -> float:
    """A metric of what had happened by then, written down anew."""
    jobs = result.jobs[~result.jobs["warmup"]]
    done = jobs[jobs["finished"] <= time]
    if metric in ("latency", "service"):
        values = done[metric].to_numpy()
    elif metric == "waiting":
        values = jobs[jobs["started"] <= time][metric].to_numpy()
    elif metric == "failed":
        return float((done["state"] == "failed").sum())
    elif metric == "unfinished":
        return float((jobs["added"] <= time).sum() - len(done))
    elif metric == "success_rate":
        return float((done["state"] == "completed").mean()) if len(done) else np.nan
    elif metric == "throughput":
        ended = result.jobs[(result.jobs["finished"] <= time) & (result.jobs["state"] == "completed")]
        return float((ended["finished"] >= WARMUP).sum()) / (time - WARMUP)
    else:
        return level(result, metric, statistic, time)
    if not len(values):
        return np.nan
    statistics: dict[str, Callable[[Values], float]] = {"mean": np.mean, "max": np.max, "min": np.min, "std": np.std}
    assert statistic is not None
    return float(np.percentile(values, float(statistic[1:])) if statistic[0] == "p" else statistics[statistic](values))


def level(result: Result, metric: str, statistic: str | None, time: float) -> float:
    attempts = result.attempts
    since, until = ("ready", "started") if metric == "backlog" else ("started", "ended")
    begun, over = attempts[since].to_numpy(), np.nan_to_num(attempts[until].to_numpy(), nan=np.inf)
    # queued when the run ended, never started: no attempt has them
    waiting = result.jobs[result.jobs["started"].isna()]["ready"].to_numpy() if metric == "backlog" else np.zeros(0)
    begun, over = np.append(begun, waiting), np.append(over, np.full(len(waiting), np.inf))

    def at(moments: Values) -> Values:
        return np.array([np.count_nonzero((begun <= moment) & (over > moment)) for moment in moments], dtype=float)

    if statistic == "last":
        return float(at(np.array([time]))[0])
    if statistic in ("max", "min"):
        changes = np.concatenate(([WARMUP], begun, over))
        values = at(changes[(changes >= WARMUP) & (changes <= time)])
        return float(values.max() if statistic == "max" else values.min())
    area = float(np.maximum(np.minimum(over, time) - np.maximum(begun, WARMUP), 0.0).sum())
    return area / (time - WARMUP) / (result.facts.concurrency if metric == "utilisation" else 1)


def moments(result: Result) -> Values:
    """All at which something happened, and some in between."""
    columns = [result.jobs[name].to_numpy() for name in ("added", "ready", "started", "finished")]
    columns += [result.attempts[name].to_numpy() for name in ("ready", "started", "ended")]
    found = np.unique(np.concatenate(columns))
    return found[~np.isnan(found)]


FAILING = [
    "latency.p95 < 3s",
    "latency.max < 8s",
    "latency.mean < 2s",
    "waiting.p99 < 5s",
    "waiting.std < 2s",
    "service.max < 3s",
    "failed < 2",
    "failed == 0",
    "unfinished <= 40",
    "success_rate > 99.9%",
    "throughput < 4.1/s",
    "throughput > 3.7/s",
    "backlog.max < 50",
    "backlog.last < 80",
    "backlog.mean < 3",
    "active.mean < 2.2",
    "utilisation < 55%",
]


@pytest.mark.parametrize("text", FAILING)
def test_a_run_ends_for_the_first_moment_at_which_its_threshold_failed(whole: Result, text: str) -> None:
    threshold = parse_threshold(text)
    since = WARMUP + 0.01 * (DURATION - WARMUP)
    found = first_failure(whole, threshold, since)
    assert found is not None, "the scenario is such that it fails"
    at, value = found
    # it holds at each moment before, and not at the one found or just after it
    one_way = threshold.statistic in ("max", "min") or threshold.metric == "failed"
    earlier = [time for time in moments(whole) if (WARMUP if one_way else since) <= time < at - 1e-6]
    for time in [*earlier[:: max(len(earlier) // 150, 1)], *earlier[-50:]]:
        before = so_far(whole, threshold.metric, threshold.statistic, time)
        assert np.isnan(before) or threshold.holds(before) or before == pytest.approx(threshold.limit, rel=1e-9), time
    assert so_far(whole, threshold.metric, threshold.statistic, at + 1e-9) == pytest.approx(value, rel=1e-6)
    assert not threshold.holds(so_far(whole, threshold.metric, threshold.statistic, at + 1e-4))
    # and that is what the run reports that was ended by it
    ended = queuesim.run(scenario({text.split()[0]: " ".join(text.split()[1:]), "abort": True}), progress=False)
    stopped = ended.facts.stopped
    assert stopped is not None
    assert stopped.reason is StopReason.THRESHOLD
    assert stopped.at == pytest.approx(at, abs=2e-9)
    assert ended.facts.duration < 1.15 * at + 0.02 * DURATION
    row = ended.checks.iloc[0]
    assert not row["ok"]
    assert not ended.ok


def test_a_threshold_that_fails_between_two_looks_only_ends_the_run_and_its_check_says_so(whole: Result) -> None:
    """The backlog has its peak for a fraction of a second, and the run is looked at every half minute or so."""
    changes = moments(whole)
    peak = level(whole, "backlog", "max", float(changes[-1]))
    ended = queuesim.run(scenario({"backlog.last": f"< {peak:.0f}", "abort": True}), progress=False)
    stopped = ended.facts.stopped
    assert stopped is not None
    assert 301.0 < (stopped.at or 0.0) < 305.0
    assert level(whole, "backlog", "last", ended.facts.duration) < peak
    row = ended.checks.iloc[0]
    assert (bool(row["ok"]), row["value"], row["at"]) == (False, peak, stopped.at)
    assert "recovered" in row["detail"]


def test_a_stop_is_told_as_the_whole_record_has_it(whole: Result) -> None:
    """A worker's report came after the run had ended: a job had failed before those that were known then."""
    checked = Scenario.model_validate(scenario({"failed": "== 0", "abort": True}))
    abort = Abort.of(checked)
    assert abort is not None
    assert abort.look_at(whole) is not None
    first = whole.jobs[~whole.jobs["warmup"] & (whole.jobs["state"] == "failed")]["finished"].min()
    confirmed = abort.confirm(Stop(StopReason.THRESHOLD, 400.0, "another"))
    assert confirmed == Stop(StopReason.THRESHOLD, pytest.approx(first, abs=2e-9), "failed == 0")
    interrupted = Stop(StopReason.INTERRUPTED, 400.0)
    assert abort.confirm(interrupted) is interrupted
    assert abort.confirm(None) is None


def test_windows_that_fail_are_found_at_their_end(whole: Result) -> None:
    ended = queuesim.run(scenario({"latency": "max < 8s", "over": 30.0, "abort": True}), progress=False)
    stopped = ended.facts.stopped
    assert stopped is not None
    jobs = whole.jobs[~whole.jobs["warmup"]]
    slow = jobs[jobs["latency"] >= 8.0]["finished"].min()
    assert stopped.at == pytest.approx(max(slow, WARMUP + 30.0), abs=2e-9)


@pytest.mark.parametrize(
    "text", ["completed >= 100", "added > 5", "backlog.max > 10", "waiting.min < 1s", "failed == 900"]
)
def test_what_can_still_be_met_ends_no_run(whole: Result, text: str) -> None:
    assert first_failure(whole, parse_threshold(text), 0.0) is None


def test_a_window_that_is_not_over_yet_ends_no_run() -> None:
    """In the first minute nothing is measured over a window of two."""
    short = queuesim.run({**BURST, "duration": 60.0, "load": [{"name": "steady", "poisson": 4.0}]}, progress=False)
    checked = Scenario.model_validate(scenario({"throughput": "> 100/s", "over": "2m", "abort": True}))
    (threshold,) = checked.thresholds
    assert first_failure(short, threshold, 0.0) is None


def test_looks_become_rare_as_the_run_grows() -> None:
    """All looks together take a dozen times as long as the last one, whatever the number of jobs."""
    for jobs in (1_000, 100_000, 10_000_000):
        abort = Abort([parse_threshold("failed == 0")], DURATION, 0.0)
        looked = [
            jobs * look / 100 for look in range(1, 101) if abort.due(look * DURATION / 100, int(jobs * look / 100))
        ]
        assert sum(looked) <= 12.5 * jobs
        assert looked[-1] > 0.9 * jobs
