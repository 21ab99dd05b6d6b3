"""Handlers: service times, time-outs, blocked workers, and a user's own handlers as they are."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import queuesim
from playing import column, own, play, rows
from queuesim import Job, Keep, RetryPolicy, Scenario
from queuesim.runs.handlers import build_processor
from queuesim.simulation.random import Streams

ONE = {"bulk": {"size": 1, "at": 0.0}}
TWO = {"bulk": {"size": 2, "at": 0.0}}


# -- service


def test_a_constant_service_takes_that_long() -> None:
    result = play(TWO, service=2.5)
    assert rows(result, "started", "ended", "service", "outcome") == [(0, 2.5, 2.5, "ok"), (2.5, 5, 2.5, "ok")]


@pytest.mark.parametrize(
    "service",
    [
        {"exponential": 2.0},
        {"lognormal": {"mean": 2.0, "p95": 5.0}},
        {"gamma": {"mean": 2.0, "cv": 0.5}},
        {"uniform": {"low": 1.0, "high": 3.0}},
    ],
    ids=lambda service: next(iter(service)),
)
def test_service_times_have_the_asked_for_mean(service: dict[str, Any]) -> None:
    result = play({"backlog": 5000}, service=service, workers={"concurrency": 5000})
    times = result.attempts["service"]
    assert times.mean() == pytest.approx(2.0, abs=5 * times.std() / 5000**0.5)
    assert times.nunique() == 5000


def test_service_times_are_resampled_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("100\n200\n400\n")
    result = play({"backlog": 60}, service={"empirical": {"file": str(file), "unit": "ms"}})
    assert set(result.attempts["service"].round(9)) == {0.1, 0.2, 0.4}


def test_an_attempt_holds_its_slot_for_the_overhead() -> None:
    result = play(TWO, service=1.0, overhead={"attempt": 0.25})
    assert rows(result, "started", "ended") == [(0, 1.25), (1.25, 2.5)]


def test_the_overhead_comes_on_top_of_a_failure_too() -> None:
    jobs = {"a": {"service": 1.0, "errors": {"validation": 1.0}}}
    result = play(ONE, jobs=jobs, overhead={"attempt": 0.25})
    assert rows(result, "ended", "outcome", "error_type") == [(1.25, "failed", "ValidationError")]


def test_an_attempt_that_takes_too_long_times_out() -> None:
    result = play(ONE, jobs={"a": {"service": 3.0, "timeout": 2.0, "attempts": 2}})
    assert rows(result, "started", "ended", "outcome", "error_type", "category") == [
        (0, 2, "retried", "TimeoutError", "Network"),
        (2, 4, "failed", "TimeoutError", "Network"),
    ]


def test_each_job_type_has_a_stream_of_service_times() -> None:
    random = {"service": {"exponential": 1.0}}
    jobs = {"a": random, "b": {**random, "weight": 0}}
    alone = play({"backlog": 20, "jobs": "a"}, jobs=jobs, workers={"concurrency": 99})
    beside = play({"backlog": 20, "jobs": "a"}, {"backlog": 20, "jobs": "b"}, jobs=jobs, workers={"concurrency": 99})
    assert column(alone, "service") == column(beside, "service", "load-1") != column(beside, "service", "load-2")


# -- blocking


BUSY_AND_CALM = {"busy": {"service": 1.0, "blocking": 3.0}, "calm": {"service": 1.0}}


@pytest.mark.parametrize(("first", "calm_ends"), [("busy", 4), ("calm", 3)])
def test_blocking_holds_the_workers_other_slots(first: str, calm_ends: float) -> None:
    """The calm job's handler gets going at 3, or it slept until 1 and gets on at 3."""
    second = "calm" if first == "busy" else "busy"
    result = play({**ONE, "jobs": first}, {**ONE, "jobs": second}, jobs=BUSY_AND_CALM, workers={"concurrency": 2})
    assert sorted(rows(result, "name", "started", "ended")) == [("busy", 0, 4), ("calm", 0, calm_ends)]


def test_blocking_leaves_other_workers_alone() -> None:
    result = play({**ONE, "jobs": "busy"}, {**ONE, "jobs": "calm"}, jobs=BUSY_AND_CALM, workers={"count": 2})
    assert sorted(rows(result, "name", "worker", "ended")) == [("busy", "worker-1", 4), ("calm", "worker-2", 1)]


def test_who_blocks_for_longer_than_its_lock_loses_its_job() -> None:
    """The lock of 4 s runs out because the blocked worker can't renew it; the other worker finds the job stalled."""
    result = play(
        ONE,
        jobs={"a": {"service": 0.0, "blocking": 12.0}},
        workers={"count": 2, "lock_duration": 4.0, "stalled_interval": 4.0},
    )
    # marked at 4, found at 8, taken by the other worker, which blocks as long, so that the first finds it again
    assert rows(result, "attempt", "worker", "started", "ended", "outcome") == [
        (1, "worker-1", 0, 12, "lost"),
        (2, "worker-2", 8, 20, "lost"),
        (3, "worker-1", 16, 16, "failed"),
    ]
    assert result.attempts["message"].tolist()[2] == "job stalled more than allowable limit"
    stalled = result.events[result.events["kind"] == "stalled"]
    assert stalled["time"].tolist() == [8, 16]
    assert column(result, "state") == ["failed"]


def test_who_merely_takes_longer_than_its_lock_keeps_its_job() -> None:
    result = play(ONE, service=12.0, workers={"count": 2, "lock_duration": 4.0, "stalled_interval": 4.0})
    assert rows(result, "attempt", "ended", "outcome") == [(1, 12, "ok")]


# -- a user's own processor


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a scenario and its processor's module lie side by side."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def scenario_file(directory: Path, module: str, code: str) -> Path:
    (directory / f"{module}.py").write_text(textwrap.dedent(code))
    path = directory / "scenario.yaml"
    path.write_text(
        f"name: own\nduration: 100s\nprocessor: {module}:processor\n"
        "load: [{name: burst, bulk: {size: 3, at: 0s}, jobs: a}]\n"
    )
    return path


def test_own_handlers_lie_next_to_the_scenario(directory: Path) -> None:
    code = """
        import asyncio
        from queuesim import Processor

        processor = Processor("mail", concurrency=2)

        @processor.job("a")
        async def a(job):
            await asyncio.sleep(job.number)
            return {"number": job.number}
    """
    result = queuesim.run(scenario_file(directory, "beside_a_scenario", code))
    assert rows(result, "job", "started", "ended", "outcome") == [(1, 0, 1, "ok"), (2, 0, 2, "ok"), (3, 1, 4, "ok")]


def test_own_handlers_may_wait_for_simpy_resources(directory: Path) -> None:
    code = """
        import asyncio, simpy
        from queuesim import Processor, until

        processor = Processor("pool", concurrency=3)
        pools = {}

        @processor.job("a")
        async def a(job):
            env = asyncio.get_running_loop().env
            pool = pools.setdefault(env, simpy.Resource(env, capacity=1))
            with pool.request() as connection:
                await until(connection)
                await until(env.timeout(2))
    """
    path = scenario_file(directory, "with_a_pool", code)
    for _ in range(2):
        assert rows(queuesim.run(path), "started", "ended") == [(0, 2), (0, 4), (0, 6)]


def test_own_handlers_use_asyncio_as_it_is() -> None:
    async def handler(job: Job) -> Any:
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(asyncio.sleep(3, "slow"))
            group.create_task(asyncio.sleep(1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.Event().wait()
        inline = await asyncio.to_thread(lambda: sum(range(10)))
        first, _ = await asyncio.wait([asyncio.create_task(asyncio.sleep(delay)) for delay in (4, 1)])
        assert len(first) == 2
        return [slow.result(), inline]

    result = play(ONE, processor=own(handler))
    assert rows(result, "ended", "outcome", "message") == [(9, "ok", pytest.approx(float("nan"), nan_ok=True))]


def test_own_handlers_may_be_ordinary_functions() -> None:
    seen = []
    result = play(TWO, processor=own(lambda job: seen.append(job.id)))
    assert seen == ["1", "2"]
    assert column(result, "state") == ["completed"] * 2


def test_own_time_outs_and_those_of_the_scenario() -> None:
    async def slow(job: Job) -> None:
        await asyncio.sleep(10)

    assert rows(play(ONE, processor=own(slow, timeout=3.0)), "ended", "error_type") == [(3, "TimeoutError")]
    result = play(ONE, processor=own(slow, timeout=3.0), jobs={"a": {"timeout": 2.0}})
    assert rows(result, "ended", "error_type") == [(2, "TimeoutError")]


def test_a_scenario_adds_errors_and_blocking_to_own_handlers() -> None:
    seen: list[int] = []

    async def handler(job: Job) -> None:
        seen.append(job.attempts_started)
        await asyncio.sleep(1)

    faults = {"errors": {"network": [1.0, 0.0]}, "blocking": 2.0, "attempts": 3}
    result = play(ONE, processor=own(handler), jobs={"a": faults})
    assert rows(result, "started", "ended", "outcome", "category") == [
        (0, 3, "retried", "Network"),
        (3, 6, "ok", pytest.approx(float("nan"), nan_ok=True)),
    ]
    assert seen == [1, 2]


def test_a_scenario_may_describe_a_job_type_in_place_of_own_handlers() -> None:
    async def never(job: Job) -> None:
        raise AssertionError("the scenario's service time goes first")

    assert rows(play(ONE, processor=own(never), jobs={"a": {"service": 4.0}}), "ended", "outcome") == [(4, "ok")]


def test_overhead_holds_the_slots_of_own_handlers() -> None:
    result = play(TWO, processor=own(lambda job: None), overhead={"attempt": 0.5})
    assert rows(result, "started", "ended") == [(0, 0.5), (0.5, 1)]


def test_validated_data_reaches_own_handlers() -> None:
    seen = []
    processor = own(lambda job: seen.append(job.data), data=dict[str, int])
    good = play(ONE, processor=processor, jobs={"a": {"data": {"n": "7"}, "errors": {"network": 1e-12}}})
    assert column(good, "state") == ["completed"]
    assert seen == [{"n": 7}]
    seen.clear()
    bad = play(ONE, processor=processor, jobs={"a": {"data": {"n": "seven"}}})
    assert rows(bad, "outcome", "category") == [("failed", "Validation")]
    assert seen == []


def build(own_processor: Any, **queue: Any) -> Any:
    scenario = Scenario.model_validate(
        {
            "name": "x",
            "duration": 1.0,
            "processor": "a:b",
            "queue": queue,
            "load": [{"name": "l", "backlog": 1, "jobs": "a"}],
        }
    )
    return build_processor(scenario, own_processor, Streams(0))


def test_own_rules_for_the_queue_hold_where_the_scenario_says_nothing() -> None:
    mine = own(
        lambda job: None,
        keep_completed=Keep(5),
        keep_failed=Keep(6),
        dead_letters="letters",
        retries={"Network": RetryPolicy(attempts=9), "Database": RetryPolicy(attempts=8)},
    )
    mine.queue = "mine"
    built = build(mine)
    assert (built.queue, built.keep_completed, built.keep_failed) == ("mine", Keep(5), Keep(6))
    assert (built.dead_letters, built.retries.policies) == ("letters", mine.retries.policies)
    built = build(mine, name="theirs", keep={"completed": 1}, dead_letter=False, retry={"network": {"retry": False}})
    assert (built.queue, built.keep_completed, built.keep_failed) == ("theirs", Keep(1), Keep(6))
    assert built.dead_letters is None
    assert built.retries.policies == {"Network": RetryPolicy(retry=False), "Database": RetryPolicy(attempts=8)}
    # and the user's own object is as it was
    assert (mine.queue, mine.keep_completed, mine.dead_letters) == ("mine", Keep(5), "letters")


def test_a_mapping_need_not_name_the_processor_that_is_given_with_it() -> None:
    seen: list[str] = []
    scenario = {"name": "n", "duration": 1.0, "jobs": {"a": {"data": {}}}, "load": [{"name": "l", "backlog": 2}]}
    result = queuesim.run(scenario, processor=own(lambda job: seen.append(job.id)))
    assert seen == ["1", "2"]
    assert list(result.jobs["state"].astype(str)) == ["completed", "completed"]
    with pytest.raises(ValueError, match='"service" is missing'):
        queuesim.run(scenario)


@pytest.mark.parametrize("where", ["handler", "task"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_sys_exit_fails_its_attempt_and_the_simulation_goes_on(where: str, shuffle: bool) -> None:
    """A loop passes what a task raises by sys.exit on to whoever runs it: the program would end with that exit code."""

    async def handler(job: Job) -> None:
        async def leave() -> None:
            await asyncio.sleep(0.5)
            if job.number == 1:
                sys.exit(0)

        if where == "handler":
            await leave()
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())

    three = {"bulk": {"size": 3, "at": 0.0}}
    result = play(three, processor=own(handler), workers={"concurrency": 2}, options={"shuffle": shuffle})
    assert dict(zip(result.attempts["job"], result.attempts["outcome"], strict=True)) == {1: "failed", 2: "ok", 3: "ok"}
    assert result.attempts["error_type"].tolist()[0] == "HandlerExitError"
