"""Adding jobs: ids, duplicates, deduplication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from queuesim.broker.memory.deduplication import Holder
from queuesim.broker.memory.names import (
    ACTIVE,
    ADDED_EVENT,
    DEDUPLICATED_EVENT,
    DELAYED,
    DUPLICATED_EVENT,
    WAITING,
    WAITING_EVENT,
)
from queuesim.broker.memory.record import Record
from queuesim.broker.memory.state import QueueState
from queuesim.job import Deduplication, NewJob


class Adding(QueueState):
    """The producers' side of the memory broker."""

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[str]:
        """Add jobs in one step; see Broker.add."""
        ids = [self._add(job, now) for job in jobs]
        self._log.trim()
        return ids

    def _add(self, job: NewJob, now: float) -> str:
        options = job.options
        # the counter moves on for duplicates too (BullMQ 6.7)
        self._number += 1
        job_id = options.job_id
        if job_id is None:
            job_id = str(self._number)
        elif (existing := self._records.get(job_id)) is not None:
            self._emit((now, DUPLICATED_EVENT, existing.number, existing.id, None, None))
            return job_id
        if options.deduplication is not None:
            owner = self._deduplicate(job, options.deduplication, job_id, now)
            if owner is not None:
                return owner
        timestamp = now if options.timestamp is None else options.timestamp
        record = Record(job_id, self._number, job.name, job.data, options, timestamp, WAITING, timestamp)
        self._records[job_id] = record
        self._emit((now, ADDED_EVENT, record.number, record.id, None, None))
        if options.delay > 0:
            self._postpone(record, timestamp + options.delay, now)
        else:
            self._enqueue(record, lifo=options.lifo)
            self._emit((now, WAITING_EVENT, record.number, record.id, None, None))
            if self._waiters:
                self._wake()
        return job_id

    def _deduplicate(self, job: NewJob, deduplication: Deduplication, job_id: str, now: float) -> str | None:
        """The id of the job that stands for this one, or None if this one is to be added."""
        holder = self._deduplications.holder(deduplication.id, now)
        owner = None if holder is None else self._records.get(holder.job_id)
        if holder is None or (owner is None and holder.expires is None):
            # nobody has the id, or one that is gone without having freed it
            self._deduplications.hold(deduplication, job_id, now)
            return None
        if deduplication.replace and owner is not None and owner.state is DELAYED:
            self._replace(owner, holder, deduplication, job_id, now)
            return None
        if owner is not None:
            self._keep_for_owner(job, owner, holder, deduplication, now)
        elif deduplication.extend and deduplication.ttl:
            holder.expires = now + deduplication.ttl
        return holder.job_id

    def _keep_for_owner(
        self, job: NewJob, owner: Record, holder: Holder, deduplication: Deduplication, now: float
    ) -> None:
        """What a duplicate still does: move its owner, extend the hold, or stay to run after it."""
        if deduplication.extend and deduplication.ttl:
            holder.expires = now + deduplication.ttl
        if deduplication.reschedule and owner.state is DELAYED:
            self._take_out(owner)
            owner.delay = job.options.delay
            self._postpone(owner, now + job.options.delay, now)
        if deduplication.keep_last_if_active and owner.state is ACTIVE:
            holder.next_job = job
            holder.expires = None
        dropped = job.options.job_id or str(self._number)
        fields = {"deduplicationId": deduplication.id, "deduplicatedJobId": dropped}
        self._emit((now, DEDUPLICATED_EVENT, owner.number, owner.id, None, fields))

    def _replace(self, owner: Record, holder: Holder, deduplication: Deduplication, job_id: str, now: float) -> None:
        """The newcomer takes the place of an owner that has not run yet, and the rest of its time unless extended."""
        expires = holder.expires
        self._delete(owner, now)
        self._deduplications.hold(deduplication, job_id, now)
        if not deduplication.extend and expires is not None:
            held = self._deduplications.holder(deduplication.id, now)
            assert held is not None
            held.expires = expires
        newcomer = Record(job_id, self._number, owner.name, owner.data, owner.options, now, DELAYED, now)
        fields = {"deduplicationId": deduplication.id, "deduplicatedJobId": owner.id}
        self._emit((now, DEDUPLICATED_EVENT, newcomer.number, newcomer.id, None, fields))

    def _run_after(self, owner: Record, now: float) -> None:
        """Free the owner's deduplication id and add the duplicate that was kept to run after it."""
        kept = self._deduplications.finished(owner, now)
        if kept is not None:
            self._add(NewJob(kept.name, kept.data, replace(kept.options, timestamp=None)), now)
