from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select
from taskbench import TaskBench, bench

from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Backoff, Deduplication, JobOptions, JobState, Keep, from_plain, to_plain
from queuesim.simulation.process import Process
from queuesim.simulation.runner import run
from queuesim.tasks.cost import DistantQueue
from queuesim.tasks.outbox import Relay, waiting
from queuesim.tasks.overdue import count_delivered, reports
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import outbox, tasks


async def create_and_crash(desk: TaskBench, moment: float) -> None:
    """Create tasks one after another in a process that is killed after so many seconds."""

    async def create() -> None:
        for n in range(1000):
            await desk.service.create(f"t{n}", "ann")

    process = Process("api")
    asyncio.get_running_loop().create_task(create(), context=process.context)
    await asyncio.sleep(moment)
    process.kill()


async def lost(desk: TaskBench) -> int:
    """Tasks that are there, and whose job never was."""
    async with desk.working():
        await desk.drained()
    there = set(desk.store.run_now(lambda c: c.execute(select(tasks.c.id)).scalars().all()))
    return len(there - set(desk.told("created")))


def test_between_commit_and_queue_the_hook_loses_a_job() -> None:
    """A transaction takes 0.01 s, the round trip to the queue 0.005 s: from 0.010 to 0.015 s the window is open."""
    outcome = {}
    for moment in (0.009, 0.012, 0.0151):
        with bench(latency=0.01, round_trip=0.005) as desk:

            async def scene(desk: TaskBench = desk, moment: float = moment) -> int:
                await create_and_crash(desk, moment)
                return await lost(desk)

            outcome[moment] = run(scene())
    assert outcome == {0.009: 0, 0.012: 1, 0.0151: 0}


@settings(max_examples=15)
@given(st.floats(0.0, 0.2))
def test_the_outbox_never_loses_one(moment: float) -> None:
    async def scene(desk: TaskBench) -> int:
        await create_and_crash(desk, moment)
        return await lost(desk)

    with bench(latency=0.01, round_trip=0.005, delivery="outbox") as desk:
        assert run(scene(desk)) == 0


@settings(max_examples=15)
@given(st.lists(st.floats(0.0, 0.05), max_size=3))
def test_a_relay_that_dies_moves_nothing_twice(moments: list[float]) -> None:
    async def scene(desk: TaskBench) -> None:
        loop, killed = asyncio.get_running_loop(), []
        for n in range(30):
            await desk.service.create(f"t{n}", "ann")
        for n, moment in enumerate(moments):
            process = Process(f"relay-{n}")
            moving = Relay(desk.store, desk.relay.queue, batch=7).run()
            killed.append(loop.create_task(moving, context=process.context))
            await asyncio.sleep(moment)
            process.kill()
        await desk.relay.drain()
        assert desk.store.run_now(waiting) == 0
        jobs = Counter(event.job_id for event in await desk.queue.events() if event.kind == "added")
        assert len(jobs) == 30
        assert set(jobs.values()) == {1}

    with bench(latency=0.01, round_trip=0.005, delivery="outbox") as desk:
        run(scene(desk))


def test_a_transaction_that_fails_leaves_no_job() -> None:
    async def scene(desk: TaskBench) -> None:
        stage = desk.delivery.stage

        def fail(*args: object) -> None:
            stage(*args)  # type: ignore[arg-type]
            raise RuntimeError("the disk is full")

        desk.delivery.stage = fail  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await desk.service.create("t", "ann")
        assert desk.store.run_now(waiting) == 0
        assert not any((await desk.queue.counts()).values())

    for delivery in ("after-commit", "outbox"):
        with bench(delivery=delivery) as desk:
            run(scene(desk))


def test_options_survive_the_outbox() -> None:
    options = JobOptions(
        attempts=4, backoff=Backoff("exponential", 2.0, jitter=0.5), delay=3.0, keep_completed=Keep(5), priority=2,
        deduplication=Deduplication("d", ttl=9.0), job_id="mine",
    )  # fmt: skip
    assert from_plain(to_plain(options)) == options
    assert to_plain(JobOptions()) == {}


def relay_of(desk: TaskBench, owner: str, **settings: Any) -> Relay:
    return Relay(desk.store, desk.relay.queue, settle=count_delivered, owner=owner, **settings)


def added(events: list[Any]) -> Counter[str]:
    """How often each job came into the queue."""
    return Counter(event.job_id for event in events if event.kind == "added")


def test_of_two_relays_one_moves_a_job_and_counts_it() -> None:
    """No jobs are kept, so that ids alone would not keep a second one away."""

    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(300)
        desk.queue.defaults = replace(desk.queue.defaults, keep_completed=Keep(0))
        relays = [relay_of(desk, f"relay-{n}", batch=7) for n in range(3)]
        await desk.scan().run()
        async with desk.working(relaying=False):
            await asyncio.gather(*(relay.drain() for relay in relays))
            await desk.drained()
        (report,) = desk.store.run_now(reports)
        assert (report.enqueued, report.duplicates) == (300, 0)
        assert set(added(await desk.queue.events()).values()) == {1}
        assert sum(relay.moved > 0 for relay in relays) > 1, "they share the work"

    with bench(latency=0.01, round_trip=0.005, delivery="outbox") as desk:
        run(scene(desk))


def test_a_batch_is_moved_again_when_the_lease_of_whoever_died_with_it_has_ended() -> None:
    async def scene(desk: TaskBench) -> None:
        for n in range(10):
            await desk.service.create(f"t{n}", "ann")
        began = asyncio.get_running_loop().time()
        process = Process("relay-1")
        dying = relay_of(desk, "relay-1", lease=5.0).run()
        task = asyncio.get_running_loop().create_task(dying, context=process.context)
        await asyncio.sleep(0.012)
        process.kill()
        other = relay_of(desk, "relay-2")
        assert await other.move() == 0, "it is leased"
        assert await other.drain() == 10
        assert 5.0 <= asyncio.get_running_loop().time() - began <= 5.3
        assert len(added(await desk.queue.events())) == 10
        assert not task.done()

    with bench(latency=0.01, round_trip=0.005, delivery="outbox") as desk:
        run(scene(desk))


def test_a_batch_that_could_not_be_added_is_free_again_at_once() -> None:
    async def scene(desk: TaskBench) -> None:
        await desk.service.create("t", "ann")
        broken = relay_of(desk, "broken")

        async def refuse(jobs: Any) -> list[str]:
            raise BrokerUnavailableError("away")

        broken.queue = copy(desk.queue)
        broken.queue.add_bulk = refuse  # type: ignore[method-assign,assignment]
        with pytest.raises(BrokerUnavailableError):
            await broken.move()
        assert await relay_of(desk, "other").move() == 1

    with bench(delivery="outbox") as desk:
        run(scene(desk))


def test_who_is_slower_than_its_lease_settles_nothing_that_another_one_has_moved() -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(20)
        await desk.scan().run()
        slow = relay_of(desk, "slow", lease=0.1)
        slow.queue = DistantQueue(desk.queue, lambda: 1.0)
        moving = asyncio.create_task(slow.move())
        await asyncio.sleep(0.5)
        assert await relay_of(desk, "quick").drain() == 20
        await moving
        (report,) = desk.store.run_now(reports)
        assert (report.enqueued, report.duplicates) == (20, 0)
        assert set(added(await desk.queue.events()).values()) == {1}

    with bench(latency=0.01, delivery="outbox") as desk:
        run(scene(desk))


def test_relays_on_real_databases_share_the_work(store: TaskStore) -> None:
    async def scene() -> None:
        desk = TaskBench(store, delivery="outbox")
        desk.add_tasks(200)
        await desk.scan().run()
        relays = [relay_of(desk, f"relay-{n}", batch=10) for n in range(4)]
        assert sum(await asyncio.gather(*(relay.drain() for relay in relays))) == 200
        assert set(added(await desk.queue.events()).values()) == {1}
        assert store.run_now(reports)[0].enqueued == 200

    asyncio.run(scene())


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"lease": 0.0}])
def test_an_impossible_relay_is_refused(wrong: dict[str, Any]) -> None:
    with bench() as desk, pytest.raises(ValueError, match=r"1 job or more|above 0 s"):
        relay_of(desk, "r", **wrong)


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[TaskStore]:
    with TaskStore(f"sqlite:///{tmp_path / 'tasks.db'}").opened() as store:
        yield store


def copied(store: TaskStore) -> bytes:
    """A backup."""
    store.engine.dispose()
    return Path(str(store.url.database)).read_bytes()


def restore(store: TaskStore, backup: bytes) -> None:
    store.engine.dispose()
    file = Path(str(store.url.database))
    for rest in ("-wal", "-shm"):
        Path(f"{file}{rest}").unlink(missing_ok=True)
    file.write_bytes(backup)


def test_a_database_that_was_restored_beside_a_living_queue_loses_no_change(file_store: TaskStore) -> None:
    """Its rows get the numbers again that they had; the queue still has the jobs of the first ones."""

    async def scene(desk: TaskBench) -> list[int]:
        backup, done = copied(desk.store), []
        for _ in range(3):
            restore(desk.store, backup)
            before = {event.job_id for event in await desk.queue.events() if event.kind == "completed"}
            async with desk.working():
                for n in range(20):
                    await desk.service.create(f"t{n}", "ann")
                await desk.drained()
            after = {event.job_id for event in await desk.queue.events() if event.kind == "completed"}
            done.append(len(after - before))
            assert len(desk.told("created")) == 20
        return done

    assert run(scene(TaskBench(file_store, delivery="outbox"))) == [20, 20, 20]


@pytest.mark.parametrize("per", ["task", "page"])
@pytest.mark.parametrize("delivery", ["after-commit", "outbox"])
def test_nor_does_a_scan_after_it(file_store: TaskStore, delivery: str, per: Any) -> None:
    async def scene(desk: TaskBench) -> list[int]:
        desk.add_tasks(20)
        backup, told = copied(desk.store), []
        for _ in range(3):
            restore(desk.store, backup)
            async with desk.working():
                (report,) = await desk.scan(per=per, page_size=5).run()
                await desk.drained()
            told.append(len(desk.told("overdue")))
            assert report.id == 1
        return told

    assert run(scene(TaskBench(file_store, delivery=delivery))) == [20, 20, 20]


def test_a_row_that_an_earlier_version_wrote_still_leaves_the_outbox() -> None:
    """It has no id of its own but its number."""

    async def scene(desk: TaskBench) -> None:
        job = desk.queue.new_job("task-created", {"task_id": 1})
        row = {"name": job.name, "data": job.data, "options": "{}", "source": "", "created_at": 0.0}
        desk.store.run_now(lambda connection: connection.execute(insert(outbox), [row]))
        await desk.relay.drain()
        assert [job.id for job in await desk.queue.get_jobs(JobState.WAITING)] == ["outbox-1"]

    with bench(delivery="outbox") as desk:
        run(scene(desk))


class SlowQueue:
    """A queue whose bulk adds take a second, and then fail if asked."""

    def __init__(self, desk: TaskBench, *, fails: bool = False) -> None:
        self.queue = desk.queue
        self.now = desk.queue.now
        self.fails = fails

    async def add_bulk(self, jobs: Any) -> list[str]:
        await asyncio.sleep(1.0)
        if self.fails:
            raise BrokerUnavailableError("away")
        return await self.queue.add_bulk(jobs)


def slow_relay(desk: TaskBench, owner: str, *, fails: bool = False, **settings: Any) -> Relay:
    relay = relay_of(desk, owner, **settings)
    relay.queue = SlowQueue(desk, fails=fails)  # type: ignore[assignment]
    return relay


def test_who_is_slower_than_its_lease_removes_no_row_that_another_one_has_leased() -> None:
    """The other one is in the middle of its own move then, and is the one that settles it."""

    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(20)
        await desk.scan().run()
        slow = asyncio.create_task(slow_relay(desk, "slow", lease=0.1).move())
        await asyncio.sleep(0.5)
        settled: list[str] = []
        second = slow_relay(desk, "second")
        second.settle = lambda connection, jobs, ids: settled.extend(ids)
        other = asyncio.create_task(second.move())
        await slow
        assert await desk.store.run(waiting) == 20, "the rows are the other's"
        await other
        assert len(settled) == 20
        assert await desk.store.run(waiting) == 0

    with bench(delivery="outbox") as desk:
        run(scene(desk))


def test_who_fails_after_its_lease_frees_no_row_that_another_one_has_leased() -> None:
    async def scene(desk: TaskBench) -> None:
        await desk.service.create("t", "ann")
        slow = asyncio.create_task(slow_relay(desk, "slow", fails=True, lease=0.1).move())
        await asyncio.sleep(0.5)
        other = asyncio.create_task(slow_relay(desk, "other").move())
        with pytest.raises(BrokerUnavailableError):
            await slow
        assert await relay_of(desk, "third").move() == 0, "it is the other's still"
        assert await other == 1

    with bench(delivery="outbox") as desk:
        run(scene(desk))
