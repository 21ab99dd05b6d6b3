"""The recorder: told of everything while a run goes on, it packs rows and thinks about them later.

A row is packed with `struct` into one growing buffer: a few dozen bytes and no object for the garbage collector to look
at, so that a million jobs are recorded at the speed of a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

import numpy as np

from queuesim.broker.base import Completed, Failed, Outcome, Postponed, Retried
from queuesim.errors import ErrorInfo
from queuesim.events import EventKind
from queuesim.job import Job, JobState
from queuesim.metrics.recording import (
    ATTEMPT_ROW,
    EVENT_ROW,
    JOB_ROW,
    WINDOW_ROW,
    CheckRow,
    Ending,
    Facts,
    Recording,
)

MOST_MESSAGES = 1000
"""Different error messages kept; any further one becomes OTHER_MESSAGE."""
OTHER_MESSAGE = "(other)"

_JOB: Final = Struct("<IHHdddI")
_ATTEMPT: Final = Struct("<IHHHdddBHHd")
_EVENT: Final = Struct("<dIBB")
_WINDOW: Final = Struct("<ddI")
_NAN: Final = math.nan


class Names(dict[str, int]):
    """A table of names, each known by its position. To look up a new name puts it at the end."""

    def __missing__(self, name: str) -> int:
        self[name] = position = len(self)
        return position


class Recorder:
    """Observes producers, workers and the broker of one run; see Recording for what it keeps."""

    def __init__(self) -> None:
        self.names = Names()
        self.loads = Names()
        self.workers = Names()
        self.messages = Names({"": 0})
        self.errors: dict[ErrorInfo | None, int] = {None: 0}
        self.ids: dict[int, str] = {}
        self._jobs = bytearray()
        self._attempts = bytearray()
        self._events = bytearray()
        self._windows = bytearray()

    # -- producers

    def job(
        self, number: int, name: int, load: int, scheduled: float, added: float, delay: float, priority: int
    ) -> None:
        """A job was added. `name` and `load` are positions in `names` and `loads`."""
        self._jobs += _JOB.pack(number, name, load, scheduled, added, delay, priority)

    # -- the broker

    def events(self, entries: Sequence[tuple[float, EventKind, int, str | None, JobState | None, Any]]) -> None:
        """See broker.base.Observer."""
        pack = _EVENT.pack
        self._events += b"".join(
            [
                pack(time, number, kind.code, 0 if previous is None else previous.code)
                for time, kind, number, _, previous, _ in entries
            ]
        )

    def window(self, opened: float, closes: float, max_jobs: int) -> None:
        """See broker.base.Observer."""
        self._windows += _WINDOW.pack(opened, closes, max_jobs)

    # -- workers

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        """See worker.WorkerObserver."""
        if isinstance(outcome, Completed) and not lost:
            self._attempt(worker, slot, job, ended, Ending.OK, 0, 0, _NAN)
            return
        error = message = 0
        ending, backoff = Ending.RATE_LIMITED, _NAN
        if isinstance(outcome, (Failed, Retried)):
            ending = Ending.FAILED
            error, message = self._error(outcome.error), self._message(outcome.reason)
            if isinstance(outcome, Retried):
                ending, backoff = Ending.RETRIED, outcome.delay
        elif isinstance(outcome, Postponed):
            ending, backoff = Ending.DELAYED, outcome.delay
        if lost:
            ending = Ending.LOST
        self._attempt(worker, slot, job, ended, ending, error, message, backoff)

    def unfinished(self, worker: str, slot: int, job: Job) -> None:
        """An attempt was still under way when the run ended."""
        self._attempt(worker, slot, job, _NAN, Ending.UNFINISHED, 0, 0, _NAN)

    def _attempt(
        self, worker: str, slot: int, job: Job, ended: float, ending: Ending, error: int, message: int, backoff: float
    ) -> None:
        ready = _NAN if job.ready_at is None else job.ready_at
        started = _NAN if job.processed_on is None else job.processed_on
        self._attempts += _ATTEMPT.pack(
            job.number,
            min(job.attempts_started, 0xFFFF),
            self.workers[worker],
            slot,
            ready,
            started,
            ended,
            ending,
            error,
            message,
            backoff,
        )

    def _error(self, info: ErrorInfo | None) -> int:
        return self.errors.setdefault(info, len(self.errors))

    def _message(self, message: str) -> int:
        if message not in self.messages and len(self.messages) >= MOST_MESSAGES:
            message = OTHER_MESSAGE
        return self.messages[message]

    # -- the end

    def recording(self, facts: Facts, left: Mapping[int, str], checks: Sequence[CheckRow] = ()) -> Recording:
        """What was recorded until now, without a copy: record no more after this."""
        return Recording(
            facts=facts,
            jobs=np.frombuffer(self._jobs, JOB_ROW),
            attempts=np.frombuffer(self._attempts, ATTEMPT_ROW),
            events=np.frombuffer(self._events, EVENT_ROW),
            windows=np.frombuffer(self._windows, WINDOW_ROW),
            names=list(self.names),
            loads=list(self.loads),
            workers=list(self.workers),
            errors=[("", "", False) if e is None else (e.type, e.category, e.retryable) for e in self.errors],
            messages=list(self.messages),
            ids=self.ids,
            left=dict(left),
            checks=list(checks),
        )
