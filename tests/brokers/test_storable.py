"""Outcomes as any broker can store them: whatever is wrong with one concerns its own job alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Completed, DeadLetter, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.errors import JobError
from queuesim.core.job import JobState
from queuesim.core.storable import LONGEST_DELAY, storable

HALF = "half an emoji \ud83d"
WHOLE = "half an emoji \ufffd"


class OddText(str):
    """Text that is not what it seems."""

    def isascii(self) -> bool:
        return True

    def encode(self, *_: Any) -> bytes:
        raise RuntimeError("no")


def test_an_outcome_in_good_order_is_the_same_object() -> None:
    for outcome in (
        Completed("1", "t", '"gr\u00fc\u00df"'),
        Failed("1", "t", "boom", ("here",)),
        Retried("1", "t", 1.5, "boom", (), {"attempt": 1, "started": None}),
        Postponed("1", "t", 0),
        Returned("1", "t"),
    ):
        assert storable(outcome) is outcome


def test_lone_surrogates_are_replaced_everywhere_and_the_note_says_so() -> None:
    completed = storable(Completed("1", "t", f'"{HALF}"'))
    assert isinstance(completed, Completed)
    assert completed.value == f'"{WHOLE}"'
    assert completed.note.startswith("queuesim: 1 lone surrogate was replaced by U+FFFD")
    failed = storable(Failed("1", "t", HALF, (HALF, "x"), dead_letter=DeadLetter("dead", f'"{HALF}"')))
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.stacktrace, failed.dead_letter) == (
        WHOLE,
        (WHOLE, "x"),
        DeadLetter("dead", f'"{WHOLE}"'),
    )
    assert "3 lone surrogates were" in failed.note
    retried = storable(Retried("1", "t", 0.0, "x", (), {"message": HALF, "attempt": 1}))
    assert isinstance(retried, Retried)
    assert retried.history == {"message": WHOLE, "attempt": 1}
    assert "1 lone surrogate was" in retried.note


@pytest.mark.parametrize(
    "outcome",
    [
        Completed("1", "t", None),  # type: ignore[arg-type]
        Completed("1", "t", b"x"),  # type: ignore[arg-type]
        Failed("1", "t", 5),  # type: ignore[arg-type]
        Failed("1", "t", "x", (None,)),  # type: ignore[arg-type]
        Retried("1", "t", math.nan, "x"),
        Retried("1", "t", math.inf, "x"),
        Retried("1", "t", -1.0, "x"),
        Postponed("1", "t", None),  # type: ignore[arg-type]
        Returned("1", "t", "5"),  # type: ignore[arg-type]
        Returned("1", "t", math.inf),
    ],
)
def test_one_that_can_not_be_stored_fails_its_job_and_says_why(outcome: Outcome) -> None:
    failed = storable(outcome)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith(f"the outcome {type(outcome).__name__} can't be stored: ")


def test_text_of_a_class_of_its_own_is_plain_text() -> None:
    failed = storable(Failed("1", "t", OddText(HALF)))
    assert isinstance(failed, Failed)
    assert type(failed.reason) is str
    assert failed.reason == WHOLE


def test_a_delay_that_no_score_can_hold_is_cut() -> None:
    retried = storable(Retried("1", "t", 1e300, "x"))
    assert isinstance(retried, Retried)
    assert retried.delay == LONGEST_DELAY


def test_hostile_outcomes_concern_their_own_jobs_on_every_broker(queue: Driver) -> None:
    """All in one exchange, between good ones."""
    queue.add_each(9)
    jobs = queue.take(9)
    good = [Completed(job.id, job.token, '"fine"') for job in jobs[:3]]
    bad: list[Outcome] = [
        Completed(jobs[3].id, jobs[3].token, f'"{HALF}"'),
        Completed(jobs[4].id, jobs[4].token, None),  # type: ignore[arg-type]
        Failed(jobs[5].id, jobs[5].token, HALF, (HALF,)),
        Retried(jobs[6].id, jobs[6].token, math.nan, "x"),
        Returned(jobs[7].id, jobs[7].token, "5"),  # type: ignore[arg-type]
        Retried(jobs[8].id, jobs[8].token, 0, HALF, (), {"message": HALF, "odd": 1}),
    ]
    reply = queue.exchange([good[0], *bad[:3], good[1], *bad[3:], good[2]], 0)
    assert reply.refused is None
    assert sorted(queue.ids(JobState.COMPLETED)) == [jobs[i].id for i in (0, 1, 2, 3)]
    assert sorted(queue.ids(JobState.FAILED)) == [jobs[i].id for i in (4, 5, 6, 7)]
    assert queue.ids(JobState.WAITING) == [jobs[8].id]
    assert queue.get(jobs[3].id).return_value == WHOLE
    assert queue.get(jobs[5].id).failed_reason == WHOLE
    assert queue.get(jobs[8].id).failed_reason == WHOLE
    assert queue.get(jobs[8].id).history == ({"message": WHOLE, "odd": 1},)
    (row,) = queue.run(queue.broker.logs(jobs[3].id))
    assert row.startswith("queuesim: 1 lone surrogate was replaced")
    assert queue.run(queue.broker.logs(jobs[0].id)) == []


def test_there_is_no_job_of_an_id_that_cannot_be_stored(queue: Driver) -> None:
    """Each look-up says so as for any other id; none is an error of the encoding."""
    broker = queue.broker
    for job_id in (HALF, "none"):
        assert queue.run(broker.get(job_id)) is None
        assert queue.state(job_id) is None
        assert queue.run(broker.logs(job_id)) == []
        assert queue.run(broker.children(job_id)).values == {}
        assert queue.run(broker.scheduler(job_id)) is None
        assert not queue.run(broker.remove_scheduler(job_id, queue.now))
        assert not queue.run(broker.release_deduplication(job_id, queue.now))
        for refused in (
            broker.remove(job_id, queue.now),
            broker.promote(job_id, queue.now),
            broker.retry(job_id, JobState.FAILED, False, queue.now),
            broker.update_data(job_id, "1", queue.now),
            broker.log(job_id, "row", None, queue.now),
        ):
            with pytest.raises(JobError, match="there is no such job"):
                queue.run(refused)
