"""Events: one for every transition of a job or a queue, by the names of BullMQ's event stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """What happened."""

    code: int
    """Position in this list, from 0: what a recording packs."""

    ADDED = "added"
    WAITING = "waiting"
    DELAYED = "delayed"
    ACTIVE = "active"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRIES_EXHAUSTED = "retries-exhausted"
    STALLED = "stalled"
    WAITING_CHILDREN = "waiting-children"
    REMOVED = "removed"
    DUPLICATED = "duplicated"
    DEDUPLICATED = "deduplicated"
    CLEANED = "cleaned"
    DRAINED = "drained"
    PAUSED = "paused"
    RESUMED = "resumed"


for _code, _kind in enumerate(EventKind):
    _kind.code = _code


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a queue's event stream."""

    id: int
    """Position in the stream: later events have larger ids."""
    time: float
    """Seconds on the queue's clock."""
    kind: EventKind
    job_id: str | None
    fields: dict[str, Any] = field(default_factory=dict)
    """What BullMQ puts beside the job's id: `prev` (the state it came from), `returnvalue`, `failedReason`, `delay`
    (when a delayed job is due, in seconds on the queue's clock), `attemptsMade`, `data`, `count`, `deduplicationId`,
    `deduplicatedJobId`, `name`."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """What a reader of the event stream gets at one time."""

    events: list[Event]
    """Oldest first."""
    complete: bool
    """False if events between the last one that the reader saw and these may be gone: the stream was trimmed, or began
    anew (obliterate, a server that restarted without its memory, a failover). The reader goes on with what there is."""
    last: int
    """What to read on after."""
