"""What happened, in words."""

from __future__ import annotations

from metrics_script import NAN, Script

import queuesim
from queuesim.results.recording import CheckRow, Stop, StopReason
from queuesim.results.result import Result
from queuesim.results.views import digest

INVALID = ("ValidationError", "Validation", False)


def run() -> Result:
    stopped = Stop(StopReason.THRESHOLD, 60.0, "lost == 0")
    script = Script(100.0, warmup=10.0, limiter=(1, 20.0), concurrency=2, stopped=stopped, wall=0.5)
    script.attempt(script.job(10.0), 10.0, 12.0)
    script.attempt(script.job(20.0, name="sms"), 30.0, 31.0, "failed", error=INVALID)
    script.job(30.0, left="waiting")
    script.job(30.0, left="removed")
    script.job(40.0)
    script.window(10.0, 30.0, 1)
    script.checks += [
        CheckRow("lost == 0", False, 1.0, "== 0", at=45.0, detail="first seen then", unit="jobs lost"),
        CheckRow("latency.p95 of fax", False, NAN, "< 30s"),
        CheckRow("no job runs twice", True, 0.0, ""),
    ]
    return Result(script.recording())


def test_headline() -> None:
    assert digest.headline(run()) == (
        "5 jobs in 90 s after a warm-up of 10 s: 1 completed, 1 failed for good, 1 had not finished, "
        "1 were removed and 1 were LOST. Of those that finished, 95 % took at most 10.5 s. "
        "The run was stopped early (threshold lost == 0 failed at 60 s)."
    )


def test_headline_of_nothing() -> None:
    assert digest.headline(Result(Script().recording())) == "0 jobs in 1 min 40 s: 0 completed and 0 failed for good."


def test_origin() -> None:
    assert digest.origin(run()) == "hand-made on sim, seed 1, 1 worker, 2 slots, played in 500 ms"


def test_totals() -> None:
    totals = dict(digest.totals(run()))
    assert totals["completed"] == "1 (success rate 50 %)"
    assert totals["removed"] == totals["lost"] == "1"
    assert totals["throughput"] == "40/h"
    assert totals["backlog"] == "0.889 on average; at most 1 at 20 s; 1 at the end"
    nothing = dict(digest.totals(Result(Script().recording())))
    assert "removed" not in nothing
    assert (nothing["completed"], nothing["backlog"]) == ("0", "none")


def test_tables_by_name() -> None:
    assert digest.counts(run()) == [
        ("mail", "4", "1", "0", "1", "1", "1"),
        ("sms", "1", "0", "1", "0", "0", "1"),
        ("all", "5", "1", "1", "1", "1", "2"),
    ]
    assert digest.times(run())[1] == ("sms", "10s", "10s", "10s", "11s", "11s", "11s", "1s")
    assert all(len(row) == len(digest.COUNTS) for row in digest.counts(run()))
    assert all(len(row) == len(digest.TIMES) for row in digest.times(run()))


def test_one_name_needs_no_sum() -> None:
    script = Script()
    script.job(0)
    assert [row[0] for row in digest.counts(Result(script.recording()))] == ["mail"]
    assert digest.counts(Result(Script().recording())) == []


def test_attempts_and_limiter() -> None:
    assert digest.outcomes(run()) == ["attempts: 1 ok, 1 failed", "errors: Validation 1"]
    assert digest.outcomes(Result(Script().recording())) == ["no attempt was made"]
    assert digest.limiter(run()) == (
        "limiter, 1 per 20 s: 1 of 1 window used up; nothing could start for 20 s (22.2 % of the time)"
    )
    assert digest.limiter(Result(Script().recording())) is None


def test_checks() -> None:
    assert [(line.status, line.text) for line in digest.checks(run())] == [
        ("failed", "lost == 0 failed: 1 job was lost at 45 s (first seen then)"),
        ("failed", "latency.p95 of fax failed: nothing to measure"),
        ("passed", "no job runs twice: measured 0"),
    ]


def test_jobs_that_stalled_too_often_are_named_so_and_not_by_a_category() -> None:
    result = queuesim.run(
        {
            "name": "s",
            "duration": 120.0,
            "jobs": {"a": {"service": 20.0}, "b": {"service": 0.1, "errors": {"unknown": 1.0}}},
            "load": [{"name": "l", "backlog": 3, "jobs": "a"}, {"name": "m", "backlog": 5, "jobs": "b"}],
            "workers": {"concurrency": 10, "lock_duration": 10.0, "lock_renew": 30.0},
        }
    )
    assert result.summary().errors == {"Unknown": 8}
    assert digest.outcomes(result)[1] == "errors: Unknown 5, stalled or started too often 3"
