"""The event stream of a queue in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from queuesim.events import Event, EventKind
from queuesim.job import JobState

MAX_EVENTS = 10_000
"""Events that a stream keeps at least (BullMQ's default; it trims roughly, too)."""

TRIM_AT = 2 * MAX_EVENTS
"""So many entries are too many: the oldest go."""

Entry = tuple[float, EventKind, int, str | None, JobState | None, dict[str, Any] | None]
"""(time, kind, the job's number or 0, its id, the state it came from, other fields)."""


class EventLog:
    """The newest events. To append one is all that happens on the way of a job; the rest is done by the thousand."""

    def __init__(self) -> None:
        self.leaving: Callable[[Sequence[Entry]], None] | None = None
        """Gets the entries that are about to be trimmed, for whoever wants all of them."""
        self.entries: list[Entry] = []
        self.append = self.entries.append
        """Add the newest event. Bound early, for it is called four times a job; `trim` follows now and then."""
        self._trimmed = 0
        self._handed_over = 0

    def trim(self) -> None:
        """Let go of the oldest entries if there are too many."""
        if len(self.entries) >= TRIM_AT:
            self.flush()
            surplus = len(self.entries) - MAX_EVENTS
            del self.entries[:surplus]
            self._trimmed += surplus

    def clear(self) -> None:
        """Let go of everything. Ids go on, so that a reader who asks for what came later misses nothing."""
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
