"""What only a broker in this process has: the trimming of its event stream, and observers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from brokerdriver import Driver, new_job

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.events import EventKind
from queuesim.core.job import Deduplication, JobState, NewJob, RateLimit


class Notes:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.jobs: list[tuple[int, str, str, float]] = []
        self.entries: list[tuple[Any, ...]] = []
        self.windows: list[tuple[float, float, int]] = []
        self.gone: list[int] = []

    def added(self, number: int, job_id: str, job: NewJob, timestamp: float) -> None:
        self.jobs.append((number, job_id, job.name, timestamp))

    def events(self, entries: Any) -> None:
        self.entries.extend(entries)

    def window(self, opened: float, closes: float, max_jobs: int) -> None:
        self.windows.append((opened, closes, max_jobs))

    def removed(self, numbers: Sequence[int]) -> None:
        self.gone.extend(numbers)


def drive() -> tuple[Driver, Notes, asyncio.Runner]:
    broker, notes, runner = MemoryBroker("tests"), Notes(), asyncio.Runner()
    broker.observe(notes)
    return Driver(broker, runner), notes, runner


def test_old_events_are_trimmed_but_an_observer_gets_all_of_them_once_and_in_order() -> None:
    queue, notes, runner = drive()
    with runner:
        for _ in range(30):
            queue.add_each(1000)
        kept = queue.run(queue.broker.events(0))
        assert 10_000 <= len(kept) < 60_000
        assert (kept[0].id, kept[-1].id) == (60_000 - len(kept) + 1, 60_000)
        assert queue.run(queue.broker.events(59_998))[0].job_id == "30000"
        queue.broker.flush()  # type: ignore[attr-defined]
        queue.broker.flush()  # type: ignore[attr-defined]
    assert [entry[2] for entry in notes.entries] == [number for number in range(1, 30_001) for _ in range(2)]
    assert {entry[1] for entry in notes.entries} == {EventKind.ADDED, EventKind.WAITING}


def test_an_observer_sees_each_new_job_and_no_duplicate() -> None:
    queue, notes, runner = drive()
    with runner:
        queue.at(1000)
        queue.add("a", job_id="k")
        queue.add("b", job_id="k")
        queue.add("c", timestamp=500)
    assert notes.jobs == [(1, "k", "a", 1.0), (3, "3", "c", 0.5)]


def test_an_observer_sees_each_limiter_window_once() -> None:
    queue, notes, runner = drive()
    with runner:
        queue.add_each(5)
        for second in (0, 1, 2, 4):
            queue.at(second * 1000).take(1, limiter=RateLimit(2, 2.0))
    assert notes.windows == [(0.0, 2.0, 2), (2.0, 4.0, 2), (4.0, 6.0, 2)]


def test_an_observer_sees_what_happened_before_and_after_obliterate() -> None:
    queue, notes, runner = drive()
    with runner:
        queue.add()
        queue.run(queue.broker.pause(queue.now))
        queue.run(queue.broker.obliterate(False, queue.now))
        queue.add()
        queue.broker.flush()  # type: ignore[attr-defined]
    added, waiting = EventKind.ADDED, EventKind.WAITING
    assert [entry[1] for entry in notes.entries] == [added, waiting, EventKind.PAUSED, added, waiting]
    assert notes.gone == [1]


def test_an_observer_is_told_what_is_cleared_away_before_it_ended() -> None:
    queue, notes, runner = drive()
    with runner:
        queue.add_each(4)
        queue.complete(*queue.take(1))
        queue.run(queue.broker.clean(0.0, 1, JobState.WAITING, queue.now))
        queue.run(queue.broker.clean(0.0, 0, JobState.COMPLETED, queue.now))
        queue.run(queue.broker.drain(False, queue.now))
    assert notes.gone == [2, 3, 4]


def test_expired_deduplication_ids_are_forgotten_and_live_ones_are_not() -> None:
    queue, _, runner = drive()

    def held(key: str) -> bool:
        before = sum(queue.counts().values())
        queue.add(deduplication=Deduplication(key, ttl=1.0), delay=60_000)
        return sum(queue.counts().values()) == before

    queue.add(deduplication=Deduplication("for ever"), delay=60_000)
    for second in range(6):
        queue.at(second * 2000)
        queue.add(deduplication=Deduplication("long", ttl=60.0))
        jobs = [new_job(deduplication=Deduplication(f"{second}/{i}", ttl=1.0)) for i in range(1000)]
        queue.run(queue.broker.add(jobs, queue.now))
    assert held("for ever")
    assert held("long")
    assert held("5/0")
    assert not held("0/0")
    assert queue.counts()[str(JobState.WAITING)] == 6001
    runner.close()
