"""Parents of flows that end too early: the attempt fails at once, as on Node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from queuesim import Backoff, Flow, FlowProducer, JobOptions, Processor, Queue, UnrecoverableError, Worker
from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.broker import Broker
from queuesim.core.deadletters import DeadLetters
from queuesim.core.job import DEFAULT_OPTIONS, Job, JobState
from queuesim.core.worker import WorkerObserver
from queuesim.simulation.runner import run

BROKERS: dict[str, Callable[[], Any]] = {
    "memory": lambda: MemoryBroker("f"),
    "fakeredis": lambda: RedisBroker("f", FakeServer()),
}
each_broker = pytest.mark.parametrize("make", BROKERS.values(), ids=BROKERS)


@dataclass
class Rows(WorkerObserver):
    """What a worker tells of its attempts."""

    rows: list[tuple[str, float, str, bool]] = field(default_factory=list)

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Any, lost: bool) -> None:
        self.rows.append((job.name, ended, type(outcome).__name__, lost))


@dataclass
class Play:
    """A parent that runs at the first failure of a child, while the other child runs on."""

    broker: Broker
    options: JobOptions = DEFAULT_OPTIONS
    other: str = "continue"
    parent_seconds: float = 0.0
    seen: Rows = field(default_factory=Rows)
    letters: int = 0

    async def run(self, seconds: float) -> Job:
        processor = Processor("f", dead_letters="dead")

        @processor.job("parent")
        async def parent(job: Job) -> None:
            await asyncio.sleep(self.parent_seconds)

        @processor.job("child")
        async def child(job: Job) -> None:
            await asyncio.sleep(job.data["seconds"])
            if job.data["fails"]:
                raise UnrecoverableError("broke")

        children = [
            Flow("child", "f", {"seconds": 0.0, "fails": True}, on_failure="continue"),
            Flow("child", "f", {"seconds": 10.0, "fails": self.other == "fail"}, on_failure=self.other),  # type: ignore[arg-type]
        ]
        worker = Worker(processor, self.broker, concurrency=2, observer=self.seen)
        task = asyncio.create_task(worker.run())
        root = await FlowProducer(self.broker).add(Flow("parent", "f", None, self.options, children))
        await asyncio.sleep(seconds)
        await worker.close()
        await task
        job = await Queue(self.broker).get_job(root.id)
        assert job is not None
        self.letters = await DeadLetters(self.broker, "dead").count()
        return job


@each_broker
def test_a_parent_that_ends_while_a_child_is_pending_fails_at_once(make: Callable[[], Broker]) -> None:
    async def program() -> None:
        play = Play(make())
        job = await play.run(100.0)
        assert job.failed_reason is not None
        assert "has pending dependencies" in job.failed_reason
        assert (job.attempts_started, job.attempts_made, job.stalled_count, job.finished_on) == (1, 1, 0, 0.0)
        assert [row for row in play.seen.rows if row[0] == "parent"] == [("parent", 0.0, "Failed", False)]
        assert play.letters == 2
        assert await Queue(play.broker).get_state(job.id) is JobState.FAILED

    run(program())


@each_broker
def test_it_is_retried_if_it_has_attempts_left(make: Callable[[], Broker]) -> None:
    async def program() -> None:
        play = Play(make(), JobOptions(attempts=3, backoff=Backoff("fixed", 6.0)))
        job = await play.run(100.0)
        assert [row for row in play.seen.rows if row[0] == "parent"] == [
            ("parent", 0.0, "Retried", False), ("parent", 6.0, "Retried", False), ("parent", 12.0, "Completed", False),
        ]  # fmt: skip
        assert await Queue(play.broker).get_state(job.id) is JobState.COMPLETED
        assert job.history[0]["type"] == "PendingChildrenError"

    run(program())


@each_broker
def test_a_parent_that_ends_after_a_child_failed_it_is_not_retried(make: Callable[[], Broker]) -> None:
    async def program() -> None:
        play = Play(make(), JobOptions(attempts=3), other="fail", parent_seconds=20.0)
        job = await play.run(100.0)
        assert job.failed_reason == f"Cannot complete job {job.id} because it has at least one failed child"
        assert (job.attempts_started, job.attempts_made, job.finished_on) == (1, 1, 20.0)

    run(program())


@each_broker
def test_the_slot_goes_on_with_the_job_that_it_took_with_the_refusal(make: Callable[[], Broker]) -> None:
    async def program() -> None:
        broker = make()
        play = Play(broker)
        queue = Queue(broker)
        for _ in range(3):
            await queue.add("child", {"seconds": 1.0, "fails": False})
        await play.run(100.0)
        assert await queue.counts() == dict.fromkeys(JobState, 0) | {JobState.COMPLETED: 4, JobState.FAILED: 2}

    run(program())
