"""The field of a failed job that names its dead letter: whatever it says, a retry removes no other job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from brokerdriver import FACTORIES, Driver
from redisservers import Clock

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.core.broker import Broker, DeadLetter
from queuesim.core.deadletters import describe
from queuesim.core.job import JobState


@pytest.fixture(params=sorted(set(FACTORIES) - {"memory"}))
def queue(request: pytest.FixtureRequest) -> Iterator[Driver]:
    clock = Clock()
    with asyncio.Runner() as runner:

        async def make() -> Broker:
            return await FACTORIES[request.param](clock)

        broker = runner.run(make())
        yield Driver(broker, runner, clock)
        runner.run(broker.close())


def fail_with_letter(queue: Driver) -> str:
    queue.add("mail")
    job = queue.take_one()
    letter = DeadLetter("dead", describe("tests", job, "boom", [{"attempt": 1}]))
    assert queue.fail(job, letter=letter) == 0
    return job.id


def set_letter(queue: Driver, job_id: str, value: str) -> None:
    assert isinstance(queue.broker, RedisBroker)
    queue.run(queue.broker._server.command("HSET", f"bull:tests:{job_id}", "letter", value))


@pytest.mark.parametrize("how", ["retry", "retry_all"])
def test_a_field_that_names_other_jobs_lets_a_retry_remove_none_of_them(queue: Driver, how: str) -> None:
    queue.at(1000)
    others = Driver(queue.broker.sibling("others"), queue.runner, queue.clock)
    first, second = fail_with_letter(queue), fail_with_letter(queue)
    bystander, innocent = queue.add("innocent"), others.add("innocent")
    for field in (
        f"bull:others:{innocent}",
        f"bull:tests:{bystander}",
        "bull:dead:2",  # the letter of the second job
        "bull:dead:none",
        "bull:dead:",
        "other:dead:1",
        "::",
        ":",
        "1",
        "",
    ):
        set_letter(queue, first, field)
        if how == "retry":
            queue.run(queue.broker.retry(first, JobState.FAILED, False, queue.now))
        else:
            queue.run(queue.broker.retry_all(JobState.FAILED, queue.now, queue.now))
        letters = queue.run(queue.broker.sibling("dead").jobs(JobState.WAITING, 0, -1, True))
        settled = {second} if how == "retry_all" else set()
        assert {letter.data["id"] for letter in letters} == {first, second} - settled, field
        assert queue.exists(bystander), field
        assert others.exists(innocent), field
        assert others.counts() == {"waiting": 1}
        if how == "retry_all":
            return
        (job,) = [job for job in queue.take(9) if job.id == first] or [None]
        assert job is not None
        assert queue.fail(job) == 0


def test_the_field_of_a_job_in_good_order_settles_its_letter(queue: Driver) -> None:
    queue.at(1000)
    first, second = fail_with_letter(queue), fail_with_letter(queue)
    queue.run(queue.broker.retry(first, JobState.FAILED, False, queue.now))
    letters = queue.run(queue.broker.sibling("dead").jobs(JobState.WAITING, 0, -1, True))
    assert [letter.data["id"] for letter in letters] == [second]
