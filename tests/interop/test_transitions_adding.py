"""Adding jobs leaves the same keys as Node does: BULLMQ.md, sections 1 to 5. Every step of `both` compares all keys."""

from __future__ import annotations

import pytest
from hands import ORIGIN, Both

from queuesim.core.job import KEEP_ALL, Keep

pytestmark = pytest.mark.with_options


def test_a_plain_job(both: Both) -> None:
    assert both.add("welcome", {"to": "ann", "tags": [], "nested": {"a": [1, 2.5, None, True]}}) == "1"
    keys = both.left()
    assert keys["wait"]["value"] == ["1"]
    assert keys["marker"]["value"] == [("0", 0.0)]
    assert keys["meta"]["value"] == {"opts.maxLenEvents": "10000"}
    assert [event["event"] for event in both.events()] == ["added", "waiting"]


@pytest.mark.parametrize(
    "data", [None, {}, [], "text", "", 0, 1.5, True, {"umlaut": "ä€😀", "quote": '"\\\n'}], ids=repr
)
def test_any_data(both: Both, data: object) -> None:
    both.add("job", data)


def test_in_the_order_of_adding(both: Both) -> None:
    both.add_bulk(3)
    both.add("job", lifo=True)
    assert both.left()["wait"]["value"] == ["3", "2", "1", "4"]


def test_prioritized_jobs(both: Both) -> None:
    for priority in (5, 1, 5, 2_097_151):
        both.add("job", priority=priority)
    keys = both.left()
    assert [job_id for job_id, _ in keys["prioritized"]["value"]] == ["2", "1", "3", "4"]
    assert keys["pc"]["value"] == "4"


def test_delayed_jobs_keep_their_order_within_a_millisecond(both: Both) -> None:
    for delay in (500, 200, 500, 500, 100):
        both.add("job", delay=delay)
    keys = both.left()
    assert [job_id for job_id, _ in keys["delayed"]["value"]] == ["5", "2", "1", "3", "4"]
    assert keys["delayed"]["value"][2][1] == (ORIGIN + 500) * 4096
    assert keys["delayed"]["value"][4][1] == (ORIGIN + 500) * 4096 + 2
    assert keys["marker"]["value"] == [("1", ORIGIN + 100)]


def test_delayed_and_prioritized(both: Both) -> None:
    both.add("job", delay=300, priority=3)
    both.add("job", delay=300, lifo=True)


def test_an_own_timestamp_moves_when_it_is_due(both: Both) -> None:
    both.at(10_000)
    both.add("job", timestamp=ORIGIN + 4_000, delay=7_000)
    both.add("job", timestamp=ORIGIN + 4_000)
    assert both.left()["delayed"]["value"] == [("1", (ORIGIN + 11_000) * 4096)]


def test_a_custom_id_that_exists_is_a_duplicate_in_any_state(both: Both) -> None:
    assert both.add("job", {"n": 1}, job_id="mine") == "mine"
    assert both.add("other", {"n": 2}, job_id="mine") == "mine"
    both.take()
    both.add("job", job_id="mine")
    both.complete("mine")
    both.add("job", job_id="mine", delay=500)
    assert both.add("job") == "5"
    assert len(both.events("duplicated")) == 3


def test_every_option(both: Both) -> None:
    both.add(
        "job",
        attempts=3,
        backoff={"type": "exponential", "delay": 1500, "jitter": 0.5},
        keep_completed=Keep(count=5),
        keep_failed=Keep(count=7, age=60, limit=10),
        keep_logs=3,
        stack_trace_limit=2,
        size_limit=1000,
        lifo=True,
    )
    both.add("job", backoff={"type": "fixed", "delay": 100}, keep_completed=KEEP_ALL, keep_failed=Keep(count=0))
    both.add("job", attempts=1, job_id="a:b:c", delay=1, priority=1)


def test_while_paused_only_a_delay_is_marked(both: Both) -> None:
    both.pause()
    both.add("job")
    both.add("job", priority=1)
    assert "marker" not in both.left()
    both.add("job", delay=500)
    assert both.left()["marker"]["value"] == [("1", ORIGIN + 500)]


def test_while_no_more_may_be_active_nothing_is_marked(both: Both) -> None:
    both.set_concurrency(1)
    both.add("job")
    both.take()
    both.expire_marker()
    both.add("job")
    assert "marker" not in both.left()


def test_names_of_other_scripts(both: Both) -> None:
    both.add("имя", {"имя": "数"})
