"""The analysis of a result, number by number, on recordings written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metrics_script import NAN, Script
from test_plots import RUNS

import queuesim
from queuesim.results import little
from queuesim.results.levels import Level
from queuesim.results.recording import ScanRow
from queuesim.results.result import Result

DATABASE = ("DatabaseError", "Database", True)
INVALID = ("ValidationError", "Validation", False)


def retried() -> Result:
    """Four jobs: one at once, one at the second attempt, one not at all after three, one invalid."""
    script = Script(100.0, concurrency=2)
    script.attempt(script.job(0.0, name="sms"), 0.0, 1.0)
    job = script.job(10.0)
    script.attempt(job, 10.0, 12.0, "retried", error=DATABASE, backoff=3.0)
    script.attempt(job, 15.0, 16.0)
    job = script.job(20.0)
    script.attempt(job, 20.0, 21.0, "retried", error=DATABASE, backoff=1.0)
    script.attempt(job, 22.0, 23.0, "retried", error=DATABASE, backoff=2.0, slot=1)
    script.attempt(job, 25.0, 26.0, "failed", error=DATABASE)
    script.attempt(script.job(30.0), 30.0, 30.5, "failed", error=INVALID)
    return Result(script.recording())


# -- percentiles


def test_percentiles_by_name() -> None:
    frame = retried().analysis.percentiles("service", by="name", percents=(50, 100))
    assert list(frame.columns) == ["count", "mean", "min", "p50", "p100", "max"]
    assert list(frame.loc["mail"]) == [3, pytest.approx(6.5 / 3), 0.5, 3.0, 3.0, 3.0]
    assert frame.loc["sms", "count"] == 1


def test_percentiles_leave_out_the_warm_up_and_what_never_finished() -> None:
    script = Script(warmup=5.0)
    for scheduled, end in ((1.0, 90.0), (6.0, 8.0), (7.0, NAN)):
        script.attempt(script.job(scheduled, left=None if end == end else "active"), scheduled, end)
    analysis = Result(script.recording()).analysis
    assert list(analysis.percentiles("latency", percents=(50,)).loc["all"]) == [1, 2.0, 2.0, 2.0, 2.0]
    assert analysis.percentiles("waiting").loc["all", "count"] == 2


def test_percentiles_of_what_there_is_not() -> None:
    analysis = retried().analysis
    with pytest.raises(ValueError, match="latency, waiting, service, not of 'size'"):
        analysis.percentiles("size")
    with pytest.raises(ValueError, match="no column 'type'; there are job, name"):
        analysis.percentiles(by="type")
    with pytest.raises(ValueError, match="from 0 to 100, not 101"):
        analysis.percentiles(percents=(101,))


# -- occupancy


def test_levels_are_weighted_by_time() -> None:
    script = Script(10.0, concurrency=2)
    script.attempt(script.job(0.0), 0.0, 5.0)
    script.attempt(script.job(1.0), 4.0, 5.0, slot=1)
    frame = Result(script.recording()).analysis.occupancy()
    assert frame.loc["backlog", "mean"] == pytest.approx(0.3)
    assert frame.loc["active", "mean"] == pytest.approx(0.6)
    assert frame.loc["utilisation", "mean"] == pytest.approx(0.3)
    assert list(frame.loc["active", ["p50", "p95", "max", "max_at", "end"]]) == [0, 2, 2, 4.0, 0]


def test_quantiles_of_a_level() -> None:
    level = Level(np.array([0.0, 5.0]), np.array([9.0]))
    assert level.quantiles(0.0, 10.0, (0.0, 0.5, 0.6, 0.61, 1.0)) == [1, 1, 1, 2, 2]
    assert all(map(math.isnan, level.quantiles(3.0, 3.0, (0.5,))))


def test_what_a_worker_did_in_the_measured_time() -> None:
    script = Script(20.0, warmup=10.0)
    script.attempt(script.job(0.0), 5.0, 15.0, worker="a")
    script.attempt(script.job(0.0, left="active"), 18.0, worker="a", slot=1)
    script.attempt(script.job(0.0), 1.0, 2.0, "failed", error=INVALID, worker="b")
    frame = Result(script.recording()).analysis.workers()
    # all three jobs are of the warm-up: none of their attempts is counted, and the slots were busy all the same
    assert list(frame.loc["a"]) == [2, 0, 0, 7.0, 0.35]
    assert list(frame.loc["b"]) == [1, 0, 0, 0.0, 0.0]
    script.attempt(script.job(11.0), 12.0, 13.0, "failed", error=INVALID, worker="b")
    assert list(Result(script.recording()).analysis.workers().loc["b"]) == [1, 1, 1, 1.0, 0.1]


def test_slots_that_ran_nothing_are_slots_of_their_worker() -> None:
    script = Script(10.0, slots={"a": 4, "b": 2}, concurrency=6)
    script.attempt(script.job(0.0), 0.0, 5.0, worker="a")
    result = Result(script.recording())
    frame = result.analysis.workers()
    assert list(frame.loc["a"]) == [4, 1, 0, 5.0, 0.125]
    assert list(frame.loc["b"]) == [2, 0, 0, 0.0, 0.0]
    assert (frame["utilisation"] * frame["slots"]).sum() / 6 == result.summary().utilisation


# -- retries


def test_what_retries_cost_by_category() -> None:
    frame = retried().analysis.retries()
    assert list(frame.index) == ["all", "Database", "Validation"]
    assert frame.loc["Database"].to_dict() == {
        "errors": 4, "retried": 3, "failed": 1, "jobs": 2, "saved": 1,
        "amplification": 3 / 4, "service": 5.0, "backoff": 6.0,
    }  # fmt: skip
    assert frame.loc["Validation", "retried"] == 0
    assert frame.loc["all", "amplification"] == 7 / 4  # attempts per job


def test_retries_over_time() -> None:
    result = retried()
    frame = result.analysis.retries_over_time(10)
    assert list(frame["first"][:4]) == [1, 1, 1, 1]
    assert list(frame["again"][:4]) == [0, 1, 2, 0]
    assert list(frame["amplification"][:4]) == [1.0, 2.0, 3.0, 1.0]
    assert list(frame["Database"][:4]) == [0, 1, 2, 0]
    assert math.isnan(frame["amplification"].iloc[-1])
    assert frame["first"].sum() + frame["again"].sum() == len(result.attempts)


# -- draining


def backed_up() -> Result:
    script = Script(100.0)
    for start in (10.0, 20.0, 30.0, 40.0):
        script.attempt(script.job(10.0), start, start + 10.0)
    script.attempt(script.job(60.0), 65.0, 70.0)
    script.job(90.0, left="waiting")
    return Result(script.recording())


def test_backlogs_are_told_apart() -> None:
    frame = backed_up().analysis.backlogs(least=1)
    assert list(frame["began"]) == [10.0, 60.0, 90.0]
    assert list(frame["peak"]) == [3, 1, 1]
    assert list(frame["drained"].fillna(-1)) == [40.0, 65.0, -1]
    assert list(frame["to_drain"].fillna(-1)) == [30.0, 5.0, -1]
    assert list(frame["job_seconds"]) == [60.0, 5.0, 10.0]
    assert list(backed_up().analysis.backlogs()["peak"]) == [3]


def test_time_to_drain() -> None:
    analysis = backed_up().analysis
    assert analysis.time_to_drain() == 30.0
    assert analysis.time_to_drain(since=25.0) == 15.0
    assert analysis.time_to_drain(since=50.0) == 0.0
    assert math.isnan(analysis.time_to_drain(since=95.0))


# -- the limiter


def test_what_the_limiter_cost() -> None:
    """Two starts in 10 s, one slot: shut from 2 to 10. A job waits from 3 on, and the slot is free from 4 on."""
    script = Script(20.0, limiter=(2, 10.0))
    script.window(0.0, 10.0, 2)
    script.window(10.0, 20.0, 2)
    script.attempt(script.job(0.0), 0.0, 1.0)
    script.attempt(script.job(2.0), 2.0, 4.0)
    script.attempt(script.job(3.0), 10.0, 11.0)
    cost = Result(script.recording()).analysis.limiter()
    assert cost is not None
    assert (cost.windows, cost.full, cost.used, cost.shut) == (2, 1, 0.75, 8.0)
    assert (cost.blocked, cost.slot_seconds, cost.job_seconds) == (6.0, 6.0, 7.0)
    assert cost.capacity == 0.2


def test_no_limiter() -> None:
    assert retried().analysis.limiter() is None


# -- batches


def test_jobs_that_come_at_once_are_a_batch() -> None:
    script = Script(100.0)
    for start in (10.0, 12.0, 14.0):
        script.attempt(script.job(10.0, name="note", load="batch"), start, start + 2.0)
    script.attempt(script.job(11.0), 16.0, 17.0)
    frame = Result(script.recording()).analysis.batches(least=3)
    row = frame.iloc[0]
    assert (row["origin"], row["jobs"], row["began"], row["ended"]) == ("batch", 3, 10.0, 10.0)
    assert (row["first_started"], row["half_done"], row["drained"], row["to_drain"]) == (10.0, 14.0, 16.0, 6.0)
    assert (row["rate"], row["backlog_before"], row["backlog_peak"]) == (0.5, 0, 3)
    assert (row["others"], row["others_p95"]) == (1, 6.0)
    assert not row["next_began_before_drained"]
    assert len(Result(script.recording()).analysis.batches(least=4)) == 0


def test_a_scan_is_a_batch_of_its_notifications() -> None:
    script = Script(100.0)
    for number in range(4):
        script.job(11.0 + number)  # another job, in the same time
    for number in range(3):
        script.attempt(script.job(10.0 + number, name="overdue-note"), 20.0 + number, 25.0 + number)
    script.job(50.0, name="overdue-note", left="waiting")
    script.scans.append(ScanRow(1, "cron", 10.0, 15.0, 1, 3, 3, 0, 27.0))
    script.scans.append(ScanRow(2, "manual", 20.0, NAN, 1, 1, 1, 0, NAN))
    frame = Result(script.recording()).analysis.batches()
    assert list(frame["jobs"]) == [3, 1]
    assert list(frame["origin"]) == ["cron", "manual"]
    assert list(frame["drained"].fillna(-1)) == [27.0, -1]
    assert list(frame["next_began_before_drained"]) == [True, False]


# -- Little's law


def spent(ended: float = 5.0, told: float | None = 5.0) -> Result:
    """A job for which workers and events may differ on when it ended."""
    script = Script(10.0)
    script.attempt(script.job(1.0), 2.0, ended)
    script.event(1.0, "added", 1)
    script.event(2.0, "active", 1, previous="waiting")
    if told is not None:
        script.event(told, "completed", 1, previous="active")
    script.job(6.0, left="waiting")
    script.event(6.0, "added", 2)
    return Result(script.recording())


def test_littles_law_holds_where_the_records_agree() -> None:
    found = spent().analysis.littles_law()
    assert (found.jobs, found.arrival_rate, found.time, found.product) == (0.8, 0.2, 4.0, 0.8)
    assert found.holds
    assert found.difference == 0.0


@pytest.mark.parametrize("told", [None, 4.0, 8.0])
def test_records_that_differ_break_littles_law(told: float | None) -> None:
    """What it exists to find: a job of which an event was lost, or came at another time."""
    result = spent(told=told)
    assert not result.analysis.littles_law().holds
    row = little.check(result)
    assert (row.ok, row.value, row.kind) == (False, 1.0, "oracle")
    assert "by the events, λW = 0.8 by the workers" in row.detail


def burst(late: float, lost: int = 0) -> Result:
    """Two thousand jobs of 1 ms on a real server, whose outcomes arrive late; the events of some ends are missing."""
    script = Script(5.0, backend="redis")
    for _ in range(2000):
        job = script.job(1.0)
        script.attempt(job, 1.0, 1.001)
        script.event(1.0, "added", job)
        script.event(1.0, "active", job, previous="waiting")
        if job > lost:
            script.event(1.001 + late, "completed", job, previous="active")
    return Result(script.recording())


def test_a_burst_of_short_jobs_on_a_real_server_holds_littles_law() -> None:
    """A millisecond of work, and a second until the server hears of its end: both are right."""
    assert little.check(burst(1.0)).ok
    assert little.check(burst(0.01)).ok


@pytest.mark.parametrize("late", [0.001, 1.0])
def test_lost_events_break_it_there_too(late: float) -> None:
    assert not little.check(burst(late, lost=1000)).ok
    assert not little.check(burst(10.0)).ok


@pytest.mark.parametrize("scenario", ["task-processing", "bullmq-retry-storm", "bullmq-overdue-burst"])
def test_every_run_holds_littles_law_to_the_last_digits(scenario: str) -> None:
    result = queuesim.run(f"scenarios/{scenario}.yaml")
    rows = result.checks[result.checks["check"] == little.NAME]
    assert list(rows["ok"]) == [True]
    assert result.analysis.littles_law().difference < 1e-9


def test_jobs_that_are_removed_leave_the_system() -> None:
    script = Script(10.0)
    script.job(0.0, left="removed")
    script.event(0.0, "added", 1)
    script.event(5.0, "removed", 1, previous="waiting")
    found = Result(script.recording()).analysis.littles_law()
    assert found.jobs == found.product == 0.5


# -- anything


@pytest.mark.parametrize("run", RUNS)
def test_any_run_can_be_analysed(run: str) -> None:
    analysis = Result(RUNS[run]().recording()).analysis
    for frame in (
        analysis.percentiles(), analysis.percentiles("waiting", by="name"), analysis.occupancy(), analysis.workers(),
        analysis.retries(), analysis.retries_over_time(), analysis.backlogs(), analysis.batches(),
    ):  # fmt: skip
        assert list(frame.columns)
    assert analysis.time_to_drain() >= 0 or math.isnan(analysis.time_to_drain())
    assert (analysis.limiter() is None) == (analysis._frames.facts.limiter is None)
    assert analysis.littles_law().holds
    assert "retries_over_time" in repr(analysis)
