"""Redrives: which dead letters were redriven, and the status of their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from queuesim.broker.base import Broker
from queuesim.events import EventKind
from queuesim.job import Job, JobOptions, JobRef, JobState, NewJob, to_json

if TYPE_CHECKING:
    from queuesim.deadletters import Letter

MAX_REDRIVES = 1000
"""Redrives of which a record is kept: the newest."""
PAGE = 1000
"""Jobs that are read at a time."""


class RedriveStatus(StrEnum):
    """The status of the job of a redriven letter."""

    WAITING = "waiting"
    """It has not started yet, or waits for another attempt."""
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    """It failed for good, and has no dead letter: that was discarded, or the queue has none."""
    DEAD_AGAIN = "dead again"
    """It failed for good and is a dead letter again, or was one and was redriven again."""
    REMOVED = "removed"
    """It was removed before it ended."""
    UNKNOWN = "unknown"
    """It is gone, and the events that told how are gone, too."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """One redrive of a dead letter."""

    letter: str
    """The letter's id; there is no such letter any more."""
    queue: str
    """Where the job runs again."""
    job_id: str
    """The job that was added."""
    failed: str
    """The id of the job that had failed."""
    name: str
    origin: str
    """The id of the job that was added at first, before any redrive."""
    redrives: int
    """How often it has been redriven, this time included."""
    redriven: float
    """When, in seconds on the queue's clock."""
    status: RedriveStatus = RedriveStatus.UNKNOWN
    reason: str = ""
    """Why the job failed for good, where it did and is still kept."""


LIVING = {
    JobState.WAITING: RedriveStatus.WAITING,
    JobState.PRIORITIZED: RedriveStatus.WAITING,
    JobState.DELAYED: RedriveStatus.WAITING,
    JobState.WAITING_CHILDREN: RedriveStatus.WAITING,
    JobState.ACTIVE: RedriveStatus.ACTIVE,
    JobState.COMPLETED: RedriveStatus.COMPLETED,
}
TELLING = {
    EventKind.COMPLETED: RedriveStatus.COMPLETED,
    EventKind.FAILED: RedriveStatus.FAILED,
    EventKind.REMOVED: RedriveStatus.REMOVED,
}


def redrives_of(letters: str) -> str:
    """The name of the queue that keeps the records of the redrives from a dead-letter queue of this name."""
    return f"{letters}-redriven"


class RedriveRecords:
    """The records of the redrives from one dead-letter queue: the jobs of a queue beside it, which nobody works.

    Args:
        letters: the broker of the dead-letter queue.
    """

    def __init__(self, letters: Broker) -> None:
        self.broker = letters.sibling(redrives_of(letters.queue))

    async def add(self, letter: Letter, job_id: str, now: float) -> None:
        """Record a redrive. A record of this job that is there already stays as it is."""
        data = {
            "letter": letter.id, "queue": letter.queue, "job_id": job_id, "failed": letter.job_id, "name": letter.name,
            "origin": letter.origin, "redrives": letter.redrives + 1, "redriven": now,
        }  # fmt: skip
        await self.broker.add([NewJob(letter.name, to_json(data), JobOptions(job_id=job_id))], now)

    async def trim(self, now: float) -> None:
        """Forget the oldest records if there are too many."""
        surplus = (await self.broker.counts())[JobState.WAITING] - MAX_REDRIVES
        if surplus > 0:
            await self.broker.clean(0.0, surplus, JobState.WAITING, now)

    async def list(self, start: int, end: int) -> list[Redrive]:
        """Records from `start` to `end` inclusive, the newest first, without the status of the jobs."""
        jobs = await self.broker.jobs(JobState.WAITING, start, end, False)
        return [redrive for redrive in map(_read, jobs) if redrive is not None]


def _read(job: Job) -> Redrive | None:
    """None for a job that is no record: another program added it."""
    try:
        data = job.data
        texts = {name: data[name] for name in ("letter", "queue", "job_id", "failed", "name", "origin")}
        if not all(isinstance(text, str) for text in texts.values()):
            return None
        return Redrive(**texts, redrives=int(data["redrives"]), redriven=float(data["redriven"]))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


class Fates:
    """Finds out the status of redriven jobs. Looks at letters and events only if a job itself does not tell.

    Args:
        letters: the broker of the dead-letter queue.
        records: all redrives that are known.
    """

    def __init__(self, letters: Broker, records: Sequence[Redrive]) -> None:
        self._letters = letters
        self._redriven = {JobRef(record.queue, record.failed) for record in records}
        self._dead: set[JobRef] | None = None
        self._told: dict[str, dict[str, RedriveStatus]] = {}

    async def of(self, redrive: Redrive) -> tuple[RedriveStatus, str]:
        """The status of a redrive, and why its job failed if that is known."""
        broker = self._letters.sibling(redrive.queue)
        state = await broker.state(redrive.job_id)
        if state is not None and state in LIVING:
            return LIVING[state], ""
        job = await broker.get(redrive.job_id)
        reason = (job.failed_reason or "") if job is not None else ""
        ref = JobRef(redrive.queue, redrive.job_id)
        if ref in self._redriven or ref in await self._dead_now():
            return RedriveStatus.DEAD_AGAIN, reason
        if state is JobState.FAILED:
            return RedriveStatus.FAILED, reason
        return (await self._ends(redrive.queue)).get(redrive.job_id, RedriveStatus.UNKNOWN), ""

    async def _dead_now(self) -> set[JobRef]:
        """The jobs that have a dead letter."""
        if self._dead is None:
            dead: set[JobRef] = set()
            start = 0
            while page := await self._letters.jobs(JobState.WAITING, start, start + PAGE - 1, True):
                dead.update(ref for ref in map(_job_of, page) if ref is not None)
                start += len(page)
            self._dead = dead
        return self._dead

    async def _ends(self, queue: str) -> dict[str, RedriveStatus]:
        """How jobs of a queue ended, as far as its events tell."""
        if queue not in self._told:
            told: dict[str, RedriveStatus] = {}
            for event in await self._letters.sibling(queue).events(0):
                if event.job_id is not None and event.kind in TELLING:
                    # one that ended is removed at last by retention, or by hand
                    if event.kind is EventKind.REMOVED and event.job_id in told:
                        continue
                    told[event.job_id] = TELLING[event.kind]
                elif event.job_id in told and event.kind is EventKind.WAITING:
                    # it ran once more
                    del told[event.job_id]
            self._told[queue] = told
        return self._told[queue]


def _job_of(letter: Job) -> JobRef | None:
    data: Any = letter.data
    if not isinstance(data, dict) or not isinstance(data.get("queue"), str) or not isinstance(data.get("id"), str):
        return None
    return JobRef(data["queue"], data["id"])
