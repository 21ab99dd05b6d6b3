"""Faults that are planted in broker, worker and exchange, one a function: what a soak has to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.memory_store import Deduplications, Finished, Record, Window
from queuesim.core import retry
from queuesim.core.exchange import Exchanges
from queuesim.core.job import Job

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]


def _wrap(patch: Patch, owner: type, name: str, around: Callable[..., Any]) -> None:
    """Put `around` in place of a method; it gets the method as its first argument."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda self, *rest, **named: around(original, self, *rest, **named))


def _every(count: int) -> Callable[[], bool]:
    """True at each `count`-th call."""
    calls = [0]

    def now() -> bool:
        calls[0] += 1
        return calls[0] % count == 0

    return now


# -- the broker


def lost_wake_up(patch: Patch) -> None:
    """Every third job that is added wakes no idle worker."""
    lose = _every(3)
    _wrap(patch, MemoryBroker, "_wake", lambda original, self: None if lose() else original(self))


def limiter_off_by_one(patch: Patch) -> None:
    """A window lets one start more through than it may."""
    _wrap(patch, Window, "closes_at", lambda original, self, most, now: original(self, most + 1, now))


def delivered_twice(patch: Patch) -> None:
    """Every fifteenth job that is handed out stays in the list of waiting jobs."""
    again = _every(15)

    def start(original: Any, self: Any, record: Record, *rest: Any) -> None:
        original(self, record, *rest)
        if again():
            self._wait.appendleft(record)

    _wrap(patch, MemoryBroker, "_start", start)


def priority_reversed(patch: Patch) -> None:
    """The least urgent priority goes first."""

    def enqueue(original: Any, self: Any, record: Record, **named: Any) -> None:
        record.priority = 9 - record.priority if record.priority else 0
        original(self, record, **named)

    _wrap(patch, MemoryBroker, "_enqueue", enqueue)


def last_come_first_served(patch: Patch) -> None:
    """The list of waiting jobs is read from its other end."""

    def pop(original: Any, self: Any) -> Any:
        if len(self._wait) > 1:
            self._wait.rotate(1)
        return original(self)

    _wrap(patch, MemoryBroker, "_pop_next", pop)


def stalled_not_recovered(patch: Patch) -> None:
    """The check for stalled jobs finds none."""

    async def recover(self: Any, interval: float, most: int, now: float) -> list[Any]:
        return []

    patch.setattr(MemoryBroker, "recover_stalled", recover)


def retention_removes_the_newest(patch: Patch) -> None:
    """Where too many finished jobs are kept, the newest goes."""
    _wrap(patch, Finished, "pop_first", lambda original, self: self.records.pop())


def deduplication_never_holds(patch: Patch) -> None:
    """A deduplication id is free although a job holds it."""
    patch.setattr(Deduplications, "holder", lambda *_: None)


def concurrency_forgotten(patch: Patch) -> None:
    """The queue's own limit of active jobs holds nobody back."""
    patch.setattr(MemoryBroker, "_maxed", lambda self: False)


# -- the worker


def retried_without_backoff(patch: Patch) -> None:
    """A job that failed runs again at once."""

    def delay(original: Any, self: Any, job: Job, *rest: Any) -> Any:
        seconds = original(self, job, *rest)
        return None if seconds is None else 0.0

    _wrap(patch, retry.Retries, "delay", delay)


def attempts_counted_twice(patch: Patch) -> None:
    """Every failed attempt counts as two."""

    def delay(original: Any, self: Any, job: Job, *rest: Any) -> Any:
        made = job.attempts_made
        job.attempts_made = 2 * made + 1
        try:
            return original(self, job, *rest)
        finally:
            job.attempts_made = made

    _wrap(patch, retry.Retries, "delay", delay)


# -- the exchange


def outcome_dropped(patch: Patch) -> None:
    """Every twentieth exchange forgets the outcomes that it should hand in."""
    drop = _every(20)

    async def exchange(original: Any, self: Any, outcomes: list[Any], take: int) -> Any:
        return await original(self, [] if outcomes and drop() else outcomes, take)

    _wrap(patch, Exchanges, "exchange", exchange)


def first_jobs_of_a_batch_lost(patch: Patch) -> None:
    """Of several jobs that one exchange brings, the first never reaches a slot."""

    def understand(original: Any, self: Any, reply: Any, take: int) -> Any:
        jobs = original(self, reply, take)
        return jobs[1:] if len(jobs) > 1 else jobs

    _wrap(patch, Exchanges, "_understand", understand)


PLANTED: dict[str, Bug] = {
    bug.__name__.replace("_", " "): bug
    for bug in (
        lost_wake_up,
        limiter_off_by_one,
        delivered_twice,
        priority_reversed,
        last_come_first_served,
        stalled_not_recovered,
        retention_removes_the_newest,
        deduplication_never_holds,
        concurrency_forgotten,
        retried_without_backoff,
        attempts_counted_twice,
        outcome_dropped,
        first_jobs_of_a_batch_lost,
    )
}
"""By a name for tables."""
