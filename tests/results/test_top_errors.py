"""The top errors: grouped alike from a bare recording and from a result's frames."""

from __future__ import annotations

import pytest
from metrics_script import Script

from queuesim.results.result import Result
from queuesim.results.top_errors import LOST, errors_of_recording, errors_of_result, template

REFUSED = ("ConnectionError", "Network", True)
INVALID = ("KeyError", "Validation", False)


def script(warmup: float = 0.0) -> Script:
    made = Script(warmup=warmup)
    for number in range(4):
        job = made.job(number, name="mail")
        made.attempt(job, number, number + 0.5, "retried", error=REFUSED, message=f"port {number}", backoff=1.0)
        made.attempt(job, number + 10, number + 10.5)
    sms = made.job(5.0, name="sms")
    made.attempt(sms, 5.0, 6.0, "failed", error=INVALID, message="'adress'")
    made.attempt(made.job(7.0, name="sms"), 7.0, 8.0, "lost")
    return made


def told(made: Script) -> list[tuple[object, ...]]:
    result = Result(made.recording())
    bare = errors_of_recording(made.recording())
    assert errors_of_result(result, warmup=True) == bare
    return [(e.error_type, e.category, e.name, e.message, e.count, e.jobs, e.failed, e.first) for e in bare]


def test_errors_are_grouped_by_job_type_error_and_message() -> None:
    lost = "the lock of the job was lost: its worker was killed, stalled, or cut off from Redis"
    assert told(script()) == [
        ("ConnectionError", "Network", "mail", "port …", 4, 4, 0, 0.5),
        ("KeyError", "Validation", "sms", "'adress'", 1, 1, 1, 6.0),
        (LOST, "", "sms", lost, 1, 1, 0, 8.0),
    ]


def test_jobs_of_the_warm_up_are_left_out_unless_asked_for() -> None:
    result = Result(script(warmup=4.5).recording())
    assert [error.name for error in errors_of_result(result)] == ["sms", "sms"]
    assert len(errors_of_result(result, warmup=True)) == 3


def test_the_frame_has_a_row_for_each() -> None:
    frame = Result(script().recording()).analysis.errors()
    assert list(frame) == ["error_type", "category", "name", "message", "count", "jobs", "failed", "first"]
    assert frame["count"].tolist() == [4, 1, 1]
    assert Result(Script().recording()).analysis.errors().empty


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("timeout after 31 ms", "timeout after … ms"),
        ("task 6f9619ff-8b86-d011-b42d-00c04fc964ff is gone", "task … is gone"),
        ("<Row at 0x7f3a2c>", "<Row at …>"),
        ("commit deadbeef01 of abcdefgh", "commit … of abcdefgh"),
        ("10.0.0.1:5432 refused", "… refused"),
        ("'adress'", "'adress'"),
    ],
)
def test_a_template_has_neither_numbers_nor_ids(message: str, expected: str) -> None:
    assert template(message) == expected
