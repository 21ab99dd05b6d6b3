"""Taking jobs leaves the same keys as Node does: BULLMQ.md, sections 4, 6 and 7."""

from __future__ import annotations

import pytest
from hands import ORIGIN, Both

pytestmark = pytest.mark.with_options


def test_a_job_that_starts(both: Both) -> None:
    both.add("job", {"n": 1})
    both.at(1_234)
    assert both.take() == "1"
    keys = both.left()
    assert keys["active"]["value"] == ["1"]
    assert keys["1"]["value"]["processedOn"] == str(ORIGIN + 1_234)
    assert keys["1"]["value"]["ats"] == "1"
    assert keys["1:lock"] == {"type": "string", "value": "token", "expires": True}


def test_an_empty_queue(both: Both) -> None:
    assert both.take() is None
    both.add("job")
    both.take()
    assert both.take("other") is None


def test_a_worker_s_name_is_written(both: Both) -> None:
    both.add_bulk(2)
    both.take(worker="w1")
    both.take()
    assert both.left()["1"]["value"]["pb"] == "w1"
    assert "pb" not in both.left()["2"]["value"]


def test_oldest_first_lifo_before_and_prioritized_last(both: Both) -> None:
    both.add("job", priority=2)
    both.add("job", priority=1)
    both.add("job")
    both.add("job", lifo=True)
    assert [both.take() for _ in range(5)] == ["4", "3", "2", "1", None]


def test_the_priority_counter_goes_when_no_prioritized_job_is_left(both: Both) -> None:
    both.add("job", priority=2)
    both.take()
    assert both.take() is None
    assert "pc" not in both.left()
    both.add("job", priority=2)


def test_what_is_due_is_promoted_by_whoever_takes(both: Both) -> None:
    both.add("job", delay=100)
    both.add("job", delay=100, priority=4)
    both.add("job", delay=100, lifo=True)
    both.add("job", delay=101)
    both.add("job")
    assert both.take() == "5"
    both.at(99)
    assert both.take() is None
    both.at(100)
    assert both.take() == "1"
    assert both.take() == "3"
    assert both.take() == "2"
    assert both.take() is None
    both.at(5_000)
    assert both.take() == "4"


def test_promotion_wakes_for_the_rest(both: Both) -> None:
    for _ in range(3):
        both.add("job", delay=100)
    both.at(100)
    both.take()
    assert both.left()["marker"]["value"][0] == ("0", 0.0)


def test_nothing_starts_while_paused_but_what_is_due_is_promoted(both: Both) -> None:
    both.add("job", delay=100)
    both.add("job")
    both.pause()
    both.at(200)
    assert both.take() is None
    assert both.left()["wait"]["value"] == ["1", "2"]


@pytest.mark.parametrize("priority", [0, 2])
def test_a_queue_is_resumed_while_no_more_may_be_active(both: Both, priority: int) -> None:
    both.add()
    both.add(priority=priority)
    both.take()
    both.set_concurrency(1)
    both.pause()
    both.resume()
    assert both.left()["marker"]["value"] == [("0", 0.0)]
    assert both.take("t2") is None


def test_a_limit_over_all_workers(both: Both) -> None:
    both.set_concurrency(2)
    both.add_bulk(4)
    assert [both.take() for _ in range(3)] == ["1", "2", None]
    both.complete("1")
    assert both.take() == "3"
    both.set_concurrency(None)
    assert both.take() == "4"


def test_a_finish_that_takes_the_next(both: Both) -> None:
    both.add_bulk(2)
    both.add("job", delay=50)
    both.take()
    assert both.complete("1", fetch=True) == "2"
    both.at(60)
    assert both.complete("2", fetch=True) == "3"
    assert both.fail("3", fetch=True) is None


# -- the limiter


def test_starts_are_counted_in_a_window(both: Both) -> None:
    both.add_bulk(4)
    assert [both.take(limit=(2, 60_000)) for _ in range(3)] == ["1", "2", None]
    keys = both.left()
    assert keys["limiter"] == {"type": "string", "value": "2", "expires": True}
    both.expire("limiter")
    assert both.take(limit=(2, 60_000)) == "3"


def test_who_has_no_limiter_is_not_counted(both: Both) -> None:
    both.add_bulk(3)
    both.take(limit=(1, 60_000))
    assert both.take() == "2"
    assert both.left()["limiter"]["value"] == "1"


def test_a_limit_in_meta_binds_everybody(both: Both) -> None:
    both.set_rate_limit((2, 60_000))
    both.add_bulk(5)
    assert [both.take() for _ in range(3)] == ["1", "2", None]
    assert both.take(limit=(100, 1_000)) is None
    both.set_rate_limit(None)
    assert both.take() == "3"
    assert both.take(limit=(2, 60_000)) is None


def test_limited_workers_promote_what_is_due(both: Both) -> None:
    both.add_bulk(2)
    both.add("job", delay=100)
    both.take(limit=(1, 60_000))
    both.at(150)
    assert both.take(limit=(1, 60_000)) is None
    assert both.left()["wait"]["value"] == ["3", "2"]


def test_held_by_hand(both: Both) -> None:
    both.add_bulk(2)
    both.hold(30_000)
    assert both.is_limited(5)
    assert both.take(limit=(5, 1_000)) is None
    assert both.take() == "1"
    both.free()
    assert not both.is_limited(5)
    assert both.take(limit=(5, 1_000)) == "2"


def test_a_retry_counts_as_a_start(both: Both) -> None:
    both.add("job", attempts=2)
    both.take(limit=(5, 60_000))
    both.fail("1")
    both.take(limit=(5, 60_000))
    assert both.left()["limiter"]["value"] == "2"


def test_a_job_that_is_to_fail_at_once_does_not_count(both: Both) -> None:
    both.add_bulk(2)
    both.take()
    both.check_stalled(max_stalled=0)
    both.expire_lock("1")
    both.expire("stalled-check")
    assert both.check_stalled(max_stalled=0) == ["1"]
    assert both.take(limit=(5, 60_000)) == "1"
    assert "limiter" not in both.left()
    both.fail("1", "job stalled more than allowable limit", final=True)
    assert "defa" not in both.left()["1"]["value"]
