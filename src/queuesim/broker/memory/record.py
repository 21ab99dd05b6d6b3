"""A job as the memory broker stores it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuesim.job import Job, JobOptions, JobRef, JobState, Unreadable, parse_json, parse_json_or_text

if TYPE_CHECKING:
    from queuesim.broker.base import Broker
    from queuesim.broker.memory.family import Family
    from queuesim.family import OnFailure


class Record:
    """The stored job. What most jobs never have stays a class attribute, so that a record is cheap to make."""

    marked: bool = False
    """Whether any of what follows, up to `progress`, was ever set."""
    return_value: str | None = None
    failed_reason: str | None = None
    deferred_failure: str | None = None
    finished_on: float | None = None
    stacktrace: Sequence[str] = ()
    history: Sequence[dict[str, Any]] = ()
    stalled_count: int = 0
    progress: str = "0"
    logs: Sequence[str] = ()
    letter: tuple[str, str] | None = None
    """The dead-letter queue and the id of its dead letter there."""
    scheduler_id: str | None = None
    parent: JobRef | None = None
    """The job of a flow that waits for this one."""
    on_failure: OnFailure = "wait"
    """What it does to its parent when it fails for good."""
    family: Family | None = None
    """What it knows of its children, if it has any."""
    processed_on: float | None = None
    processed_by: str | None = None
    attempts_made: int = 0
    attempts_started: int = 0
    token: str = ""
    """Who holds the lock; "" is nobody."""
    locked_until: float = 0.0
    entry: int = 0
    """Which entry of a heap is this job's present one: entries that it left behind are skipped."""

    def __init__(
        self,
        id: str,
        number: int,
        name: str,
        data: str,
        options: JobOptions,
        timestamp: float,
        state: JobState,
        ready_at: float,
    ) -> None:
        self.id = id
        self.number = number
        self.name = name
        self.data = data
        self.options = options
        self.timestamp = timestamp
        self.delay = options.delay
        self.priority = options.priority
        self.state = state
        self.ready_at = ready_at

    def snapshot(self, broker: Broker) -> Job:
        """The job as it is now, for a worker or whoever asks. Its data are a fresh copy every time."""
        data = self.data
        unreadable = None
        try:
            value = {} if data == "{}" else parse_json(data)
        except ValueError as error:
            value, unreadable = None, Unreadable("data", str(error))
        job = Job(
            self.id,
            self.name,
            value,
            self.options,
            self.number,
            self.timestamp,
            self.delay,
            self.priority,
            self.attempts_made,
            self.attempts_started,
            self.processed_on,
            self.processed_by,
            self.ready_at,
            data,
            self.token,
            broker,
        )
        if unreadable is not None:
            job.unreadable = (unreadable,)
        if self.parent is not None:
            job.parent = self.parent
        if self.marked:
            self._copy_marks(job)
        return job

    def _copy_marks(self, job: Job) -> None:
        job.stalled_count = self.stalled_count
        job.finished_on = self.finished_on
        job.return_value = None if self.return_value is None else parse_json_or_text(self.return_value)
        job.failed_reason = self.failed_reason
        job.deferred_failure = self.deferred_failure
        job.stacktrace = self.stacktrace
        job.history = self.history
        job.progress = parse_json_or_text(self.progress)
        job.scheduler_id = self.scheduler_id
