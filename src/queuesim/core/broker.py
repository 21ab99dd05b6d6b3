"""The broker protocol: everything that the core asks of the place where jobs live.

Every method may raise BrokerUnavailableError: the place where jobs live can't be reached or can't serve now. Whether
the operation took effect is unknown then.

All methods are coroutines and the current time is always an argument, in seconds on a clock that all users of the queue
share, so that any clock can drive any broker and any two can be compared. A broker belongs to one queue.

The heart is the exchange: a worker hands in the outcomes of the jobs it has finished and takes new ones, in one round
trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from queuesim.core.errors import ErrorInfo
from queuesim.core.events import Event, EventKind, EventPage
from queuesim.core.job import Job, JobHandle, JobId, JobOptions, JobRef, JobState, Keep, NewJob, RateLimit
from queuesim.core.scheduler import Scheduler, SchedulerStore

LONGEST_WAIT = 5.0
"""Maximum seconds between two looks of an idle worker at a queue on Redis, as in BullMQ (drainDelay): the worker that
knows when the next delayed job is due, or that was woken for a job, may have died."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where a job goes that failed for good: an ordinary queue whose jobs carry the failed job and its history."""

    queue: str
    data: str
    """JSON text of the dead letter."""


@dataclass(slots=True)
class Completed:
    """The handler returned. Most jobs end so: hence all fields can be given by position, which is faster."""

    job_id: str
    token: str
    value: str = "null"
    """What it returned, as JSON text."""
    keep: Keep | None = None
    """The worker's rule; the job's own goes first."""
    attempt: int = 0
    attempts_made: int = 0
    note: str = ""


@dataclass(slots=True)
class Ended:
    """What the other outcomes have in common, and `Completed` too."""

    job_id: str
    token: str
    attempt: int = field(default=0, kw_only=True)
    """The job's `attempts_started` in this attempt."""
    attempts_made: int = field(default=0, kw_only=True)
    """The job's `attempts_made` once this outcome is applied."""
    note: str = field(default="", kw_only=True)
    """A row for the job's log, where something about the outcome had to be changed."""


@dataclass(slots=True)
class Failed(Ended):
    """The job failed for good."""

    reason: str
    stacktrace: Sequence[str] = ()
    keep: Keep | None = None
    dead_letter: DeadLetter | None = None
    error: ErrorInfo | None = None
    """What kind of failure it was; not stored."""


@dataclass(slots=True)
class Retried(Ended):
    """The attempt failed and the job is to run again, after `delay` seconds, or at once with 0."""

    delay: float
    reason: str
    stacktrace: Sequence[str] = ()
    history: dict[str, Any] | None = None
    """What to remember of this attempt, where the queue has dead letters."""
    error: ErrorInfo | None = None
    """What kind of failure it was; not stored."""


@dataclass(slots=True)
class Postponed(Ended):
    """The handler asked to run again in `delay` seconds. No attempt is counted."""

    delay: float


@dataclass(slots=True)
class Returned(Ended):
    """The job goes back to the front of the queue, rate-limited or put back. No attempt is counted."""

    hold: float | None = None
    """Rate-limit the queue for this many seconds first."""


Outcome = Completed | Failed | Retried | Postponed | Returned
"""The outcome of an attempt. By its two counts a repeated exchange sees whether the first try applied it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a worker brings to each exchange."""

    lock_duration: float = 30.0
    """Seconds for which a taken job is locked."""
    limiter: RateLimit | None = None
    worker: str | None = None
    """The worker's name, written into the jobs that it takes."""


class Reply:
    """The answer to an exchange."""

    __slots__ = ("jobs", "limited_until", "next_due", "refused")

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        """The jobs taken, locked, in the order in which they started."""
        self.refused: list[tuple[Outcome, int]] | None = None
        """Outcomes that were dropped, with the error code: -1, -2, -3, -6, for the job was no longer the worker's; -4,
        -9, for its children do not let it complete: it is still active and the worker's; -12, for one of its keys is
        damaged and so it failed."""
        self.limited_until: float | None = None
        """The queue is rate-limited until then."""
        self.next_due: float | None = None
        """When the first delayed job is due; only set if there were fewer jobs than were asked for."""

    def refuse(self, outcome: Outcome, code: int) -> None:
        """Note that an outcome was dropped."""
        if self.refused is None:
            self.refused = []
        self.refused.append((outcome, code))


OnFailure = Literal["wait", "fail", "continue", "ignore", "remove"]
"""What a child does to its parent when it fails for good; see flow.Flow.on_failure."""


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A job of a flow, as a broker adds it. Parents come before their children."""

    id: str
    queue: str
    name: str
    data: str
    options: JobOptions
    on_failure: OnFailure
    parent: JobRef | None
    has_children: bool

    def new_job(self) -> NewJob:
        """The job alone, as observers see it: its id is in its options."""
        options = self.options if self.options.job_id is not None else self.options.named(self.id)
        return NewJob(self.name, self.data, options)


class Observer(Protocol):
    """Gets everything that happens inside a broker, as it happens. Only brokers in this process report it."""

    def added(self, number: int, job_id: str, job: NewJob, timestamp: float) -> None:
        """A job was added that is not a duplicate. `number` is its place in the order of adding."""
        ...

    def events(self, entries: Sequence[tuple[float, EventKind, int, str | None, JobState | None, Any]]) -> None:
        """What happened since the last call: (time, kind, the job's number or 0 for the queue itself, its id, the
        state it came from, other fields)."""
        ...

    def window(self, opened: float, closes: float, max_jobs: int) -> None:
        """A limiter window opened."""
        ...

    def removed(self, numbers: Sequence[int]) -> None:
        """Jobs that had not ended were removed by an operation without events: drain, clean, obliterate."""
        ...


class Broker(JobHandle, SchedulerStore, Protocol):
    """One queue, wherever it lives. What a job's own methods need is in JobHandle, what adds the jobs of schedulers in
    SchedulerStore."""

    # -- workers

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        """Hand in outcomes, promote what is due, take up to `take` jobs and lock them with `token`.

        An exchange whose answer was lost is made `again`, with the same outcomes and token. What the first try may
        have done is not done twice: active jobs that are locked with `token` are those that the lost answer carried;
        they come first, count among `take`, and their locks are renewed. An outcome of a job that is gone, or that is
        one of those, or that is not active, was not started since (`attempt`) and has the counts that the outcome gives
        it (`attempts_made`), was applied by the first try and is not refused.
        """
        ...

    async def wait(self, until: float | None, now: float) -> None:
        """Return when there may be work, or at `until` (None: no limit). May return early for no reason."""
        ...

    async def recover_stalled(self, interval: float, max_stalled: int, now: float) -> list[str]:
        """One stalled check for the whole queue per `interval` seconds: jobs that were active at the last check and
        have no lock now go back to the front of the queue. Returns their ids. A job that stalled more than
        `max_stalled` times is failed by the worker that takes it next."""
        ...

    # -- producers

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """Add jobs in one step and return their ids. A custom id that exists, in any state, or a duplicate returns the
        existing job's id (`JobId.added` is False), and adds nothing."""
        ...

    # -- flows

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add a tree of jobs, of any queues of this place, in one step: all of them or none. Returns 0, or the place,
        from 1, of the first job whose id is taken. A parent waits for its children: it can be taken when each of them
        has completed or was removed, or failed and its parent's rule lets it go on."""
        ...

    # -- job schedulers

    async def schedulers(self) -> list[Scheduler]:
        """All of them, the one that is due first at the front."""
        ...

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        """Remove a scheduler and its pending job. False if there is none."""
        ...

    # -- the queue

    async def pause(self, now: float) -> None: ...
    async def resume(self, now: float) -> None: ...
    async def is_paused(self) -> bool: ...
    async def set_concurrency(self, limit: int | None, now: float) -> None:
        """At most `limit` active jobs over all workers; None removes the limit."""
        ...

    async def set_rate_limit(self, limit: RateLimit | None, now: float) -> None:
        """A rate limit over all workers. Its `max` beats a worker's own; a worker's own `duration` beats this one's."""
        ...

    async def get_rate_limit(self) -> RateLimit | None:
        """The rate limit over all workers; None if there is none."""
        ...

    async def rate_limit(self, duration: float, now: float) -> None:
        """No job starts for `duration` seconds, on workers that have a limiter (or with a global rate limit)."""
        ...

    async def rate_limit_ttl(self, max_jobs: int | None, now: float) -> float:
        """Seconds until the limiter frees a start; 0 if it does now. `max_jobs` as a worker's limiter has it."""
        ...

    async def clear_rate_limit(self, now: float) -> None: ...
    async def drain(self, delayed: bool, now: float) -> None:
        """Remove all waiting jobs, and delayed ones if asked.

        A server does this, like every operation on all jobs of a state, a page at a time. Others go on between two
        pages, and an error leaves the pages before it done.
        """
        ...

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        """Remove up to `limit` (0: all) jobs of `state` that are older than `grace` seconds, but no job that a worker
        holds and no scheduler's present one. Returns their ids."""
        ...

    async def obliterate(self, force: bool, now: float) -> None:
        """Remove the queue and all of its jobs. Raises QueueNotPausedError, QueueActiveError (without `force`)."""
        ...

    async def counts(self) -> dict[JobState, int]: ...
    async def jobs(self, state: JobState, start: int, end: int, ascending: bool) -> list[Job]:
        """Jobs of a state, from `start` to `end` inclusive (-1: the last)."""
        ...

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events that came after the one of id `after` (0: all that there are), oldest first. Old ones may have been
        trimmed."""
        ...

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        """As `events`, and whether any in between may be gone. A stream that began anew is read from its beginning."""
        ...

    def sibling(self, queue: str) -> Broker:
        """A broker for another queue in the same place."""
        ...

    async def close(self) -> None: ...

    # -- jobs; each raises JobError where the job is missing or in the wrong state

    async def get(self, job_id: str) -> Job | None: ...
    async def state(self, job_id: str) -> JobState | None: ...
    async def logs(self, job_id: str) -> list[str]: ...
    async def retry(self, job_id: str, state: JobState, reset_attempts: bool, now: float) -> None:
        """Move a completed or failed job back to the queue."""
        ...

    async def retry_all(self, state: JobState, before: float | None, now: float) -> int:
        """Move all completed or failed jobs, or those that finished up to `before`, back to wait."""
        ...

    async def promote(self, job_id: str, now: float) -> None:
        """Let a delayed job run now."""
        ...

    async def promote_all(self, now: float) -> int: ...
    async def remove(self, job_id: str, now: float) -> None:
        """Remove a job in any state but active."""
        ...

    async def change_delay(self, job_id: str, delay: float, now: float) -> None: ...
    async def change_priority(self, job_id: str, priority: int, lifo: bool, now: float) -> None: ...
    async def release_deduplication(self, dedup_id: str, now: float) -> bool:
        """Free a deduplication id by hand. True if it was held."""
        ...
