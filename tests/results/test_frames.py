"""The frames of recordings written by hand, number by number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_script import NAN, Script

from queuesim.core.events import EventKind
from queuesim.core.job import JobState
from queuesim.results.frames import BEFORE, EVENT_KINDS, FRAMES
from queuesim.results.metrics import measure
from queuesim.results.recording import CheckRow, FaultRow, ScanRow
from queuesim.results.result import Result

DATABASE = ("DatabaseError", "Database", True)
INVALID = ("ValidationError", "Validation", False)


def column(frame: pd.DataFrame, name: str) -> list[object]:
    """A column as plain values, None for what is missing."""
    return [None if pd.isna(value) else value for value in frame[name].tolist()]


def two_attempts() -> Result:
    script = Script(50.0)
    job = script.job(1.0, name="sms", added=1.5, delay=2.0, priority=7)
    script.attempt(job, 5.0, 6.0, "retried", ready=3.5, error=DATABASE, message="gone", backoff=3.0, slot=1)
    script.attempt(job, 9.5, 10.0, ready=9.0, worker="w2")
    return Result(script.recording())


def test_a_job_is_its_attempts() -> None:
    jobs = two_attempts().jobs
    row = jobs.iloc[0]
    assert (row["scheduled"], row["added"], row["ready"], row["started"], row["finished"]) == (1.0, 1.5, 3.5, 5.0, 10.0)
    assert (row["state"], row["attempts"], row["priority"], row["delay"]) == ("completed", 2, 7, 2.0)
    assert row["waiting"] == 1.5
    assert row["latency"] == 7.0  # counted from when it was meant to be ready: 1 + 2
    assert row["service"] == 1.5
    assert "id" not in jobs.columns


def test_attempts_in_the_order_of_their_starts() -> None:
    attempts = two_attempts().attempts
    assert column(attempts, "attempt") == [1, 2]
    assert column(attempts, "name") == ["sms", "sms"]
    assert column(attempts, "worker") == ["w1", "w2"]
    assert column(attempts, "slot") == [1, 0]
    assert column(attempts, "waiting") == [1.5, 0.5]
    assert column(attempts, "service") == [1.0, 0.5]
    assert column(attempts, "outcome") == ["retried", "ok"]
    assert column(attempts, "error_type") == ["DatabaseError", None]
    assert column(attempts, "category") == ["Database", None]
    assert column(attempts, "retryable") == [True, None]
    assert column(attempts, "message") == ["gone", None]
    assert column(attempts, "backoff") == [3.0, None]


def test_states_at_the_end() -> None:
    script = Script()
    script.attempt(script.job(0), 1, 2, "ok")
    script.attempt(script.job(0), 1, 2, "failed", error=INVALID)
    script.job(0, left="waiting")
    script.attempt(script.job(0, left="delayed"), 1, 2, "retried", error=DATABASE, backoff=60.0)
    script.attempt(script.job(0, left="active"), 3)
    script.job(0, left="removed")
    script.job(0)
    script.attempt(script.job(0), 1, 2, "retried", error=DATABASE)
    jobs = Result(script.recording()).jobs
    assert column(jobs, "state") == ["completed", "failed", "waiting", "delayed", "active", "removed", "lost", "lost"]
    assert column(jobs, "finished") == [2.0, 2.0, *[None] * 6]


def test_a_dropped_result_decides_nothing() -> None:
    script = Script()
    job = script.job(0)
    script.attempt(job, 1, 9, "lost", slot=0)  # held the job for too long
    script.attempt(job, 4, 6, "ok", slot=1)  # another worker's turn
    row = Result(script.recording()).jobs.iloc[0]
    assert (row["state"], row["finished"], row["attempts"]) == ("completed", 6.0, 2)


def lost_answers() -> Script:
    """A worker died between sending two outcomes and hearing of them; retention has removed the jobs since."""
    script = Script()
    for number, ending in enumerate(("completed", "failed", None), start=1):
        job = script.job(1.0)
        script.attempt(job, 2.0, 3.0, "lost")
        script.event(1.0, "added", number)
        if ending is not None:
            script.event(3.5, ending, number, previous="active")
    return script


@pytest.mark.parametrize("first", ["jobs", "events"])
def test_where_nobody_knows_how_a_job_ended_the_events_tell(first: str) -> None:
    result = Result(lost_answers().recording())
    getattr(result, first)
    assert list(result.jobs["state"]) == ["completed", "failed", "lost"]
    assert list(result.jobs["finished"]) == [3.5, 3.5, pytest.approx(NAN, nan_ok=True)]
    assert measure(result, "lost") == 1
    assert len(result.events) == 5


def test_a_failed_job_put_back_by_hand_is_what_the_queue_says() -> None:
    script = Script()
    script.attempt(script.job(0, left="waiting"), 1, 2, "failed", error=INVALID)
    row = Result(script.recording()).jobs.iloc[0]
    assert row["state"] == "waiting"
    assert np.isnan(row["finished"])


def test_unknown_ready_follows_from_the_delay_and_the_last_backoff() -> None:
    script = Script()
    job = script.job(1.0, delay=2.0)
    other = script.job(1.0)
    script.attempt(job, 4.0, 5.0, "retried", error=DATABASE, backoff=1.5)
    script.attempt(other, 4.25, 4.5, "rate-limited")
    script.attempt(other, 6.0, 6.5)
    script.attempt(job, 7.0, 8.0)
    attempts = Result(script.recording()).attempts
    assert column(attempts, "job") == [1, 2, 2, 1]
    assert column(attempts, "ready") == [3.0, 1.0, 4.5, 6.5]


def test_a_promoted_job_is_ready_when_it_was_promoted() -> None:
    script = Script()
    script.attempt(script.job(0.0, delay=50.0), 11.0, 12.0, ready=10.0)
    row = Result(script.recording()).jobs.iloc[0]
    assert (row["ready"], row["waiting"], row["latency"]) == (10.0, 1.0, -38.0)


def test_custom_ids_beside_the_numbers() -> None:
    script = Script()
    script.job(0)
    script.job(0, id="invoice-7")
    assert column(Result(script.recording()).jobs, "id") == ["1", "invoice-7"]


def test_numbers_with_gaps_and_attempts_of_jobs_from_before() -> None:
    script = Script()
    script.job(0, number=10)
    script.job(0, number=20, name="sms")
    script.attempt(5, 1.0, 2.0)  # added before the recording began
    script.attempt(20, 3.0, 4.0)
    script.attempt(99, 5.0, 6.0)
    result = Result(script.recording())
    assert column(result.jobs, "attempts") == [0, 1]
    assert column(result.attempts, "name") == [None, "sms", None]
    assert result.summary().jobs.attempts == 1


def test_jobs_recorded_out_of_order_are_sorted_by_number() -> None:
    script = Script()
    script.job(3.0, number=30)
    script.job(1.0, number=10)
    script.attempt(30, 4.0, 5.0)
    jobs = Result(script.recording()).jobs
    assert column(jobs, "job") == [10, 30]
    assert column(jobs, "started") == [None, 4.0]


def test_codes_are_those_that_the_recorder_writes() -> None:
    assert [kind.value for kind in sorted(EventKind, key=lambda kind: kind.code)] == list(EVENT_KINDS)
    assert [state.value for state in sorted(JobState, key=lambda state: state.code)] == list(BEFORE[1:])
    assert {state.code for state in JobState} == set(range(1, len(BEFORE)))


def test_warm_up_is_by_schedule() -> None:
    script = Script(warmup=10.0)
    script.job(9.9, added=12.0)
    script.job(10.0)
    assert column(Result(script.recording()).jobs, "warmup") == [True, False]


def test_events() -> None:
    script = Script()
    script.job(0)
    script.event(0.0, "added", 1)
    script.event(1.0, "active", 1, previous="waiting")
    script.event(2.0, "drained")
    events = Result(script.recording()).events
    assert column(events, "kind") == ["added", "active", "drained"]
    assert column(events, "previous") == [None, "waiting", None]
    assert column(events, "job") == [1, 1, 0]


def test_limiter_windows_hold_their_first_moment_but_not_their_last() -> None:
    script = Script(21.0)
    for start in (0.0, 1.0, 4.0, 10.0, 20.0, 20.5):
        script.attempt(script.job(0), start, start + 0.1)
    script.window(0.0, 10.0, 3)
    script.window(10.0, 20.0, 3)
    script.window(20.0, 30.0, 2)
    script.window(40.0, 50.0, 2)
    limiter = Result(script.recording()).limiter
    assert column(limiter, "starts") == [3, 1, 2, 0]
    assert column(limiter, "used") == pytest.approx([1.0, 1 / 3, 1.0, 0.0])
    assert column(limiter, "last_start") == [4.0, 10.0, 20.5, None]
    assert column(limiter, "time_limited") == [6.0, 0.0, 0.5, 0.0]  # the third is cut by the end of the run


def test_frames_of_nothing_have_the_same_columns_and_types() -> None:
    empty, full = Result(Script().recording()), two_attempts()
    for name in FRAMES:
        nothing, something = getattr(empty, name), getattr(full, name)
        assert len(nothing) == 0
        assert list(nothing.columns) == list(something.columns)
        assert [str(kind) for kind in nothing.dtypes] == [str(kind) for kind in something.dtypes]


def test_faults_and_scans_are_rows_in_order() -> None:
    script = Script()
    script.faults.append(FaultRow("worker.crash", "worker-1", 5.0, NAN, "no notice"))
    script.scans.append(ScanRow(1, "cron", 10.0, 12.5, 3, 250, 240, 10, 30.0))
    script.scans.append(ScanRow(2, "manual", 60.0, NAN, 1, 100, 100, 0, NAN))
    result = Result(script.recording())
    assert result.faults.iloc[0].fillna(-1).to_dict() == {
        "fault": "worker.crash",
        "target": "worker-1",
        "began": 5.0,
        "ended": -1,
        "detail": "no notice",
        "lost": -1,
    }
    assert column(result.overdue, "trigger") == ["cron", "manual"]
    assert column(result.overdue, "duration") == [2.5, None]
    assert column(result.overdue, "drained") == [30.0, None]


def test_an_oracle_is_a_check_of_its_own_kind() -> None:
    script = Script()
    script.checks.append(CheckRow("lost == 0", True, 0.0, "== 0"))
    script.checks.append(CheckRow("no job runs twice at once", False, 2.0, "0", detail="job 3", kind="oracle"))
    result = Result(script.recording())
    assert column(result.checks, "kind") == ["threshold", "oracle"]
    assert not result.ok


def test_many_names_need_wider_codes() -> None:
    script = Script()
    for number in range(200):
        script.job(0, name=f"type-{number}")
    jobs = Result(script.recording()).jobs
    assert column(jobs, "name") == [f"type-{number}" for number in range(200)]


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Jobs whose attempts follow one another, each with a broker that may know when they were ready."""
    script = Script(1000.0)
    for _ in range(draw(st.integers(0, 12))):
        scheduled = draw(st.floats(0, 500))
        job = script.job(scheduled, name=draw(st.sampled_from(["a", "b"])), delay=draw(st.sampled_from([0.0, 5.0])))
        moment = scheduled + script.jobs[-1][5]
        for _ in range(draw(st.integers(0, 3))):
            wait, spent, backoff = draw(st.tuples(*[st.floats(0, 20)] * 3))
            ready = draw(st.sampled_from([moment, NAN]))
            script.attempt(job, moment + wait, moment + wait + spent, "retried", ready, DATABASE, backoff=backoff)
            moment += wait + spent + backoff
        if draw(st.booleans()):
            script.attempt(job, moment, moment + 1.0)
    return script


@given(scripts())
def test_columns_agree_with_a_loop_over_rows(script: Script) -> None:
    result = Result(script.recording())
    attempts = {int(job): rows for job, rows in result.attempts.groupby("job")}
    assert result.attempts["started"].is_monotonic_increasing
    for row in result.jobs.itertuples():
        own = attempts.get(row.job)
        assert row.attempts == (0 if own is None else len(own))
        if own is not None:
            assert row.started == own["started"].min()
            assert row.service == pytest.approx(own["service"].sum())
            assert (own["waiting"] >= -1e-9).all()
            done = own[own["outcome"] == "ok"]
            assert row.state == ("completed" if len(done) else "lost")
            assert np.array_equal([row.finished], [done["ended"].max()], equal_nan=True)
