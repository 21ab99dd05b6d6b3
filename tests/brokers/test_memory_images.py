"""Images of a queue in memory, and what it says of itself to oracles."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import Completed, Terms
from queuesim.core.job import JobOptions, JobState, NewJob

T = TypeVar("T")
TERMS = Terms(30.0, None, "w")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


class Queue:
    """A broker, called from outside of a loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.broker = MemoryBroker("images")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def add(self, count: int, **options: Any) -> list[str]:
        return self.run(self.broker.add([NewJob("a", "{}", JobOptions(**options))] * count, 0.0))

    def states(self) -> dict[str, list[int]]:
        return {state: numbers for state, numbers in self.broker.census().items() if numbers}


def test_a_restored_queue_is_as_it_was(runner: asyncio.Runner) -> None:
    queue = Queue(runner)
    queue.add(3)
    queue.add(1, delay=5.0)
    (first,) = queue.run(queue.broker.exchange([], 1, TERMS, "w:1", 0.0)).jobs
    image, before = queue.broker.save(), queue.states()
    queue.run(queue.broker.exchange([Completed(first.id, first.token)], 2, TERMS, "w:2", 1.0))
    queue.add(1)
    assert queue.states() != before
    queue.broker.restore(image)
    assert queue.states() == before == {"waiting": [2, 3], "delayed": [4], "active": [1]}
    reply = queue.run(queue.broker.exchange([Completed(first.id, first.token)], 0, TERMS, "w:3", 2.0))
    assert reply.refused is None, "its lock is there again"
    assert queue.add(1) == ["6"], "no id is given twice"


def test_what_happens_afterwards_does_not_change_an_image(runner: asyncio.Runner) -> None:
    queue = Queue(runner)
    queue.add(1)
    image = queue.broker.save()
    (job,) = queue.run(queue.broker.exchange([], 1, TERMS, "w:1", 1.0)).jobs
    assert job.attempts_started == 1
    queue.broker.restore(image)
    stored = queue.run(queue.broker.get("1"))
    assert stored is not None
    assert stored.attempts_started == 0


def test_siblings_are_saved_and_forgotten_together(runner: asyncio.Runner) -> None:
    queue = Queue(runner)
    dead: Any = queue.broker.sibling("dead")
    runner.run(dead.add([NewJob("letter", "{}")], 0.0))
    image = queue.broker.save()
    queue.broker.forget()
    assert runner.run(dead.counts())[JobState.WAITING] == 0
    assert queue.broker.stored() == []
    queue.broker.restore(image)
    assert runner.run(dead.counts())[JobState.WAITING] == 1


def test_who_waits_is_woken_by_a_restored_queue(runner: asyncio.Runner) -> None:
    queue = Queue(runner)
    queue.add(1)
    image = queue.broker.save()
    queue.broker.forget()

    async def program() -> None:
        waiting = asyncio.create_task(queue.broker.wait(None, 0.0))
        await asyncio.sleep(0)
        queue.broker.restore(image)
        await waiting

    queue.run(program())


def test_the_first_delayed_job_is_due_first(runner: asyncio.Runner) -> None:
    queue = Queue(runner)
    assert queue.broker.first_due() is None
    queue.add(1, delay=5.0)
    queue.add(1, delay=3.0)
    assert queue.broker.first_due() == 3.0
    assert sorted(queue.broker.stored()) == [1, 2]
