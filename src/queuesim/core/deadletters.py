"""Dead letters: jobs that failed for good, kept with their history in a queue of their own, to look at and redrive."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from queuesim.core.broker import Broker
from queuesim.core.clock import time_at
from queuesim.core.containment import log
from queuesim.core.errors import JobError
from queuesim.core.events import EventKind
from queuesim.core.job import (
    DEFAULT_OPTIONS,
    Job,
    JobOptions,
    JobRef,
    JobState,
    NewJob,
    from_plain,
    parse_json,
    to_json,
    to_plain,
)

logger = logging.getLogger("queuesim.core.deadletters")
MAX_HISTORY = 100
"""Rows of a letter's history. Of longer ones the first, the newest redrive and the last are kept, and a row says how
many are left out."""
MAX_REDRIVES = 1000
"""Redrives of which a record is kept: the newest."""
PAGE = 1000
"""Jobs that are read at a time."""


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
    """What happened to it, through all redrives. A row for each attempt: attempt, started, worker, type, category,
    retryable, message. A row for each redrive: redriven (when), letter, job_id (of the job that had failed), origin,
    redrives, status ("dead again"). A row with omitted: how many rows are left out here."""
    origin: str = ""
    """The id of the job that was added at first, before any redrive."""
    redrives: int = 0
    """How often it was redriven before."""
    key: str = ""
    """Stands for this very failure, in the id that a redrive gives."""
    unreadable: str = ""
    """Why the letter can't be read; "" if it can. The other fields of an unreadable letter are empty. It can be
    discarded."""


def describe(queue: str, job: Job, reason: str, history: Sequence[dict[str, Any]]) -> str:
    """The JSON text of a dead letter. Data that are not valid JSON go into it as text."""
    redrive = _newest_redrive(history)
    head = to_json({"queue": queue, "id": job.id, "name": job.name})
    tail = to_json(
        {
            "options": to_plain(replace(job.options, deduplication=None)),
            "reason": reason,
            "added": job.timestamp,
            "history": shortened(history),
            "origin": redrive.get("origin", job.id),
            "redrives": redrive.get("redrives", 0),
            "key": _key(queue, job),
        }
    )
    return f'{head[:-1]},"data":{_data(job)},{tail[1:]}'


def is_letter_of(data: str, queue: str, job_id: str) -> bool:
    """Whether the data of a job are the dead letter of another job."""
    try:
        letter = parse_json(data)
    except ValueError:
        return False
    if not isinstance(letter, dict) or (letter.get("queue"), letter.get("id")) != (queue, job_id):
        return False
    return isinstance(letter.get("reason"), str) and isinstance(letter.get("history"), list)


def _data(job: Job) -> str:
    """The job's data as they were added, as JSON text."""
    raw = job.raw_data
    if raw is None:
        return to_json(job.data)
    return to_json(raw) if any(fault.field == "data" for fault in job.unreadable) else raw


def _key(queue: str, job: Job) -> str:
    """A unique name for this failure: no lock token is used twice, not even after the queue was obliterated or restored
    from a copy."""
    facts = (queue, job.id, job.token, job.timestamp, job.processed_on, job.attempts_started)
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def shortened(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A history of at most MAX_HISTORY rows."""
    surplus = len(history) - MAX_HISTORY
    if surplus <= 0:
        return list(history)
    first, rest = history[0], history[1:]
    # one row counts those left out, and another may be the newest redrive
    left_out, kept = rest[: surplus + 2], rest[surplus + 2 :]
    redrive = [] if _newest_redrive(kept) else [row for row in left_out if "redriven" in row][-1:]
    omitted = sum(row.get("omitted", 1) for row in left_out) - len(redrive)
    return [first, {"omitted": omitted}, *redrive, *kept]


def _newest_redrive(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return next((row for row in reversed(history) if "redriven" in row), {})


def _read(job: Job) -> Letter:
    try:
        return _parse(job)
    except Exception as error:  # noqa: BLE001 - another program may have written anything, and other letters must stay readable
        reason = f"not a dead letter: {type(error).__name__}: {error}"
        nothing = ("", "", job.name, job.data, DEFAULT_OPTIONS, "", 0.0)
        return Letter(job.id, *nothing, buried=job.timestamp, history=(), unreadable=reason)


def _parse(job: Job) -> Letter:
    data = job.data
    history = [dict(row) for row in data["history"]]
    for row in history:
        if "redriven" in row:
            # it failed again: here is its letter
            row["status"] = RedriveStatus.DEAD_AGAIN.value
    return Letter(
        job.id,
        _text(data["queue"]),
        _text(data["id"]),
        _text(data["name"]),
        data["data"],
        _options(data["options"]),
        _text(data["reason"]),
        float(data["added"]),
        job.timestamp,
        history,
        _text(data.get("origin", data["id"])),
        int(data.get("redrives", 0)),
        _text(data.get("key", "")),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not text: {value!r:.100}")
    return value


def _options(plain: Mapping[str, Any]) -> JobOptions:
    """The job's options. Its id is left out where a job could not have it today: a redrive gives another one."""
    try:
        return from_plain(plain)
    except ValueError:
        return from_plain({key: value for key, value in plain.items() if key != "job_id"})


def _redriven_id(letter: Letter) -> str:
    # letters of earlier versions have no key
    return f"redriven-{letter.id}-{letter.key or round(letter.buried * 1000)}"


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
    """It is gone, and so are its events."""


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


ENDS = {
    EventKind.COMPLETED: RedriveStatus.COMPLETED,
    EventKind.FAILED: RedriveStatus.FAILED,
    EventKind.REMOVED: RedriveStatus.REMOVED,
}


def redrives_of(letters: str) -> str:
    """The name of the queue that keeps the records of the redrives from a dead-letter queue of this name."""
    return f"{letters}-redriven"


class RedriveRecords:
    """The records of the redrives from one dead-letter queue: the jobs of a queue beside it, which has no workers.

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
        """Records from `start` to `end` inclusive, the newest first, without the status of their jobs."""
        jobs = await self.broker.jobs(JobState.WAITING, start, end, False)
        return [redrive for redrive in map(_read_redrive, jobs) if redrive is not None]


def _read_redrive(job: Job) -> Redrive | None:
    """None for a job that another program added: it is not a record."""
    try:
        data = job.data
        texts = {name: data[name] for name in ("letter", "queue", "job_id", "failed", "name", "origin")}
        if not all(isinstance(text, str) for text in texts.values()):
            return None
        return Redrive(**texts, redrives=int(data["redrives"]), redriven=float(data["redriven"]))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


class RedriveStatuses:
    """Finds the status of redriven jobs: from the job itself, and only if that is not enough from letters and events.

    Args:
        letters: the broker of the dead-letter queue.
        records: all redrives that are known.
    """

    def __init__(self, letters: Broker, records: Sequence[Redrive]) -> None:
        self._letters = letters
        self._redriven = {JobRef(record.queue, record.failed) for record in records}
        self._dead: set[JobRef] | None = None
        self._ends_of: dict[str, dict[str, RedriveStatus]] = {}

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
        """How jobs of a queue ended, according to its events."""
        if queue not in self._ends_of:
            ends: dict[str, RedriveStatus] = {}
            for event in await self._letters.sibling(queue).events(0):
                if event.job_id is not None and event.kind in ENDS:
                    # a finished job is removed later, by retention or by hand
                    if event.kind is EventKind.REMOVED and event.job_id in ends:
                        continue
                    ends[event.job_id] = ENDS[event.kind]
                elif event.job_id in ends and event.kind is EventKind.WAITING:
                    # it ran once more
                    del ends[event.job_id]
            self._ends_of[queue] = ends
        return self._ends_of[queue]


def _job_of(letter: Job) -> JobRef | None:
    data: Any = letter.data
    if not isinstance(data, dict) or not isinstance(data.get("queue"), str) or not isinstance(data.get("id"), str):
        return None
    return JobRef(data["queue"], data["id"])


class DeadLetters:
    """The dead letters of one queue.

    Args:
        broker: the broker of the queue whose jobs fail, or of any queue in the same place.
        name: the dead-letter queue.
    """

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker = broker.sibling(name)
        self._records = RedriveRecords(self.broker)

    async def list(self, start: int = 0, end: int = -1) -> list[Letter]:
        """Letters from `start` to `end` inclusive, the oldest first. One that can't be read says so (`unreadable`)."""
        return [_read(job) for job in await self.broker.jobs(JobState.WAITING, start, end, True)]

    async def count(self) -> int:
        """How many there are."""
        return (await self.broker.counts())[JobState.WAITING]

    async def redrives(self, start: int = 0, end: int = -1) -> Sequence[Redrive]:
        """Redrives from `start` to `end` inclusive, the newest first, each with the status of its job. Records of the
        newest MAX_REDRIVES are kept."""
        known = await self._records.list(0, -1)
        statuses = RedriveStatuses(self.broker, known)
        found = []
        for redrive in known[start : None if end == -1 else end + 1]:
            status, reason = await statuses.of(redrive)
            found.append(replace(redrive, status=status, reason=reason))
        return found

    async def redrive(self, letter_ids: Iterable[str] | None = None) -> dict[str, str]:
        """Add the jobs again, with the options that they had and all of their attempts, and remove their letters.

        The id of a redriven job is made of the letter's and of its key, so that a crash between the two steps, followed
        by another redrive, does not run it twice while the first is kept. A letter stays, and is not in the answer, if
        its job was not added since another one has its id, and if it can't be read; the log of
        queuesim.core.deadletters says so.

        Args:
            letter_ids: which letters; None means all.

        Returns:
            The new job's id for each letter's.

        Raises:
            JobError: there is no such letter; nothing is redriven.
        """
        redriven: dict[str, str] = {}
        for letter in await self._choose(letter_ids):
            if letter.unreadable:
                log(
                    logger, logging.WARNING,
                    "dead letter %s of %s stays: %s", letter.id, self.broker.queue, letter.unreadable,
                )  # fmt: skip
                continue
            job_id = await self._add_again(letter)
            if job_id is None:
                taken = _redriven_id(letter)
                log(
                    logger, logging.WARNING,
                    "dead letter %s of %s stays: another job has the id %s", letter.id, letter.queue, taken,
                )  # fmt: skip
                continue
            redriven[letter.id] = job_id
            await self._records.add(letter, job_id, time_at(self.broker))
            # another program may redrive it at the same time
            with suppress(JobError):
                await self.broker.remove(letter.id, time_at(self.broker))
        if redriven:
            await self._records.trim(time_at(self.broker))
        return redriven

    async def _add_again(self, letter: Letter) -> str | None:
        """Add the job of a letter. Its id; None if another job has that."""
        options = replace(letter.options, job_id=_redriven_id(letter), delay=0.0, timestamp=None)
        time = time_at(self.broker)
        row = {
            "redriven": time, "letter": letter.id, "job_id": letter.job_id, "origin": letter.origin,
            "redrives": letter.redrives + 1,
        }  # fmt: skip
        job = NewJob(letter.name, to_json(letter.data), options, history=shortened([*letter.history, row]))
        target = self.broker.sibling(letter.queue)
        (job_id,) = await target.add([job], time)
        if job_id.added or letter.key:
            return job_id
        # letters of earlier versions have no key, and two of them may have one number
        present = await target.get(job_id)
        same = present is not None and (present.name, present.data) == (letter.name, letter.data)
        return job_id if same else None

    async def discard(self, letter_ids: Iterable[str] | None = None, *, everything: bool = False) -> int:
        """Remove letters for good. Returns how many.

        Args:
            letter_ids: which letters.
            everything: all of them, in place of `letter_ids`.

        Raises:
            ValueError: neither is said, or both.
            JobError: there is no such letter; none is removed.
        """
        if (letter_ids is None) is not everything:
            raise ValueError("say which letters to discard, or everything=True")
        letters = await self._choose(letter_ids)
        for letter in letters:
            await self.broker.remove(letter.id, time_at(self.broker))
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
