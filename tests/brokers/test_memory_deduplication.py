"""Deduplication: which job stands for which, for how long, and what a duplicate still does."""

from __future__ import annotations

from typing import Any

import pytest
from brokerdriver import Driver

from queuesim.core.events import EventKind
from queuesim.core.job import Deduplication, JobState, Keep

SECOND = 1000


def dedup(**fields: Any) -> Deduplication:
    return Deduplication("d", **fields)


def duplicate(queue: Driver, owner: str, mode: Deduplication, **options: Any) -> None:
    """Add a job that must turn out to be a duplicate of `owner`."""
    before = queue.counts()
    assert queue.add(deduplication=mode, **options) == owner
    assert queue.counts() == before


# -- simple


def test_simple_mode_holds_until_the_owner_finishes(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup())
    duplicate(queue, owner, dedup())
    job = queue.take_one()
    duplicate(queue, owner, dedup())
    queue.complete(job)
    assert queue.add(deduplication=dedup()) == "4"
    assert queue.counts() == {"completed": 1, "waiting": 1}


def test_events_of_a_duplicate_name_the_survivor_and_the_dropped(queue: Driver) -> None:
    queue.add(deduplication=dedup())
    queue.events()
    queue.add(deduplication=dedup())
    queue.add(deduplication=dedup(), job_id="k")
    assert queue.story() == [
        (EventKind.DEDUPLICATED, "1", {"deduplicationId": "d", "deduplicatedJobId": "2"}),
        (EventKind.DEDUPLICATED, "1", {"deduplicationId": "d", "deduplicatedJobId": "k"}),
    ]


def test_a_retry_keeps_the_id_and_the_final_failure_frees_it(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup(), attempts=2)
    queue.retry(queue.take_one(), SECOND)
    duplicate(queue, owner, dedup())
    queue.at(SECOND)
    queue.fail(queue.take_one())
    assert queue.add(deduplication=dedup()) != owner


@pytest.mark.parametrize("ttl", [None, 60.0])
def test_a_removed_owner_frees_its_id_whatever_its_time_to_live(queue: Driver, ttl: float | None) -> None:
    owner = queue.add(deduplication=dedup(ttl=ttl))
    queue.run(queue.broker.remove(owner, queue.now))
    assert queue.add(deduplication=dedup()) == "2"


def test_drain_and_clean_free_the_ids_too(queue: Driver) -> None:
    queue.add(deduplication=dedup(ttl=60.0))
    queue.run(queue.broker.drain(False, queue.now))
    owner = queue.add(deduplication=dedup(ttl=60.0))
    assert owner == "2"
    queue.at(SECOND)
    assert queue.run(queue.broker.clean(0.0, 0, JobState.WAITING, queue.now)) == [owner]
    assert queue.add(deduplication=dedup()) == "3"


def test_another_id_is_another_matter(queue: Driver) -> None:
    queue.add(deduplication=Deduplication("a"))
    queue.add(deduplication=Deduplication("b"))
    queue.add()
    assert queue.counts() == {"waiting": 3}


def test_an_id_is_released_by_hand(queue: Driver) -> None:
    queue.add(deduplication=dedup())
    assert queue.run(queue.broker.release_deduplication("d", queue.now)) is True
    assert queue.run(queue.broker.release_deduplication("d", queue.now)) is False
    assert queue.add(deduplication=dedup()) == "2"


def test_an_id_that_expired_is_not_released_by_hand(queue: Driver) -> None:
    queue.at(1000).add(deduplication=dedup(ttl=1.0))
    queue.at(2000)
    assert queue.run(queue.broker.release_deduplication("d", queue.now)) is False


def test_an_old_owner_frees_nothing_that_it_no_longer_holds(queue: Driver) -> None:
    queue.add(deduplication=dedup())
    first = queue.take_one()
    queue.run(queue.broker.release_deduplication("d", queue.now))
    second = queue.add(deduplication=dedup())
    queue.complete(first)
    duplicate(queue, second, dedup())


# -- throttle


def test_throttle_holds_for_its_time_whatever_the_owner_does(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup(ttl=2.0))
    queue.complete(queue.take_one())
    queue.at(1875)
    duplicate(queue, owner, dedup(ttl=2.0))
    queue.at(2000)
    assert queue.add(deduplication=dedup(ttl=2.0)) == "3"


def test_throttle_ends_while_its_owner_still_waits(queue: Driver) -> None:
    queue.add(deduplication=dedup(ttl=2.0))
    queue.at(2000)
    assert queue.add(deduplication=dedup(ttl=2.0)) == "2"
    assert queue.counts() == {"waiting": 2}


def test_throttle_outlives_an_owner_that_was_not_kept(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup(ttl=2.0), keep_completed=Keep(count=0))
    queue.complete(queue.take_one())
    assert not queue.exists(owner)
    queue.events()
    assert queue.add(deduplication=dedup(ttl=2.0)) == owner
    fields = {"deduplicationId": "d", "deduplicatedJobId": "2"}
    assert queue.story() == [(EventKind.DEDUPLICATED, owner, fields)]


def test_a_duplicate_without_extend_does_not_prolong_the_time(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup(ttl=2.0))
    queue.at(1000)
    duplicate(queue, owner, dedup(ttl=60.0))
    queue.at(2000)
    assert queue.add(deduplication=dedup(ttl=2.0)) == "3"


# -- debounce


def test_extend_starts_the_time_again(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup(ttl=2.0, extend=True))
    queue.at(1000)
    duplicate(queue, owner, dedup(ttl=2.0, extend=True))
    queue.at(2875)
    duplicate(queue, owner, dedup(ttl=2.0, extend=True))
    queue.at(4875)
    assert queue.add(deduplication=dedup(ttl=2.0, extend=True)) == "4"


def test_replace_takes_the_place_of_a_delayed_owner(queue: Driver) -> None:
    mode = dedup(replace=True)
    owner = queue.add("old", deduplication=mode, delay=SECOND)
    queue.events()
    newcomer = queue.add("new", deduplication=mode, delay=2 * SECOND)
    assert queue.story() == [
        (EventKind.REMOVED, owner, {"prev": JobState.DELAYED}),
        (EventKind.DEDUPLICATED, newcomer, {"deduplicationId": "d", "deduplicatedJobId": owner}),
        (EventKind.ADDED, newcomer, {"name": "new"}),
        (EventKind.DELAYED, newcomer, {"delay": 2.0}),
    ]
    assert not queue.exists(owner)
    queue.at(1000)
    assert queue.take() == []
    queue.at(2000)
    assert [job.name for job in queue.take(2)] == ["new"]


def test_a_debounce_runs_once_with_the_last_data(queue: Driver) -> None:
    mode = dedup(ttl=2.0, extend=True, replace=True)
    for start in (0, 1000, 2000, 3000):
        queue.at(start)
        queue.add(data=f'{{"start":{start}}}', deduplication=mode, delay=2 * SECOND)
    queue.at(4875)
    assert queue.take() == []
    queue.at(5000)
    assert [job.data for job in queue.take(9)] == [{"start": 3000}]


def test_replace_without_extend_keeps_the_rest_of_the_time(queue: Driver) -> None:
    mode = dedup(ttl=2.0, replace=True)
    queue.add(deduplication=mode, delay=10 * SECOND)
    queue.at(1000)
    newcomer = queue.add(deduplication=mode, delay=10 * SECOND)
    queue.at(2000)
    assert queue.add(deduplication=mode, delay=10 * SECOND) != newcomer
    assert queue.counts() == {"delayed": 2}


@pytest.mark.parametrize(("first", "second"), [(2.0, None), (None, 2.0)])
def test_replace_between_modes_holds_until_the_owner_finishes(
    queue: Driver, first: float | None, second: float | None
) -> None:
    """A newcomer without a time drops the old one's; one with a time keeps what there was: none."""
    queue.add(deduplication=dedup(ttl=first, replace=True), delay=60 * SECOND)
    newcomer = queue.add(deduplication=dedup(ttl=second, replace=True), delay=60 * SECOND)
    queue.at(30 * SECOND)
    duplicate(queue, newcomer, dedup())


def test_replace_leaves_an_owner_alone_that_is_no_longer_delayed_and_tells_nobody(queue: Driver) -> None:
    mode = dedup(ttl=2.0, extend=True, replace=True)
    owner = queue.add(deduplication=mode)
    queue.at(1000)
    queue.events()
    duplicate(queue, owner, mode)
    assert queue.events() == []
    queue.at(2000)
    assert queue.add(deduplication=mode) == "3"


def test_reschedule_gives_a_delayed_owner_the_new_delay(queue: Driver) -> None:
    mode = dedup(reschedule=True)
    owner = queue.add("old", deduplication=mode, delay=SECOND)
    queue.at(500)
    queue.events()
    duplicate(queue, owner, mode, delay=3 * SECOND)
    assert queue.story() == [
        (EventKind.DEDUPLICATED, owner, {"deduplicationId": "d", "deduplicatedJobId": "2"}),
        (EventKind.DELAYED, owner, {"delay": 3.5}),
    ]
    assert queue.get(owner).delay == 3.0
    queue.at(3375)
    assert queue.take() == []
    queue.at(3500)
    assert [job.name for job in queue.take(2)] == ["old"]


def test_reschedule_counts_from_the_newcomers_own_timestamp(queue: Driver) -> None:
    mode = dedup(reschedule=True)
    queue.add(deduplication=mode, delay=SECOND)
    queue.add(deduplication=mode, delay=SECOND, timestamp=5000)
    assert queue.exchange().next_due == 6.0


def test_reschedule_does_nothing_to_an_owner_that_waits(queue: Driver) -> None:
    mode = dedup(reschedule=True)
    owner = queue.add(deduplication=mode)
    duplicate(queue, owner, mode, delay=SECOND)
    assert queue.state(owner) is JobState.WAITING


# -- keep last if active


def test_the_last_duplicate_of_an_active_job_runs_after_it(queue: Driver) -> None:
    mode = dedup(keep_last_if_active=True)
    owner = queue.add(data="1", deduplication=mode)
    duplicate(queue, owner, mode, data="2")
    job = queue.take_one()
    duplicate(queue, owner, mode, data="3")
    duplicate(queue, owner, mode, data="4")
    queue.events()
    queue.complete(job)
    assert queue.story() == [
        (EventKind.ADDED, "4", {"name": "job"}),
        (EventKind.WAITING, "4", {}),
        (EventKind.COMPLETED, owner, {"returnvalue": "null", "prev": JobState.ACTIVE}),
    ]
    after = queue.take_one()
    assert (after.id, after.data) == ("4", 4)
    queue.complete(after)
    assert queue.counts() == {"completed": 2}
    assert queue.add(deduplication=mode) == "6", "the counter moved for the job that ran after"


def test_the_kept_job_owns_the_id_while_it_waits_and_runs(queue: Driver) -> None:
    mode = dedup(keep_last_if_active=True)
    queue.add(deduplication=mode)
    first = queue.take_one()
    queue.add(deduplication=mode, delay=SECOND, priority=3)
    queue.fail(first)
    assert queue.counts() == {"failed": 1, "delayed": 1}
    duplicate(queue, "2", mode)
    queue.at(SECOND)
    second = queue.take_one()
    assert (second.id, second.priority) == ("2", 3)
    duplicate(queue, "2", mode)


def test_a_retry_of_the_owner_keeps_the_kept_job_back(queue: Driver) -> None:
    mode = dedup(keep_last_if_active=True)
    queue.add(deduplication=mode, attempts=2)
    job = queue.take_one()
    queue.add(data="2", deduplication=mode)
    queue.retry(job)
    assert queue.counts() == {"waiting": 1}
    queue.complete(queue.take_one())
    assert queue.take_one().data == 2


def test_a_time_to_live_does_not_end_a_keep_last_window(queue: Driver) -> None:
    mode = dedup(keep_last_if_active=True, ttl=1.0)
    owner = queue.add(deduplication=mode)
    queue.at(5000)
    duplicate(queue, owner, mode)
    job = queue.take_one()
    duplicate(queue, owner, mode, data="2")
    queue.complete(job)
    assert queue.take_one().data == 2


def test_a_kept_job_survives_a_duplicate_of_another_mode(queue: Driver) -> None:
    owner = queue.add(deduplication=dedup(keep_last_if_active=True))
    job = queue.take_one()
    duplicate(queue, owner, dedup(keep_last_if_active=True), data="2")
    duplicate(queue, owner, dedup(ttl=60.0, extend=True), data="3")
    queue.complete(job)
    assert queue.take_one().data == 2


def test_a_removed_owner_takes_the_kept_job_with_it(queue: Driver) -> None:
    mode = dedup(keep_last_if_active=True)
    owner = queue.add(deduplication=mode)
    queue.take_one(lock=SECOND)
    duplicate(queue, owner, mode)
    queue.at(SECOND)
    queue.run(queue.broker.remove(owner, queue.now))
    assert queue.counts() == {}
    assert queue.add(deduplication=mode) == "3"
    queue.complete(queue.take_one())
    assert queue.counts() == {"completed": 1}


# -- owners that are gone


def test_eviction_does_not_free_an_id_that_another_job_holds(queue: Driver) -> None:
    queue.add(deduplication=dedup(), keep_completed=Keep(count=1))
    queue.complete(queue.take_one())
    second = queue.add(deduplication=dedup(), delay=60 * SECOND)
    queue.finish_all(1, keep_completed=Keep(count=1))
    assert not queue.exists("1")
    duplicate(queue, second, dedup())
