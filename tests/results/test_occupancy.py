"""Waiting, running and delayed jobs over time, from recordings written by hand."""

from __future__ import annotations

import numpy as np
from metrics_script import Script

from queuesim.results.levels import active, backlog, delayed
from queuesim.results.result import Result

DATABASE = ("DatabaseError", "Database", True)


def at(level: object, *times: float) -> list[int]:
    return level.at(np.array(times)).tolist()  # type: ignore[attr-defined]


def test_a_job_waits_runs_backs_off_and_waits_again() -> None:
    script = Script(20.0)
    job = script.job(1.0, delay=1.0)
    script.attempt(job, 4.0, 5.0, "retried", ready=2.0, error=DATABASE, backoff=3.0)
    script.attempt(job, 10.0, 12.0, ready=8.0)
    result = Result(script.recording())
    moments = (0.0, 1.0, 2.0, 4.0, 5.0, 8.0, 10.0, 12.0)
    assert at(delayed(result), *moments) == [0, 1, 0, 0, 1, 0, 0, 0]
    assert at(backlog(result), *moments) == [0, 0, 1, 0, 0, 1, 0, 0]
    assert at(active(result), *moments) == [0, 0, 0, 1, 0, 0, 1, 0]


def test_what_is_left_waits_until_the_end() -> None:
    script = Script(20.0)
    script.job(1.0, left="waiting")
    script.job(2.0, left="prioritized", priority=3)
    script.job(3.0, left="delayed", delay=4.0)  # due at 7, but nobody looked
    script.attempt(script.job(0.0, left="delayed"), 0.0, 1.0, "retried", error=DATABASE, backoff=9.0)
    script.attempt(script.job(0.0, left="active"), 0.0)
    script.job(0.0)  # lost: nobody knows until when it waited
    result = Result(script.recording())
    assert at(backlog(result), 0.5, 1.0, 2.0, 3.0, 7.0, 10.0, 20.0) == [0, 1, 2, 2, 3, 4, 4]
    assert at(active(result), 0.0, 1.0, 20.0) == [2, 1, 1]


def test_removed_jobs_wait_until_an_event_says_so() -> None:
    script = Script(20.0)
    script.job(1.0, left="removed")
    script.job(1.0, left="removed")
    script.job(1.0, left="removed", delay=5.0)
    script.event(4.0, "removed", 1)
    script.event(4.0, "removed", 3)
    result = Result(script.recording())
    assert at(backlog(result), 1.0, 3.9, 4.0, 20.0) == [1, 1, 0, 0]
    assert at(delayed(result), 1.0, 3.9, 4.0, 20.0) == [1, 1, 0, 0]


def test_a_start_before_it_was_ready_is_no_negative_backlog() -> None:
    script = Script(20.0)
    script.attempt(script.job(1.0), 1.0, 2.0, ready=1.0 + 1e-12)
    assert backlog(Result(script.recording())).values.min() == 0
