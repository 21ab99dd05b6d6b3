"""Job schedulers leave the same keys as Node's do: BULLMQ.md, section 11. Every step of `both` compares all keys."""

from __future__ import annotations

from typing import Any

import pytest
from hands import ORIGIN, Both

from queuesim.core.job import JobState

pytestmark = pytest.mark.with_options

MINUTE = 60_000
RULES: dict[str, dict[str, Any]] = {
    "every": {"every": MINUTE},
    "every, offset": {"every": MINUTE, "offset": 7_000},
    "every, start": {"every": MINUTE, "start": ORIGIN + 90_000},
    "every, limit": {"every": MINUTE, "limit": 3},
    "every, end": {"every": MINUTE, "end": ORIGIN + 150_000},
    "cron": {"pattern": "*/5 * * * *"},
    "cron, six fields": {"pattern": "30 */5 * * * *"},
    "cron, zone, start": {"pattern": "0 9 * * *", "zone": "Europe/Berlin", "start": ORIGIN + 86_400_000},
    "cron, limit": {"pattern": "*/5 * * * *", "limit": 2},
    "cron, end": {"pattern": "*/5 * * * *", "end": ORIGIN + 900_000},
    "every, options": {
        "every": MINUTE,
        "options": {"attempts": 3, "backoff": {"type": "fixed", "delay": 9}, "priority": 2},
    },
    "cron, options": {"pattern": "*/5 * * * *", "options": {"attempts": 3, "lifo": True}},
    "every, deduplication": {"every": MINUTE, "options": {"deduplication": {"id": "one"}}},
    "every, deduplication with ttl": {"every": MINUTE, "options": {"deduplication": {"id": "one", "ttl": 90_000}}},
    "cron, deduplication that keeps": {
        "pattern": "*/5 * * * *",
        "options": {"deduplication": {"id": "one", "keep_last_if_active": True}},
    },
}


def pending(both: Both) -> list[tuple[str, float]]:
    """Each scheduler's id, and when its next job is due, in ms since the epoch."""
    keys = both.left()
    return list(keys["repeat"]["value"]) if "repeat" in keys else []


def fire(both: Both, late: int = 300) -> str:
    """Take the pending job, so long after it was due, and complete it. Its id."""
    ((_, due),) = pending(both)
    both.at(max(int(due) - ORIGIN, 1234) + late)
    job_id: str = both.take()
    assert job_id == f"repeat:tick:{int(due)}"
    both.complete(job_id)
    return job_id


@pytest.mark.parametrize("rule", [name for name in RULES if "limit" not in name and "end" not in name])
def test_a_scheduler_from_its_first_job_on(both: Both, rule: str) -> None:
    both.at(1234)
    first = both.schedule("tick", {"n": 1}, **RULES[rule])
    assert first.startswith("repeat:tick:")
    assert fire(both) == first
    for _ in range(3):
        fire(both)
    assert both.left()["repeat:tick"]["value"]["ic"] == "5"


@pytest.mark.parametrize(
    ("rule", "jobs"), [("every, limit", 3), ("cron, limit", 2), ("every, end", 3), ("cron, end", 3)]
)
def test_with_its_last_job_ours_is_gone_where_nodes_stays_behind(both: Both, rule: str, jobs: int) -> None:
    """Until then all keys are the same. Then Node keeps a scheduler without a pending job, and of an interval runs one
    job more, after its end."""
    both.at(1234)
    both.schedule("tick", {"n": 1}, **RULES[rule])
    for _ in range(jobs - 1):
        fire(both)
    ((_, due),) = pending(both)
    for hand in (both.ours, both.theirs):
        hand.at(int(due) - ORIGIN)
        assert hand.take() == f"repeat:tick:{int(due)}"
    assert both.ours.counts()["delayed"] == 0
    assert both.theirs.counts()["delayed"] == (rule == "every, end")
    assert "repeat" not in both.left()
    assert "repeat:tick" not in both.left()
    assert both.theirs.unschedule("tick") is True
    assert both.ours.unschedule("tick") is False


@pytest.mark.parametrize("rule", ["every", "every, offset", "cron"])
@pytest.mark.parametrize("late", [MINUTE - 1, MINUTE, 3 * MINUTE + 1, 3_600_000])
def test_what_was_missed_is_skipped(both: Both, rule: str, late: int) -> None:
    both.at(1234)
    both.schedule("tick", **RULES[rule])
    fire(both)
    before = pending(both)
    fire(both, late)
    assert pending(both) != before
    fire(both)


def test_an_upsert_replaces_what_is_pending_and_counts_anew(both: Both) -> None:
    both.schedule("tick", {"v": 1}, pattern="0 * * * *")
    both.schedule("other", {"v": 1}, pattern="30 * * * *")
    both.at(5_000)
    both.schedule("tick", {"v": 2}, {"attempts": 2}, pattern="15 * * * *")
    assert both.left()["repeat:tick"]["value"]["ic"] == "1"
    assert len(both.left()["delayed"]["value"]) == 2


@pytest.mark.parametrize("offset", [None, 41_234])
def test_the_same_interval_goes_on_from_where_it_is(both: Both, offset: int | None) -> None:
    """As when a service is started again."""
    both.at(1234)
    first = both.schedule("tick", {"v": 1}, every=MINUTE)
    both.at(30_000)
    assert both.schedule("tick", {"v": 2}, every=MINUTE, offset=offset) == first
    fire(both)
    for hand in (both.ours, both.theirs):
        hand.at(40_000)
        assert hand.schedule("tick", {"v": 3}, every=MINUTE, offset=offset) == f"repeat:tick:{ORIGIN + 61_234}"


def test_another_interval_begins_at_once(both: Both) -> None:
    both.at(1234)
    both.schedule("tick", every=MINUTE)
    for hand in (both.ours, both.theirs):
        hand.at(30_000)
        assert hand.schedule("tick", every=2 * MINUTE) == f"repeat:tick:{ORIGIN + 30_000}"


def test_an_upsert_with_another_kind_of_rule(both: Both) -> None:
    both.schedule("tick", pattern="0 * * * *")
    both.at(5_000)
    both.schedule("tick", every=MINUTE, offset=10_000)
    fire(both)


def test_after_an_upsert_ours_begins_anew_where_node_counts_on(both: Both) -> None:
    """Ours is in place of the former one: with a count of its own, and without that one's offset."""
    both.schedule("tick", {"v": 1}, every=MINUTE, offset=10_000)
    fire(both)
    for hand in (both.ours, both.theirs):
        hand.schedule("tick", {"v": 2}, pattern="*/5 * * * *")
    ours, theirs = (keys["repeat:tick"]["value"] for keys in both.each())
    assert (ours.pop("ic"), theirs.pop("ic")) == ("1", "2")
    assert (ours.pop("offset"), theirs.pop("offset")) == ("0", "10000")
    assert ours == theirs


def test_an_upsert_while_a_job_runs_leaves_that_alone(both: Both) -> None:
    first = both.schedule("tick", pattern="*/5 * * * *")
    both.at(int(first.rpartition(":")[2]) - ORIGIN)
    assert both.take() == first
    for hand in (both.ours, both.theirs):
        hand.schedule("tick", {"v": 2}, pattern="*/7 * * * *")
        hand.complete(first)
    ours, theirs = both.each()
    for keys in (ours, theirs):
        del keys["repeat:tick"]["value"]["ic"]
    assert ours == theirs


def test_removing_a_scheduler_removes_its_pending_job_alone(both: Both) -> None:
    first = both.schedule("tick", pattern="*/5 * * * *")
    both.at(int(first.rpartition(":")[2]) - ORIGIN)
    assert both.take() == first
    assert both.unschedule("tick") is True
    assert both.unschedule("tick") is False
    both.complete(first)
    assert "repeat" not in both.left()


def test_a_delayed_job_goes_with_its_scheduler(both: Both) -> None:
    both.schedule("tick", every=MINUTE, start=ORIGIN + 5_000)
    assert both.counts()["delayed"] == 1
    assert both.unschedule("tick") is True
    assert sum(both.counts().values()) == 0


@pytest.mark.parametrize(("options", "state"), [({}, "waiting"), ({"priority": 3}, "prioritized")])
def test_one_that_waits_goes_with_ours_where_nodes_still_runs(both: Both, options: dict[str, Any], state: str) -> None:
    both.schedule("tick", None, options, every=MINUTE)
    for hand in (both.ours, both.theirs):
        assert hand.unschedule("tick") is True
    ours, theirs = (hand.counts() for hand in (both.ours, both.theirs))
    assert (ours[state], theirs[state]) == (0, 1)


def test_the_pending_job_can_not_be_removed_alone(both: Both) -> None:
    """-8: it belongs to its scheduler."""
    first = both.schedule("tick", pattern="*/5 * * * *")
    assert both.remove(first) == "refused"
    both.drain(delayed=True)
    assert both.state(first) == "delayed"


@pytest.mark.parametrize("ended", [False, True], ids=["active", "completed"])
def test_an_interval_passes_over_a_tick_whose_job_has_started(both: Both, ended: bool) -> None:
    """As after a clock that was ahead: the next free slot is taken."""
    first = both.schedule("tick", {"v": 1}, every=5 * MINUTE, offset=200_000)
    both.at(int(first.rpartition(":")[2]) - ORIGIN)
    assert both.take() == first
    if ended:
        both.complete(first)
    for hand in (both.ours, both.theirs):
        hand.at(0)
        assert hand.schedule("tick", {"v": 2}, every=5 * MINUTE, offset=200_000) == f"repeat:tick:{ORIGIN + 400_000}"
    ours, theirs = both.each()
    for keys in (ours, theirs):
        del keys["repeat:tick"]["value"]["ic"]
    assert ours == theirs


def test_so_does_ours_with_a_cron_line_where_node_breaks_the_job_that_runs(both: Both) -> None:
    """Node 6.7.0 writes the job that runs anew, and has it in two states; a broker of ours refuses with -10."""
    first = both.schedule("tick", {"v": 1}, pattern="*/5 * * * *")
    both.at(int(first.rpartition(":")[2]) - ORIGIN)
    assert both.take() == first
    both.ours.at(0)
    both.theirs.at(0)
    assert both.theirs.schedule("tick", {"v": 2}, pattern="*/5 * * * *") == first
    assert both.ours.schedule("tick", {"v": 2}, pattern="*/5 * * * *") == f"repeat:tick:{ORIGIN + 500_000}"
    ours, theirs = both.each()
    assert theirs[first]["value"]["data"] == {"v": 2}
    assert [job for job, _ in theirs["delayed"]["value"]] == theirs["active"]["value"] == [first]
    assert ours[first]["value"]["data"] == {"v": 1}


def test_more_than_32_ticks_that_are_taken_are_refused(both: Both) -> None:
    """-11, and nothing has changed."""
    both.schedule("tick", every=MINUTE, offset=10_000)
    for _ in range(33):
        fire(both, 0)
    both.unschedule("tick")
    before = both.left()
    both.at(0)
    assert both.schedule("tick", {"v": 2}, every=MINUTE, offset=10_000) == -11
    after = both.left()
    assert after == before


@pytest.mark.parametrize("options", [{}, {"priority": 3}], ids=["delayed", "prioritized"])
def test_clean_spares_the_pending_job(both: Both, options: dict[str, Any]) -> None:
    first = both.schedule("tick", None, options, every=MINUTE, start=ORIGIN + (0 if options else 9 * MINUTE))
    both.add(**(options or {"delay": MINUTE}))
    both.at(2 * MINUTE)
    state = JobState.PRIORITIZED if options else JobState.DELAYED
    assert len(both.clean(0, 0, state)) == 1
    assert both.state(first) == state.value


def test_a_retry_does_not_fire_the_schedule_again(both: Both) -> None:
    first = both.schedule("tick", None, {"attempts": 2}, every=MINUTE)
    assert both.take() == first
    before = pending(both)
    both.fail(first)
    assert both.take() == first
    both.complete(first)
    assert pending(both) == before
