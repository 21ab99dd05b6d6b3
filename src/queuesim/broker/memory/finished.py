"""The finished jobs of one state, ordered by when they finished, as a Redis sorted set orders them."""

from __future__ import annotations

from bisect import insort
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
        if not records or _order(records[-1]) <= _order(record):
            records.append(record)
            return
        # thousands may finish at one instant: a search, not a walk
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
