"""Queue after commit: how the jobs that belong to a transaction get into the queue.

Two ways. After commit: the process that made the transaction adds them once it has committed; if it dies between the
two they are lost. Outbox: they are rows of the same transaction, and a relay moves them; if that dies they are moved
again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Protocol

from sqlalchemy import Connection, insert

from queuesim.job import JobId, NewJob, to_json
from queuesim.plain_options import from_plain, to_plain
from queuesim.queue import Queue
from queuesim.tasks.tables import outbox


class Delivery(Protocol):
    """A way for jobs into the queue."""

    atomic: bool
    """Whether staged jobs are in the database as soon as their transaction has committed, and can't be lost."""

    def stage(self, connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
        """Inside the transaction that the jobs belong to."""
        ...

    async def deliver(self, jobs: Sequence[NewJob]) -> list[JobId] | None:
        """After it has committed. Returns the ids that the queue gave them, if they are in it now."""
        ...


class AfterCommit:
    """The hook: jobs are added as soon as their transaction has committed."""

    atomic = False

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def stage(self, connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
        """Nothing: until the commit the jobs are in this process's memory alone."""

    async def deliver(self, jobs: Sequence[NewJob]) -> list[JobId]:
        """Add the jobs."""
        return await self.queue.add_bulk(jobs)


class Outbox:
    """The transactional outbox.

    Each job gets its id when it is written down. The number of its row would not do: a database that was restored gives
    the same numbers again, and the queue would take the new jobs for those that it has.

    Args:
        wake: told when there is something to move, for a relay in the same process; others look now and then.
        new_id: an id that no other job ever had; a simulation draws it from its seed.
    """

    atomic = True

    def __init__(
        self, wake: Callable[[], None] | None = None, *, new_id: Callable[[], str] = lambda: f"outbox-{token_hex(16)}"
    ) -> None:
        self.wake = wake
        self.new_id = new_id

    def stage(self, connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
        """Write the jobs down."""
        if jobs:
            connection.execute(insert(outbox), [self._row(job, now) for job in jobs])

    async def deliver(self, jobs: Sequence[NewJob]) -> None:
        """Wake the relay."""
        if self.wake is not None and jobs:
            self.wake()

    def _row(self, job: NewJob, now: float) -> dict[str, object]:
        options = job.options
        if options.job_id is None:
            options = options.named(self.new_id(), options.deduplication)
        text = to_json(to_plain(options))
        return {"name": job.name, "data": job.data, "options": text, "source": job.source, "created_at": now}


def staged_job(row: object) -> NewJob:
    """The job in a row of the outbox. It has an id, so that the queue knows it when it comes again."""
    options = from_plain(json.loads(row.options))  # type: ignore[attr-defined]
    if options.job_id is None:
        # written by a version that gave ids only here
        options = replace(options, job_id=f"outbox-{row.id}")  # type: ignore[attr-defined]
    return NewJob(row.name, row.data, options, row.source)  # type: ignore[attr-defined]
