"""Which finished jobs are kept: by count, by age, by the job's own rule or the worker's."""

from __future__ import annotations

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Completed
from queuesim.core.events import EventKind
from queuesim.core.job import JobState, Keep

COMPLETED, FAILED = JobState.COMPLETED, JobState.FAILED


def complete_at(queue: Driver, milliseconds: int, keep: Keep | None, **options: object) -> str:
    job_id = queue.add(**options)
    queue.at(milliseconds).complete(queue.take_one(), keep=keep)
    return job_id


def test_everything_is_kept_by_default(queue: Driver) -> None:
    for second in range(5):
        complete_at(queue, second * 1000, None)
    assert queue.ids(COMPLETED) == ["1", "2", "3", "4", "5"]


def test_a_count_keeps_the_newest(queue: Driver) -> None:
    for second in range(5):
        complete_at(queue, second * 1000, Keep(count=2))
    assert queue.ids(COMPLETED) == ["4", "5"]
    assert not queue.exists("3")


def test_a_count_of_zero_keeps_nothing_and_evicts_nobody_else(queue: Driver) -> None:
    complete_at(queue, 0, None)
    queue.events()
    complete_at(queue, 1000, Keep(count=0))
    assert queue.ids(COMPLETED) == ["1"]
    assert not queue.exists("2")
    assert EventKind.COMPLETED in queue.kinds("2"), "its event tells of it all the same"


def test_an_age_evicts_only_when_another_job_finishes(queue: Driver) -> None:
    keep = Keep(age=10.0)
    complete_at(queue, 0, keep)
    complete_at(queue, 5000, keep)
    queue.at(100_000)
    queue.take()
    assert queue.ids(COMPLETED) == ["1", "2"], "there is no timer"
    complete_at(queue, 100_000, keep)
    assert queue.ids(COMPLETED) == ["3"]


def test_a_job_exactly_as_old_as_the_age_goes(queue: Driver) -> None:
    keep = Keep(age=10.0)
    complete_at(queue, 0, keep)
    complete_at(queue, 125, keep)
    complete_at(queue, 10_000, keep)
    assert queue.ids(COMPLETED) == ["2", "3"]


def test_the_rule_of_the_finishing_job_evicts_the_others(queue: Driver) -> None:
    for second in range(4):
        complete_at(queue, second * 1000, None)
    complete_at(queue, 4000, Keep(count=1))
    assert queue.ids(COMPLETED) == ["5"]


def test_the_jobs_own_rule_goes_before_the_workers(queue: Driver) -> None:
    complete_at(queue, 0, Keep(count=0), keep_completed=Keep())
    assert queue.ids(COMPLETED) == ["1"]
    complete_at(queue, 1000, Keep(), keep_completed=Keep(count=0))
    assert queue.ids(COMPLETED) == ["1"]


def test_completed_and_failed_have_rules_of_their_own(queue: Driver) -> None:
    queue.add(keep_failed=Keep(count=0), keep_completed=Keep())
    queue.add(keep_failed=Keep(), keep_completed=Keep(count=0))
    for job in queue.take(2):
        queue.fail(job)
    assert (queue.ids(FAILED), queue.ids(COMPLETED)) == (["2"], [])


def test_an_eviction_in_one_state_leaves_the_other_alone(queue: Driver) -> None:
    queue.add()
    queue.fail(queue.take_one())
    for second in (1, 2):
        complete_at(queue, second * 1000, Keep(count=1, age=0.0))
    assert (queue.ids(FAILED), queue.ids(COMPLETED)) == (["1"], [])


def test_an_age_of_zero_evicts_the_job_itself(queue: Driver) -> None:
    complete_at(queue, 1000, Keep(age=0.0))
    assert queue.counts() == {}


def test_ties_in_time_go_by_id_as_text(queue: Driver) -> None:
    ids = queue.add_each(11)
    jobs = {job.id: job for job in queue.take(11)}
    outcomes = [Completed(jobs[id].id, jobs[id].token, "null", Keep(count=3)) for id in ids]
    queue.exchange(outcomes, 0)
    # 1, 10, 11, 2, ..., 9 is their order in a sorted set; each finish evicts at once
    assert queue.ids(COMPLETED) == ["7", "8", "9"]


def test_both_rules_together(queue: Driver) -> None:
    keep = Keep(count=3, age=10.0)
    for second in (0, 1, 9, 10, 11):
        complete_at(queue, second * 1000, keep)
    assert queue.ids(COMPLETED) == ["3", "4", "5"]
    complete_at(queue, 20_000, keep)
    assert queue.ids(COMPLETED) == ["5", "6"]


def test_at_most_limit_old_jobs_go_at_one_time_the_newest_of_them(queue: Driver) -> None:
    """Not the oldest: run against BullMQ 6.7.0, whose range by age is read from its young end."""
    for second in range(5):
        complete_at(queue, second * 1000, None)
    complete_at(queue, 60_000, Keep(age=10.0, limit=2))
    assert queue.ids(COMPLETED) == ["1", "2", "3", "6"]


@pytest.mark.parametrize("state", [COMPLETED, FAILED])
def test_an_evicted_job_is_gone_in_every_way(queue: Driver, state: JobState) -> None:
    queue.add(job_id="k", keep_completed=Keep(count=0), keep_failed=Keep(count=0))
    job = queue.take_one()
    queue.events()
    queue.complete(job) if state is COMPLETED else queue.fail(job)
    assert (queue.state("k"), queue.counts(), queue.run(queue.broker.logs("k"))) == (None, {}, [])
    assert EventKind.REMOVED not in queue.kinds()
    assert queue.add(job_id="k") == "k"
    assert queue.counts() == {"waiting": 1}
