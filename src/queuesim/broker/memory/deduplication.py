"""Who holds which deduplication id, until when, and which job comes next."""

from __future__ import annotations

from dataclasses import dataclass

from queuesim.broker.memory.record import Record
from queuesim.job import Deduplication, NewJob

FIRST_SWEEP = 1024
"""Ids held before expired ones are looked for; later, twice as many as were live at the last time."""


def expiry(deduplication: Deduplication, now: float) -> float | None:
    """When an id that is taken now is free again. To keep the last duplicate it is held until the owner finishes,
    time-to-live or not (BullMQ 6.7)."""
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
        """Who holds the id now."""
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
        """Forget ids that expired and were never asked for again."""
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
        """A removed job frees its id, time-to-live or not."""
        holder = self._held_by(record)
        if holder is not None:
            assert record.options.deduplication is not None
            del self._holders[record.options.deduplication.id]

    def finished(self, record: Record, now: float) -> tuple[str, NewJob] | None:
        """A finished job frees an id without a time-to-live. Returns the job that was kept to run after it, which
        is to have the id next, and that job's own id."""
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
