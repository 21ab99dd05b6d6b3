"""What is known of overdue scans when a run is over: what their database and their job scheduler say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queuesim.job import JobState
from queuesim.schedule import Cron, Every, Missed

UNFINISHED = (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE)
"""Where a job is that has not ended."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """The job scheduler whose ticks begin scans. Times are seconds since the run began."""

    schedule: Cron | Every
    missed: Missed
    asked_at: float
    """When the queue was asked for what follows."""
    stored: bool
    """Whether the queue has the scheduler."""
    due: float | None = None
    """When its pending job is due."""
    pending: str | None = None
    """The id of that job."""
    state: JobState | None = None
    """Where that job is; None: nowhere."""
    under_way: Sequence[tuple[float, float | None]] = ()
    """The ticks whose jobs have not ended, and when each job started, if it did: its scan need not have begun yet."""
    dead: Sequence[tuple[float, float]] = ()
    """Spans in which nobody was there to run it: crashes of all schedulers."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan, as its row in the database says."""

    number: int
    trigger: str
    tick: float | None
    cutoff: float
    began: float
    ended: float | None
    pages: int
    found: int
    enqueued: int
    duplicates: int
    leased_until: float


@dataclass(frozen=True, slots=True)
class OverdueEvidence:
    """Everything that the oracles of overdue scans look at."""

    scans: Sequence[Scan]
    per_page: bool
    """Whether one notification job is about a page of tasks, not about one."""
    window: float
    """Nobody is told twice of a task within so many seconds."""
    told: Sequence[tuple[int, float]] = ()
    """(task, when) of each notification, in order."""
    untold: Sequence[tuple[int, float]] = ()
    """(task, since when) of the tasks whose assignees are still to be told."""
    staged: int = 0
    """Jobs that are still in the outbox."""
    ticks: Ticks | None = None
    """None: timers begin the scans, not a job scheduler."""
    crashed: bool = False
    """Whether processes that scan were killed."""
