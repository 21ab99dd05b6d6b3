"""Who starts next: FIFO, LIFO, priorities, delays and their promotion."""

from __future__ import annotations

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Retried
from queuesim.core.errors import JobError
from queuesim.core.events import EventKind
from queuesim.core.job import JobState


def test_first_in_first_out(queue: Driver) -> None:
    ids = queue.add_each(5)
    assert queue.take_ids(2) + queue.take_ids(9) == ids


def test_lifo_goes_to_the_front(queue: Driver) -> None:
    queue.add("a")
    queue.add("b", lifo=True)
    queue.add("c", lifo=True)
    queue.add("d")
    assert [job.name for job in queue.take(9)] == ["c", "b", "a", "d"]


def test_unprioritized_jobs_go_before_all_that_are_prioritized(queue: Driver) -> None:
    for priority in (2, 0, 1, 2, 0, 1):
        queue.add(f"p{priority}", priority=priority)
    assert [job.id for job in queue.take(9)] == ["2", "5", "3", "6", "1", "4"]


def test_lifo_counts_nothing_among_prioritized_jobs(queue: Driver) -> None:
    queue.add("a", priority=1)
    queue.add("b", priority=1, lifo=True)
    assert [job.name for job in queue.take(2)] == ["a", "b"]


def test_order_within_a_priority_survives_an_empty_queue(queue: Driver) -> None:
    queue.add_each(2, priority=4)
    assert queue.take_ids(5) == ["1", "2"]
    queue.add_each(3, priority=4)
    assert queue.take_ids(5) == ["3", "4", "5"]


def test_the_largest_priority_is_the_last(queue: Driver) -> None:
    queue.add("last", priority=2**21 - 1)
    queue.add("first", priority=1)
    assert [job.name for job in queue.take(2)] == ["first", "last"]


# -- delays


def test_a_delayed_job_starts_no_earlier_than_it_is_due(queue: Driver) -> None:
    job_id = queue.add(delay=1000)
    queue.at(875)
    assert queue.take() == []
    queue.at(1000)
    queue.events()
    job = queue.take_one()
    assert (job.id, job.delay) == (job_id, 0.0)
    assert queue.story() == [
        (EventKind.WAITING, job_id, {"prev": JobState.DELAYED}),
        (EventKind.ACTIVE, job_id, {"prev": JobState.WAITING}),
    ]


def test_delayed_jobs_are_promoted_in_order_of_their_due_time(queue: Driver) -> None:
    for delay in (3000, 1000, 2000):
        queue.add(delay=delay)
    queue.at(5000)
    assert queue.take_ids(3) == ["2", "3", "1"]


def test_jobs_due_at_one_instant_keep_the_order_in_which_they_were_added(queue: Driver) -> None:
    queue.add(delay=2000)
    queue.at(1000)
    queue.add(delay=1000)
    queue.add(delay=1000)
    queue.at(1500)
    queue.add(delay=500)
    queue.at(2000)
    assert queue.take_ids(9) == ["1", "2", "3", "4"]


def test_a_promoted_job_goes_behind_those_that_wait_and_lifo_counts_no_more(queue: Driver) -> None:
    delayed = queue.add(delay=1000, lifo=True)
    waiting = queue.add()
    queue.at(1000)
    assert queue.take_ids(2) == [waiting, delayed]


def test_a_promoted_job_keeps_its_priority(queue: Driver) -> None:
    queue.add("delayed", delay=1000, priority=1)
    queue.add("later", priority=2)
    queue.add("waiting")
    queue.at(1000)
    assert [job.name for job in queue.take(3)] == ["waiting", "delayed", "later"]


def test_one_exchange_promotes_at_most_a_thousand(queue: Driver) -> None:
    queue.add_each(1500, delay=1000)
    queue.at(1000)
    reply = queue.exchange(take=1)
    assert len(reply.jobs) == 1
    assert queue.counts() == {"active": 1, "waiting": 999, "delayed": 500}
    reply = queue.exchange(take=2000)
    assert len(reply.jobs) == 1499


def test_whoever_runs_out_of_jobs_learns_when_the_next_is_due(queue: Driver) -> None:
    queue.add(delay=2000)
    queue.add(delay=1000)
    queue.add()
    assert queue.exchange(take=1).next_due is None
    assert queue.exchange(take=1).next_due == 1.0
    queue.add()
    reply = queue.exchange(take=5)
    assert (len(reply.jobs), reply.next_due) == (1, 1.0)


def test_a_paused_or_full_queue_tells_too_when_the_next_is_due(queue: Driver) -> None:
    queue.add(delay=1000)
    queue.run(queue.broker.pause(queue.now))
    assert queue.exchange().next_due == 1.0
    queue.run(queue.broker.resume(queue.now))
    queue.run(queue.broker.set_concurrency(1, queue.now))
    queue.add_each(2)
    assert len(queue.take(2)) == 1
    assert queue.exchange().next_due == 1.0


# -- by hand


def test_promote_lets_a_delayed_job_run_now(queue: Driver) -> None:
    queue.add("a")
    job_id = queue.add("b", delay=60_000, lifo=True)
    queue.events()
    queue.run(queue.broker.promote(job_id, queue.now))
    assert queue.story() == [(EventKind.WAITING, job_id, {"prev": JobState.DELAYED})]
    assert queue.get(job_id).delay == 0.0
    assert [job.name for job in queue.take(2)] == ["a", "b"]


def test_promote_keeps_the_priority(queue: Driver) -> None:
    job_id = queue.add(delay=60_000, priority=3)
    queue.run(queue.broker.promote(job_id, queue.now))
    assert queue.state(job_id) is JobState.PRIORITIZED


def test_promote_all_forgets_the_priorities(queue: Driver) -> None:
    queue.add(delay=60_000, priority=3)
    queue.add(delay=30_000)
    queue.events()
    assert queue.run(queue.broker.promote_all(queue.now)) == 2
    assert queue.ids(JobState.WAITING) == ["2", "1"]
    assert queue.kinds() == [EventKind.WAITING] * 2
    assert queue.take_ids(2) == ["2", "1"]


@pytest.mark.parametrize(("job_id", "code"), [("1", -3), ("nobody", -1)])
def test_only_a_delayed_job_can_be_promoted_or_get_another_delay(queue: Driver, job_id: str, code: int) -> None:
    queue.add()
    for refused in (queue.broker.promote(job_id, 0.0), queue.broker.change_delay(job_id, 1.0, 0.0)):
        with pytest.raises(JobError) as caught:
            queue.run(refused)
        assert (caught.value.job_id, caught.value.code) == (job_id, code)


def test_a_changed_delay_counts_from_now(queue: Driver) -> None:
    job_id = queue.add(delay=60_000)
    queue.at(1000)
    queue.events()
    queue.run(queue.broker.change_delay(job_id, 2.0, queue.now))
    assert queue.story() == [(EventKind.DELAYED, job_id, {"delay": 3.0})]
    assert queue.get(job_id).delay == 2.0
    queue.at(2875)
    assert queue.take() == []
    queue.at(3000)
    assert queue.take_ids() == [job_id]


def test_a_longer_delay_is_not_cut_short_by_the_old_one(queue: Driver) -> None:
    job_id = queue.add(delay=1000)
    queue.run(queue.broker.change_delay(job_id, 5.0, queue.now))
    queue.at(2000)
    assert queue.take() == []
    assert queue.counts() == {"delayed": 1}


def test_change_priority_moves_a_waiting_job_to_the_end_of_its_new_class(queue: Driver) -> None:
    queue.add_each(3, priority=2)
    queue.run(queue.broker.change_priority("1", 2, False, queue.now))
    assert queue.ids(JobState.PRIORITIZED) == ["2", "3", "1"]
    queue.run(queue.broker.change_priority("3", 1, False, queue.now))
    queue.run(queue.broker.change_priority("1", 0, False, queue.now))
    assert queue.counts() == {"waiting": 1, "prioritized": 2}
    assert queue.take_ids(3) == ["1", "3", "2"]


def test_change_priority_with_lifo_goes_to_the_front_of_the_class(queue: Driver) -> None:
    queue.add_each(3, priority=2)
    queue.run(queue.broker.change_priority("3", 2, True, queue.now))
    queue.add()
    queue.run(queue.broker.change_priority("2", 0, True, queue.now))
    assert queue.take_ids(9) == ["2", "4", "3", "1"]


def test_a_delayed_job_remembers_its_new_priority(queue: Driver) -> None:
    queue.add(delay=1000)
    queue.events()
    queue.run(queue.broker.change_priority("1", 5, False, queue.now))
    assert (queue.state("1"), queue.events()) == (JobState.DELAYED, [])
    queue.at(1000)
    queue.add(priority=4)
    assert queue.take_ids(2) == ["2", "1"]


def test_change_priority_of_a_missing_job(queue: Driver) -> None:
    with pytest.raises(JobError) as caught:
        queue.run(queue.broker.change_priority("nobody", 1, False, 0.0))
    assert caught.value.code == -1


def test_delayed_jobs_of_one_millisecond_run_in_the_order_of_adding(queue: Driver) -> None:
    """More than nine: by their ids as text the tenth would come before the second."""
    ids = queue.add_each(12, delay=1000)
    assert queue.at(1000).take_ids(12) == ids


def test_jobs_that_are_retried_at_one_millisecond_run_in_the_order_in_which_they_failed(queue: Driver) -> None:
    queue.add_each(12)
    jobs = queue.take(12)
    order = [jobs[i] for i in (7, 11, 1, 9, 0, 10, 2, 8, 3, 6, 4, 5)]
    queue.exchange([Retried(job.id, job.token, 1.0, "boom") for job in order], 0)
    assert queue.at(1000).take_ids(12) == [job.id for job in order]
