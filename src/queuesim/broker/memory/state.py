"""What a queue in memory consists of, and the moves that every operation is made of."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from queuesim.broker.base import Observer
from queuesim.broker.memory.deduplication import Deduplications
from queuesim.broker.memory.finished import Finished
from queuesim.broker.memory.log import Entry, EventLog
from queuesim.broker.memory.names import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    DELAYED_EVENT,
    FAILED,
    PRIORITIZED,
    REMOVED_EVENT,
    WAITING,
    WAITING_CHILDREN,
    WAITING_EVENT,
)
from queuesim.broker.memory.record import Record
from queuesim.broker.memory.window import Window
from queuesim.clock import Clock
from queuesim.containment import Contained
from queuesim.errors import JobError
from queuesim.events import Event, EventPage
from queuesim.job import JobState
from queuesim.limits import RateLimit
from queuesim.scheduler import Scheduler

if TYPE_CHECKING:
    from queuesim.broker.base import Broker

PROMOTED_AT_ONCE = 1000
"""Delayed jobs that one exchange promotes at most (BullMQ 6.7)."""

FIRST_OF_ITS_PRIORITY = 0
"""The counter of a job that goes in front of its own priority; all others count from 1."""


class QueueState:
    """The lists, sets and counters of one queue, and the primitive moves between them."""

    def __init__(self, queue: str = "default", *, siblings: dict[str, Any] | None = None) -> None:
        self.queue = queue
        self.clock: Clock | None = None
        self._observer: Observer | None = None
        self.observer_errors = Contained(f"the observer of queue {queue}")
        self._siblings: dict[str, Any] = {} if siblings is None else siblings
        self._siblings[queue] = self
        self._log = EventLog()
        self._emit = self._log.append
        self._server_now: float | None = None
        self._clear()
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def server_now(self) -> float | None:
        """What time it really is, while someone is served whose clock is wrong; None: all clocks agree.

        Locks, limiter windows, stalled checks and events go by it, as Redis times them itself.
        """
        return self._server_now

    @server_now.setter
    def server_now(self, time: float | None) -> None:
        self._server_now = time
        append = self._log.append
        self._emit = append if time is None else lambda entry: append((time, *entry[1:]))

    def _real(self, now: float) -> float:
        """What a caller believes to be `now`, by the server's clock."""
        return now if self._server_now is None else self._server_now

    def _clear(self) -> None:
        """Everything that obliterate removes, as it is in a new queue."""
        self._records: dict[str, Record] = {}
        self._number = 0
        self._wait: deque[Record] = deque()
        self._prioritized: list[tuple[int, int, str, int, Record]] = []
        self._prioritized_count = 0
        self._priority_counter = 0
        self._delayed: list[tuple[float, int, Record]] = []
        self._delayed_count = 0
        self._entries = 0
        self._active: dict[str, Record] = {}
        self._waiting_children: dict[str, tuple[float, Record]] = {}
        """Parents, each with the time since which it waits."""
        self._finished = {COMPLETED: Finished(), FAILED: Finished()}
        self._stalled: set[str] = set()
        self._next_stalled_check = float("-inf")
        self._paused = False
        self._concurrency: int | None = None
        self._rate_limit: RateLimit | None = None
        self._window = Window()
        self._deduplications = Deduplications()
        self._schedulers: dict[str, Scheduler] = {}

    def sibling(self, queue: str) -> Broker:
        """A broker for another queue in the same memory."""
        broker: Broker = self._open_sibling(queue)
        return broker

    def _open_sibling(self, queue: str) -> Any:
        return self._siblings.get(queue) or type(self)(queue, siblings=self._siblings)

    async def close(self) -> None:
        """Nothing to give back: the queue lives as long as this object."""

    # -- events

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of everything that happens from now on."""
        self._observer = observer
        self._log.leaving = self._hand_over

    def _hand_over(self, entries: Sequence[Entry]) -> None:
        assert self._observer is not None
        try:
            self._observer.events(entries)
        except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
            self.observer_errors.raised(error)

    @property
    def idle(self) -> bool:
        """No job waits, is delayed or runs."""
        return not (self._wait or self._active or self._prioritized_count or self._delayed_count)

    def flush(self) -> None:
        """Tell the observer what it was not told yet: events are handed over by the thousand."""
        self._log.flush()

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events with an id above `after`, oldest first; the newest 10 000 are kept."""
        return self._log.after(after, limit)

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        """As `events`, and whether any in between was trimmed; see Broker.read_events."""
        events = self._log.after(after, limit)
        return EventPage(events, not after or self._log.keeps_after(after), events[-1].id if events else after)

    # -- looking up

    def _find(self, job_id: str, doing: str) -> Record:
        record = self._records.get(job_id)
        if record is None:
            raise JobError(job_id, -1, doing)
        return record

    def _iterate(self, state: JobState) -> Iterator[Record]:
        """The jobs of a state: the next to run first, or the first to have finished."""
        if state is WAITING:
            return iter(self._wait)
        if state is PRIORITIZED:
            return (entry[4] for entry in sorted(self._prioritized) if self._is_prioritized(entry))
        if state is DELAYED:
            return (entry[2] for entry in sorted(self._delayed, key=_due) if self._is_delayed(entry))
        if state is ACTIVE:
            return iter(self._active.values())
        if state is WAITING_CHILDREN:
            return (record for _, record in sorted(self._waiting_children.values(), key=_since))
        return iter(self._finished.get(state, ()))

    @staticmethod
    def _is_prioritized(entry: tuple[int, int, str, int, Record]) -> bool:
        return entry[4].entry == entry[3] and entry[4].state is PRIORITIZED

    @staticmethod
    def _is_delayed(entry: tuple[float, int, Record]) -> bool:
        return entry[2].entry == entry[1] and entry[2].state is DELAYED

    # -- into the lists

    def _enqueue(self, record: Record, *, lifo: bool = False) -> None:
        """Let a job run: at the end of `wait` (at its front if lifo), or among the prioritized."""
        if record.priority:
            self._priority_counter += 1
            self._prioritize(record, self._priority_counter)
        else:
            record.state = WAITING
            if lifo:
                self._wait.appendleft(record)
            else:
                self._wait.append(record)

    def _put_back(self, record: Record, now: float) -> None:
        """In front of all jobs of its own priority: where a rate-limited job goes."""
        record.ready_at = now
        if record.priority:
            self._prioritize(record, FIRST_OF_ITS_PRIORITY)
        else:
            self._enqueue(record, lifo=True)

    def _prioritize(self, record: Record, counter: int) -> None:
        record.state = PRIORITIZED
        self._entries += 1
        record.entry = self._entries
        self._prioritized_count += 1
        heappush(self._prioritized, (record.priority, counter, record.id, record.entry, record))

    def _postpone(self, record: Record, due: float, now: float) -> None:
        """Among the delayed; jobs of one instant keep their order."""
        record.state = DELAYED
        record.ready_at = due
        self._entries += 1
        record.entry = self._entries
        self._delayed_count += 1
        first = not self._delayed or due < self._delayed[0][0]
        heappush(self._delayed, (due, record.entry, record))
        self._emit((now, DELAYED_EVENT, record.number, record.id, None, {"delay": due}))
        if first:
            # whoever sleeps until the job that was first before would sleep too long
            self._wake_all()

    # -- out of the lists

    def _next_due(self) -> float | None:
        """When the first delayed job is due."""
        delayed = self._delayed
        while delayed and not self._is_delayed(delayed[0]):
            heappop(delayed)
        return delayed[0][0] if delayed else None

    def _promote_due(self, now: float) -> None:
        """Let run what is due, the earliest first. `lifo` counts no more here (BullMQ 6.7)."""
        for _ in range(PROMOTED_AT_ONCE):
            due = self._next_due()
            if due is None or due > now:
                return
            record = heappop(self._delayed)[2]
            self._delayed_count -= 1
            record.delay = 0.0
            self._enqueue(record)
            self._emit((now, WAITING_EVENT, record.number, record.id, DELAYED, None))

    def _pop_next(self) -> Record | None:
        """The next job to start. `wait` goes before `prioritized`, always."""
        if self._wait:
            return self._wait.popleft()
        while self._prioritized:
            entry = heappop(self._prioritized)
            if self._is_prioritized(entry):
                self._prioritized_count -= 1
                return entry[4]
        self._priority_counter = 0
        return None

    def _take_out(self, record: Record) -> None:
        """Out of the list of its state, wherever it stands there."""
        if record.state is WAITING:
            self._wait.remove(record)
        elif record.state is PRIORITIZED:
            self._prioritized_count -= 1
            record.entry = 0
        elif record.state is DELAYED:
            self._delayed_count -= 1
            record.entry = 0
        elif record.state is ACTIVE:
            del self._active[record.id]
            self._stalled.discard(record.id)
        elif record.state is WAITING_CHILDREN:
            del self._waiting_children[record.id]
        else:
            self._finished[record.state].remove(record)

    def _is_pending(self, record: Record) -> bool:
        """Whether it is the present job of a job scheduler: without it that would stand still."""
        if record.scheduler_id is None:
            return False
        scheduler = self._schedulers.get(record.scheduler_id)
        return scheduler is not None and scheduler.pending == record.id

    def _delete(self, record: Record, now: float) -> None:
        """Remove a job wherever it is, with its deduplication id."""
        self._take_out(record)
        del self._records[record.id]
        self._deduplications.removed(record)
        self._emit((now, REMOVED_EVENT, record.number, record.id, record.state, None))

    def _tell_removed(self, records: Iterable[Record]) -> None:
        if self._observer is not None:
            # what has ended stays what it was, wherever it is kept
            unfinished = [record.number for record in records if record.state not in (COMPLETED, FAILED)]
            try:
                self._observer.removed(unfinished)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)

    # -- waking workers that wait

    def _maxed(self) -> bool:
        return self._paused or (self._concurrency is not None and len(self._active) >= self._concurrency)

    def _has_work(self) -> bool:
        return bool(self._wait or self._prioritized_count) and not self._maxed()

    def _wake(self) -> None:
        """Wake one waiting worker if there is something to take."""
        while self._waiters and self._has_work():
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)


def _due(entry: tuple[float, int, Record]) -> tuple[float, int]:
    return entry[0], entry[1]


def _since(entry: tuple[float, Record]) -> tuple[float, str]:
    """Equal times go by id, as text."""
    return entry[0], entry[1].id
