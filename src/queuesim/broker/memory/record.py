"""A job as the memory broker stores it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuesim.job import Job, JobOptions, JobState

if TYPE_CHECKING:
    from queuesim.broker.base import Broker


class Record:
    """The stored job. What most jobs never have stays a class attribute, so that a record is cheap to make."""

    return_value: str | None = None
    failed_reason: str | None = None
    deferred_failure: str | None = None
    processed_on: float | None = None
    processed_by: str | None = None
    finished_on: float | None = None
    stacktrace: Sequence[str] = ()
    history: Sequence[dict[str, Any]] = ()
    progress: str = "0"
    logs: Sequence[str] = ()
    attempts_made: int = 0
    attempts_started: int = 0
    stalled_count: int = 0
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
        return Job(
            self.id,
            self.name,
            {} if self.data == "{}" else json.loads(self.data),
            self.options,
            number=self.number,
            timestamp=self.timestamp,
            delay=self.delay,
            priority=self.priority,
            attempts_made=self.attempts_made,
            attempts_started=self.attempts_started,
            stalled_count=self.stalled_count,
            processed_on=self.processed_on,
            processed_by=self.processed_by,
            finished_on=self.finished_on,
            ready_at=self.ready_at,
            return_value=None if self.return_value is None else json.loads(self.return_value),
            failed_reason=self.failed_reason,
            deferred_failure=self.deferred_failure,
            stacktrace=self.stacktrace,
            history=self.history,
            progress=0 if self.progress == "0" else json.loads(self.progress),
            raw_data=self.data,
            token=self.token,
            broker=broker,
        )
