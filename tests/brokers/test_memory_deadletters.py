"""Dead letters: buried in the same step as the failure, listed, redriven and discarded."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from brokerdriver import Driver, new_job

from queuesim.core.broker import Completed, DeadLetter, Failed, Terms
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import MAX_HISTORY, DeadLetters, describe, is_letter_of, shortened
from queuesim.core.errors import JobError, NetworkError
from queuesim.core.events import EventKind
from queuesim.core.job import Backoff, Deduplication, Job, JobState, Keep
from queuesim.core.processor import Processor, failure

T = TypeVar("T")


class Graveyard:
    """Dead letters of a driven queue, called at the driver's time."""

    def __init__(self, queue: Driver) -> None:
        self.queue = queue
        self.letters = DeadLetters(queue.broker, "dead")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def at_its_time() -> T:
            set_clock(lambda: self.queue.now)
            return await coroutine

        return self.queue.run(at_its_time())

    def bury(self, reason: str = "boom", **options: Any) -> Job:
        self.queue.add("mail", '{"to":"a"}', **options)
        job = self.queue.take_one()
        history = [{"attempt": 1, "message": reason}]
        letter = DeadLetter("dead", describe(self.queue.broker.queue, job, reason, history))
        assert self.queue.fail(job, reason, letter=letter) == 0
        return job


@pytest.fixture
def dead(queue: Driver) -> Graveyard:
    return Graveyard(queue)


def test_a_letter_is_a_job_of_the_dead_letter_queue(dead: Graveyard) -> None:
    job = dead.bury()
    sibling = dead.queue.broker.sibling("dead")
    (letter,) = dead.queue.run(sibling.jobs(JobState.WAITING, 0, -1, True))
    assert letter.name == "mail"
    assert (letter.data["id"], letter.data["reason"]) == (job.id, "boom")
    kinds = [event.kind for event in dead.queue.run(sibling.events(0))]
    assert kinds == [EventKind.ADDED, EventKind.WAITING]
    assert dead.queue.state(job.id) is JobState.FAILED


def test_what_a_letter_tells(dead: Graveyard) -> None:
    backoff = Backoff("exponential", 1.0, jitter=0.5, cap=60.0)
    keep = Keep(count=5, age=60.0)
    dead.queue.at(1000)
    job = dead.bury(attempts=3, backoff=backoff, priority=4, keep_failed=keep, job_id="k")
    (letter,) = dead.run(dead.letters.list())
    assert (letter.queue, letter.job_id, letter.name, letter.data) == ("tests", "k", "mail", {"to": "a"})
    assert (letter.reason, letter.added, letter.buried) == ("boom", 1.0, 1.0)
    assert letter.options == job.options
    assert list(letter.history) == [{"attempt": 1, "message": "boom"}]


def test_a_refused_failure_buries_nothing(dead: Graveyard) -> None:
    queue = dead.queue
    queue.add()
    job = queue.take_one()
    assert queue.settle(Failed(job.id, "somebody:1", "boom", dead_letter=DeadLetter("dead", "{}"))) == -6
    assert dead.run(dead.letters.count()) == 0


def test_a_job_that_is_not_kept_is_buried_all_the_same(dead: Graveyard) -> None:
    job = dead.bury(keep_failed=Keep(count=0))
    assert not dead.queue.exists(job.id)
    assert [letter.job_id for letter in dead.run(dead.letters.list())] == [job.id]


def test_letters_are_listed_oldest_first_and_by_pages(dead: Graveyard) -> None:
    for reason in "abc":
        dead.bury(reason)
    assert [letter.reason for letter in dead.run(dead.letters.list())] == ["a", "b", "c"]
    assert [letter.reason for letter in dead.run(dead.letters.list(1, 1))] == ["b"]
    assert dead.run(dead.letters.count()) == 3


def test_redrive_adds_the_job_again_with_all_its_attempts(dead: Graveyard) -> None:
    dead.bury(attempts=3, priority=2, delay=0, deduplication=Deduplication("d"), timestamp=500)
    dead.queue.at(5000)
    redriven = dead.run(dead.letters.redrive())
    (job_id,) = redriven.values()
    assert list(redriven) == ["1"]
    assert job_id.startswith("redriven-1-")
    assert dead.run(dead.letters.count()) == 0
    job = dead.queue.take_one()
    assert (job.id, job.name, job.data, job.timestamp) == (job_id, "mail", {"to": "a"}, 5.0)
    assert (job.attempts_made, job.options.attempts, job.priority) == (0, 3, 2)


def test_redrive_of_some(dead: Graveyard) -> None:
    for reason in "abc":
        dead.bury(reason)
    ids = [letter.id for letter in dead.run(dead.letters.list())]
    assert list(dead.run(dead.letters.redrive([ids[1]]))) == [ids[1]]
    assert [letter.reason for letter in dead.run(dead.letters.list())] == ["a", "c"]


def test_a_job_that_dies_again_gets_a_letter_and_an_id_of_its_own(dead: Graveyard) -> None:
    dead.bury()
    dead.run(dead.letters.redrive())
    job = dead.queue.take_one()
    letter = DeadLetter("dead", describe(dead.queue.broker.queue, job, "again", []))
    dead.queue.fail(job, letter=letter)
    (again,) = dead.run(dead.letters.redrive()).values()
    assert again.startswith("redriven-2-")
    assert dead.queue.take_ids(9) == [again]


def test_a_redrive_that_was_cut_short_runs_nothing_twice(dead: Graveyard) -> None:
    """The job was added, then the program died before it removed the letter."""
    dead.bury()
    remove = dead.letters.broker.remove

    async def die(*arguments: Any) -> None:
        raise KeyboardInterrupt

    dead.letters.broker.remove = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dead.run(dead.letters.redrive())
    dead.letters.broker.remove = remove  # type: ignore[method-assign]
    (job_id,) = dead.run(dead.letters.redrive()).values()
    assert dead.queue.take_ids(9) == [job_id]
    assert dead.run(dead.letters.count()) == 0


def test_a_second_history_of_letters_loses_no_job(dead: Graveyard) -> None:
    """The dead-letter queue is obliterated, and counts its letters from 1 again."""
    jobs = []
    for _ in range(3):
        dead.bury(keep_completed=Keep(100))
        redriven = dead.run(dead.letters.redrive())
        assert list(redriven) == ["1"]
        (job,) = dead.queue.take(9)
        assert [job.id] == list(redriven.values())
        jobs.append(job.id)
        dead.queue.complete(job)
        assert dead.run(dead.letters.count()) == 0
        dead.run(dead.letters.broker.pause(dead.queue.now))
        dead.run(dead.letters.broker.obliterate(True, dead.queue.now))
    assert len(set(jobs)) == 3


def test_nor_does_one_of_letters_without_a_key(dead: Graveyard, caplog: pytest.LogCaptureFixture) -> None:
    """As earlier versions wrote them. Where two have one id, the second stays."""

    def bury(task: int) -> None:
        letter = {
            "queue": "tests", "id": str(task), "name": "t", "data": {"task": task}, "options": {"attempts": 1},
            "reason": "x", "added": 1.0, "history": [],
        }  # fmt: skip
        dead.run(dead.letters.broker.add([new_job("t", json.dumps(letter))], dead.queue.now))

    bury(1)
    assert len(dead.run(dead.letters.redrive())) == 1
    dead.run(dead.letters.broker.pause(dead.queue.now))
    dead.run(dead.letters.broker.obliterate(True, dead.queue.now))
    bury(2)
    assert dead.run(dead.letters.redrive()) == {}
    assert "stays: another job has the id" in caplog.text
    assert [letter.data for letter in dead.run(dead.letters.list())] == [{"task": 2}]
    dead.run(dead.letters.broker.remove("1", dead.queue.now))
    dead.queue.at(1000)
    bury(2)
    assert len(dead.run(dead.letters.redrive())) == 1
    assert [job.data for job in dead.queue.take(9)] == [{"task": 1}, {"task": 2}]


def test_letters_keep_their_lineage(dead: Graveyard) -> None:
    """The first id, and what happened in every life."""
    processor = Processor("tests", dead_letters="dead")
    dead.queue.add("mail", '{"to":"a"}', attempts=2)
    for life in range(3):
        for attempt in range(2):
            dead.queue.at(dead.queue.clock.now * 1000 + 1000)
            job = dead.queue.take_one()
            outcome = failure(processor, job, NetworkError(f"down {life}.{attempt}"), random.Random(0))
            assert dead.queue.settle(outcome) == 0
        (letter,) = dead.run(dead.letters.list())
        assert (letter.origin, letter.redrives, letter.job_id) == ("1", life, job.id)
        dead.run(dead.letters.redrive())
    rows = letter.history
    assert [row.get("message") for row in rows] == [
        "down 0.0", "down 0.1", None, "down 1.0", "down 1.1", None, "down 2.0", "down 2.1",
    ]  # fmt: skip
    assert [(row["redriven"], row["letter"], row["origin"], row["redrives"]) for row in rows if "redriven" in row] == [
        (2.0, "1", "1", 1), (4.0, "2", "1", 2),
    ]  # fmt: skip
    assert rows[2]["job_id"] == "1"
    assert rows[5]["job_id"].startswith("redriven-1-")


def test_a_long_history_says_what_is_left_out() -> None:
    history: list[dict[str, Any]] = [{"attempt": 1}, {"redriven": 1.0, "redrives": 1}]
    for attempt in range(1, 5 * MAX_HISTORY):
        history = shortened([*history, {"attempt": attempt}])
        assert len(history) <= MAX_HISTORY
    assert history[0] == {"attempt": 1}
    assert history[-1] == {"attempt": attempt}
    assert [row for row in history if "redriven" in row] == [{"redriven": 1.0, "redrives": 1}]
    (omitted,) = [row["omitted"] for row in history if "omitted" in row]
    assert omitted + len(history) - 1 == attempt + 2


@pytest.mark.parametrize("data", ["[1]", "{}", '{"queue": 1}', "null", '"text"', "5"])
def test_a_letter_that_can_not_be_read_blocks_no_other(dead: Graveyard, data: str) -> None:
    dead.run(dead.letters.broker.add([new_job("mail", data)], dead.queue.now))
    dead.bury()
    bad, good = dead.run(dead.letters.list())
    assert bad.unreadable.startswith("not a dead letter: ")
    assert good.unreadable == ""
    assert list(dead.run(dead.letters.redrive())) == [good.id]
    assert [letter.id for letter in dead.run(dead.letters.list())] == [bad.id]
    assert dead.run(dead.letters.discard([bad.id])) == 1


@pytest.mark.parametrize("how", ["retry", "retry_all"])
def test_to_retry_a_failed_job_settles_its_letter(dead: Graveyard, how: str) -> None:
    first, second = dead.bury(), dead.bury()
    if how == "retry":
        dead.run(dead.queue.broker.retry(first.id, JobState.FAILED, True, dead.queue.now))
        assert [letter.job_id for letter in dead.run(dead.letters.list())] == [second.id]
    else:
        dead.run(dead.queue.broker.retry_all(JobState.FAILED, None, dead.queue.now))
        assert dead.run(dead.letters.list()) == []
    # it dies again, and its new letter is another one
    job = dead.queue.take_one()
    letter = DeadLetter("dead", describe("tests", job, "again", []))
    assert dead.queue.fail(job, letter=letter) == 0
    assert dead.run(dead.letters.list())[-1].reason == "again"


def test_to_retry_a_job_whose_letter_was_redriven_takes_nothing_else(dead: Graveyard) -> None:
    job = dead.bury()
    dead.run(dead.letters.redrive())
    dead.bury()
    dead.run(dead.queue.broker.retry(job.id, JobState.FAILED, True, dead.queue.now))
    assert dead.run(dead.letters.count()) == 1


@pytest.mark.parametrize("how", ["retry", "retry_all"])
def test_to_retry_a_job_takes_no_letter_that_has_its_letters_id_now(dead: Graveyard, how: str) -> None:
    """The letters were obliterated, and their ids come again."""
    first, second = dead.bury(), dead.bury()
    dead.run(dead.letters.broker.pause(dead.queue.now))
    dead.run(dead.letters.broker.obliterate(True, dead.queue.now))
    third = dead.bury()
    assert [letter.id for letter in dead.run(dead.letters.list())] == ["1"]
    if how == "retry":
        dead.run(dead.queue.broker.retry(first.id, JobState.FAILED, True, dead.queue.now))
    else:
        dead.queue.run(dead.queue.broker.remove(third.id, dead.queue.now))
        dead.run(dead.queue.broker.retry_all(JobState.FAILED, None, dead.queue.now))
        assert dead.queue.state(second.id) is JobState.WAITING
    assert [letter.job_id for letter in dead.run(dead.letters.list())] == [third.id]


def test_whose_letter_it_is() -> None:
    job = Job("7", "mail", {"to": "a"}, raw_data='{"to":"a"}')
    letter = describe("tests", job, "boom", [{"attempt": 1}])
    assert is_letter_of(letter, "tests", "7")
    assert not is_letter_of(letter, "tests", "8")
    assert not is_letter_of(letter, "other", "7")
    for data in ("{", "[]", "null", '{"queue":"tests","id":"7"}', '{"queue":"tests","id":"7","reason":"x"}'):
        assert not is_letter_of(data, "tests", "7")


def test_a_letter_goes_back_to_the_queue_that_it_came_from(dead: Graveyard) -> None:
    other = dead.queue.broker.sibling("other")
    dead.queue.run(other.add([new_job("theirs")], 0.0))
    (job,) = dead.queue.run(other.exchange([], 1, Terms(), "t", 0.0)).jobs
    letter = DeadLetter("dead", describe("other", job, "boom", []))
    dead.queue.run(other.exchange([Failed(job.id, "t", "boom", dead_letter=letter)], 0, Terms(), "u", 0.0))
    dead.run(dead.letters.redrive())
    assert dead.queue.counts() == {}
    assert [job.name for job in dead.queue.run(other.exchange([], 9, Terms(), "v", 0.0)).jobs] == ["theirs"]


def test_discard(dead: Graveyard) -> None:
    for reason in "abc":
        dead.bury(reason)
    ids = [letter.id for letter in dead.run(dead.letters.list())]
    assert dead.run(dead.letters.discard(ids[:1])) == 1
    for unsaid in ({}, {"letter_ids": ids, "everything": True}):
        with pytest.raises(ValueError, match="everything=True"):
            dead.run(dead.letters.discard(**unsaid))
    assert dead.run(dead.letters.discard(everything=True)) == 2
    assert dead.run(dead.letters.count()) == 0
    assert dead.queue.counts() == {"failed": 3}


def test_a_letter_that_does_not_exist(dead: Graveyard) -> None:
    for refused in (dead.letters.redrive(["nobody"]), dead.letters.discard(["nobody"])):
        with pytest.raises(JobError) as caught:
            dead.run(refused)
        assert caught.value.code == -1


def test_a_letter_wakes_who_waits_for_it(dead: Graveyard) -> None:
    async def wait_and_bury() -> bool:
        sibling = dead.queue.broker.sibling("dead")
        waiting = asyncio.ensure_future(sibling.wait(None, 0.0))
        await asyncio.sleep(0)
        await dead.queue.broker.add([new_job()], 0.0)
        (job,) = (await dead.queue.broker.exchange([], 1, Terms(), "t", 0.0)).jobs
        letter = DeadLetter("dead", json.dumps({}))
        await dead.queue.broker.exchange([Failed(job.id, "t", "boom", dead_letter=letter)], 0, Terms(), "u", 0.0)
        await asyncio.wait_for(waiting, 5.0)
        return True

    assert dead.queue.run(wait_and_bury())


def test_a_completed_job_has_no_letter(dead: Graveyard) -> None:
    dead.queue.add()
    job = dead.queue.take_one()
    dead.queue.settle(Completed(job.id, job.token))
    assert dead.run(dead.letters.list()) == []
