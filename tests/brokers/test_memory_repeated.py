"""Exchanges that are made again, for the answer of the first try was lost."""

from __future__ import annotations

from typing import Any

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Completed, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.events import EventKind
from queuesim.core.job import Job, JobState, Keep, RateLimit


def counted(kind: type[Any], job: Job, *rest: Any, **more: Any) -> Outcome:
    """An outcome as a worker makes it: with the job's counts."""
    made = job.attempts_made + (kind in (Completed, Failed, Retried))
    outcome: Outcome = kind(job.id, job.token, *rest, **more, attempt=job.attempts_started, attempts_made=made)
    return outcome


OUTCOMES = {
    "completed": lambda job: counted(Completed, job),
    "removed": lambda job: counted(Completed, job, keep=Keep(count=0)),
    "failed": lambda job: counted(Failed, job, "boom"),
    "retried": lambda job: counted(Retried, job, 5.0, "boom"),
    "retried at once": lambda job: counted(Retried, job, 0.0, "boom"),
    "postponed": lambda job: counted(Postponed, job, 5.0),
    "returned": lambda job: counted(Returned, job),
}


def test_the_jobs_of_the_lost_answer_come_again_and_are_not_started_again(queue: Driver) -> None:
    queue.add_each(5)
    first = queue.exchange(take=3)
    queue.events()
    again = queue.at(1000).exchange(take=3, again=True)
    assert [job.id for job in again.jobs] == [job.id for job in first.jobs] == ["1", "2", "3"]
    assert [(job.attempts_started, job.processed_on, job.token) for job in again.jobs] == [
        (1, 0.0, job.token) for job in first.jobs
    ]
    assert queue.kinds() == []
    assert queue.counts() == {"active": 3, "waiting": 2}


def test_what_the_first_try_did_not_find_is_taken_after_what_it_took(queue: Driver) -> None:
    queue.add_each(1)
    queue.exchange(take=3)
    queue.add_each(4)
    assert [job.id for job in queue.exchange(take=3, again=True).jobs] == ["1", "2", "3"]


def test_a_try_that_never_arrived_is_made_as_if_it_were_the_first(queue: Driver) -> None:
    queue.add_each(2)
    (job,) = queue.take()
    again = queue.exchange([counted(Completed, job)], 1, again=True)
    # the driver's token of `take` is that of the repeated exchange: the job was settled before it could be retaken
    assert [job.id for job in again.jobs] == ["2"]
    assert again.refused is None
    assert queue.counts() == {"completed": 1, "active": 1}


def test_the_locks_are_renewed(queue: Driver) -> None:
    queue.add()
    queue.exchange(take=1, lock=10_000)
    (job,) = queue.at(8000).exchange(take=1, lock=10_000, again=True).jobs
    assert queue.at(17_000).complete(job) == 0


def test_a_job_whose_lock_ran_out_meanwhile_is_left_to_the_stalled_check(queue: Driver) -> None:
    queue.add()
    queue.exchange(take=1, lock=10_000)
    assert queue.at(10_000).exchange(take=1, lock=10_000, again=True).jobs == []
    assert queue.counts() == {"active": 1}


def test_a_job_that_was_recovered_from_the_lost_answer_is_started_anew(queue: Driver) -> None:
    queue.add()
    queue.exchange(take=1, lock=10_000)
    queue.at(1000).recover()
    queue.at(31_000).recover()
    (job,) = queue.exchange(take=1, again=True).jobs
    assert (job.attempts_started, job.processed_on) == (2, 31.0)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_outcome_that_the_first_try_applied_is_neither_refused_nor_applied_twice(queue: Driver, kind: str) -> None:
    queue.add(attempts=3)
    (job,) = queue.take()
    outcome = OUTCOMES[kind](job)
    assert queue.exchange([outcome], 0).refused is None
    counts, story = queue.counts(), queue.story()
    assert story
    assert queue.at(1000).exchange([outcome], 0, again=True).refused is None
    assert queue.counts() == counts
    assert queue.story() == []


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_outcome_that_comes_twice_otherwise_is_refused(queue: Driver, kind: str) -> None:
    queue.add(attempts=3)
    (job,) = queue.take()
    outcome = OUTCOMES[kind](job)
    queue.exchange([outcome], 0)
    assert queue.exchange([outcome], 0).refused


def test_a_job_that_is_retried_at_once_and_taken_by_the_same_exchange_comes_back(queue: Driver) -> None:
    queue.add(attempts=3)
    (job,) = queue.take()
    outcome = counted(Retried, job, 0.0, "boom")
    queue.exchange([outcome], 1)
    reply = queue.exchange([outcome], 1, again=True)
    (again,) = reply.jobs
    assert (again.id, again.attempts_started, again.attempts_made) == ("1", 2, 1)
    assert reply.refused is None


@pytest.mark.parametrize("kind", ["completed", "failed", "retried", "retried at once"])
def test_an_outcome_of_a_job_that_stalled_before_the_first_try_is_refused(queue: Driver, kind: str) -> None:
    """Not active and not started since, just as after a first try that was applied; but no attempt was counted."""
    queue.add(attempts=3)
    (job,) = queue.take(lock=10_000)
    queue.at(1000).recover()
    assert queue.at(31_000).recover() == ["1"]
    assert queue.exchange([OUTCOMES[kind](job)], 0, again=True).refused
    assert queue.counts() == {"waiting": 1}


@pytest.mark.parametrize("kind", ["completed", "removed", "failed", "retried", "retried at once"])
def test_an_outcome_is_refused_also_if_the_first_try_started_the_stalled_job_anew(queue: Driver, kind: str) -> None:
    """Then the job has the lock of that very exchange, as one has that it retried and took."""
    queue.add(attempts=3)
    (job,) = queue.take(lock=10_000)
    queue.at(1000).recover()
    assert queue.at(31_000).recover() == ["1"]
    outcome = OUTCOMES[kind](job)
    first = queue.exchange([outcome], 1)
    assert first.refused
    assert [each.id for each in first.jobs] == ["1"]
    reply = queue.exchange([outcome], 1, again=True)
    assert reply.refused
    assert [(each.id, each.attempts_started, each.attempts_made) for each in reply.jobs] == [("1", 2, 0)]


def test_an_outcome_of_a_job_that_another_worker_started_since_is_refused(queue: Driver) -> None:
    queue.add(attempts=3)
    (job,) = queue.take(lock=10_000)
    queue.at(1000).recover()
    queue.at(31_000).recover()
    queue.take_one(worker="other")
    assert queue.exchange([counted(Completed, job)], 0, again=True).refused


def test_starts_are_counted_once_by_the_limiter(queue: Driver) -> None:
    limiter = RateLimit(max=3, duration=60.0)
    queue.add_each(5)
    assert len(queue.exchange(take=2, limiter=limiter).jobs) == 2
    assert len(queue.exchange(take=2, limiter=limiter, again=True).jobs) == 2
    assert len(queue.exchange(take=5, limiter=limiter).jobs) == 1


def test_the_jobs_come_again_while_the_limiter_is_closed(queue: Driver) -> None:
    limiter = RateLimit(max=2, duration=60.0)
    queue.add_each(5)
    queue.exchange(take=3, limiter=limiter)
    again = queue.exchange(take=3, limiter=limiter, again=True)
    assert ([job.id for job in again.jobs], again.limited_until) == (["1", "2"], 60.0)


def test_each_outcome_of_a_batch_is_judged_by_itself(queue: Driver) -> None:
    queue.add_each(3)
    applied, late, fresh = queue.take(3)
    queue.exchange([counted(Completed, applied)], 0)
    queue.settle(Returned(late.id, late.token))
    queue.take_one(worker="other")
    queue.events()
    outcomes = [counted(Completed, job) for job in (applied, late, fresh)]
    refused = queue.exchange(outcomes, 0, again=True).refused
    assert refused is not None
    assert [(outcome.job_id, code) for outcome, code in refused] == [("2", -6)]
    assert queue.kinds("3") == [EventKind.COMPLETED]


@pytest.mark.parametrize("kind", [Postponed, Returned])
def test_an_outcome_that_counts_nothing_is_refused_while_its_job_is_active(queue: Driver, kind: Any) -> None:
    """Its counts are those of before: only that the job is still active shows that the first try did nothing."""
    queue.add()
    job = queue.take_one(lock=1000)
    outcome = counted(kind, job, 1.0) if kind is Postponed else counted(kind, job)
    queue.at(2000)
    assert queue.state(job.id) is JobState.ACTIVE
    queue.exchange([], 0)
    assert [code for _, code in queue.exchange([outcome], 0, again=True).refused or ()] == [-2]
    assert queue.state(job.id) is JobState.ACTIVE
