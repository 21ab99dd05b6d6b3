"""Many outcomes in one exchange: each as if it had come alone, whatever they have in common on the way."""

from __future__ import annotations

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Completed, Outcome, Postponed, Retried, Returned
from queuesim.core.job import Job, JobState, Keep

MISSING, LOCK_MISSING, LOCK_MISMATCH = -1, -2, -6


def completed(job: Job, keep: Keep | None = None) -> Outcome:
    return Completed(job.id, job.token, "null", keep)


def taken(queue: Driver, count: int) -> list[Job]:
    queue.add_each(count)
    return queue.take(count)


@pytest.mark.parametrize(
    "ended", [[0, 1, 2, 3, 4], [0, 2, 4, 6], [7, 6, 5, 4], [3, 4, 5, 6, 7], list(range(8))], ids=str
)
def test_what_did_not_end_stays_active_in_its_order(queue: Driver, ended: list[int]) -> None:
    jobs = taken(queue, 8)
    before = queue.ids(JobState.ACTIVE)
    assert queue.exchange([completed(jobs[i]) for i in ended], 0).refused is None
    gone = {jobs[i].id for i in ended}
    assert queue.ids(JobState.ACTIVE) == [job_id for job_id in before if job_id not in gone]
    assert set(queue.ids(JobState.COMPLETED)) == gone


def test_all_kinds_in_one_exchange(queue: Driver) -> None:
    a, b, c, d, e, f = taken(queue, 6)
    outcomes = [
        completed(a),
        Retried(b.id, b.token, 0.0, "boom"),
        Postponed(c.id, c.token, 5.0),
        Returned(d.id, d.token),
        completed(e),
    ]
    assert queue.exchange(outcomes, 0).refused is None
    assert queue.counts() == {"waiting": 2, "active": 1, "delayed": 1, "completed": 2}
    assert queue.ids(JobState.ACTIVE) == [f.id]


def test_refused_ones_change_nothing_and_hinder_no_other(queue: Driver) -> None:
    jobs = taken(queue, 6)
    outcomes = [completed(job) for job in jobs[:5]]
    outcomes[1] = Completed(jobs[1].id, "somebody else's")
    outcomes.insert(3, completed(jobs[0]))
    refused = queue.exchange(outcomes, 0).refused
    assert refused == [(outcomes[1], LOCK_MISMATCH), (outcomes[3], LOCK_MISSING)]
    assert sorted(queue.ids(JobState.ACTIVE)) == sorted([jobs[1].id, jobs[5].id])
    assert queue.counts() == {"active": 2, "completed": 4}


def test_an_outcome_drives_out_the_job_of_a_later_one(queue: Driver) -> None:
    a, b = taken(queue, 2)
    queue.exchange([completed(a)], 0)
    late = completed(a)
    assert queue.exchange([completed(b, Keep(count=1)), late], 0).refused == [(late, MISSING)]
    assert queue.ids(JobState.COMPLETED) == [b.id]


def test_rules_of_retention_count_in_the_order_of_the_outcomes(queue: Driver) -> None:
    jobs = taken(queue, 6)
    rules = [None, None, Keep(count=1), None, Keep(count=0), Keep(count=3)]
    queue.exchange([completed(job, keep) for job, keep in zip(jobs, rules, strict=True)], 0)
    assert sorted(queue.ids(JobState.COMPLETED)) == [jobs[2].id, jobs[3].id, jobs[5].id]
