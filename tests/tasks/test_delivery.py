from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from taskbench import TaskBench, bench

from queuesim.backoff import Backoff
from queuesim.job import Deduplication, JobOptions
from queuesim.limits import Keep
from queuesim.plain_options import from_plain, to_plain
from queuesim.simulation.process import Process
from queuesim.simulation.runner import run
from queuesim.tasks.relay import Relay, waiting
from queuesim.tasks.tables import tasks


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
