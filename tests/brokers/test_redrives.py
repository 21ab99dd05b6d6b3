"""What became of each redrive is told: waiting, active, completed, failed, dead again, removed or unknown."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from brokerdriver import Driver, new_job

from queuesim.core import deadletters
from queuesim.core.broker import DeadLetter
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import DeadLetters, RedriveStatus, describe
from queuesim.core.job import Job, JobState, Keep

T = TypeVar("T")


class Graveyard:
    """A queue with dead letters, at the driver's time."""

    def __init__(self, queue: Driver) -> None:
        self.queue = queue.at(1000)
        self.letters = DeadLetters(queue.broker, "dead")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def at_its_time() -> T:
            set_clock(lambda: self.queue.now)
            return await coroutine

        return self.queue.run(at_its_time())

    def fail(self, job: Job, reason: str = "boom") -> None:
        letter = DeadLetter("dead", describe("tests", job, reason, [*job.history, {"attempt": 1, "message": reason}]))
        assert self.queue.fail(job, reason, letter=letter) == 0

    def redriven(self, **options: Any) -> str:
        """A job that failed and was redriven; its new id."""
        self.queue.add("mail", '{"to":"a"}', **options)
        self.fail(self.queue.take_one())
        (job_id,) = self.run(self.letters.redrive()).values()
        return job_id

    def told(self) -> list[tuple[str, RedriveStatus, str]]:
        return [(row.job_id, row.status, row.reason) for row in self.run(self.letters.redrives())]


@pytest.fixture
def dead(queue: Driver) -> Graveyard:
    return Graveyard(queue)


def test_a_redrive_is_followed_to_the_end_of_its_job(dead: Graveyard) -> None:
    job_id = dead.redriven()
    assert dead.told() == [(job_id, RedriveStatus.WAITING, "")]
    job = dead.queue.take_one()
    assert dead.told() == [(job_id, RedriveStatus.ACTIVE, "")]
    assert dead.queue.retry(job, 1000) == 0
    assert dead.told() == [(job_id, RedriveStatus.WAITING, "")]
    job = dead.queue.at(2000).take_one()
    assert dead.queue.complete(job) == 0
    assert dead.told() == [(job_id, RedriveStatus.COMPLETED, "")]
    (row,) = dead.run(dead.letters.redrives())
    assert (row.letter, row.queue, row.failed, row.name, row.origin) == ("1", "tests", "1", "mail", "1")
    assert (row.redrives, row.redriven) == (1, 1.0)


def test_a_job_that_dies_again_is_told_of_in_both_lists(dead: Graveyard) -> None:
    first = dead.redriven()
    dead.fail(dead.queue.take_one(), "again")
    assert dead.told() == [(first, RedriveStatus.DEAD_AGAIN, "again")]
    (letter,) = dead.run(dead.letters.list())
    (row,) = [row for row in letter.history if "redriven" in row]
    assert (row["redriven"], row["status"]) == (1.0, "dead again")
    (second,) = dead.run(dead.letters.redrive()).values()
    assert dead.told() == [(second, RedriveStatus.WAITING, ""), (first, RedriveStatus.DEAD_AGAIN, "again")]
    dead.queue.run(dead.queue.broker.remove(first, 1.0))
    assert dead.told()[1] == (first, RedriveStatus.DEAD_AGAIN, "")


def test_a_failed_job_without_a_letter_is_failed(dead: Graveyard) -> None:
    job_id = dead.redriven()
    dead.fail(dead.queue.take_one())
    dead.run(dead.letters.discard(everything=True))
    assert dead.told() == [(job_id, RedriveStatus.FAILED, "boom")]


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_events_tell_how_a_job_ended_that_is_not_kept(dead: Graveyard, end: str) -> None:
    job_id = dead.redriven(keep_completed=Keep(0), keep_failed=Keep(0))
    job = dead.queue.take_one()
    if end == "complete":
        dead.queue.complete(job)
    else:
        dead.queue.fail(job)
    assert not dead.queue.exists(job_id)
    expected = RedriveStatus.COMPLETED if end == "complete" else RedriveStatus.FAILED
    assert dead.told() == [(job_id, expected, "")]


def test_a_job_that_was_removed(dead: Graveyard) -> None:
    job_id = dead.redriven()
    dead.queue.run(dead.queue.broker.remove(job_id, 1.0))
    assert dead.told() == [(job_id, RedriveStatus.REMOVED, "")]


def test_a_job_that_completed_and_was_removed_then_has_completed(dead: Graveyard) -> None:
    job_id = dead.redriven()
    dead.queue.complete(dead.queue.take_one())
    dead.queue.run(dead.queue.broker.remove(job_id, 1.0))
    assert dead.told() == [(job_id, RedriveStatus.COMPLETED, "")]


def test_a_job_that_ran_once_more_and_was_removed_then_was_removed(dead: Graveyard) -> None:
    job_id = dead.redriven()
    dead.queue.complete(dead.queue.take_one())
    dead.queue.run(dead.queue.broker.retry(job_id, JobState.COMPLETED, True, 1.0))
    dead.queue.run(dead.queue.broker.remove(job_id, 1.0))
    assert dead.told() == [(job_id, RedriveStatus.REMOVED, "")]


def test_of_a_job_whose_queue_was_obliterated_nothing_is_known(dead: Graveyard) -> None:
    job_id = dead.redriven()
    dead.queue.run(dead.queue.broker.pause(1.0))
    dead.queue.run(dead.queue.broker.obliterate(True, 1.0))
    assert dead.told() == [(job_id, RedriveStatus.UNKNOWN, "")]


def test_the_newest_come_first_and_by_pages(dead: Graveyard) -> None:
    ids = [dead.redriven() for _ in range(4)]
    assert [row.job_id for row in dead.run(dead.letters.redrives())] == ids[::-1]
    assert [row.job_id for row in dead.run(dead.letters.redrives(1, 2))] == [ids[2], ids[1]]


def test_the_newest_records_are_kept(dead: Graveyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadletters, "MAX_REDRIVES", 2)
    ids = [dead.redriven() for _ in range(4)]
    assert [row.job_id for row in dead.run(dead.letters.redrives())] == ids[:1:-1]


def test_what_another_program_left_there_is_passed_over(dead: Graveyard) -> None:
    records = dead.queue.broker.sibling("dead-redriven")
    bad = ["[]", "{}", '{"letter":1}', '{"letter":"1","queue":"q","job_id":"j","failed":"f","name":"n","origin":"o"}']
    dead.queue.run(records.add([new_job("x", data) for data in bad], 1.0))
    job_id = dead.redriven()
    assert dead.told() == [(job_id, RedriveStatus.WAITING, "")]


def test_letters_are_read_by_pages(dead: Graveyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadletters, "PAGE", 2)
    for _ in range(4):
        dead.queue.add("mail")
        dead.fail(dead.queue.take_one())
    job_id = dead.run(dead.letters.redrive(["4"]))["4"]
    dead.fail(dead.queue.take_one(), "again")
    assert dead.told() == [(job_id, RedriveStatus.DEAD_AGAIN, "again")]
