"""Who holds which deduplication id, until when, and which job comes next."""

from __future__ import annotations

from dataclasses import dataclass

from queuesim.broker.memory.record import Record
from queuesim.job import Deduplication, NewJob


@dataclass(slots=True)
class Holder:
    """The job that owns an id."""

    job_id: str
    expires: float | None = None
    """When the id is free again; None: when the owner finishes or is removed."""
    next_job: NewJob | None = None
    """The last duplicate that came while the owner was active, to run after it."""


class Deduplications:
    """The deduplication ids of one queue."""

    def __init__(self) -> None:
        self._holders: dict[str, Holder] = {}

    def holder(self, deduplication_id: str, now: float) -> Holder | None:
        """Who holds the id now."""
        holder = self._holders.get(deduplication_id)
        if holder is not None and holder.expires is not None and holder.expires <= now:
            del self._holders[deduplication_id]
            return None
        return holder

    def hold(self, deduplication: Deduplication, job_id: str, now: float) -> None:
        """Give the id to a job."""
        expires = None if not deduplication.ttl else now + deduplication.ttl
        self._holders[deduplication.id] = Holder(job_id, expires)

    def release(self, deduplication_id: str) -> bool:
        """Free an id by hand."""
        return self._holders.pop(deduplication_id, None) is not None

    def removed(self, record: Record) -> None:
        """A removed job frees its id, time-to-live or not."""
        holder = self._held_by(record)
        if holder is not None:
            assert record.options.deduplication is not None
            del self._holders[record.options.deduplication.id]

    def finished(self, record: Record, now: float) -> NewJob | None:
        """A finished job frees an id without a time-to-live. Returns the job that was kept to run after it."""
        holder = self._held_by(record)
        if holder is None:
            return None
        if holder.expires is None or holder.expires <= now:
            assert record.options.deduplication is not None
            del self._holders[record.options.deduplication.id]
        return holder.next_job

    def _held_by(self, record: Record) -> Holder | None:
        deduplication = record.options.deduplication
        if deduplication is None:
            return None
        holder = self._holders.get(deduplication.id)
        return holder if holder is not None and holder.job_id == record.id else None
