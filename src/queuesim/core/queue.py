"""The queue as its producers and operators see it: add jobs, look at them, pause, clean, retry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from queuesim.core.broker import Broker
from queuesim.core.clock import time_at
from queuesim.core.errors import ValidationError
from queuesim.core.events import Event, EventPage
from queuesim.core.job import (
    DEFAULT_OPTIONS,
    Deduplication,
    Job,
    JobId,
    JobOptions,
    JobState,
    NewJob,
    Origin,
    RateLimit,
    check_priority,
    check_text,
    to_json,
)
from queuesim.core.scheduler import Cron, Every, Missed, Scheduler, upsert


class Queue:
    """A handle on a queue. Any number of handles, in any number of processes, can share one.

    Times are seconds on the queue's clock: the calendar (Unix time) if the queue is on a real server, else the running
    loop's time, unless `queuesim.core.clock.set_clock` says otherwise.

    Args:
        broker: where the jobs live.
        defaults: options of jobs that are added without their own.
    """

    def __init__(self, broker: Broker, *, defaults: JobOptions = DEFAULT_OPTIONS) -> None:
        self.broker = broker
        self.defaults = defaults

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.broker.queue

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} on {type(self.broker).__name__}>"

    def now(self) -> float:
        """Seconds on the queue's clock."""
        return time_at(self.broker)

    # -- adding

    async def add(self, name: str, data: Any = None, options: JobOptions | None = None, **changes: Any) -> JobId:
        """Add a job and return its id, or that of an existing job that stands for it: the id is a string with an
        attribute `added`. A job of the same custom id stands for it in any state, also completed or failed, as long as
        it is kept.

        Args:
            name: its type.
            data: any JSON value; None means an empty object.
            options: how it is to run; the queue's defaults if None.
            changes: single options that differ, as ``delay=5.0``.

        Raises:
            ValidationError: the data is not JSON, or larger than `size_limit`.
            ValueError: an option out of its range.
            TypeError: an unknown option.
        """
        return (await self.broker.add([self.new_job(name, data, options, **changes)], self.now()))[0]

    async def add_bulk(self, jobs: Iterable[NewJob | tuple[str, Any]]) -> list[JobId]:
        """Add many jobs in one step: all or none. Each is a NewJob or a pair (name, data). Returns their ids, each as
        from `add`."""
        new = [job if isinstance(job, NewJob) else self.new_job(*job) for job in jobs]
        return await self.broker.add(new, self.now()) if new else []

    def new_job(
        self,
        name: str,
        data: Any = None,
        options: JobOptions | None = None,
        *,
        origin: Origin | None = None,
        **changes: Any,
    ) -> NewJob:
        """A job that is not added yet, for `add_bulk`; `origin` is for observers. Raises as `add` does."""
        options = self.defaults if options is None else options
        if changes:
            options = replace(options, **changes)
        return NewJob(name, data_text(name, data, options), options, origin)

    def drafts(self, name: str, data: Callable[[Any], Any], *, origin: Origin | None = None) -> Drafts:
        """A maker of jobs with the queue's default options, most of which will be dropped as duplicates. Their data and
        options are made when they are needed, and errors of `new_job` are raised then.

        Args:
            name: the type of the jobs.
            data: makes the data of one job from its subject.
            origin: where they come from, for observers.
        """
        return Drafts(self.defaults, name, data, origin)

    # -- job schedulers

    async def upsert_scheduler(
        self,
        scheduler_id: str,
        schedule: Cron | Every,
        name: str,
        data: Any = None,
        options: JobOptions | None = None,
        *,
        missed: Missed = Missed.SKIP,
        limit: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> str:
        """Add a job again and again, by a schedule, in place of what the scheduler of this id did so far.

        Args:
            options: of each job; a deduplication id is stored and not applied (BullMQ 6.7).
            missed: what happens to ticks that came while there was no worker.
            limit: the maximum number of jobs.
            start: no job is due before, in seconds on the queue's clock.
            end: none is due after.

        Returns:
            The id of the first job.

        Raises:
            ScheduleError: it would never fire, or the id has a ':'.
            JobError: -11, there is a job at each of its next 32 ticks already.
            ValidationError, ValueError: as `add` does.
        """
        new = self.new_job(name, data, options)
        scheduler = Scheduler(
            scheduler_id, schedule, new.name, new.data, new.options, Missed(missed), limit, start, end
        )
        return await upsert(self.broker, scheduler, self.now())

    async def remove_scheduler(self, scheduler_id: str) -> bool:
        """Remove a scheduler and its pending job. False if there is none."""
        return await self.broker.remove_scheduler(scheduler_id, self.now())

    async def schedulers(self) -> list[Scheduler]:
        """All job schedulers, the one that is due first at the front."""
        return await self.broker.schedulers()

    # -- looking

    async def get_job(self, job_id: str) -> Job | None:
        """The job as it is now; None if there is no such job."""
        return await self.broker.get(job_id)

    async def get_state(self, job_id: str) -> JobState | None:
        """Where the job is; None if there is no such job."""
        return await self.broker.state(job_id)

    async def get_jobs(self, state: JobState, start: int = 0, end: int = -1, *, ascending: bool = False) -> list[Job]:
        """Jobs of one state from `start` to `end` inclusive, the newest first unless `ascending`."""
        return await self.broker.jobs(state, start, end, ascending)

    async def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        return await self.broker.counts()

    async def logs(self, job_id: str) -> list[str]:
        """The rows of a job's log, oldest first."""
        return await self.broker.logs(job_id)

    async def events(self, after: int = 0, limit: int | None = None) -> list[Event]:
        """Events that came after the one of id `after`, oldest first. Old ones may have been trimmed."""
        return await self.broker.events(after, limit)

    async def read_events(self, after: int = 0, limit: int | None = None) -> EventPage:
        """As `events`, for readers that follow a queue: the page also has whether any may be missing."""
        return await self.broker.read_events(after, limit)

    # -- the whole queue

    async def pause(self) -> None:
        """No job starts until `resume`; active jobs go on."""
        await self.broker.pause(self.now())

    async def resume(self) -> None:
        """Let jobs start again."""
        await self.broker.resume(self.now())

    async def is_paused(self) -> bool:
        """Whether the queue is paused."""
        return await self.broker.is_paused()

    async def set_concurrency(self, limit: int | None) -> None:
        """At most `limit` active jobs over all workers; None removes the limit."""
        if limit is not None and limit < 1:
            raise ValueError(f"concurrency must be 1 or more, or None, not {limit}")
        await self.broker.set_concurrency(limit, self.now())

    async def set_rate_limit(self, limit: RateLimit | None) -> None:
        """A rate limit over all workers; None removes it."""
        await self.broker.set_rate_limit(limit, self.now())

    async def get_rate_limit(self) -> RateLimit | None:
        """The rate limit over all workers; None if there is none."""
        return await self.broker.get_rate_limit()

    async def rate_limit(self, duration: float) -> None:
        """Hold the starts of all rate-limited workers for `duration` seconds."""
        await self.broker.rate_limit(duration, self.now())

    async def rate_limit_ttl(self, max_jobs: int | None = None) -> float:
        """Seconds until a start is free; 0 if one is now."""
        return await self.broker.rate_limit_ttl(max_jobs, self.now())

    async def clear_rate_limit(self) -> None:
        """Forget the limiter's present window."""
        await self.broker.clear_rate_limit(self.now())

    async def drain(self, *, delayed: bool = False) -> None:
        """Remove all jobs that wait, and delayed ones if asked."""
        await self.broker.drain(delayed, self.now())

    async def clean(self, grace: float, state: JobState = JobState.COMPLETED, limit: int = 0) -> list[str]:
        """Remove jobs of `state` older than `grace` seconds, `limit` at most (0: all). Returns their ids."""
        return await self.broker.clean(grace, limit, state, self.now())

    async def obliterate(self, *, force: bool = False) -> None:
        """Remove the queue. Raises QueueNotPausedError, and QueueActiveError unless forced."""
        await self.broker.obliterate(force, self.now())

    # -- single jobs; each raises JobError where the job is missing or in the wrong state

    async def retry(self, job_id: str, state: JobState = JobState.FAILED, *, reset_attempts: bool = False) -> None:
        """Run a finished job again. Attempts that it has used stay used unless they are reset."""
        await self.broker.retry(job_id, state, reset_attempts, self.now())

    async def retry_all(self, state: JobState = JobState.FAILED, before: float | None = None) -> int:
        """Run all jobs of a finished state again, or those that finished up to `before`. Returns how many."""
        return await self.broker.retry_all(state, before, self.now())

    async def promote(self, job_id: str) -> None:
        """Let a delayed job run now."""
        await self.broker.promote(job_id, self.now())

    async def promote_all(self) -> int:
        """Let all delayed jobs run now. Returns how many."""
        return await self.broker.promote_all(self.now())

    async def remove(self, job_id: str) -> None:
        """Remove a job that no worker holds."""
        await self.broker.remove(job_id, self.now())

    async def change_delay(self, job_id: str, delay: float) -> None:
        """Give a delayed job a new delay in seconds, from now."""
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay must be 0 s or more, not {delay}")
        await self.broker.change_delay(job_id, delay, self.now())

    async def change_priority(self, job_id: str, priority: int, *, lifo: bool = False) -> None:
        """Give a waiting job a new priority; `lifo` puts an unprioritized one in front."""
        check_priority(priority)
        await self.broker.change_priority(job_id, priority, lifo, self.now())

    async def release_deduplication(self, deduplication_id: str) -> bool:
        """Free a deduplication id by hand. True if it was held."""
        return await self.broker.release_deduplication(deduplication_id, self.now())


@dataclass(frozen=True, slots=True)
class Drafts:
    """What drafts have in common; see `Queue.drafts`."""

    options: JobOptions
    name: str
    data: Callable[[Any], Any]
    origin: Origin | None

    def draft(self, about: Any, job_id: str, same: str) -> NewJob:
        """A job of this id. While one that counts as the same is unfinished it is a duplicate."""
        draft = _new(Draft)
        # a new job can't be changed: hence not by assignment
        _set(draft, "_drafts", self)
        _set(draft, "_about", about)
        _set(draft, "job_id", job_id)
        _set(draft, "deduplication", Deduplication(same))
        return draft


class Draft(NewJob):
    """A new job whose attributes are made when they are needed. The constructor, which `dataclasses.replace` calls,
    makes a complete one."""

    __slots__ = ("_about", "_drafts", "deduplication", "job_id")
    deduplication: Deduplication | None
    job_id: str | None

    def __getattr__(self, attribute: str) -> Any:
        """Make an attribute that was not made yet."""
        if attribute in ("job_id", "deduplication"):
            return getattr(self.options, attribute)
        if attribute not in ("name", "data", "options", "origin", "scheduled", "history"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        drafts: Drafts = self._drafts
        assert self.job_id is not None
        options = drafts.options.named(self.job_id, self.deduplication)
        _set(self, "name", drafts.name)
        _set(self, "data", data_text(drafts.name, drafts.data(self._about), options))
        _set(self, "options", options)
        _set(self, "origin", drafts.origin)
        _set(self, "scheduled", None)
        _set(self, "history", ())
        return getattr(self, attribute)


_new, _set = object.__new__, object.__setattr__


def data_text(name: str, data: Any, options: JobOptions) -> str:
    """A job's data as JSON. Raises ValidationError, and ValueError for a name that can't be stored."""
    check_text(name, "a job's name")
    try:
        text = "{}" if data is None else to_json(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"the data of job {name!r} is not JSON: {error}") from None
    if options.size_limit is not None and len(text.encode()) > options.size_limit:
        size = len(text.encode())
        raise ValidationError(f"the data of job {name!r} has {size} bytes, its size limit is {options.size_limit}")
    return text
