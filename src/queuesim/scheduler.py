"""Job schedulers: a job that comes again and again. One of its jobs is pending at any time, however many workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from queuesim.job import DEFAULT_OPTIONS, Job, JobOptions
from queuesim.schedule import Cron, Every, Missed, ScheduleError, following

if TYPE_CHECKING:
    from queuesim.broker.base import Broker


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A job scheduler, as it is stored.

    Its pending job *is delayed* until it is due. When that starts, the worker which took it *adds the next*. So a
    scheduler without workers stands still, and what is pending then runs late.
    """

    id: str
    schedule: Cron | Every
    name: str
    """The type of its jobs."""
    data: str = "{}"
    """What each of its jobs is added with: JSON text."""
    options: JobOptions = DEFAULT_OPTIONS
    missed: Missed = Missed.SKIP
    limit: int | None = None
    """So many jobs at most."""
    start: float | None = None
    """No job is due before then, in seconds on the queue's clock."""
    end: float | None = None
    """No job is due after then."""
    iterations: int = 0
    """Jobs so far, the pending one included."""
    due: float | None = None
    """When the pending job is due; None before it is stored."""
    pending: str | None = None
    """The id of that job."""

    def __post_init__(self) -> None:
        if not self.id or ":" in self.id:
            raise ScheduleError(f"a scheduler's id is text without ':', not {self.id!r}")
        if self.limit is not None and self.limit < 1:
            raise ScheduleError(f"limit must be 1 or more, not {self.limit}")
        if self.options.job_id is not None:
            raise ScheduleError("the jobs of a scheduler can't have a job_id: it gives each its own")

    def first(self, now: float) -> float:
        """When the first job is due: an interval without an offset begins at once.

        Raises:
            ScheduleError: no tick is within its start and end.
        """
        begin = now if self.start is None else max(now, self.start)
        schedule = self.schedule
        due = begin if isinstance(schedule, Every) and schedule.offset is None else schedule.after(begin)
        if due is None or (self.end is not None and due > self.end):
            raise ScheduleError(f'scheduler "{self.id}" would never fire: its first tick is after its end')
        return due

    def next(self, now: float) -> float | None:
        """When the job after the pending one is due, as that starts at `now`; None if it was the last."""
        if self.due is None or (self.limit is not None and self.iterations >= self.limit):
            return None
        due = following(self.schedule, self.due, now, self.missed)
        return None if due is None or (self.end is not None and due > self.end) else due

    def anchored(self, first: float) -> Scheduler:
        """With the offset that its first job gives it, if it is an interval without one."""
        if isinstance(self.schedule, Every) and self.schedule.offset is None:
            return replace(self, schedule=self.schedule.anchored(first))
        return self

    def job_id(self, due: float) -> str:
        """The id of the job that is due then (BullMQ 6.7)."""
        return f"repeat:{self.id}:{round(due * 1000)}"


async def advance(broker: Broker, job: Job, now: float) -> None:
    """Add the job that follows `job`, which has just started. To do it again, for a retry, changes nothing."""
    scheduler = None if job.scheduler_id is None else await broker.scheduler(job.scheduler_id)
    if scheduler is not None and scheduler.pending == job.id:
        await broker.advance_scheduler(scheduler.id, job.id, scheduler.next(now), now)
