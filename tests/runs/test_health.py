"""Health checks of whole runs: each finds what it is for, says why, and leaves a healthy run alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import queuesim
from queuesim import Job, Processor
from queuesim.results.health import HEALTH_CHECKS
from queuesim.results.result import Result

HEALTHY: dict[str, Any] = {
    "name": "small",
    "duration": "10m",
    "workers": {"concurrency": 2},
    "jobs": {"mail": {"service": "100ms"}},
    "load": [{"name": "users", "constant": "1/s"}],
}


def run(processor: Processor | None = None, **changes: Any) -> Result:
    return queuesim.run({**HEALTHY, **changes}, processor=processor, progress=False)


def health(result: Result) -> dict[str, tuple[str, str]]:
    """Status and detail of each health check."""
    rows = result.checks[result.checks["kind"] == "health"]
    return {row.check: (row.status, row.detail) for row in rows.itertuples()}


def only(result: Result, name: str, status: str = "failed") -> str:
    """The detail of the only health check that did not pass."""
    found = {check: told for check, told in health(result).items() if told[0] != "passed"}
    assert list(found) == [name]
    assert found[name][0] == status
    assert result.ok is (status != "failed")
    return found[name][1]


def test_a_healthy_run_is_ok_and_every_check_judges() -> None:
    result = run()
    assert result.ok
    assert {name: status for name, (status, _) in health(result).items()} == dict.fromkeys(HEALTH_CHECKS, "passed")


@pytest.mark.parametrize("backend", ["sim", "fakeredis"])
def test_all_failed(backend: str) -> None:
    processor = Processor("mail")

    @processor.job("mail")
    async def mail(job: Job) -> None:
        raise KeyError("adress")

    scenario = {**HEALTHY, "jobs": {"mail": {}}}
    detail = only(queuesim.run(scenario, backend, processor=processor), "everything-failed")
    assert "599" in detail
    assert "KeyError: 'adress' (Validation)" in detail


def test_programming_errors_count_from_the_first_on() -> None:
    processor = Processor("mail")

    @processor.job("mail")
    async def mail(job: Job) -> None:
        if job.number == 7:
            return job.nothing  # type: ignore[attr-defined]

    detail = only(run(processor, jobs={"mail": {}}), "programming-errors")
    assert detail.startswith("mail: AttributeError: ")
    assert "first at 7 s" in detail


def test_a_call_for_real_io_counts_though_the_handler_swallows_the_refusal() -> None:
    processor = Processor("mail")

    @processor.job("mail")
    async def mail(job: Job) -> None:
        try:
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, "mail.example.org", 25)
        except queuesim.QueuesimError:
            await asyncio.sleep(0.1)

    result = run(processor, jobs={"mail": {}}, duration="4s", drain=True)
    detail = only(result, "real-io")
    assert detail.startswith("mail: loop.create_connection(mail.example.org:25) was refused, 4 times, first at 1 s; ")


def test_a_closed_load_a_backlog_and_a_load_of_zero_are_healthy() -> None:
    load = [
        {"name": "closed", "closed": {"producers": 2, "think": "1s"}},
        {"name": "backlog", "backlog": 3},
        {"name": "later", "constant": {"stages": [{"duration": "1m", "rate": "0/s"}]}},
    ]
    assert run(load=load).ok


def test_a_type_that_came_only_at_the_end_is_not_judged() -> None:
    jobs = {"mail": {"service": "20s"}, "last": {"service": "1s"}}
    load = [
        {"name": "users", "constant": "1/min", "jobs": "mail"},
        {"name": "end", "bulk": {"at": "9m59.5s", "size": 1}, "jobs": "last"},
    ]
    assert only(run(jobs=jobs, load=load), "nothing-completed", "not judged").endswith(
        "none finished before the run's end"
    )


def test_jobs_that_never_finish() -> None:
    processor = Processor("mail")

    @processor.job("mail")
    async def mail(job: Job) -> None:
        raise queuesim.RateLimitError

    limited = {"limiter": {"max": 1, "duration": "1s"}}
    result = run(processor, jobs={"mail": {}}, duration="5s", workers=limited, load=[{"name": "b", "backlog": 2}])
    detail = only(result, "nothing-completed")
    assert detail.startswith("mail: ")
    assert "none finished (attempts: " in detail
    assert "rate-limited" in detail


# -- traces


def trace(tmp_path: Path, times: list[float], **entry: Any) -> dict[str, Any]:
    path = tmp_path / "trace.csv"
    path.write_text("name,added_ms\n" + "".join(f"mail,{time:.0f}\n" for time in times))
    return {"load": [{"name": "recorded", "trace": str(path), **entry}]}


def test_a_trace_in_epoch_milliseconds_is_recognised(tmp_path: Path) -> None:
    start = 1_735_689_600_000
    result = run(**trace(tmp_path, [start + i * 1000 for i in range(5)]))
    detail = health(result)["trace-outside-run"][1]
    assert "5 of 5 rows of the trace lie outside of the run" in detail
    assert "added_ms looks like milliseconds since 1970 (2025-01-01T00:00:00Z)" in detail
    assert detail.endswith("subtract 1735689600000 from each")
    assert not result.ok


def test_a_trace_in_epoch_seconds_is_recognised(tmp_path: Path) -> None:
    result = run(**trace(tmp_path, [1_735_689_600 + i for i in range(5)]))
    detail = health(result)["trace-outside-run"][1]
    assert detail.endswith("subtract 1735689600 from each, then multiply by 1,000")


def test_rows_after_the_end_are_counted(tmp_path: Path) -> None:
    detail = only(run(**trace(tmp_path, [0, 1000, 700_000])), "trace-outside-run")
    assert detail.startswith("load recorded: 1 of 3 rows of the trace lie outside of the run. The earliest is at 0 s, ")
    assert "the latest at 11 min 40 s" in detail


def test_a_trace_that_is_cut_on_purpose_is_healthy(tmp_path: Path) -> None:
    assert run(**trace(tmp_path, [0, 1000, 700_000], duration="5m")).ok
    assert not run(**trace(tmp_path, [700_000, 800_000], duration="5m")).ok


# -- expect


def test_an_expected_failure_passes_and_says_so() -> None:
    jobs = {"mail": {"service": "10ms", "errors": {"validation": 1}}}
    result = run(jobs=jobs, expect=["everything-failed"])
    assert result.ok
    status, detail = health(result)["everything-failed"]
    assert status == "passed"
    assert detail.startswith("as expected: mail: all 599 jobs that finished failed: ")


def hiding(raise_it: Any) -> Result:
    processor = Processor("q")

    @processor.job("mail")
    async def mail(job: Job) -> None:
        if job.number == 7:
            await raise_it()

    return run(processor, jobs={"mail": {}})


async def misspelt() -> None:
    undefined_name  # type: ignore[name-defined]  # noqa: F821


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(misspelt())


async def in_a_group_of_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(in_a_group())


async def as_a_cause() -> None:
    try:
        await in_a_group()
    except ExceptionGroup as error:
        raise ConnectionError("the mail server") from error


async def as_a_context() -> None:
    try:
        await misspelt()
    except Exception:  # noqa: BLE001
        raise ConnectionError("the mail server")  # noqa: B904


@pytest.mark.parametrize("raise_it", [in_a_group, in_a_group_of_a_group, as_a_cause, as_a_context])
def test_a_programming_error_is_found_inside_another_error(raise_it: Any) -> None:
    detail = only(hiding(raise_it), "programming-errors")
    assert detail.startswith("mail: ")
    assert "hides NameError: name 'undefined_name' is not defined, 1 attempt, first at 7 s" in detail


async def handled_on_purpose() -> None:
    try:
        await misspelt()
    except NameError:
        raise ConnectionError("the mail server") from None


async def asked_whether_it_is_there() -> None:
    try:
        object().missing  # type: ignore[attr-defined]
    except AttributeError:
        raise ConnectionError("the mail server")  # noqa: B904


async def its_own_cause() -> None:
    error = ConnectionError("the mail server")
    error.__cause__ = error
    raise error


@pytest.mark.parametrize("raise_it", [handled_on_purpose, asked_whether_it_is_there, its_own_cause])
def test_an_error_that_was_handled_is_none_of_the_code(raise_it: Any) -> None:
    assert health(hiding(raise_it))["programming-errors"][0] == "passed"


def test_a_job_that_a_failover_took_is_not_laid_at_its_types_door() -> None:
    result = run(
        jobs={"mail": {"service": "100ms"}, "report": {"service": "30s"}},
        load=[
            {"name": "users", "constant": "1/s", "jobs": "mail"},
            {"name": "once", "bulk": {"at": "100s", "size": 1}, "jobs": "report"},
        ],
        faults=[{"redis.failover": {"at": "110s", "lose": "20s"}}],
    )
    detail = only(result, "nothing-completed", "not judged")
    assert "report: 1 job started" in detail
    assert "the faults that struck took all of them: redis.failover" in detail


def lossy(*faults: dict[str, Any]) -> queuesim.Result:
    """One job, added at 5 s to a queue whose only worker stands still just then; the server loses it."""
    return run(
        jobs={"mail": {"service": "1s"}},
        load=[{"name": "once", "bulk": {"at": "5s", "size": 1}, "jobs": "mail"}],
        duration="60s",
        drain=True,
        faults=list(faults),
    )


def test_a_type_whose_only_job_the_server_lost_while_it_ran_is_not_judged() -> None:
    result = lossy(
        {"worker.freeze": {"at": "5.5s", "for": "50s"}}, {"redis.failover": {"at": "7s", "lose": "4s", "down": "1s"}}
    )
    detail = only(result, "nothing-completed", "not judged")
    assert "mail: 1 job started" in detail
    assert "the faults that struck took all of them: " in detail
