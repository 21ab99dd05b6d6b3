"""Reading a stored job: this never raises, whatever its hash holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from benchmarks.damage import DEEP, VALUES
from hypothesis import given
from hypothesis import strategies as st

from damage import FIELDS, row
from queuesim.brokers.redis.codec import decode_job
from queuesim.core.job import MAX_NESTING, Job, parse_json, to_json

NEEDED = {"name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "attemptsMade"}
"""Without these a job can't run."""


def decode(fields: list[Any]) -> Job:
    return decode_job(fields, None)


def check(job: Job) -> None:
    """Its attributes are of their kind, so that nobody who uses them fails."""
    assert math.isfinite(job.timestamp + job.delay)
    assert 0 <= job.priority < 2**21
    assert 0 <= job.attempts_made <= 2**53
    assert 0 <= job.attempts_started <= 2**53
    assert all(isinstance(each, str) for each in job.stacktrace)
    assert all(isinstance(each, dict) for each in job.history)
    assert isinstance(job.stalled_count, int)
    assert all(fault.field in NEEDED for fault in job.unreadable)
    hash(job.options)


@pytest.mark.parametrize("field", FIELDS)
def test_a_wrong_value_in_any_field_is_no_error(field: str) -> None:
    for value in VALUES:
        job = decode(row(**{field: value}))
        check(job)
        if field not in NEEDED:
            assert job.unreadable == ()
            assert job.data == {"x": 1}
    check(decode(row(**{field: None})))


@given(
    st.lists(st.none() | st.sampled_from(VALUES) | st.text(), min_size=len(FIELDS), max_size=len(FIELDS)),
    st.text(min_size=1),
)
def test_any_mixture_of_wrong_values_is_no_error(fields: list[str | None], job_id: str) -> None:
    check(decode([*fields, job_id]))
    check(decode([*fields[:12], job_id]))


@pytest.mark.parametrize(("field", "value"), [("data", DEEP), ("data", "9" * 5000), ("opts", DEEP)])
def test_what_is_too_deep_or_too_long_is_reported_by_field(field: str, value: str) -> None:
    (fault,) = decode(row(**{field: value})).unreadable
    assert fault.field == field


@pytest.mark.parametrize("value", ["1_000", "\u0663", "1e3", "0x10"])
@pytest.mark.parametrize("field", ["timestamp", "delay", "priority", "atm", "ats"])
def test_only_plain_digits_are_numbers(field: str, value: str) -> None:
    """To Python the first two are numbers as well, to Lua the others."""
    assert [fault.field for fault in decode(row(**{field: value})).unreadable] == [field]


def test_an_empty_text_stands_for_nothing() -> None:
    job = decode(row(data="", defa="", progress="", returnvalue="", stacktrace=""))
    assert job.unreadable == ()
    assert (job.data, job.deferred_failure, job.progress) == ({}, None, 0)
    assert (job.return_value, job.stacktrace) == (None, ())


@pytest.mark.parametrize(("job_id", "number"), [("17", 17), ("007", 0), ("\u0663", 0), ("x1", 0), ("9" * 20, 0)])
def test_only_ids_that_the_queue_gave_are_numbers(job_id: str, number: int) -> None:
    """Node takes the others for custom ids, as ours does."""
    assert decode([*row()[:-1], job_id]).number == number


def test_all_that_is_wrong_is_said_at_once() -> None:
    job = decode(row(data="{", priority="x", atm="y"))
    assert [fault.field for fault in job.unreadable] == ["data", "priority", "atm"]


def test_what_another_program_may_write_is_read() -> None:
    """Node's users may give fractions of milliseconds, which Node cuts off.

    BullMQ before version 4 had another name for atm.
    """
    job = decode(row(timestamp="1700000000000.5", delay="1100.0000000000002", atm=None, attemptsMade="2", opts=""))
    assert job.unreadable == ()
    assert (job.timestamp, job.attempts_made, job.options.attempts) == (1700000000.0, 2, 0)


def test_what_is_only_shown_is_shown_as_it_is() -> None:
    job = decode(row(progress=DEEP, returnvalue="{x", stacktrace="oops", history="{}", finishedOn="never", stc="1e999"))
    assert job.unreadable == ()
    assert (job.progress, job.return_value, job.stacktrace, job.history) == (DEEP, "{x", ("oops",), ())
    assert (job.finished_on, job.stalled_count) == (None, 0)


def test_nesting_has_one_limit_on_every_python_and_however_deep_the_caller_is() -> None:
    deepest: Any = 1
    for _ in range(MAX_NESTING):
        deepest = [deepest]
    text = to_json(deepest)
    assert parse_json(text) == deepest
    with pytest.raises(ValueError, match="nested too deeply: more than 500 levels"):
        to_json({"a": deepest})
    with pytest.raises(ValueError, match="nested too deeply: more than 500 levels"):
        parse_json(f'{{"a":{text}}}')
    # brackets in texts and side by side are not levels
    flat = [{"a": "[" * 2_000 + '"\\'}] * 2_000
    assert parse_json(to_json(flat)) == flat
