"""Jobs: options and ids that BullMQ would refuse, JSON, and what a job can do by itself."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import Bench

from queuesim.core.errors import JobError
from queuesim.core.job import (
    MAX_PRIORITY,
    RESERVED_ENDINGS,
    RESERVED_IDS,
    Deduplication,
    Job,
    JobOptions,
    JobState,
    check_job_id,
    parse_json,
    parse_json_or_text,
    to_json,
)
from queuesim.simulation.runner import run


@pytest.mark.parametrize("job_id", ["k", "007", "1e3", " 5", "a:b:c", "ü", "5a", "--5", "-"])
def test_custom_ids_that_bullmq_takes(job_id: str) -> None:
    assert JobOptions(job_id=job_id).job_id == job_id


@pytest.mark.parametrize("job_id", ["", "5", "-5", "0", "a:b", ":", "a:b:c:d", "0:b:c"])
def test_custom_ids_that_bullmq_refuses(job_id: str) -> None:
    with pytest.raises(ValueError, match="custom job id"):
        check_job_id(job_id)


@pytest.mark.parametrize("job_id", [*sorted(RESERVED_IDS), "repeat:a:1", "de:a:b", "dn:a:b", "metrics:failed:data"])
@pytest.mark.parametrize("ending", ["", *sorted(RESERVED_ENDINGS)])
def test_custom_ids_that_are_keys_of_the_queue_itself(job_id: str, ending: str) -> None:
    """A job's hash would be in the place of the key, or the other way round."""
    if ending:
        job_id = f"a:{job_id.partition(':')[0]}:{ending}"
    with pytest.raises(ValueError, match="has a key of its own of that name") as refusal:
        JobOptions(job_id=job_id)
    # what it says to write is taken
    check_job_id(str(refusal.value).split("Write ")[1].strip("'"))


@pytest.mark.parametrize("job_id", ["waiting", "Wait", "de", "metrics", "events2", "a:wait:b", "repeated:a:b"])
def test_ids_that_only_look_like_it(job_id: str) -> None:
    assert JobOptions(job_id=job_id).job_id == job_id


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"attempts": -1}, "attempts"),
        ({"attempts": 2.5}, "attempts must be a whole number"),
        ({"job_id": 5}, "a custom job id must be text, not 5"),
        ({"job_id": "half \ud83d"}, "half of a surrogate pair"),
        ({"delay": -0.5}, "delay"),
        ({"delay": math.nan}, "delay"),
        ({"delay": math.inf}, "delay must be 0 s or more"),
        ({"delay": "5"}, "delay must be 0 s or more, not '5'"),
        ({"delay": 1e10}, r"delay must be 1e\+09 s or less"),
        ({"priority": -1}, "priority"),
        ({"priority": MAX_PRIORITY + 1}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"timestamp": math.nan}, "timestamp"),
        ({"timestamp": 1e300}, "timestamp"),
        ({"timestamp": "today"}, "timestamp"),
        ({"backoff": "fixed"}, r"backoff must be written as Backoff\(\"exponential\", 1.0\), not 'fixed'"),
        ({"keep_completed": 3}, r"keep_completed must be written as Keep\(count=100\), not 3"),
        ({"keep_failed": True}, "keep_failed must be written as"),
        ({"deduplication": "x"}, "deduplication must be written as"),
        ({"keep_logs": "all"}, "keep_logs"),
        ({"job_id": "12"}, "job id"),
        ({"keep_logs": -1}, "keep_logs"),
        ({"stack_trace_limit": -1}, "stack_trace_limit"),
        ({"size_limit": -1}, "size_limit"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        JobOptions(**options)


@pytest.mark.parametrize(
    "fields", [{"id": ""}, {"id": 5}, {"id": "\ud83d"}, {"id": "d", "ttl": -1.0}, {"id": "d", "ttl": math.nan}]
)
def test_a_deduplication_that_makes_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"deduplication|ttl"):
        Deduplication(**fields)


def test_the_largest_priority_is_allowed() -> None:
    assert JobOptions(priority=MAX_PRIORITY).priority == 2_097_151


def test_json_as_javascript_writes_it() -> None:
    assert to_json({"a": [1, None, True, "ü"], "b": 0.5}) == '{"a":[1,null,true,"ü"],"b":0.5}'


@pytest.mark.parametrize("value", [math.nan, -math.inf, {"a": object()}, {1, 2}, b"bytes", {(1, 2): 3}])
def test_what_json_can_not_say(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        to_json(value)


def test_states_have_codes_from_one() -> None:
    assert [state.code for state in JobState] == list(range(1, len(JobState) + 1))


def test_a_job_made_by_hand_belongs_to_no_queue() -> None:
    async def program() -> None:
        job = Job("1", "job", {})
        assert repr(job) == "<Job 1 'job' attempts_made=0>"
        for orphan in (job.update_progress(1), job.update_data(1), job.log("row"), job.extend_lock(1.0)):
            with pytest.raises(RuntimeError, match="belongs to no queue"):
                await orphan

    run(program())


def test_a_handler_reports_on_its_job() -> None:
    async def program() -> None:
        bench = Bench()

        async def handler(job: Job) -> None:
            await job.update_progress({"done": 0.5})
            await job.update_data({"step": 2})
            lengths = [await job.log(row) for row in "abc"]
            assert (job.progress, job.data, lengths) == ({"done": 0.5}, {"step": 2}, [1, 2, 2])

        bench.handle(handler)
        await bench.queue.add("job", {"step": 1}, keep_logs=2)
        async with bench.working():
            await asyncio.sleep(1.0)
        job = await bench.queue.get_job("1")
        assert job is not None
        assert (job.progress, job.data, job.failed_reason) == ({"done": 0.5}, {"step": 2}, None)
        assert await bench.queue.logs("1") == ["b", "c"]

    run(program())


def test_a_handler_extends_its_lock() -> None:
    async def program() -> None:
        bench = Bench()
        kept: list[bool] = []

        async def handler(job: Job) -> None:
            kept.append(await job.extend_lock(60.0))
            stranger = Job("1", "job", {}, token="somebody:1", broker=bench.broker)
            kept.append(await stranger.extend_lock(60.0))

        bench.handle(handler)
        await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(1.0)
        assert kept == [True, False]

    run(program())


def test_a_job_that_is_gone_takes_no_news() -> None:
    async def program() -> None:
        bench = Bench()
        job_id = await bench.queue.add("job")
        job = await bench.queue.get_job(job_id)
        assert job is not None
        await bench.queue.remove(job_id)
        for late in (job.update_progress(1), job.update_data(1), job.log("row")):
            with pytest.raises(JobError):
                await late

    run(program())


def test_json_has_lone_surrogates_as_escapes_as_node_writes_them() -> None:
    assert to_json({"a": "half \ud83d", "b": "\U0001f600"}) == '{"a":"half \\ud83d","b":"\U0001f600"}'
    assert json.loads(to_json("\ud83d")) == "\ud83d"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[NaN]", "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "digits"),
    ],
)
def test_text_that_is_not_json_is_a_value_error_that_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)
    assert parse_json_or_text(text) == text


def test_a_cycle_in_data_is_named() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="Circular reference"):
        to_json({"rows": cycle})


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children) | st.dictionaries(st.text(), children)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), nested))
def test_json_is_that_of_the_standard_library(value: Any) -> None:
    try:
        expected = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        with pytest.raises(ValueError, match="Out of range float"):
            to_json(value)
    else:
        assert to_json(value) == expected
