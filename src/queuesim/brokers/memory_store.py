"""What a queue in memory is made of: stored jobs and their families, finished jobs, events, the limiter's window,
deduplication ids."""

from __future__ import annotations

import copy
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from queuesim.core.broker import OnFailure
from queuesim.core.events import Event, EventKind
from queuesim.core.job import (
    Children,
    Deduplication,
    Job,
    JobHandle,
    JobOptions,
    JobRef,
    JobState,
    NewJob,
    Unreadable,
    parse_json,
    parse_json_or_text,
)

# states and kinds of events under plain names: an attribute of an enum takes longer to look up
WAITING = JobState.WAITING
PRIORITIZED = JobState.PRIORITIZED
DELAYED = JobState.DELAYED
ACTIVE = JobState.ACTIVE
COMPLETED = JobState.COMPLETED
FAILED = JobState.FAILED
WAITING_CHILDREN = JobState.WAITING_CHILDREN

ADDED_EVENT = EventKind.ADDED
WAITING_EVENT = EventKind.WAITING
DELAYED_EVENT = EventKind.DELAYED
ACTIVE_EVENT = EventKind.ACTIVE
PROGRESS_EVENT = EventKind.PROGRESS
COMPLETED_EVENT = EventKind.COMPLETED
FAILED_EVENT = EventKind.FAILED
RETRIES_EXHAUSTED_EVENT = EventKind.RETRIES_EXHAUSTED
STALLED_EVENT = EventKind.STALLED
WAITING_CHILDREN_EVENT = EventKind.WAITING_CHILDREN
REMOVED_EVENT = EventKind.REMOVED
DUPLICATED_EVENT = EventKind.DUPLICATED
DEDUPLICATED_EVENT = EventKind.DEDUPLICATED
CLEANED_EVENT = EventKind.CLEANED
DRAINED_EVENT = EventKind.DRAINED
PAUSED_EVENT = EventKind.PAUSED
RESUMED_EVENT = EventKind.RESUMED


class Record:
    """The stored job. What most jobs never have stays a class attribute, so that a record is cheap to make."""

    marked: bool = False
    """Whether any of what follows, up to `progress`, was ever set."""
    return_value: str | None = None
    failed_reason: str | None = None
    deferred_failure: str | None = None
    finished_on: float | None = None
    stacktrace: Sequence[str] = ()
    history: Sequence[dict[str, Any]] = ()
    stalled_count: int = 0
    progress: str = "0"
    logs: Sequence[str] = ()
    letter: tuple[str, str] | None = None
    """The dead-letter queue and the id of its dead letter there."""
    scheduler_id: str | None = None
    parent: JobRef | None = None
    """The job of a flow that waits for this one."""
    on_failure: OnFailure = "wait"
    """What its final failure does to its parent."""
    family: Family | None = None
    """The outcomes of its children, if it has any."""
    processed_on: float | None = None
    processed_by: str | None = None
    attempts_made: int = 0
    attempts_started: int = 0
    token: str = ""
    """Who holds the lock; "" is nobody."""
    locked_until: float = 0.0
    entry: int = 0
    """Which entry of a heap is this job's present one: entries that it left behind are skipped."""

    def __init__(
        self,
        id: str,
        number: int,
        name: str,
        data: str,
        options: JobOptions,
        timestamp: float,
        state: JobState,
        ready_at: float,
    ) -> None:
        self.id = id
        self.number = number
        self.name = name
        self.data = data
        self.options = options
        self.timestamp = timestamp
        self.delay = options.delay
        self.priority = options.priority
        self.state = state
        self.ready_at = ready_at

    def snapshot(self, queue: JobHandle) -> Job:
        """The job as it is now. Its data are a fresh copy every time."""
        data = self.data
        unreadable = None
        try:
            value = {} if data == "{}" else parse_json(data)
        except ValueError as error:
            value, unreadable = None, Unreadable("data", str(error))
        job = Job(
            self.id,
            self.name,
            value,
            self.options,
            self.number,
            self.timestamp,
            self.delay,
            self.priority,
            self.attempts_made,
            self.attempts_started,
            self.processed_on,
            self.processed_by,
            self.ready_at,
            data,
            self.token,
            queue,
        )
        if unreadable is not None:
            job.unreadable = (unreadable,)
        if self.parent is not None:
            job.parent = self.parent
        if self.marked:
            self._copy_marks(job)
        return job

    def copy(self) -> Record:
        """A copy that changes independently of this one."""
        copied = copy.copy(self)
        if self.family is not None:
            copied.family = self.family.copy()
        return copied

    def _copy_marks(self, job: Job) -> None:
        job.stalled_count = self.stalled_count
        job.finished_on = self.finished_on
        job.return_value = None if self.return_value is None else parse_json_or_text(self.return_value)
        job.failed_reason = self.failed_reason
        job.deferred_failure = self.deferred_failure
        job.stacktrace = self.stacktrace
        job.history = self.history
        job.progress = parse_json_or_text(self.progress)
        job.scheduler_id = self.scheduler_id


class Family:
    """The children of one job: each is in one of four places, or was removed."""

    __slots__ = ("failed", "ignored", "pending", "values")

    def __init__(self) -> None:
        self.pending: set[JobRef] = set()
        self.values: dict[JobRef, str] = {}
        """The return values of those that completed, as JSON text."""
        self.ignored: dict[JobRef, str] = {}
        """The reasons of those that failed and whose failure the parent ignores."""
        self.failed: set[JobRef] = set()
        """Those that failed and fail their parent."""

    def copy(self) -> Family:
        """A copy that changes independently of this one."""
        other = Family()
        other.pending, other.values = set(self.pending), dict(self.values)
        other.ignored, other.failed = dict(self.ignored), set(self.failed)
        return other

    def forget(self, child: JobRef) -> bool:
        """Forget how a child ended. False if it had not ended."""
        if child in self.failed:
            self.failed.remove(child)
            return True
        return self.ignored.pop(child, None) is not None or self.values.pop(child, None) is not None

    def children(self) -> Children:
        """The outcomes, as brokers return them."""
        return Children(
            {child: parse_json_or_text(value) for child, value in _by_child(self.values)},
            dict(_by_child(self.ignored)),
            sorted(map(str, self.failed)),
            sorted(map(str, self.pending)),
        )


def _by_child(known: dict[JobRef, str]) -> list[tuple[str, str]]:
    return sorted((str(child), text) for child, text in known.items())


MAX_EVENTS = 10_000
"""Events that a stream keeps at least (BullMQ's default; it trims roughly, too)."""

TRIM_AT = 2 * MAX_EVENTS
"""Number of entries at which the oldest are dropped."""

Entry = tuple[float, EventKind, int, str | None, JobState | None, dict[str, Any] | None]
"""(time, kind, the job's number or 0, its id, the state it came from, other fields)."""


class EventLog:
    """The newest events. Each operation on a job only appends one; everything else is done by the thousand."""

    def __init__(self) -> None:
        self.leaving: Callable[[Sequence[Entry]], None] | None = None
        """Called with entries that were not handed over yet, before they are trimmed."""
        self.entries: list[Entry] = []
        self.append = self.entries.append
        """Add the newest event. Bound early, because it is called four times a job; call `trim` now and then."""
        self._trimmed = 0
        self._handed_over = 0

    def trim(self) -> None:
        """Drop the oldest entries if there are too many."""
        if len(self.entries) >= TRIM_AT:
            self.flush()
            surplus = len(self.entries) - MAX_EVENTS
            del self.entries[:surplus]
            self._trimmed += surplus

    def clear(self) -> None:
        """Drop all entries. Ids go on, so that a reader who asks for later ones misses nothing."""
        self.flush()
        self._trimmed += len(self.entries)
        self.entries.clear()

    def flush(self) -> None:
        """Hand over all entries that were not handed over yet."""
        if self.leaving is not None:
            self.leaving(self.entries[self._handed_over - self._trimmed :])
        self._handed_over = self._trimmed + len(self.entries)

    def keeps_after(self, event_id: int) -> bool:
        """Whether all events with an id above this one are still there."""
        return event_id >= self._trimmed

    def after(self, event_id: int, limit: int | None) -> list[Event]:
        """Events with an id above `event_id`, oldest first. An event's id is its position, from 1."""
        first = max(event_id - self._trimmed, 0)
        entries = self.entries[first : None if limit is None else first + limit]
        return [_event(self._trimmed + first + i, entry) for i, entry in enumerate(entries, start=1)]


def _event(event_id: int, entry: Entry) -> Event:
    time, kind, _, job_id, previous, fields = entry
    shown = dict(fields or {})
    if previous is not None:
        shown["prev"] = previous
    return Event(event_id, time, kind, job_id, shown)


class Finished:
    """The finished jobs of one state by (finished on, id), the order of a Redis sorted set. Clocks go forward, so a new
    one belongs at the end or next to it."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        """The first to finish is the first here."""

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def add(self, record: Record) -> None:
        """Insert a job whose `finished_on` is set."""
        records = self.records
        if not records or _order(records[-1]) <= _order(record):
            records.append(record)
            return
        # thousands may finish at one instant: binary search
        insort(records, record, key=_order)

    def remove(self, record: Record) -> None:
        """Take one job out. Raises ValueError if it is not here."""
        self.records.remove(record)

    def pop_first(self) -> Record:
        """Take out the job that finished first. Raises IndexError if there is none."""
        return self.records.popleft()

    def pop_until(self, time: float, limit: int) -> list[Record]:
        """Take out up to `limit` jobs that finished at `time` or before: the last of them to finish (BullMQ 6.7)."""
        old = []
        while self.records and (self.records[0].finished_on or 0.0) <= time:
            old.append(self.records.popleft())
        surplus = max(len(old) - limit, 0)
        self.records.extendleft(reversed(old[:surplus]))
        return old[surplus:]


def _order(record: Record) -> tuple[float, str]:
    """Equal times go by id, as text."""
    return record.finished_on or 0.0, record.id


MANUAL = 2**53 - 1
"""The counter of a manual rate limit: above any limit."""


class Window:
    """The limiter's window, as BullMQ's key `limiter`: a counter of starts that expires. The first start opens it."""

    __slots__ = ("count", "expires")

    def __init__(self) -> None:
        self.count = 0
        self.expires = 0.0

    def closes_at(self, max_jobs: int, now: float) -> float | None:
        """When the window that has used up `max_jobs` starts closes; None if a start is free now."""
        if self.count >= max_jobs and now < self.expires:
            return self.expires
        return None

    def start(self, duration: float, now: float) -> bool:
        """Count a start. True if it opened a new window of `duration` seconds."""
        if self.count and now < self.expires:
            self.count += 1
            return False
        self.count = 1
        self.expires = now + duration
        return True

    def hold(self, duration: float, now: float) -> None:
        """Rate-limit by hand for `duration` seconds."""
        self.count = MANUAL
        self.expires = now + duration

    def clear(self) -> None:
        """Forget the window."""
        self.count = 0
        self.expires = 0.0


FIRST_SWEEP = 1024
"""Number of held ids at which expired ones are removed first; from then on, twice the number that is left."""


def expiry(deduplication: Deduplication, now: float) -> float | None:
    """When an id that is taken now is free again; None: when its owner finishes. That is so, whatever the time-to-live,
    where the last duplicate is kept (BullMQ 6.7)."""
    return None if not deduplication.ttl or deduplication.keep_last_if_active else now + deduplication.ttl


@dataclass(slots=True)
class Holder:
    """The job that owns an id."""

    job_id: str
    number: int
    expires: float | None = None
    """When the id is free again; None: when the owner finishes or is removed."""
    next_job: tuple[str, NewJob] | None = None
    """The last duplicate that came while the owner was active, to run after it, and the id that it got."""


class Deduplications:
    """The deduplication ids of one queue."""

    def __init__(self) -> None:
        self._holders: dict[str, Holder] = {}
        self._sweep_at = FIRST_SWEEP

    def holder(self, deduplication_id: str, now: float) -> Holder | None:
        """The holder of an id; None: it is free."""
        holder = self._holders.get(deduplication_id)
        if holder is not None and holder.expires is not None and holder.expires <= now:
            del self._holders[deduplication_id]
            return None
        return holder

    def hold(self, deduplication: Deduplication, job_id: str, number: int, now: float) -> Holder:
        """Give the id to a job."""
        if len(self._holders) >= self._sweep_at:
            self._sweep(now)
        self._holders[deduplication.id] = holder = Holder(job_id, number, expiry(deduplication, now))
        return holder

    def _sweep(self, now: float) -> None:
        """Remove expired ids."""
        live = {id: holder for id, holder in self._holders.items() if holder.expires is None or holder.expires > now}
        self._holders = live
        self._sweep_at = max(FIRST_SWEEP, 2 * len(live))

    def release(self, deduplication_id: str, now: float) -> bool:
        """Free an id by hand. Whether it was held until now."""
        if self.holder(deduplication_id, now) is None:
            return False
        del self._holders[deduplication_id]
        return True

    def removed(self, record: Record) -> None:
        """Free the id of a removed job, whatever its time-to-live."""
        holder = self._held_by(record)
        if holder is not None:
            assert record.options.deduplication is not None
            del self._holders[record.options.deduplication.id]

    def finished(self, record: Record, now: float) -> tuple[str, NewJob] | None:
        """Free the id of a finished job, unless it has a time-to-live. Returns the duplicate that was kept to run after
        it, and that one's own job id."""
        holder = self._held_by(record)
        if holder is None:
            return None
        if holder.expires is None or holder.expires <= now or holder.next_job is not None:
            assert record.options.deduplication is not None
            del self._holders[record.options.deduplication.id]
        return holder.next_job

    def _held_by(self, record: Record) -> Holder | None:
        deduplication = record.options.deduplication
        if deduplication is None:
            return None
        holder = self._holders.get(deduplication.id)
        return holder if holder is not None and holder.job_id == record.id else None
