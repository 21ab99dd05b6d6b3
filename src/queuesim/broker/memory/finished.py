"""The finished jobs of one state, ordered by when they finished, as a Redis sorted set orders them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from queuesim.broker.memory.record import Record


class Finished:
    """Jobs by (finished on, id). Clocks go forward, so a new one belongs at the end, or next to it."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        """The first to finish is the first here."""

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def add(self, record: Record) -> None:
        """Put in a job whose `finished_on` is set."""
        records = self.records
        if not records or not _after(records[-1], record):
            records.append(record)
            return
        later = []
        while records and _after(records[-1], record):
            later.append(records.pop())
        records.append(record)
        records.extend(reversed(later))

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


def _after(record: Record, other: Record) -> bool:
    """True if `record` sorts behind `other`. Equal times go by id, as text."""
    a, b = record.finished_on or 0.0, other.finished_on or 0.0
    return a > b or (a == b and record.id > other.id)
