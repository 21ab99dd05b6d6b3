"""The recorder: packs a row for everything that happens in a run; they are evaluated later.

A row is packed with `struct` into one growing buffer: a few dozen bytes and no object for the garbage collector to look
at, so that a million jobs are recorded at the speed of a thousand.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import Any, Final, TypeVar

import numpy as np

from queuesim.core.broker import Completed, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.errors import ErrorInfo
from queuesim.core.events import EventKind
from queuesim.core.job import Deduplication, Job, JobOptions, JobState, NewJob, Origin
from queuesim.results.recording import (
    ATTEMPT_ROW,
    EVENT_ROW,
    JOB_ROW,
    WINDOW_ROW,
    CheckRow,
    Ending,
    Facts,
    FaultRow,
    Recording,
    ScanRow,
)

MOST_MESSAGES = 1000
"""Different error messages kept; any further one becomes OTHER_MESSAGE."""
OTHER_MESSAGE = "(other)"
MOST_RETRIES = 1000
"""A job that failed more often than this gets no further by failing again."""
ROUND = 1000
"""Whoever watches over jobs that are put off is called whenever one was put off so often again."""

_JOB: Final = Struct("<IIHdddI")
_ATTEMPT: Final = Struct("<IHIIdddBHHd")
_EVENT: Final = Struct("<dIBB")
_WINDOW: Final = Struct("<ddQ")
_NAN: Final = math.nan
_OK: Final = Ending.OK  # looking a member up takes as long as packing a row


K = TypeVar("K")


class Positions(dict[K, int]):
    """A table of names or other keys, each known by its position. To look up a new one puts it at the end."""

    def __missing__(self, key: K) -> int:
        self[key] = position = len(self)
        return position


Names = Positions[str]


@dataclass(slots=True)
class PutOff:
    """A job that is put off, again and again perhaps."""

    since: float
    """When it was first put off since it last got further, in seconds."""
    times: int = 0


class Recorder:
    """Observes producers, workers and the broker of one run; see Recording for what it keeps."""

    def __init__(self) -> None:
        self.names = Names()
        self.origins: Positions[Origin | None] = Positions()
        self.workers = Names()
        self.messages = Names({"": 0})
        self.errors: dict[ErrorInfo | None, int] = {None: 0}
        self.ids: dict[int, str] = {}
        self._closed = False
        self.added_count = 0
        self.attempt_count = 0
        self.ended_count = 0
        """Jobs that completed or failed for good."""
        self.when_ended: Callable[[Job], None] | None = None
        """Called with every job that completes or fails for good."""
        self.put_off: dict[int, PutOff] = {}
        """Jobs that were put off, by number, until they get further."""
        self.last_progress = 0.0
        """When a job last got further: it ended, or used up an attempt."""
        self.put_off_count = 0
        """How often any job was put off."""
        self.fruitless = 0
        """How often any job was put off since one last got further."""
        self._fruitless_since = 0.0
        self.when_put_off: Callable[[], None] | None = None
        """Called whenever a job was put off ROUND times again."""
        self.options: list[JobOptions] = []
        """Different options of jobs, each once."""
        self.terms = array("L")
        """For each job, in the order of adding, which of these it has."""
        self.deduplications: dict[int, Deduplication] = {}
        """By the numbers of the jobs that have one."""
        self.holds: list[tuple[int, float, float]] = []
        """By which attempts handlers limited the queue: (number of the job, when the attempt ended, for how many
        seconds); infinity: nobody knows for how long."""
        self._known_options: dict[int, int] = {}
        self.faults: list[FaultRow] = []
        """Faults, in the order in which they began: whoever injects one appends it, and fills in its end."""
        self.scans: list[ScanRow] = []
        """Scans for overdue tasks: whoever scans appends them, and fills in their ends."""
        self.skews: dict[int, float] = {}
        """By the place of an attempt among all: how far its worker's clock was ahead, where it was wrong."""
        self._jobs = bytearray()
        self._attempts = bytearray()
        self._events = bytearray()
        self._windows = bytearray()
        self._removed: set[int] = set()
        """Jobs that were removed without an event."""

    # -- the broker

    def added(self, number: int, job_id: str, job: NewJob, timestamp: float) -> None:
        """See core.broker.Observer."""
        if self._closed:
            return
        options = job.options
        self._jobs += _JOB.pack(
            number,
            self.names[job.name],
            self.origins[job.origin],
            timestamp if job.scheduled is None else job.scheduled,
            timestamp,
            options.delay,
            options.priority,
        )
        self.added_count += 1
        term = self._known_options.get(id(options))
        self.terms.append(self._know(options) if term is None else term)
        if options.deduplication is not None:
            self.deduplications[number] = options.deduplication
        if options.job_id is not None:
            self.ids[number] = job_id

    def _know(self, options: JobOptions) -> int:
        # by identity: to hash one takes longer than all else that is done for a job; kept, so that no other gets its id
        self._known_options[id(options)] = term = len(self.options)
        self.options.append(options)
        return term

    def events(self, entries: Sequence[tuple[float, EventKind, int, str | None, JobState | None, Any]]) -> None:
        """See core.broker.Observer."""
        if self._closed:
            return
        pack = _EVENT.pack
        self._events += b"".join(
            [
                pack(time, number, kind.code, 0 if previous is None else previous.code)
                for time, kind, number, _, previous, _ in entries
            ]
        )

    def window(self, opened: float, closes: float, max_jobs: int) -> None:
        """See core.broker.Observer."""
        if self._closed:
            return
        self._windows += _WINDOW.pack(opened, closes, max_jobs)

    def removed(self, numbers: Sequence[int]) -> None:
        """See core.broker.Observer."""
        if not self._closed:
            self._removed.update(numbers)

    # -- workers

    def attempt(
        self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool, skew: float = 0.0
    ) -> None:
        """See worker.WorkerObserver. All times are the run's; `skew`: how far the worker's clock was ahead when the
        attempt started, in seconds."""
        if self._closed:
            return
        self._note_skew(skew)
        if isinstance(outcome, Completed) and not lost:
            self._attempt(worker, slot, job, ended, _OK, 0, 0, _NAN)
            self.ended_count += 1
            self._got_further(job, ended)
            if self.when_ended is not None:
                self.when_ended(job)
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
        elif isinstance(outcome, Returned) and not lost:
            # what the queue refused limits nothing
            self.holds.append((job.number, ended, math.inf if outcome.hold is None else outcome.hold))
        if lost:
            ending = Ending.LOST
        self._attempt(worker, slot, job, ended, ending, error, message, backoff)
        if ending is Ending.FAILED or (ending is Ending.RETRIED and job.attempts_made < MOST_RETRIES):
            self._got_further(job, ended)
        else:
            self._was_put_off(job, ended)
        if ending is Ending.FAILED:
            self.ended_count += 1
            if self.when_ended is not None:
                self.when_ended(job)

    def _note_skew(self, skew: float) -> None:
        """Of the attempt that is packed next."""
        if skew:
            self.skews[self.attempt_count] = skew

    def _got_further(self, job: Job, now: float) -> None:
        self.last_progress = now
        if self.put_off:
            self.put_off.pop(job.number, None)

    def _was_put_off(self, job: Job, now: float) -> None:
        """It asked to run later, lost its lock, or fails for ever: it is where it was before the attempt."""
        self.put_off_count += 1
        if self.last_progress > self._fruitless_since:
            self._fruitless_since, self.fruitless = self.last_progress, 0
        self.fruitless += 1
        record = self.put_off.setdefault(job.number, PutOff(now))
        record.times += 1
        if record.times % ROUND == 0 and self.when_put_off is not None:
            self.when_put_off()

    def interrupted(self, worker: str, slot: int, job: Job, ended: float, ending: Ending, skew: float = 0.0) -> None:
        """An attempt was under way when its worker died. `ending` is LOST, unless the queue knows how it ended."""
        if self._closed:
            return
        self._note_skew(skew)
        self._attempt(worker, slot, job, ended, ending, 0, 0, _NAN)
        if ending in (Ending.OK, Ending.FAILED):
            self.ended_count += 1
            self._got_further(job, ended)
            if self.when_ended is not None:
                self.when_ended(job)

    def unfinished(self, worker: str, slot: int, job: Job, skew: float = 0.0) -> None:
        """An attempt was still under way when the run ended."""
        self._note_skew(skew)
        self._attempt(worker, slot, job, _NAN, Ending.UNFINISHED, 0, 0, _NAN)

    def _attempt(
        self, worker: str, slot: int, job: Job, ended: float, ending: Ending, error: int, message: int, backoff: float
    ) -> None:
        self.attempt_count += 1
        self._attempts += self._packed(worker, slot, job, ended, ending, error, message, backoff)

    def _packed(
        self, worker: str, slot: int, job: Job, ended: float, ending: Ending, error: int, message: int, backoff: float
    ) -> bytes:
        """The row of an attempt."""
        ready = _NAN if job.ready_at is None else job.ready_at
        started = _NAN if job.processed_on is None else job.processed_on
        return _ATTEMPT.pack(
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
        if info is not None and info.bug and len(self.errors) >= MOST_MESSAGES:
            info = replace(info, bug_message="")
        return self.errors.setdefault(info, len(self.errors))

    def _message(self, message: str) -> int:
        if message not in self.messages and len(self.messages) >= MOST_MESSAGES:
            message = OTHER_MESSAGE
        return self.messages[message]

    # -- the end

    @property
    def last_moved(self) -> float:
        """When a job was last added or an attempt last ended; 0 if neither ever happened."""
        return max(self.last_added, self.last_ended)

    @property
    def last_added(self) -> float:
        """When a job was last added; 0 if none was."""
        return float(_JOB.unpack_from(self._jobs, len(self._jobs) - _JOB.size)[4]) if self._jobs else 0.0

    @property
    def last_ended(self) -> float:
        """When an attempt last ended; 0 if none did."""
        if not self._attempts:
            return 0.0
        return float(_ATTEMPT.unpack_from(self._attempts, len(self._attempts) - _ATTEMPT.size)[6])

    @property
    def removed_numbers(self) -> list[int]:
        """The jobs that were removed before they ended, in whatever way."""
        events = np.frombuffer(bytes(self._events), EVENT_ROW)
        ended = np.isin(events["previous"], (JobState.COMPLETED.code, JobState.FAILED.code))
        removed = events["number"][(events["kind"] == EventKind.REMOVED.code) & ~ended]
        return sorted(self._removed.union(int(number) for number in removed))

    def close(self) -> None:
        """Take nothing more: what happens from now on is the cleaning up."""
        self._closed = True
        # what is still on has no end, whatever becomes of it now
        self.faults = [replace(fault) for fault in self.faults]

    def recording(self, facts: Facts, left: Mapping[int, str], checks: Sequence[CheckRow] = ()) -> Recording:
        """What was recorded until now, without a copy: record no more after this."""
        return self._recording(facts, left, checks, self._jobs, self._attempts, self._events, self._windows)

    def so_far(self, facts: Facts, left: Mapping[int, str], running: Iterable[tuple[str, int, Job]] = ()) -> Recording:
        """A copy of what was recorded until now, to look at while the run goes on.

        Args:
            running: the attempts that are under way: worker, slot and job.
        """
        unfinished = b"".join(
            self._packed(worker, slot, job, _NAN, Ending.UNFINISHED, 0, 0, _NAN) for worker, slot, job in running
        )
        jobs, events, windows = bytes(self._jobs), bytes(self._events), bytes(self._windows)
        return self._recording(facts, left, (), jobs, bytes(self._attempts) + unfinished, events, windows)

    def _recording(
        self,
        facts: Facts,
        left: Mapping[int, str],
        checks: Sequence[CheckRow],
        jobs: bytes | bytearray,
        attempts: bytes | bytearray,
        events: bytes | bytearray,
        windows: bytes | bytearray,
    ) -> Recording:
        return Recording(
            facts=facts,
            jobs=np.frombuffer(jobs, JOB_ROW),
            attempts=np.frombuffer(attempts, ATTEMPT_ROW),
            events=np.frombuffer(events, EVENT_ROW),
            windows=np.frombuffer(windows, WINDOW_ROW),
            names=list(self.names),
            loads=["" if origin is None else str(origin) for origin in self.origins],
            origins=list(self.origins),
            workers=list(self.workers),
            errors=[("", "", False) if e is None else (e.type, e.category, e.retryable) for e in self.errors],
            messages=list(self.messages),
            bugs=["" if e is None else ": ".join(filter(None, (e.bug, e.bug_message))) for e in self.errors],
            ids=self.ids,
            left=dict(left),
            checks=list(checks),
            faults=[replace(fault) for fault in self.faults],
            scans=[replace(scan) for scan in self.scans],
            skews=dict(self.skews),
        )
