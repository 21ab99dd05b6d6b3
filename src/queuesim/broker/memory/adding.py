"""Adding jobs: ids, duplicates, deduplication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from queuesim.broker.memory.deduplication import Holder, expiry
from queuesim.broker.memory.log import TRIM_AT
from queuesim.broker.memory.names import (
    ACTIVE,
    ADDED_EVENT,
    DEDUPLICATED_EVENT,
    DELAYED,
    DUPLICATED_EVENT,
    WAITING,
    WAITING_EVENT,
)
from queuesim.broker.memory.parents import Parents
from queuesim.broker.memory.record import Record
from queuesim.family import FlowRow
from queuesim.job import Deduplication, ExistingId, JobId, JobRef, NewJob


class Adding(Parents):
    """The producers' side of the memory broker."""

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """Add jobs in one step; see Broker.add."""
        ids = [self._add(job, now) for job in jobs]
        if len(self._log.entries) >= TRIM_AT:
            self._log.trim()
        return ids

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add a tree of jobs; see Broker.add_flow."""
        for place, row in enumerate(rows, 1):
            if row.id in self._open_sibling(row.queue)._records:
                return place
        for row in rows:
            queue = self._open_sibling(row.queue)
            queue._add(row.new_job(), now, row.id, row=row)
        for name in dict.fromkeys(row.queue for row in rows):
            self._open_sibling(name)._trim_and_wake()
        return 0

    def _add(
        self,
        job: NewJob,
        now: float,
        job_id: str | None = None,
        *,
        tick: float | None = None,
        row: FlowRow | None = None,
    ) -> JobId:
        """Add one job, under `job_id` if it was given one before. A scheduler's job is due at its `tick` exactly, and
        is added whatever its deduplication id says; one of a flow waits for its children."""
        # the counter moves on for duplicates too (BullMQ 6.7)
        self._number += 1
        if job_id is None:
            job_id = job.job_id
        if job_id is None:
            job_id = str(self._number)
        elif (existing := self._records.get(job_id)) is not None:
            self._emit((now, DUPLICATED_EVENT, existing.number, existing.id, None, None))
            return ExistingId(job_id)
        deduplication = job.deduplication if tick is None else None
        if deduplication is not None:
            owner = self._deduplicate(job, deduplication, job_id, now)
            if owner is not None:
                return ExistingId(owner)
        # not before: most duplicates are dropped without that anybody makes their options
        options = job.options
        timestamp = now if options.timestamp is None else options.timestamp
        record = Record(job_id, self._number, job.name, job.data, options, timestamp, WAITING, timestamp)
        if job.history:
            record.history = job.history
            record.marked = True
        self._records[job_id] = record
        if self._observer is not None:
            told = self._real(now) if timestamp == now else timestamp
            try:
                self._observer.added(record.number, job_id, job, told)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)
        self._emit((now, ADDED_EVENT, record.number, record.id, None, {"name": job.name}))
        if row is not None:
            self._join_family(record, row)
        if row is not None and row.has_children:
            self._await_children(record, now)
        elif options.delay > 0:
            self._postpone(record, timestamp + options.delay if tick is None else tick, now)
        else:
            self._enqueue(record, lifo=options.lifo)
            self._emit((now, WAITING_EVENT, record.number, record.id, None, None))
            if self._waiters:
                self._wake()
        return JobId(job_id)

    def _join_family(self, record: Record, row: FlowRow) -> None:
        # what observers are told of has its id in its options
        record.options = row.options
        record.parent, record.on_failure = row.parent, row.on_failure
        home = self._home(record)
        if home is not None:
            home[2].pending.add(JobRef(self.queue, record.id))

    def _deduplicate(self, job: NewJob, deduplication: Deduplication, job_id: str, now: float) -> str | None:
        """The id of the job that stands for this one, or None if this one is to be added."""
        holder = self._deduplications.holder(deduplication.id, now)
        owner = None if holder is None else self._records.get(holder.job_id)
        if holder is not None and owner is not None and owner.state is DELAYED and deduplication.replace:
            self._replace(owner, holder, deduplication, job_id, now)
            return None
        if holder is None or (owner is None and holder.expires is None):
            # nobody has the id, or one that is gone without having freed it
            self._deduplications.hold(deduplication, job_id, self._number, now)
            return None
        self._drop(job, job_id, holder, owner, deduplication, now)
        return holder.job_id

    def _drop(
        self,
        job: NewJob,
        job_id: str,
        holder: Holder,
        owner: Record | None,
        deduplication: Deduplication,
        now: float,
    ) -> None:
        """What a duplicate still does: stay to run after its owner, extend the hold, or move its owner."""
        if deduplication.keep_last_if_active and owner is not None and owner.state is ACTIVE:
            holder.next_job = (job_id, job)
            holder.expires = None
        elif deduplication.replace:
            # too late to replace it, and nobody is told (BullMQ 6.7)
            return
        elif deduplication.extend and deduplication.ttl:
            holder.expires = expiry(deduplication, now)
        fields = {"deduplicationId": deduplication.id, "deduplicatedJobId": job_id}
        self._emit((now, DEDUPLICATED_EVENT, holder.number, holder.job_id, None, fields))
        if deduplication.reschedule and owner is not None and owner.state is DELAYED:
            self._take_out(owner)
            owner.delay = job.options.delay
            timestamp = now if job.options.timestamp is None else job.options.timestamp
            self._postpone(owner, timestamp + job.options.delay, now)

    def _replace(self, owner: Record, holder: Holder, deduplication: Deduplication, job_id: str, now: float) -> None:
        """The newcomer takes the place of an owner that has not run yet, and the rest of its time unless extended."""
        self._delete(owner, now)
        fields = {"deduplicationId": deduplication.id, "deduplicatedJobId": owner.id}
        self._emit((now, DEDUPLICATED_EVENT, self._number, job_id, None, fields))
        heir = self._deduplications.hold(deduplication, job_id, self._number, now)
        if deduplication.ttl and not (deduplication.extend or deduplication.keep_last_if_active):
            heir.expires = holder.expires

    def _run_after(self, owner: Record, now: float) -> None:
        """Free the owner's deduplication id and add the duplicate that was kept to run after it, under its own id."""
        kept = self._deduplications.finished(owner, now)
        if kept is not None:
            job_id, job = kept
            self._add(replace(job, options=replace(job.options, timestamp=None)), now, job_id)
