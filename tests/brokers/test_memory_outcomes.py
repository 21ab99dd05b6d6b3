"""What becomes of a job: completed, failed, retried, postponed; attempts; the drained event."""

from __future__ import annotations

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Completed, Failed, Postponed, Retried
from queuesim.core.events import EventKind
from queuesim.core.job import JobState


def test_completed(queue: Driver) -> None:
    queue.add()
    job = queue.at(1000).take_one()
    queue.events()
    queue.at(3000)
    assert queue.complete(job, '{"ok":[true]}') == 0
    returned = {"returnvalue": '{"ok":[true]}', "prev": JobState.ACTIVE}
    assert queue.story() == [(EventKind.COMPLETED, "1", returned), (EventKind.DRAINED, None, {})]
    job = queue.get("1")
    assert (job.return_value, job.processed_on, job.finished_on, job.processed_by) == (
        {"ok": [True]},
        1.0,
        3.0,
        "worker",
    )
    assert (job.attempts_made, job.attempts_started, queue.state("1")) == (1, 1, JobState.COMPLETED)


def test_failed_and_exhausted(queue: Driver) -> None:
    queue.add(attempts=1)
    job = queue.take_one()
    queue.events()
    queue.at(2000).fail(job, "out of luck")
    assert queue.story() == [
        (EventKind.FAILED, "1", {"failedReason": "out of luck", "prev": JobState.ACTIVE}),
        (EventKind.RETRIES_EXHAUSTED, "1", {"attemptsMade": 1}),
        (EventKind.DRAINED, None, {}),
    ]
    job = queue.get("1")
    assert (job.failed_reason, job.finished_on, job.attempts_made, job.return_value) == ("out of luck", 2.0, 1, None)


def test_an_unrecoverable_failure_with_attempts_left_is_not_called_exhausted(queue: Driver) -> None:
    queue.add(attempts=3)
    job = queue.take_one()
    queue.events()
    queue.fail(job)
    assert queue.kinds("1") == [EventKind.FAILED]


def test_retried_after_a_delay(queue: Driver) -> None:
    queue.add(attempts=3)
    job = queue.take_one()
    queue.events()
    queue.at(1000).retry(job, 2000, "try again")
    assert queue.story() == [(EventKind.DELAYED, "1", {"delay": 3.0})]
    job = queue.get("1")
    assert (job.attempts_made, job.attempts_started, job.failed_reason, job.delay) == (1, 1, "try again", 2.0)
    queue.at(3000)
    job = queue.take_one()
    assert (job.attempts_made, job.attempts_started, job.delay) == (1, 2, 0.0)


def test_retried_at_once_goes_to_the_end_of_the_queue(queue: Driver) -> None:
    queue.add_each(2, attempts=3)
    job = queue.take_one()
    queue.events()
    queue.retry(job)
    assert queue.story() == [(EventKind.WAITING, "1", {"prev": JobState.ACTIVE})]
    assert queue.take_ids(2) == ["2", "1"]


def test_a_lifo_job_is_retried_at_the_front(queue: Driver) -> None:
    queue.add_each(2, attempts=3, lifo=True)
    queue.retry(queue.take_one())
    assert queue.take_ids(2) == ["2", "1"]


def test_a_prioritized_job_is_retried_at_the_end_of_its_priority(queue: Driver) -> None:
    queue.add_each(2, attempts=3, priority=1)
    queue.add(priority=2)
    queue.retry(queue.take_one())
    assert queue.take_ids(3) == ["2", "1", "3"]


def test_a_job_retried_at_once_goes_behind_those_that_became_due(queue: Driver) -> None:
    queue.add(attempts=2)
    job = queue.take_one()
    queue.add(delay=500)
    queue.at(1000)
    queue.retry(job)
    assert queue.take_ids(2) == ["2", "1"]


def test_postponed_counts_no_attempt(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    queue.events()
    queue.at(1000).postpone(job, 500)
    assert queue.story() == [(EventKind.DELAYED, "1", {"delay": 1.5})]
    assert (queue.get("1").attempts_made, queue.get("1").attempts_started) == (0, 1)
    assert queue.at(1375).take() == []
    assert queue.at(1500).take_one().attempts_started == 2


def test_stack_traces_collect_up_to_their_limit(queue: Driver) -> None:
    queue.add(attempts=9, stack_trace_limit=2)
    queue.add(attempts=9, stack_trace_limit=0)
    for trace in ("a", "b", "c"):
        jobs = queue.take(2)
        queue.exchange([Retried(job.id, job.token, 0.0, "boom", (trace,)) for job in jobs], 0)
    assert list(queue.get("1").stacktrace) == ["b", "c"]
    assert list(queue.get("2").stacktrace) == []


def test_the_history_of_failed_attempts_travels_with_the_job(queue: Driver) -> None:
    queue.add(attempts=3)
    for attempt in (1, 2):
        job = queue.take_one()
        assert [row["attempt"] for row in job.history] == list(range(1, attempt))
        queue.exchange([Retried(job.id, job.token, 0.0, "boom", (), {"attempt": attempt})], 0)
    assert list(queue.take_one().history) == [{"attempt": 1}, {"attempt": 2}]


def test_one_exchange_settles_before_it_takes(queue: Driver) -> None:
    queue.add_each(3, attempts=2)
    a, b = queue.take(2)
    outcomes = [Completed(a.id, a.token), Retried(b.id, b.token, 0.0, "boom")]
    reply = queue.exchange(outcomes, 5)
    assert ([job.id for job in reply.jobs], reply.refused) == (["3", "2"], None)
    assert len({job.token for job in reply.jobs}) == 1
    assert reply.jobs[0].token not in (a.token, b.token)


# -- drained


def drained(queue: Driver) -> bool:
    return EventKind.DRAINED in queue.kinds()


def test_drained_comes_with_the_last_job_only(queue: Driver) -> None:
    queue.add_each(2)
    a, b = queue.take(2)
    queue.complete(a)
    assert not drained(queue)
    queue.fail(b)
    assert drained(queue)


@pytest.mark.parametrize("priority", [0, 1])
def test_not_drained_while_jobs_wait(queue: Driver, priority: int) -> None:
    queue.add_each(2, priority=priority)
    queue.complete(queue.take_one())
    assert not drained(queue)


@pytest.mark.parametrize(("take", "expected"), [(1, False), (0, True)])
def test_a_delayed_job_keeps_drained_back_from_a_worker_that_asks_for_more(
    queue: Driver, take: int, expected: bool
) -> None:
    """BullMQ answers such a worker when the delayed job is due, and emits nothing; run against 6.7.0."""
    queue.add()
    queue.add(delay=60_000)
    queue.complete(queue.take_one(), take=take)
    assert drained(queue) is expected


def test_a_paused_queue_is_not_drained_by_a_worker_that_asks_for_more(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    queue.run(queue.broker.pause(queue.now))
    queue.complete(job, take=1)
    assert not drained(queue)


@pytest.mark.parametrize("finish_last", [True, False])
def test_in_a_batch_the_last_outcome_decides(queue: Driver, finish_last: bool) -> None:
    queue.add_each(2)
    a, b = queue.take(2)
    outcomes = [Completed(a.id, a.token), Postponed(b.id, b.token, 5.0)]
    queue.exchange(outcomes[::-1] if finish_last else outcomes, 0)
    assert drained(queue) is finish_last


def test_a_refused_outcome_drains_nothing(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    queue.complete(job)
    queue.events()
    assert queue.settle(Failed(job.id, job.token, "late")) == -2
    assert queue.events() == []
