"""The bugs of the museum, planted in our own code: each does what the original did, in the words of the code here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.memory_store import Record
from queuesim.core.broker import Outcome, Reply, Terms
from queuesim.core.exchange import Exchanges
from queuesim.core.job import Job
from queuesim.core.worker import Worker
from queuesim.runs.virtual import engine

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

NEVER = 1e12
"""Seconds; what a timer is set to that never ends."""
DRAIN_DELAY = 5.0
"""Seconds for which BullMQ's idle workers wait for a new job at the longest."""


def limiter_keeps_delaying(patch: Patch) -> None:
    """A job that comes while another is delayed by the limiter is delayed by a whole window too."""
    original = MemoryBroker._take

    def take(self: Any, count: int, terms: Terms, token: str, now: float, reply: Reply) -> None:
        if terms.limiter is not None:
            self._promote_due(now)
            came = [record for record in self._wait if not record.delay and record.ready_at == record.timestamp]
            limited = self._window.closes_at(terms.limiter.max, now) is not None
            for record in came if limited or self._delayed_count else ():
                self._wait.remove(record)
                record.delay = terms.limiter.duration
                self._postpone(record, now + record.delay, now)
        original(self, count, terms, token, now, reply)

    patch.setattr(MemoryBroker, "_take", take)


def timer_of_the_limiter_never_ends(patch: Patch) -> None:
    """The second slot that learns of the same limit sets the timer anew, to the end of time."""
    original, wait = Exchanges._understand, Worker._hold
    known: dict[int, float] = {}

    def understand(self: Any, reply: Reply, outcomes: list[Outcome], take: int) -> list[Job]:
        jobs: list[Job] = original(self, reply, outcomes, take)
        if take and reply.limited_until is not None:
            if known.get(id(self)) == reply.limited_until:
                self.limited_until = NEVER
            known[id(self)] = reply.limited_until
        return jobs

    async def hold(self: Any, until: float, now: float) -> None:
        await wait(self, until, now)
        if (self._exchanges.limited_until or 0.0) >= NEVER:
            await asyncio.sleep(NEVER)

    patch.setattr(Exchanges, "_understand", understand)
    patch.setattr(Worker, "_hold", hold)


def overdue_jobs_spin(patch: Patch) -> None:
    """A job whose time came when nobody looked is not promoted, but its time is what the worker waits for."""
    original, look = MemoryBroker._promote_due, MemoryBroker.wait

    async def wait(self: Any, until: float | None, now: float) -> None:
        await asyncio.sleep(0)  # a round trip in no time
        await look(self, until, now)

    def promote(self: Any, now: float) -> None:
        due = self._next_due()
        if due is not None and due > now - 1.0:
            original(self, now)

    patch.setattr(MemoryBroker, "_promote_due", promote)
    patch.setattr(MemoryBroker, "wait", wait)
    patch.setattr(engine, "MAX_GENERATIONS", 20_000)


def stalled_jobs_hold_everybody_up(patch: Patch) -> None:
    """They are looked at one by one, 16 ms each, and nobody gets a job before that is over."""
    recover, exchange = MemoryBroker.recover_stalled, MemoryBroker.exchange
    busy: dict[int, float] = {}

    async def slow(self: Any, interval: float, most: int, now: float) -> list[str]:
        found = await recover(self, interval, most, now)
        busy[id(self)] = now + 0.016 * len(found)
        return found

    async def after(self: Any, outcomes: Any, take: int, terms: Terms, token: str, now: float, *again: bool) -> Reply:
        if busy.get(id(self), 0.0) > now:
            await asyncio.sleep(busy[id(self)] - now)
        return await exchange(self, outcomes, take, terms, token, asyncio.get_running_loop().time(), *again)

    patch.setattr(MemoryBroker, "recover_stalled", slow)
    patch.setattr(MemoryBroker, "exchange", after)


def moved_back_to_nowhere(patch: Patch) -> None:
    """A rate-limited job leaves the list of active jobs and comes into no other."""
    patch.setattr(MemoryBroker, "_put_back", lambda self, record, now: None)


def restart_forgets_the_wake_up(patch: Patch) -> None:
    """Only who was there when a job was put off knows when it is due."""
    original = MemoryBroker._take
    born: dict[str, float] = {}

    def take(self: Any, count: int, terms: Terms, token: str, now: float, reply: Reply) -> None:
        original(self, count, terms, token, now, reply)
        since = born.setdefault(token.rpartition(":")[0], now)
        if self._delayed and self._delayed[0][2].timestamp < since:
            reply.next_due = None

    patch.setattr(MemoryBroker, "_take", take)
    # what stands between a client and the queue asks it too
    patch.setattr(MemoryBroker, "first_due", lambda self: None)


def delays_are_waited_for_too_long(patch: Patch) -> None:
    """With several slots a worker waits for new jobs, and looks at delayed ones only afterwards."""
    original = MemoryBroker.wait

    async def wait(self: Any, until: float | None, now: float) -> None:
        await original(self, None if until is None else now + DRAIN_DELAY, now)

    patch.setattr(MemoryBroker, "wait", wait)


def resume_overwrites(patch: Patch) -> None:
    """To pause moves what waits to another list, to resume moves that back over what has come meanwhile."""
    pause, resume = MemoryBroker.pause, MemoryBroker.resume
    moved: dict[int, deque[Record]] = {}

    async def move_away(self: Any, now: float) -> None:
        await pause(self, now)
        moved[id(self)], self._wait = self._wait, deque()

    async def move_back(self: Any, now: float) -> None:
        self._wait = moved.pop(id(self))
        await resume(self, now)

    patch.setattr(MemoryBroker, "pause", move_away)
    patch.setattr(MemoryBroker, "resume", move_back)


def limit_is_waited_for_too_long(patch: Patch) -> None:
    """A worker that met the limit waits for new jobs, whenever the window ends."""
    original = Exchanges._understand

    def understand(self: Any, reply: Reply, outcomes: list[Outcome], take: int) -> Sequence[Job]:
        if reply.limited_until is not None:
            reply.limited_until = self._clock() + DRAIN_DELAY
        return original(self, reply, outcomes, take)

    patch.setattr(Exchanges, "_understand", understand)


EXHIBITS: dict[str, tuple[Bug, set[str]]] = {
    "bull-2235": (limiter_keeps_delaying, {"latency.p95 < 5s of load afterwards"}),
    "bull-1110": (timer_of_the_limiter_never_ends, {"unfinished == 0", "no job waits beside an idle worker"}),
    "bull-1222": (overdue_jobs_spin, {"livelock"}),
    "bull-313": (stalled_jobs_hold_everybody_up, {"latency.max < 1m of load new"}),
    "bull-1148": (moved_back_to_nowhere, {"lost == 0", "no job lost", "one state at a time"}),
    "bullmq-168": (restart_forgets_the_wake_up, {"unfinished == 0"}),
    "bullmq-1627": (delays_are_waited_for_too_long, {"latency.max < 2.5s", "no job waits beside an idle worker"}),
    "bullmq-pause": (resume_overwrites, {"lost == 0", "no job lost", "one state at a time"}),
    "python-port-limiter": (limit_is_waited_for_too_long, {"latency.max < 25s", "no job waits beside an idle worker"}),
}
"""By scenario: the bug, and the checks that find it ("livelock": the run's own verdict)."""
