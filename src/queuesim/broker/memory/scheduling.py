"""Job schedulers of a queue in memory: each with one pending job at a time."""

from __future__ import annotations

import math
from dataclasses import replace

from queuesim.broker.memory.names import COMPLETED, FAILED
from queuesim.broker.memory.record import Record
from queuesim.broker.memory.settling import Settling
from queuesim.errors import JobError
from queuesim.job import NewJob
from queuesim.scheduler import SLOT_TAKEN, Scheduler


class Scheduling(Settling):
    """Storing schedulers, and adding their jobs one after another."""

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        """Store a scheduler and add its first job; see Broker.upsert_scheduler."""
        job_id = scheduler.job_id(due)
        if (
            self._records.get(job_id) is not self._pending_of(self._schedulers.get(scheduler.id))
            and job_id in self._records
        ):
            raise JobError(job_id, SLOT_TAKEN, "schedule")
        self._remove_pending(scheduler.id, now)
        self._schedulers[scheduler.id] = replace(scheduler, iterations=1, due=due, pending=job_id)
        self._add_iteration(scheduler, job_id, due, now)
        return job_id

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        """Add a scheduler's next job; see Broker.advance_scheduler."""
        scheduler = self._schedulers.get(scheduler_id)
        if scheduler is None or scheduler.pending != job_id:
            return None
        if due is None:
            del self._schedulers[scheduler_id]
            return None
        next_id = scheduler.job_id(due)
        if next_id in self._records:
            raise JobError(next_id, SLOT_TAKEN, "schedule")
        self._schedulers[scheduler_id] = replace(
            scheduler, iterations=scheduler.iterations + 1, due=due, pending=next_id
        )
        self._add_iteration(scheduler, next_id, due, now)
        return next_id

    def _add_iteration(self, scheduler: Scheduler, job_id: str, due: float, now: float) -> None:
        # its age counts from now, so that a tick that was missed is not older than it is
        options = replace(scheduler.options, delay=max(due - now, 0.0), timestamp=None)
        new = NewJob(scheduler.name, scheduler.data, options, f"scheduler {scheduler.id}", due)
        # it is always added: no other job stands for it, and it stands for none (BullMQ 6.7)
        self._add(new, now, job_id, tick=due)
        record = self._records[job_id]
        record.scheduler_id = scheduler.id
        record.marked = True

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        """The scheduler of that id; None if there is none."""
        return self._schedulers.get(scheduler_id)

    async def schedulers(self) -> list[Scheduler]:
        """All of them, the one that is due first at the front."""
        return sorted(self._schedulers.values(), key=lambda s: (math.inf if s.due is None else s.due, s.id))

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        """Remove a scheduler and its pending job; see Broker.remove_scheduler."""
        self._remove_pending(scheduler_id, now)
        return self._schedulers.pop(scheduler_id, None) is not None

    def _remove_pending(self, scheduler_id: str, now: float) -> None:
        record = self._pending_of(self._schedulers.get(scheduler_id))
        if record is not None:
            self._delete(record, now)

    def _pending_of(self, scheduler: Scheduler | None) -> Record | None:
        """The job of a scheduler that has not started yet."""
        if scheduler is None or scheduler.pending is None:
            return None
        record = self._records.get(scheduler.pending)
        if record is None or record.token or record.state in (COMPLETED, FAILED):
            return None
        return record
