"""Dead letters: jobs that failed for good, kept with their history in a queue of their own, to look at and redrive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from queuesim.broker.base import Broker
from queuesim.clock import now
from queuesim.errors import JobError
from queuesim.job import Job, JobOptions, JobState, NewJob, to_json
from queuesim.plain_options import from_plain, to_plain


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    id: str
    """Its id in the dead-letter queue."""
    queue: str
    """Where the job failed."""
    job_id: str
    name: str
    data: Any
    """The job's data, as they were added."""
    options: JobOptions
    reason: str
    added: float
    """When the job was added, in seconds on the queue's clock."""
    buried: float
    """When it failed for good."""
    history: Sequence[dict[str, Any]]
    """A row an attempt: attempt, started, worker, type, category, retryable, message."""


def describe(queue: str, job: Job, reason: str, history: Sequence[dict[str, Any]]) -> str:
    """The JSON text of a dead letter. Data that can't be read as JSON go into it as the text that they are."""
    head = to_json({"queue": queue, "id": job.id, "name": job.name})
    tail = to_json(
        {
            "options": to_plain(replace(job.options, deduplication=None)),
            "reason": reason,
            "added": job.timestamp,
            "history": list(history),
        }
    )
    return f'{head[:-1]},"data":{_data(job)},{tail[1:]}'


def _data(job: Job) -> str:
    """The job's data as they were added, as JSON text."""
    raw = job.raw_data
    if raw is None:
        return to_json(job.data)
    return to_json(raw) if any(fault.field == "data" for fault in job.unreadable) else raw


class DeadLetters:
    """The dead letters of one queue.

    Args:
        broker: the broker of the queue whose jobs fail, or of any queue in the same place.
        name: the dead-letter queue.
    """

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker = broker.sibling(name)

    async def list(self, start: int = 0, end: int = -1) -> list[Letter]:
        """Letters from `start` to `end` inclusive, the oldest first."""
        return [_read(job) for job in await self.broker.jobs(JobState.WAITING, start, end, True)]

    async def count(self) -> int:
        """How many there are."""
        return (await self.broker.counts())[JobState.WAITING]

    async def redrive(self, letter_ids: Iterable[str] | None = None) -> dict[str, str]:
        """Add the jobs again, with the options that they had and all of their attempts, and remove their letters.

        A redriven job's id is "redriven-" and the letter's id, so that a crash between the two steps, followed by
        another redrive, does not run it twice while the first is kept.

        Args:
            letter_ids: which letters; None means all.

        Returns:
            The new job's id for each letter's.

        Raises:
            JobError: there is no such letter. Letters before it in the list are redriven.
        """
        redriven = {}
        for letter in await self._choose(letter_ids):
            options = replace(letter.options, job_id=f"redriven-{letter.id}", delay=0.0, timestamp=None)
            target = self.broker.sibling(letter.queue)
            job = NewJob(letter.name, to_json(letter.data), options)
            redriven[letter.id] = (await target.add([job], now()))[0]
            await self.broker.remove(letter.id, now())
        return redriven

    async def discard(self, letter_ids: Iterable[str] | None = None) -> int:
        """Remove letters for good; None means all. Returns how many. Raises JobError if there is no such letter."""
        letters = await self._choose(letter_ids)
        for letter in letters:
            await self.broker.remove(letter.id, now())
        return len(letters)

    async def _choose(self, letter_ids: Iterable[str] | None) -> Sequence[Letter]:
        if letter_ids is None:
            return await self.list()
        letters = []
        for letter_id in letter_ids:
            job = await self.broker.get(letter_id)
            if job is None:
                raise JobError(letter_id, -1, "find dead letter of")
            letters.append(_read(job))
        return letters


def _read(job: Job) -> Letter:
    data = job.data
    return Letter(
        job.id,
        data["queue"],
        data["id"],
        data["name"],
        data["data"],
        from_plain(data["options"]),
        data["reason"],
        data["added"],
        job.timestamp,
        data["history"],
    )
