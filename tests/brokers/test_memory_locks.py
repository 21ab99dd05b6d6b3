"""Locks: tokens, expiry, renewal, refused outcomes; stalled jobs, their recovery and its limit."""

from __future__ import annotations

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Completed, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.events import EventKind
from queuesim.core.job import Job, JobState, Keep

CHECK = 30_000
MISSING, LOCK_MISSING, LOCK_MISMATCH = -1, -2, -6


def outcomes(job: Job) -> list[Outcome]:
    return [
        Completed(job.id, job.token),
        Failed(job.id, job.token, "boom"),
        Retried(job.id, job.token, 0.0, "boom"),
        Retried(job.id, job.token, 5.0, "boom"),
        Postponed(job.id, job.token, 5.0),
        Returned(job.id, job.token, 60.0),
    ]


def refused_with(queue: Driver, job: Job, code: int) -> None:
    """Whatever becomes of the attempt, it is refused and changes nothing."""
    counts, before = queue.counts(), queue.get(job.id) if queue.exists(job.id) else None
    queue.events()
    for outcome in outcomes(job):
        assert queue.settle(outcome) == code
    assert queue.events() == []
    assert queue.counts() == counts
    if before is not None:
        assert queue.get(job.id).attempts_made == before.attempts_made


def stall(queue: Driver, job_id: str, max_stalled: int = 1) -> None:
    """Let an active job lose its lock and be found by the second of two checks."""
    queue.at(int(queue.now * 1000) + CHECK)
    queue.recover(CHECK, max_stalled)
    queue.at(int(queue.now * 1000) + CHECK)
    assert queue.recover(CHECK, max_stalled) == [job_id]


# -- locks


def test_a_lock_holds_up_to_its_duration_and_not_at_it(queue: Driver) -> None:
    queue.add_each(2)
    a, b = queue.take(2, lock=1000)
    queue.at(875)
    assert queue.complete(a) == 0
    queue.at(1000)
    refused_with(queue, b, LOCK_MISSING)


def test_a_renewed_lock_holds_from_the_renewal(queue: Driver) -> None:
    queue.add()
    job = queue.take_one(lock=1000)
    queue.at(500)
    assert queue.renew(job, 2000)
    queue.at(2375)
    assert queue.complete(job) == 0


def test_a_lock_that_expired_can_not_be_renewed(queue: Driver) -> None:
    queue.add()
    job = queue.take_one(lock=1000)
    queue.at(1000)
    assert not queue.renew(job, 2000)
    assert queue.complete(job) == LOCK_MISSING


def test_nobody_else_can_renew_a_lock(queue: Driver) -> None:
    queue.add()
    job = queue.take_one(lock=1000)
    locks = [(job.id, "somebody:1"), ("nobody", job.token), (job.id, job.token)]
    assert queue.run(queue.broker.renew(locks, 2.0, queue.now)) == [job.id, "nobody"]


def test_an_outcome_with_another_token_is_refused(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    impostor = queue.get(job.id)
    impostor.token = "somebody:1"
    refused_with(queue, impostor, LOCK_MISMATCH)
    assert queue.complete(job) == 0


def test_an_outcome_of_a_removed_job_is_refused(queue: Driver) -> None:
    queue.add()
    job = queue.take_one(lock=1000)
    queue.at(1000)
    queue.run(queue.broker.remove(job.id, queue.now))
    refused_with(queue, job, MISSING)


def test_an_outcome_counts_once(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    queue.complete(job)
    refused_with(queue, job, LOCK_MISSING)


def test_an_outcome_of_a_job_that_was_not_kept_is_refused(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    queue.complete(job, keep=Keep(count=0))
    refused_with(queue, job, MISSING)


@pytest.mark.parametrize("give_up", [Postponed, Retried, Returned])
def test_a_job_that_was_handed_back_is_nobodys(queue: Driver, give_up: type[Outcome]) -> None:
    queue.add(attempts=3)
    job = queue.take_one()
    arguments = (5.0, "boom") if give_up is Retried else (5.0,)
    assert queue.settle(give_up(job.id, job.token, *arguments)) == 0  # type: ignore[arg-type]
    refused_with(queue, job, LOCK_MISSING)
    assert not queue.renew(job, 1000)


def test_one_exchange_refuses_some_and_settles_others(queue: Driver) -> None:
    queue.add_each(3)
    a, b, c = queue.take(3)
    lost = Completed(b.id, "somebody:9")
    reply = queue.exchange([Completed(a.id, a.token), lost, Completed(c.id, c.token)], 0)
    assert reply.refused == [(lost, LOCK_MISMATCH)]
    assert queue.counts() == {"completed": 2, "active": 1}


# -- stalled jobs


def test_a_job_without_a_lock_is_recovered_by_the_second_check(queue: Driver) -> None:
    queue.add()
    queue.take_one(lock=1000)
    queue.at(5000)
    assert queue.recover(CHECK) == [], "the first check only remembers who is active"
    queue.at(34_875)
    assert queue.recover(CHECK) == [], "one check per interval"
    queue.at(35_000)
    queue.events()
    assert queue.recover(CHECK) == ["1"]
    assert queue.story() == [
        (EventKind.WAITING, "1", {"prev": JobState.ACTIVE}),
        (EventKind.STALLED, "1", {}),
    ]
    assert queue.state("1") is JobState.WAITING
    job = queue.take_one()
    assert (job.stalled_count, job.attempts_started, job.attempts_made) == (1, 2, 0)
    assert job.deferred_failure is None


def test_the_interval_is_shared_by_all_who_check(queue: Driver) -> None:
    queue.add()
    queue.take_one(lock=1000)
    queue.recover(CHECK)
    for milliseconds in (1000, 10_000, 29_875):
        queue.at(milliseconds)
        assert queue.recover(CHECK) == []
    queue.at(CHECK)
    assert queue.recover(CHECK) == ["1"]


def test_a_renewed_job_does_not_stall(queue: Driver) -> None:
    queue.add()
    job = queue.take_one(lock=CHECK)
    queue.recover(CHECK)
    queue.at(15_000)
    assert queue.renew(job, CHECK)
    queue.at(CHECK)
    assert queue.recover(CHECK) == []
    queue.at(44_875)
    assert queue.complete(job) == 0


def test_a_job_that_started_after_the_first_check_waits_for_a_third(queue: Driver) -> None:
    queue.recover(CHECK)
    queue.add()
    queue.take_one(lock=1000)
    queue.at(CHECK)
    assert queue.recover(CHECK) == []
    queue.at(2 * CHECK)
    assert queue.recover(CHECK) == ["1"]


def test_a_job_that_was_settled_and_taken_again_is_not_the_one_that_was_seen(queue: Driver) -> None:
    queue.add(attempts=3)
    job = queue.take_one(lock=1000)
    queue.recover(CHECK)
    queue.retry(job)
    queue.take_one(lock=1000)
    queue.at(CHECK)
    assert queue.recover(CHECK) == []


def test_stalled_jobs_go_to_the_front_prioritized_ones_too(queue: Driver) -> None:
    queue.add("stalled", priority=5)
    queue.take_one(lock=1000)
    queue.add("waiting")
    stall(queue, "1")
    assert queue.counts() == {"waiting": 2}
    assert [job.name for job in queue.take(2)] == ["stalled", "waiting"]


def test_a_job_that_stalls_too_often_is_failed_by_who_takes_it_next(queue: Driver) -> None:
    queue.add(attempts=5)
    queue.take_one(lock=1000)
    stall(queue, "1")
    queue.take_one(lock=1000)
    stall(queue, "1")
    assert queue.state("1") is JobState.WAITING, "the check itself fails nobody"
    job = queue.take_one()
    assert (job.stalled_count, job.deferred_failure) == (2, "job stalled more than allowable limit")
    queue.fail(job, job.deferred_failure)
    job = queue.get("1")
    assert (job.deferred_failure, job.failed_reason) == (None, "job stalled more than allowable limit")
    assert (job.attempts_made, job.attempts_started) == (1, 3)


def test_with_a_limit_of_zero_the_first_stall_is_too_many(queue: Driver) -> None:
    queue.add()
    queue.take_one(lock=1000)
    stall(queue, "1", max_stalled=0)
    assert queue.take_one().deferred_failure is not None


def test_a_job_retried_by_hand_keeps_its_stalled_count(queue: Driver) -> None:
    queue.add()
    queue.take_one(lock=1000)
    stall(queue, "1")
    queue.fail(queue.take_one())
    queue.run(queue.broker.retry("1", JobState.FAILED, True, queue.now))
    queue.take_one(lock=1000)
    stall(queue, "1")
    assert queue.take_one().deferred_failure is not None


def test_a_zombies_outcome_is_refused_at_every_stage(queue: Driver) -> None:
    queue.add(keep_completed=Keep(count=1))
    zombie = queue.take_one(lock=1000)
    stall(queue, "1")
    refused_with(queue, zombie, LOCK_MISSING)
    heir = queue.take_one()
    refused_with(queue, zombie, LOCK_MISMATCH)
    assert not queue.renew(zombie, 1000)
    assert queue.complete(heir) == 0
    refused_with(queue, zombie, LOCK_MISSING)
    queue.at(int(queue.now * 1000) + 1000)
    queue.finish_all(1, keep_completed=Keep(count=1))
    refused_with(queue, zombie, MISSING)


def test_a_stalled_job_gives_its_place_back(queue: Driver) -> None:
    queue.run(queue.broker.set_concurrency(1, queue.now))
    queue.add_each(2)
    queue.take_one(lock=1000)
    assert queue.take() == []
    stall(queue, "1")
    assert queue.take_ids(2) == ["1"]


def test_several_stalled_jobs_are_all_found(queue: Driver) -> None:
    queue.add_each(12)
    queue.take(10, lock=1000)
    queue.recover(CHECK)
    queue.at(CHECK)
    assert sorted(queue.recover(CHECK), key=int) == [str(i) for i in range(1, 11)]
    assert queue.counts() == {"waiting": 12}
    assert set(queue.take_ids(10)) == {str(i) for i in range(1, 11)}


def test_of_many_active_jobs_those_without_a_lock_are_found_and_the_others_keep_their_order(queue: Driver) -> None:
    queue.add_each(180)
    locks: dict[str, int] = {}
    for first in range(0, 180, 3):
        queue.take(2, lock=1000)
        queue.take(1, lock=90_000)
        locks |= {str(first + 1): 1000, str(first + 2): 1000, str(first + 3): 90_000}
    queue.recover(CHECK)
    queue.at(CHECK)
    stalled = queue.recover(CHECK)
    assert sorted(stalled, key=int) == [job_id for job_id, lock in locks.items() if lock == 1000]
    assert queue.counts() == {"waiting": 120, "active": 60}
    active = queue.run(queue.broker.jobs(JobState.ACTIVE, 0, -1, True))
    assert [job.id for job in active] == [job_id for job_id, lock in locks.items() if lock == 90_000]
    queue.at(2 * CHECK)
    assert queue.recover(CHECK) == []
    queue.at(4 * CHECK)
    assert len(queue.recover(CHECK)) == 60
    assert queue.counts() == {"waiting": 180}


# -- faults that earlier tests did not see


def test_a_renewed_job_is_no_suspect_of_the_next_check(queue: Driver) -> None:
    """It was seen active by the last check, renewed since, and then lost its lock: the next check sees it anew."""
    queue.add()
    job = queue.take_one(lock=CHECK + 1000)
    assert queue.recover() == []
    assert queue.at(125).renew(job, 1000)
    assert queue.at(CHECK).recover() == [], "it was renewed after the check before"
    assert queue.at(2 * CHECK).recover() == [job.id]
