"""A recording: what a run left behind, as packed rows and tables of names, before anything is turned into pandas.

Rows are numpy structured arrays. Times are seconds since the run began; NaN means "did not happen". Small integers
point into the tables of names beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from queuesim.core.job import Origin, OriginKind
from queuesim.results.engines import EngineKind, NotCompiled
from queuesim.results.fault_kinds import Effect, facts_of

if TYPE_CHECKING:
    import pandas as pd


Rows = npt.NDArray[np.void]


class Ending(IntEnum):
    """How an attempt ended."""

    UNFINISHED = 0
    OK = 1
    RETRIED = 2
    """Failed, to run again at once or after a backoff."""
    FAILED = 3
    """Failed for good: no attempts left, or not retryable."""
    RATE_LIMITED = 4
    """The handler raised RateLimitError: back to the queue, no attempt counted."""
    DELAYED = 5
    """The handler raised DelayedError: runs again later, no attempt counted."""
    LOST = 6
    """It ended, but its lock was gone: the result was dropped (or the worker crashed)."""


ENDINGS = ("unfinished", "ok", "retried", "failed", "rate-limited", "delayed", "lost")
"""Names of Ending, in order, as the frames show them."""

JOB_ROW = np.dtype(
    [
        ("number", "<u4"),  # the job's number in its queue, ascending
        ("name", "<u4"),  # into names
        ("load", "<u2"),  # into loads
        ("scheduled", "<f8"),  # when it was meant to arrive
        ("added", "<f8"),
        ("delay", "<f8"),
        ("priority", "<u4"),
    ]
)
"""A row a job, written when it is added."""

ATTEMPT_ROW = np.dtype(
    [
        ("number", "<u4"),
        ("attempt", "<u2"),  # 1 for the first start
        ("worker", "<u4"),  # into workers
        ("slot", "<u4"),  # 0 to concurrency - 1
        ("ready", "<f8"),  # when it could have started at the earliest; NaN if unknown
        ("started", "<f8"),
        ("ended", "<f8"),  # NaN: unfinished
        ("ending", "u1"),  # Ending
        ("error", "<u2"),  # into errors; 0 is no error
        ("message", "<u2"),  # into messages; 0 is none
        ("backoff", "<f8"),  # seconds until the next attempt; NaN: there is none
    ]
)
"""A row an attempt, in the order in which they ended; unfinished ones last."""

EVENT_ROW = np.dtype([("time", "<f8"), ("number", "<u4"), ("kind", "u1"), ("previous", "u1")])
"""A row an event. `number` 0: one of the queue. `kind` into EventKind's order, `previous` into JobState's, from 1."""

WINDOW_ROW = np.dtype([("opened", "<f8"), ("closes", "<f8"), ("max", "<u8")])
"""A row a limiter window."""


@dataclass(slots=True)
class CheckRow:
    """A threshold, a health check or an oracle, and how it came out."""

    name: str
    ok: bool
    """False if it failed. True also if it was not judged: see `status`."""
    value: float
    """What was measured; NaN if there was nothing to measure."""
    limit: str
    """What was asked for, as written."""
    at: float | None = None
    """Seconds. For a sliding window: the end of the worst one. For a maximum or minimum of the whole run: when it was
    reached. For a count that must not exceed its limit: when it did."""
    detail: str = ""
    kind: str = "threshold"
    """What sort of check: "threshold"; "invariant", a function of the user's; "health", a built-in check that the run
    did what was asked of it; or "oracle", whose value is the number of violations and whose detail names the first
    witnesses."""
    unit: str = ""
    """Unit of the value: "s", "1/s", "share", "jobs"; "" if it is a plain number."""
    judged: float = 1.0
    """Share of the run, between 0 and 1, that the check could judge. 0: it is neither passed nor failed."""

    @property
    def status(self) -> str:
        """One of STATUSES."""
        return "failed" if not self.ok else "passed" if self.judged > 0 else "not judged"


STATUSES = ("failed", "not judged", "passed")
"""How a check can come out, worst first."""


@dataclass(slots=True)
class FaultRow:
    """A fault that was injected, and how long it lasted."""

    kind: str
    """What went wrong, as the scenario names it: "redis.outage"."""
    target: str
    """What it happened to: the name of a worker, of a queue, or ""."""
    began: float
    ended: float
    """NaN: it was still on at the end of the run."""
    detail: str = ""
    lost: float | None = None
    """Seconds of the server's memory that the fault lost, counted back from its start; inf: all of it; None: none."""
    settled: float | None = None
    """When the last command that it delayed was over; None: the same as `ended`, or unknown."""

    @property
    def effects(self) -> Effect:
        """What its kind can do to a run."""
        return facts_of(self.kind).effects


@dataclass(slots=True)
class ScanRow:
    """A scan for overdue tasks, and its outcome."""

    scan: int
    """Its number, from 1."""
    trigger: str
    """What began it: "cron", "manual", ..."""
    began: float
    ended: float
    """When its last page was done; NaN: it never was."""
    pages: int
    found: int
    """Overdue tasks on its pages."""
    enqueued: int
    """Notifications that it added to the queue."""
    duplicates: int
    """Notifications that were not added, for they were there already."""
    drained: float
    """When the last of its notifications ended; NaN: not all of them ever did."""


class StopReason(StrEnum):
    """Why a run ended before its time."""

    INTERRUPTED = "interrupted"
    """By its user, or because its server was gone for good."""
    THRESHOLD = "threshold"
    """A threshold failed that may end the run."""
    INVARIANT = "invariant"
    """An invariant of the user's was violated."""
    NO_PROGRESS = "no progress"
    """Jobs were left, and none started or ended any more."""
    DEADLOCK = "deadlock"
    """Nothing was left that could happen."""
    LIVELOCK = "livelock"
    """Time could not move."""


STUCK = frozenset({StopReason.NO_PROGRESS, StopReason.DEADLOCK, StopReason.LIVELOCK})
"""Reasons of a run that could not go on."""


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that got no further, and what it waits for."""

    number: int
    type: str
    """Its name, for which a handler is registered."""
    state: str
    """A JobState."""
    worker: str = ""
    """Whose handler has it; "" if none has."""
    awaits: str = ""
    """The line of the handler's code that does not return: ``await lock.acquire()``. "" if it is unknown."""
    place: str = ""
    """Where that line is: ``mail.py:31``."""
    put_off: int = 0
    """How often it was put off or retried since it last got further."""

    def __str__(self) -> str:
        text = f"job {self.number} ({self.type})"
        if self.worker:
            text += f" on {self.worker}"
        if self.awaits:
            return f"{text} hangs in `{self.awaits}` at {self.place}"
        if self.put_off:
            return f"{text} was put off {self.put_off:,} times"
        return f"{text} is {self.state}"


MOST_TOLD = 5
"""Stuck jobs that a sentence names."""


@dataclass(frozen=True, slots=True)
class Stop:
    """That a run ended before its time: why and when."""

    reason: StopReason
    at: float | None = None
    """Seconds since the run began. For "no progress": when something moved for the last time. None: unknown."""
    detail: str = ""
    """The name of the threshold; what each task waits for; the server's error; that the queue is paused."""
    jobs: tuple[StuckJob, ...] = ()
    """For "no progress": jobs that are left, those that a handler has first; a hundred at most."""

    @property
    def stuck(self) -> bool:
        """Whether the run could not go on."""
        return self.reason in STUCK

    def __str__(self) -> str:
        """The sentence that is shown: "no progress since 30 s"."""
        if self.reason is StopReason.THRESHOLD:
            text = f"threshold {self.detail} failed"
            return text if self.at is None else f"{text} at {self.at:g} s"
        word = "since" if self.reason is StopReason.NO_PROGRESS else "at"
        when = "" if self.at is None else f" {word} {self.at:g} s"
        more = len(self.jobs) - MOST_TOLD
        parts = [self.detail, *map(str, self.jobs[:MOST_TOLD]), f"and {more} more" if more > 0 else ""]
        text = "; ".join(part for part in parts if part)
        return f"{self.reason}{when}" + (f": {text}" if text else "")


@dataclass(slots=True)
class Refusal:
    """Real input or output that a simulation asked for, which was refused: the same call by the same type of job."""

    call: str
    """"socket.connect", "subprocess.Popen", "loop.create_connection", ..."""
    target: str
    """What it would have reached: "mail.example.org:443", a path, a program; "" if the call does not say."""
    job: int | None
    """Number of the first job whose handler called; None: no job's did."""
    job_type: str
    """"" if no job's handler called."""
    first: float
    """Virtual time of the first call, in seconds."""
    count: int = 0
    """Number of calls."""


@dataclass(slots=True)
class Facts:
    """What was run."""

    scenario: str
    backend: str
    seed: int
    duration: float
    """Seconds simulated, also when the run was cut short."""
    asked: float
    """Seconds that the scenario asked for."""
    warmup: float = 0.0
    epoch: float = 0.0
    """Calendar time of the run's second 0, in seconds since the Unix epoch."""
    workers: int = 1
    concurrency: int = 1
    """Slots over all workers."""
    slots: dict[str, int] = field(default_factory=dict)
    """Slots of each worker that the scenario asks for; empty in results of older versions."""
    limiter: tuple[int, float] | None = None
    """(max, duration in seconds)."""
    stopped: Stop | None = None
    """Why the run ended early; None if it did not. `str` makes a sentence of it."""
    allow_io: list[str] = field(default_factory=list)
    """What the simulation was allowed to reach outside of its process."""
    refusals: list[Refusal] = field(default_factory=list)
    """Calls for real input or output that were refused, in the order of their first times."""
    wall: float = 0.0
    """Real seconds that the run took. Not part of what a seed reproduces."""
    version: str = ""
    engine: EngineKind | None = None
    """What played in virtual time. None: the run was in real time, or an older version stored it."""
    not_compiled: NotCompiled | None = None
    """Why it was not the compiled engine; None if it was, or if that is unknown."""
    definition: dict[str, Any] = field(default_factory=dict)
    """The scenario as it was played, with the keys of a file, without the data of jobs and the address of a database.
    Empty in results of older versions."""


class RunFrames(Protocol):
    """A run's facts and frames, as a `Result` has them: what figures, plots and views are worked out of."""

    @property
    def facts(self) -> Facts: ...

    @property
    def jobs(self) -> pd.DataFrame: ...

    @property
    def attempts(self) -> pd.DataFrame: ...

    @property
    def events(self) -> pd.DataFrame: ...

    @property
    def limiter(self) -> pd.DataFrame: ...

    @property
    def overdue(self) -> pd.DataFrame: ...

    @property
    def faults(self) -> pd.DataFrame: ...

    @property
    def checks(self) -> pd.DataFrame: ...


@dataclass(slots=True)
class Recording:
    """Everything that one run recorded."""

    facts: Facts
    jobs: Rows
    attempts: Rows
    events: Rows
    windows: Rows
    names: list[str]
    loads: list[str]
    workers: list[str]
    errors: list[tuple[str, str, bool]]
    """(type, category, retryable); the first entry, ("", "", False), stands for no error."""
    messages: list[str]
    """The first entry is ""."""
    bugs: list[str] = field(default_factory=list)
    """By the place of an error among `errors`: the programming error that it hides; "": none."""
    origins: list[Origin | None] = field(default_factory=list)
    """By the place of a load among `loads`: where its jobs come from."""
    ids: dict[int, str] = field(default_factory=dict)
    """Custom job ids by number; any other job's id is its number."""
    left: dict[int, str] = field(default_factory=dict)
    """State at the end of every job that is not completed or failed: its number -> a JobState or "removed"."""
    checks: list[CheckRow] = field(default_factory=list)
    late_checks: list[Callable[[RunFrames], CheckRow]] = field(default_factory=list)
    """Checks that are made of the result's frames, when its checks are first asked for; they come after the others."""
    faults: list[FaultRow] = field(default_factory=list)
    """In the order in which they began."""
    scans: list[ScanRow] = field(default_factory=list)
    skews: dict[int, float] = field(default_factory=dict)
    """Seconds that a worker's clock was ahead when an attempt started, by the attempt's row, where it was wrong."""

    def scans_of_jobs(self) -> dict[int, int]:
        """By the number of each job that a scan for overdue tasks made, the number of the scan."""
        scans = {i: int(each.id) for i, each in enumerate(self.origins) if each and each.kind is OriginKind.SCAN}
        rows = self.jobs[np.isin(self.jobs["load"], list(scans))] if scans else self.jobs[:0]
        return {int(number): scans[load] for number, load in zip(rows["number"], rows["load"].tolist(), strict=True)}

    @property
    def last_moment(self) -> float:
        """The latest time that a job, an attempt or an event bears, in seconds; 0 if there is none."""
        times = (self.jobs["added"], self.attempts["started"], self.attempts["ended"], self.events["time"])
        known = [float(np.nanmax(each)) for each in times if not np.isnan(each).all()]
        return max(known, default=0.0)


def rows_of(numbers: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The row of each wanted job number in the ascending `numbers`; -1 where it isn't there."""
    if not len(numbers):
        return np.full(len(wanted), -1, dtype=np.intp)
    first = int(numbers[0])
    if int(numbers[-1]) - first + 1 == len(numbers) and bool((np.diff(numbers) == 1).all()):
        # all numbers between the first and the last, as in most runs: no search is needed
        rows = wanted.astype(np.intp) - first
        rows[(rows < 0) | (rows >= len(numbers))] = -1
        return rows
    rows = np.searchsorted(numbers, wanted)
    rows[rows == len(numbers)] = 0
    rows[numbers[rows] != wanted] = -1
    return rows
