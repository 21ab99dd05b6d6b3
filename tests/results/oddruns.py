"""Runs that have little or nothing to show, written by hand, for whatever must cope with any run."""

from __future__ import annotations

from collections.abc import Callable

from metrics_script import NAN, Script

from queuesim.results.recording import FaultRow, ScanRow

DATABASE = ("DatabaseError", "Database", True)
INVALID = ("ValidationError", "Validation", False)


def busy() -> Script:
    script = Script(600.0, warmup=5.0, limiter=(10, 60.0))
    for number in range(100):
        job = script.job(number * 5.0)
        start = number * 5.0 + number / 10
        if number % 10 == 3:
            script.attempt(job, start, start + 1, "retried", error=DATABASE, backoff=1.0)
            script.attempt(job, start + 4, start + 6)
        else:
            ending, error = ("failed", INVALID) if number == 50 else ("ok", None)
            script.attempt(job, start, start + 1, ending, error=error)
    for opened in range(0, 600, 60):
        script.window(opened, opened + 60, 10)
    return script


def one() -> Script:
    script = Script()
    script.attempt(script.job(1.0), 1.0, 2.0)
    return script


def all_failed() -> Script:
    script = Script()
    for number in range(5):
        script.attempt(script.job(number), number, number + 0.5, "failed", error=INVALID)
    return script


def unfinished() -> Script:
    script = Script()
    script.attempt(script.job(1.0, left="active"), 1.0)
    script.job(2.0, left="waiting")
    return script


def nothing_waited() -> Script:
    script = Script(4 * 86400.0)
    for number in range(3):
        script.attempt(script.job(number * 86400.0), number * 86400.0, number * 86400.0)
    return script


def many_attempts() -> Script:
    script = Script()
    job = script.job(0.0)
    for number in range(15):
        script.attempt(job, number, number + 0.5, "retried", error=(f"E{number}", f"C{number}", True), backoff=0.5)
    return script


def only_warm_up() -> Script:
    script = Script(warmup=90.0)
    script.attempt(script.job(1.0), 1.0, NAN)
    return script


def nothing_ready() -> Script:
    script = Script()
    script.job(1.0, left="delayed", delay=500.0)
    script.job(2.0, left="waiting")
    return script


def faults_alone() -> Script:
    script = Script()
    script.faults.append(FaultRow("redis.outage", "", 3.0, NAN))
    script.scans.append(ScanRow(1, "cron", 10.0, NAN, 0, 0, 0, 0, NAN))
    return script


RUNS: dict[str, Callable[[], Script]] = {
    "busy": busy,
    "one": one,
    "all failed": all_failed,
    "unfinished": unfinished,
    "nothing waited": nothing_waited,
    "many attempts": many_attempts,
    "only warm-up": only_warm_up,
    "empty": Script,
    "no time": lambda: Script(0.0),
    "limiter without windows": lambda: Script(limiter=(1, 1.0)),
    "nothing ready": nothing_ready,
    "no slots": lambda: Script(concurrency=0),
    "faults alone": faults_alone,
}
"""Runs that have little to show, by name.

Columns that hold nothing but NaN: in "unfinished" all of the ends, in "nothing ready" all of the starts as well, in
"faults alone" the end of each scan and fault.
"""
