"""What an add tells: whether the job was added, or was there already; and which ids no job can have."""

from __future__ import annotations

import asyncio

import pytest
from brokerdriver import Driver, new_job

from queuesim import Deduplication, Queue
from queuesim.brokers.redis.broker import TYPES, RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.job import RESERVED_BEGINNINGS, RESERVED_ENDINGS, RESERVED_IDS, JobOptions, JobState
from queuesim.core.scheduler import Every
from queuesim.simulation.runner import run


def added(queue: Driver, *jobs: object) -> list[tuple[str, bool]]:
    return [(str(id), id.added) for id in queue.run(queue.broker.add(jobs, queue.now))]  # type: ignore[arg-type]


def test_an_id_tells_whether_its_job_was_added(queue: Driver) -> None:
    assert added(queue, new_job(), new_job(job_id="k"), new_job(job_id="k"), new_job()) == [
        ("1", True), ("k", True), ("k", False), ("4", True),
    ]  # fmt: skip
    one = Deduplication("one")
    assert added(queue, new_job(deduplication=one), new_job(deduplication=one)) == [("5", True), ("5", False)]


def test_a_job_that_has_ended_and_is_kept_stands_for_a_new_one(queue: Driver) -> None:
    queue.add(job_id="k")
    queue.complete(queue.take_one())
    assert added(queue, new_job(job_id="k")) == [("k", False)]
    assert queue.state("k") is JobState.COMPLETED
    queue.run(queue.broker.remove("k", queue.now))
    assert added(queue, new_job(job_id="k")) == [("k", True)]


def test_one_that_replaces_a_delayed_job_was_added(queue: Driver) -> None:
    debounce = Deduplication("one", ttl=5.0, replace=True)
    assert added(queue, new_job(deduplication=debounce, delay=1000)) == [("1", True)]
    assert added(queue, new_job(deduplication=debounce, delay=1000)) == [("2", True)]


def test_in_a_bulk_of_more_than_one_script_each_tells(queue: Driver) -> None:
    queue.add(job_id="k1500")
    jobs = [new_job(job_id=f"k{n}") for n in range(2100)]
    found = added(queue, *jobs)
    assert [id for id, was_added in found if not was_added] == ["k1500"]
    assert [id for id, _ in found] == [f"k{n}" for n in range(2100)]


def test_the_queue_hands_it_on(queue: Driver) -> None:
    handle = Queue(queue.broker)

    async def program() -> None:
        first, second = await handle.add("job", job_id="k"), await handle.add("job", job_id="k")
        assert (first, second) == ("k", "k")
        assert (first.added, second.added) == (True, False)
        assert [id.added for id in await handle.add_bulk([("job", None), ("job", None)])] == [True, True]

    queue.run(program())


@pytest.mark.parametrize("job_id", sorted(RESERVED_IDS))
def test_every_broker_refuses_an_id_that_is_a_key_of_the_queue(queue: Driver, job_id: str) -> None:
    with pytest.raises(ValueError, match=f"can't be '{job_id}'"):
        queue.add(job_id=job_id)
    assert queue.counts() == {}


def test_all_keys_of_a_queue_are_reserved() -> None:
    """Whatever a queue on Redis leaves behind, except the hashes of its jobs."""

    async def program() -> list[str]:
        place = FakeServer()
        broker = RedisBroker("q", place)
        queue = Queue(broker)
        await queue.upsert_scheduler("tick", Every(60.0), "job")
        await queue.add("job", priority=1)
        await queue.add("job", delay=5.0)
        await queue.add_bulk([("job", None)] * 3)
        await queue.add("job", job_id="mine", deduplication=Deduplication("one"))
        await queue.set_concurrency(100)
        await queue.rate_limit(5.0)
        from queuesim.core.broker import Completed, Failed, Terms

        done, failed, *_ = (await broker.exchange([], 3, Terms(), "t", 1.0)).jobs
        await broker.exchange([Completed(done.id, "t"), Failed(failed.id, "t", "no")], 0, Terms(), "t", 1.0)
        await broker.log("mine", "a row", None, 1.0)
        await broker.recover_stalled(30.0, 1, 1.0)
        return [key.removeprefix("bull:q:") for key in await place.command("KEYS", "*")]

    jobs = {"mine"}
    keys = run(program())
    assert {"wait", "limiter", "repeat:tick", "de:one", "mine:logs", "stalled-check"} <= set(keys)
    for key in keys:
        if key.isdecimal() or key in jobs:
            continue
        parts = key.split(":")
        assert key in RESERVED_IDS or parts[0] in RESERVED_BEGINNINGS or parts[-1] in RESERVED_ENDINGS, key
    assert set(TYPES) <= RESERVED_IDS


def test_the_job_of_a_scheduler_may_have_such_an_id() -> None:
    """It is its own, and comes back from Redis as no custom id."""

    async def program() -> None:
        broker = RedisBroker("q", FakeServer())
        job_id = await Queue(broker).upsert_scheduler("tick", Every(60.0), "job")
        job = await broker.get(job_id)
        assert job is not None
        assert job.options == JobOptions(timestamp=0.0)
        await asyncio.sleep(0)

    run(program())
