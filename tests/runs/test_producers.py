"""Producers: each kind of load, exactly where it is deterministic, and how loads leave each other alone."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path
from typing import Any

import pytest

import queuesim
from playing import column, own, play, rows
from queuesim import Job, JobOptions, Processor
from queuesim.core.errors import ValidationError
from queuesim.runs.producers import Endings

BURST = {"bulk": {"size": 2, "at": 0.0}}
IDLE = {"bulk": {"size": 1, "at": 99.0}, "name": "idle"}


def test_constant_load_is_evenly_spaced() -> None:
    result = play({"constant": 0.5}, duration=9.0)
    assert column(result, "scheduled") == column(result, "added") == [2, 4, 6, 8]


def test_load_has_a_start_and_a_duration_of_its_own() -> None:
    result = play({"constant": 0.5, "start": 10.0, "duration": 6.0})
    assert column(result, "added") == [12, 14, 16]


def test_load_that_would_outlast_the_run_ends_with_it() -> None:
    result = play({"constant": 0.5, "start": 95.0, "duration": 60.0})
    assert column(result, "added") == [97, 99]


def test_stages_count_from_the_start_of_the_load() -> None:
    stages = [{"duration": 4.0, "rate": 0.5}, {"duration": 4.0, "target": 1.5}]
    result = play({"constant": {"stages": stages}, "start": 10.0})
    # two at half a job a second, then t / 2 + t**2 / 8 more
    assert column(result, "added") == pytest.approx([12, 14, *(14 - 2 + math.sqrt(4 + 8 * k) for k in range(1, 5))])


def test_poisson_load_comes_in_the_asked_for_number() -> None:
    result = play({"poisson": 50.0}, service=0.0)
    assert abs(len(result.jobs) - 5000) < 4 * math.sqrt(5000)
    assert column(result, "scheduled") == sorted(column(result, "scheduled"))
    assert column(result, "scheduled") == column(result, "added")


def test_bulk_at_a_moment_adds_all_in_one_step() -> None:
    result = play({"bulk": {"size": 3, "at": 5.0}, "start": 2.0})
    assert column(result, "added") == [7, 7, 7]
    assert column(result, "started") == [7, 8, 9]


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({}, [0, 30, 60, 90]),
        ({"offset": 20.0}, [20, 50, 80]),
        ({"offset": 10.0, "until": 70.0}, [10, 40, 70]),
    ],
)
def test_bulk_again_and_again(more: dict[str, float], times: list[float]) -> None:
    result = play({"bulk": {"size": 2, "every": 30.0, **more}})
    assert column(result, "added") == [time for time in times for _ in range(2)]


def test_a_backlog_is_there_before_the_first_worker() -> None:
    result = play({"constant": 1.0, "duration": 1.0}, {"backlog": 3}, duration=50.0)
    assert column(result, "load") == ["load-2", "load-2", "load-2", "load-1"]
    assert column(result, "added") == [0, 0, 0, 1]
    assert column(result, "started") == [0, 1, 2, 3]


def test_a_trace_is_replayed_at_its_times(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("name,added_ms,priority,delay_ms,service_ms\nb,2500,3,1000,500\na,1000,,,4000\na,1000,,,\n")
    result = play({"trace": str(file), "start": 10.0}, workers={"concurrency": 5})
    assert column(result, "name") == ["a", "a", "b"]
    assert column(result, "added") == [11, 11, 12.5]
    assert column(result, "priority") == [0, 0, 3]
    assert column(result, "delay") == [0, 0, 1]
    # the second has no service time in the trace: it runs as the scenario's job
    assert column(result, "service") == [4, 1, 0.5]
    assert column(result, "finished") == [15, 12, 14]


def test_a_trace_ends_with_its_duration(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("name,added_ms,service_ms\n" + "".join(f"a,{ms},1\n" for ms in (0, 1000, 2000, 3000)))
    assert column(play({"trace": str(file), "duration": 2.0}), "added") == [0, 1]


def test_closed_producers_wait_for_their_job_and_think() -> None:
    closed = {"closed": {"producers": 2, "think": 3.0}}
    result = play(closed, service=2.0, duration=20.0)
    # both want the one worker at 0; from then on they take turns in a cycle of 5 s
    assert column(result, "added") == [0, 0, 5, 7, 10, 12, 15, 17]
    assert column(result, "waiting")[:-1] == [0, 2, 0, 0, 0, 0, 0]


def test_closed_producers_stop_with_their_load() -> None:
    result = play({"closed": {"producers": 1, "think": 1.0}, "start": 5.0, "duration": 4.0})
    assert column(result, "added") == [5, 7]


def test_a_closed_producer_goes_on_after_a_job_that_fails() -> None:
    jobs = {"a": {"service": 1.0, "errors": {"unknown": 1.0}, "attempts": 3, "backoff": 2.0}}
    result = play({"closed": {"producers": 1}}, jobs=jobs, duration=20.0)
    # three runs and two delays, again and again
    assert column(result, "added") == [0, 7, 14]
    assert column(result, "state") == ["failed", "failed", "delayed"]


def test_at_most_so_many_jobs_are_under_way_as_there_are_closed_producers() -> None:
    result = play(
        {"closed": {"producers": 4, "think": {"exponential": 0.5}}},
        service={"exponential": 1.0},
        workers={"concurrency": 10},
    )
    steps = [(time, 1) for time in column(result, "added")]
    steps += [(time, -1) for time in column(result, "finished") if not math.isnan(time)]
    level, highest = 0, 0
    for _, step in sorted(steps):
        level += step
        highest = max(highest, level)
    assert highest == 4
    assert len(steps) > 400


# -- mixes


def test_a_mix_has_the_asked_for_proportions() -> None:
    jobs = {
        "a": {"service": 0.0, "weight": 7},
        "b": {"service": 0.0, "weight": 2},
        "c": {"service": 0.0, "weight": 1},
        "never": {"service": 0.0, "weight": 0},
    }
    result = play({"backlog": 20_000}, jobs=jobs)
    shares = result.jobs["name"].value_counts() / 20_000
    for name, share in {"a": 0.7, "b": 0.2, "c": 0.1}.items():
        assert shares[name] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))
    assert "never" not in column(result, "name")


def test_a_load_has_a_mix_of_its_own() -> None:
    jobs = {"a": {"service": 0.0, "weight": 9}, "b": {"service": 0.0}, "c": {"service": 0.0}}
    result = play(
        {"bulk": {"size": 10, "at": 0.0}, "jobs": "b"},
        {"bulk": {"size": 4000, "at": 1.0}, "jobs": {"b": 1, "c": 3}},
        jobs=jobs,
    )
    assert set(column(result, "name", "load-1")) == {"b"}
    drawn = column(result, "name", "load-2")
    assert set(drawn) == {"b", "c"}
    assert drawn.count("c") == pytest.approx(3000, abs=4 * math.sqrt(4000 * 0.25 * 0.75))


def test_jobs_are_added_as_their_type_says() -> None:
    options = {"priority": 4, "delay": 2.0, "data": {"task": 7}, "attempts": 3}
    seen: list[Any] = []

    async def note(job: Job) -> None:
        seen.append((job.data, job.options.attempts, job.priority))

    result = play({"bulk": {"size": 1, "at": 3.0}}, jobs={"a": options}, processor=own(note))
    assert seen == [({"task": 7}, 3, 4)]
    assert column(result, "started") == [5]


def test_a_lifo_job_overtakes() -> None:
    result = play({"bulk": {"size": 3, "at": 0.0}}, jobs={"a": {"service": 1.0, "lifo": True}})
    assert column(result, "started") == [2, 1, 0]


# -- options of a user's own processor


@pytest.mark.parametrize("listed", [True, False], ids=["in jobs", "in the load only"])
def test_own_defaults_hold_where_the_scenario_says_nothing(listed: bool) -> None:
    processor = own(fail, defaults=JobOptions(attempts=3, priority=9))
    jobs: dict[str, Any] = {"jobs": {"a": {}}} if listed else {}
    result = play({"bulk": {"size": 1, "at": 0.0}}, processor=processor, **jobs)
    assert rows(result, "attempt", "outcome") == [(1, "retried"), (2, "retried"), (3, "failed")]
    assert column(result, "priority") == [9]


def test_the_scenario_goes_before_own_defaults() -> None:
    processor = own(fail, defaults=JobOptions(attempts=3, priority=9))
    burst = {"bulk": {"size": 1, "at": 0.0}}
    assert len(play(burst, processor=processor, queue={"attempts": 2}).attempts) == 2
    result = play(burst, processor=processor, queue={"attempts": 2}, jobs={"a": {"attempts": 4, "priority": 0}})
    assert len(result.attempts) == 4
    assert column(result, "priority") == [0]


async def fail(job: Job) -> None:
    raise RuntimeError("as always")


# -- streams


def test_another_load_never_shifts_arrivals() -> None:
    poisson = {"poisson": 1.0, "name": "first"}
    alone = play(poisson, service={"exponential": 0.5})
    beside = play({"poisson": 3.0, "name": "other"}, poisson, IDLE, service={"exponential": 0.5})
    assert column(alone, "scheduled") == column(beside, "scheduled", "first")
    assert column(beside, "scheduled", "first") != column(beside, "scheduled", "other")


def test_another_job_type_never_shifts_arrivals() -> None:
    poisson = {"poisson": 1.0}
    one = play(poisson, jobs={"a": {"service": {"exponential": 0.5}}})
    faults = {"errors": {"network": 0.5}, "attempts": 3, "poison": 0.1}
    two = play(poisson, jobs={"a": {"service": {"gamma": {"mean": 0.5, "cv": 2.0}}, **faults}, "b": {"service": 2.0}})
    assert column(one, "scheduled") == column(two, "scheduled")
    assert set(column(two, "name")) == {"a", "b"}


def test_another_load_never_shifts_a_mix() -> None:
    jobs = {"a": {"service": 0.1}, "b": {"service": 0.1}}
    alone = play({"constant": 1.0, "name": "first"}, jobs=jobs)
    beside = play({"poisson": 1.0, "name": "other"}, {"constant": 1.0, "name": "first"}, jobs=jobs)
    assert column(alone, "name") == column(beside, "name", "first")


def test_a_load_of_another_name_is_another_stream() -> None:
    assert column(play({"poisson": 1.0}), "scheduled") != column(play({"poisson": 1.0, "name": "x"}), "scheduled")


# -- what adding costs


def test_adding_takes_its_time_and_latency_counts_from_the_schedule() -> None:
    result = play({"constant": 1.0}, service=0.25, overhead={"add": 0.5}, duration=3.4)
    assert column(result, "scheduled") == [1, 2]
    assert column(result, "added") == [1.5, 2.5]
    assert column(result, "latency") == [0.75, 0.75]
    assert column(result, "waiting") == [0, 0]


def test_a_producer_that_can_not_keep_up_falls_behind() -> None:
    result = play({"constant": 1.0, "duration": 3.0}, service=0.0, overhead={"add": 4.0})
    assert column(result, "scheduled") == [1, 2, 3]
    assert column(result, "added") == [5, 9, 13]
    assert column(result, "latency") == [4, 7, 10]


def test_a_bulk_costs_as_much_as_a_job() -> None:
    result = play(BURST, service=0.0, overhead={"add": 0.5})
    assert column(result, "added") == [0.5, 0.5]
    assert column(result, "scheduled") == [0, 0]


def test_adding_costs_closed_producers_too() -> None:
    result = play({"closed": {"producers": 1, "think": 1.0}}, service=2.0, overhead={"add": 0.5}, duration=8.0)
    assert column(result, "scheduled") == [0, 3.5, 7]
    assert column(result, "added") == [0.5, 4, 7.5]


# -- parts


def test_endings_tell_whoever_waits_for_a_job() -> None:
    async def main() -> list[str]:
        endings, order = Endings(), []

        async def wait(job_id: str) -> None:
            await endings.of(job_id)
            order.append(job_id)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait(job_id)) for job_id in ("1", "2", "3")]
            await asyncio.sleep(0)
            tasks[2].cancel()
            for job_id in ("2", "unknown", "3", "1"):
                endings(Job(job_id, "a", {}))
        return order

    assert asyncio.run(main()) == ["2", "1"]


def test_each_job_has_data_of_its_own() -> None:
    seen: list[Any] = []

    async def change(job: Job) -> None:
        seen.append([*job.data])
        job.data.append("changed")

    play({"backlog": 2}, processor=own(change), jobs={"a": {"data": [1]}})
    assert seen == [[1], [1]]


def test_a_processor_without_the_loads_job_type_fails_its_jobs() -> None:
    result = play({"backlog": 1}, processor=Processor("default"))
    assert rows(result, "outcome", "error_type") == [("failed", "ValidationError")]


@pytest.mark.parametrize("load", [{"constant": 1.0}, {"backlog": 2}, BURST])
def test_data_above_the_size_limit_is_refused_as_a_queue_refuses_it(load: dict[str, Any]) -> None:
    processor = Processor("mail", defaults=JobOptions(size_limit=20))

    @processor.job("welcome")
    async def welcome(job: Job) -> None:
        """Nothing."""

    def scenario(text: str) -> dict[str, Any]:
        jobs = {"welcome": {"data": {"text": text}}}
        return {"name": "n", "duration": 5.0, "drain": True, "jobs": jobs, "load": [{"name": "a", **load}]}

    assert len(queuesim.run(scenario("x" * 9), processor=processor).jobs) > 0
    told = "load 'a' of the scenario: the data of job 'welcome' has 21 bytes, its size limit is 20"
    with pytest.raises(ValidationError, match=re.escape(told)):
        queuesim.run(scenario("x" * 10), processor=processor)
