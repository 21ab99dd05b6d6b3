"""Ending, retrying and losing jobs leaves the same keys as Node does: BULLMQ.md, section 8."""

from __future__ import annotations

import pytest
from hands import ORIGIN, Both

from queuesim.core.job import KEEP_ALL, Keep

pytestmark = pytest.mark.with_options


def taken(both: Both, *ids: str, **options: object) -> None:
    """Jobs that are being worked, each under a token of its own: t1, t2, ..."""
    for number, job_id in enumerate(ids, start=1):
        both.add("job", job_id=job_id, **options)
        assert both.take(f"t{number}") == job_id


@pytest.mark.parametrize("value", [None, 0, False, "", "done", {"a": [1, {}]}, [], 1.25], ids=repr)
def test_completed_with_a_value(both: Both, value: object) -> None:
    taken(both, "a")
    both.at(500)
    both.complete("a", value, "t1")
    keys = both.left()
    assert keys["completed"]["value"] == [("a", ORIGIN + 500)]
    assert keys["a"]["value"]["atm"] == "1"
    assert [event["event"] for event in both.events()][-2:] == ["completed", "drained"]


def test_failed_for_good(both: Both) -> None:
    taken(both, "a")
    both.at(500)
    both.fail("a", 'it broke: "ä"\nhere', "t1")
    keys = both.left()
    assert keys["failed"]["value"] == [("a", ORIGIN + 500)]
    assert keys["a"]["value"]["failedReason"] == 'it broke: "ä"\nhere'
    assert [event["event"] for event in both.events()][-3:] == ["failed", "retries-exhausted", "drained"]


def test_three_attempts_with_exponential_backoff(both: Both) -> None:
    both.add("job", attempts=3, backoff={"type": "exponential", "delay": 50})
    for now in (0, 50, 150):
        both.at(now)
        assert both.take() == "1"
        both.fail("1", f"at {now}")
    assert both.left()["1"]["value"]["atm"] == "3"
    assert both.events("retries-exhausted")[0]["attemptsMade"] == "3"


def test_without_a_delay_it_runs_again_at_once(both: Both) -> None:
    both.add("job", attempts=2)
    both.add("job", attempts=2, lifo=True)
    both.add("job", attempts=2, priority=7)
    both.add("job", delay=20)
    for now, job_id in ((0, "2"), (30, "2"), (30, "1")):
        both.at(now)
        assert both.take() == job_id
        both.fail(job_id)
    assert both.take() == "4"
    assert both.take() == "1"
    both.fail("1")
    assert both.take() == "3"
    both.fail("3")
    assert both.take() == "3"


def test_an_unrecoverable_error_ends_it(both: Both) -> None:
    both.add("job", attempts=3)
    both.take()
    both.fail("1", final=True)
    assert not both.events("retries-exhausted")
    assert both.left()["failed"]["value"]


def test_only_the_newest_stack_traces_are_kept(both: Both) -> None:
    for limit in (2, 1, 0):
        both.add("job", attempts=4, stack_trace_limit=limit, job_id=f"limit-{limit}")
        for _ in range(3):
            both.take()
            both.fail(f"limit-{limit}")
        both.drain()


def test_postponed_by_its_handler(both: Both) -> None:
    taken(both, "a")
    both.postpone("a", 400, "t1")
    keys = both.left()
    assert "atm" not in keys["a"]["value"]
    assert keys["delayed"]["value"] == [("a", (ORIGIN + 400) * 4096)]
    both.at(400)
    both.take()
    assert both.left()["a"]["value"]["ats"] == "2"


def test_put_back_by_its_handler(both: Both) -> None:
    both.add_bulk(2)
    both.take()
    both.put_back("1")
    assert both.left()["wait"]["value"] == ["2", "1"]
    assert both.take() == "1"
    both.add("job", priority=5)
    both.take()
    both.add("job", priority=5)
    both.take()
    both.put_back("3")
    assert both.left()["prioritized"]["value"][0] == ("3", 5 * 2.0**32)


# -- locks


def test_a_wrong_token_is_refused(both: Both) -> None:
    taken(both, "a")
    assert both.complete("a", token="other") == -6
    assert both.fail("a", token="other") == -6
    assert both.postpone("a", 10, token="other") == -6
    assert both.put_back("a", token="other") == -6
    assert both.left()["active"]["value"] == ["a"]


def test_a_lock_that_expired_is_refused(both: Both) -> None:
    taken(both, "a")
    both.expire_lock("a")
    assert both.complete("a", token="t1") == -2
    assert both.fail("a", token="t1") == -2
    assert both.postpone("a", 10, token="t1") == -2


def test_a_job_that_is_gone_is_refused(both: Both) -> None:
    taken(both, "a")
    both.complete("a", token="t1", keep=Keep(count=0))
    assert both.complete("a", token="t1") == -1
    assert both.fail("a", token="t1") == -1
    assert both.postpone("a", 10, token="t1") == -1


def test_locks_are_renewed(both: Both) -> None:
    taken(both, "a")
    assert both.renew("a", "t1") == []
    assert both.renew("a", "other") == ["a"]
    both.expire_lock("a")
    assert both.renew("a", "t1") == ["a"]


# -- stalled jobs


def test_a_job_stalls_when_seen_active_and_then_without_a_lock(both: Both) -> None:
    taken(both, "a", "b")
    assert both.check_stalled() == []
    assert both.left()["stalled"]["value"] == ["a", "b"]
    assert both.check_stalled() == [], "one check an interval"
    both.expire_lock("a")
    both.expire("stalled-check")
    assert both.check_stalled() == ["a"]
    keys = both.left()
    assert keys["wait"]["value"] == ["a"]
    assert keys["a"]["value"]["stc"] == "1"
    assert keys["stalled"]["value"] == ["b"]
    assert both.take("t3") == "a"
    assert both.complete("a", token="t1") == -6


def test_a_renewed_lock_is_no_stall(both: Both) -> None:
    taken(both, "a")
    both.check_stalled()
    both.renew("a", "t1")
    assert "stalled" not in both.left()
    both.expire_lock("a")
    both.expire("stalled-check")
    assert both.check_stalled() == []


def test_what_ends_is_no_longer_watched(both: Both) -> None:
    taken(both, "a", "b", "c", attempts=2)
    both.check_stalled()
    both.complete("a", token="t1")
    both.fail("b", token="t2")
    both.put_back("c", token="t3")
    assert "stalled" not in both.left()


def test_a_prioritized_job_that_stalled_goes_to_the_front_of_wait(both: Both) -> None:
    both.add("job", priority=9)
    both.take()
    both.check_stalled()
    both.expire_lock("1")
    both.expire("stalled-check")
    both.add("job")
    assert both.check_stalled() == ["1"]
    assert both.left()["wait"]["value"] == ["2", "1"]


def test_a_second_stall_is_one_too_many(both: Both) -> None:
    both.add("job", attempts=5)
    for _ in range(2):
        both.take()
        both.check_stalled()
        both.expire_lock("1")
        both.expire("stalled-check")
        both.check_stalled()
        both.expire("stalled-check")
    assert both.left()["1"]["value"]["defa"] == "job stalled more than allowable limit"
    both.take()
    both.fail("1", "job stalled more than allowable limit", final=True)
    assert both.left()["failed"]["value"]


# -- retention


@pytest.mark.parametrize(
    "keep",
    [KEEP_ALL, Keep(count=0), Keep(count=1), Keep(count=2), Keep(age=1), Keep(age=1, limit=1), Keep(age=1, count=3)],
    ids=str,
)
@pytest.mark.parametrize("by_worker", [False, True], ids=["job's rule", "worker's rule"])
def test_retention(both: Both, keep: Keep, by_worker: bool) -> None:
    rules = {} if by_worker else {"keep_completed": keep, "keep_failed": keep}
    for number in range(5):
        both.at(400 * number)
        for end in (both.complete, both.fail):
            job_id = both.add("job", **rules)
            both.take()
            end(job_id, **({"keep": keep} if by_worker else {}))


def test_a_job_s_own_rule_goes_before_the_worker_s(both: Both) -> None:
    both.add_bulk(2, keep_completed=KEEP_ALL)
    for job_id in ("1", "2"):
        both.take()
        both.complete(job_id, keep=Keep(count=0))
    assert len(both.left()["completed"]["value"]) == 2


def test_what_belongs_to_an_evicted_job_goes_with_it(both: Both) -> None:
    taken(both, "a", keep_completed=Keep(count=0))
    both.log("a", "row")
    both.complete("a", token="t1")
    assert [key for key in both.left() if key.startswith("a")] == []


# -- drained


def test_drained_is_told_when_nothing_waits_and_nothing_runs(both: Both) -> None:
    taken(both, "a", "b")
    both.complete("a", token="t1")
    assert not both.events("drained")
    both.complete("b", token="t2", fetch=True)
    assert len(both.events("drained")) == 1


@pytest.mark.parametrize("fetch", [False, True])
@pytest.mark.parametrize("left", ["delayed", "prioritized", "paused", "retried"])
def test_drained_or_not(both: Both, left: str, fetch: bool) -> None:
    if left == "retried":
        # Node's own retry at once takes no next job
        fetch = False
    taken(both, "a", attempts=2 if left == "retried" else 1)
    if left == "delayed":
        both.add("job", delay=500)
    elif left == "prioritized":
        both.add("job", priority=3)
    elif left == "paused":
        both.pause()
    both.fail("a", token="t1", fetch=fetch)
