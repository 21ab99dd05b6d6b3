"""Replays: the jobs of a trace take the time, and fail the way, that their rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playing import column, own, play, rows
from queuesim import Job, JobOptions


@pytest.fixture
def trace(tmp_path: Path) -> Any:
    """Writes a trace and returns the load entry that replays it."""

    def write(text: str) -> dict[str, Any]:
        file = tmp_path / "trace.csv"
        file.write_text(text)
        return {"trace": str(file)}

    return write


def test_each_attempt_fails_as_its_row_says(trace: Any) -> None:
    load = trace(
        "name,added_ms,service_ms,fail_1,fail_2\n"
        "a,0,1000,network,database\n"
        "a,10000,1000,,unknown\n"
        "a,20000,1000,ok,\n"
        "a,30000,1000,validation,\n"
    )
    result = play(load, queue={"attempts": 3, "backoff": 2.0}, jobs={})
    assert rows(result, "job", "started", "outcome") == [
        (1, 0, "retried"),
        (1, 3, "retried"),
        (1, 6, "ok"),
        (2, 10, "ok"),
        (3, 20, "ok"),
        (4, 30, "failed"),
    ]
    assert result.attempts["category"].dropna().tolist() == ["Network", "Database", "Validation"]


def test_failures_alone_go_with_the_scenarios_service_time(trace: Any) -> None:
    result = play(trace("name,added_ms,fail_1\na,0,network\na,5000,\n"), service=1.5, queue={"attempts": 2})
    assert rows(result, "job", "ended", "outcome") == [(1, 1.5, "retried"), (1, 3, "ok"), (2, 6.5, "ok")]


def test_own_handlers_run_replayed_jobs_as_they_are(trace: Any) -> None:
    seen: list[Any] = []
    processor = own(lambda job: seen.append((job.name, job.data)), data=dict[str, int])
    load = trace("name,added_ms,service_ms,fail_1\na,0,,\na,1000,,network\na,2000,500,\n")
    result = play(load, processor=processor, jobs={"a": {"data": {"n": 1}, "attempts": 2}})
    # the third never reaches it: the trace says how long it takes
    assert seen == [("a", {"n": 1})] * 3
    assert rows(result, "job", "ended", "outcome") == [(1, 0, "ok"), (2, 1, "retried"), (2, 1, "ok"), (3, 2.5, "ok")]


def test_a_time_out_holds_for_replayed_jobs(trace: Any) -> None:
    result = play(trace("name,added_ms,service_ms\na,0,5000\n"), jobs={"a": {"service": 1.0, "timeout": 2.0}})
    assert rows(result, "ended", "error_type") == [(2, "TimeoutError")]


def test_a_job_that_nobody_knows_fails(trace: Any) -> None:
    result = play(trace("name,added_ms,service_ms\na,0,\na,1000,1000\n"), jobs={})
    assert rows(result, "outcome") == [("failed",), ("ok",)]
    assert "no service time for this job" in result.attempts["message"].tolist()[0]


def test_two_traces_are_kept_apart(tmp_path: Path) -> None:
    loads = []
    for name, service in (("one", 1000), ("two", 2000)):
        (tmp_path / f"{name}.csv").write_text(f"name,added_ms,service_ms\na,0,{service}\n")
        loads.append({"name": name, "trace": str(tmp_path / f"{name}.csv")})
    result = play(*loads, jobs={}, workers={"concurrency": 2})
    assert sorted(zip(column(result, "load"), column(result, "service"), strict=True)) == [("one", 1), ("two", 2)]


def test_jobs_of_a_trace_are_added_with_own_defaults(trace: Any) -> None:
    async def fail(job: Job) -> None:
        raise ConnectionError("down")

    processor = own(fail, defaults=JobOptions(attempts=3))
    assert len(play(trace("name,added_ms\na,0\n"), processor=processor).attempts) == 3
