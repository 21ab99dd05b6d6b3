"""The overdue scan as a scenario writes it: when it runs, over which tasks, and what its database costs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from queuesim.core.scheduler import Cron, Every, Missed, ScheduleError
from queuesim.fields import Count, CountFromZero, PositiveSeconds, Seconds, Section, Word, refuse
from queuesim.simulation.service_times import ServiceTime


class DatabaseSettings(Section):
    """The task database: its cost in a simulation, its address in real time."""

    latency: ServiceTime = ServiceTime(constant=0.002)
    """In a simulation, how long a transaction holds a connection."""
    connections: Count = 5
    """Size of the pool of each process, worker or scheduler."""
    url: Word | None = None
    """In real time, a PostgreSQL database, in which the run has its own schema; a SQLite file if left out."""

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://")):
            raise refuse(
                f'"{url}" is not a PostgreSQL URL: write it as postgresql://user@host/name, or leave it out for a '
                "SQLite file of the run's own"
            )
        return url


class SchedulerCrash(Section):
    """All schedulers die at once, in the middle of a scan if there is one."""

    at: Seconds
    length: PositiveSeconds = 30.0
    """Time until they start again."""


class OverdueSettings(Section):
    """Scans for overdue tasks, whose notifications are jobs of the type overdue-tasks-notification."""

    choices = ("cron", "every")

    cron: Word | None = None
    """When scans begin: minute, hour, day of month, month, day of week; or six fields, seconds first."""
    every: PositiveSeconds | None = None
    """Scans begin at whole multiples of it on the calendar."""
    zone: Word = "UTC"
    """The time zone of the cron line."""
    missed: Literal["skip", "latest", "all"] = "skip"
    """What happens to scans that were due while no scheduler ran."""
    triggers: tuple[Seconds, ...] = ()
    """Times at which an administrator starts an additional scan."""
    schedulers: Count = 1
    """Processes that scan."""
    by: Literal["scheduler", "timer"] = "scheduler"
    """How scans begin: `scheduler` is a job scheduler, of which one tick is one scan; with `timer` each process has a
    clock of its own, so that every one of them scans at every tick."""
    page_size: Count = 100
    """Tasks that are read at a time."""
    per: Literal["task", "page"] = "task"
    """What one notification job is about."""
    tasks: CountFromZero = 0
    """Open tasks that become overdue during the run, at times that are drawn evenly."""
    backlog: CountFromZero = 0
    """Open tasks that are overdue from the beginning."""
    window: PositiveSeconds = 24 * 3600.0
    """Nobody is notified twice about a task within this time."""
    delivery: Literal["after-commit", "outbox"] = "after-commit"
    """How notifications get into the queue."""
    lease: PositiveSeconds = 30.0
    """Time without progress after which a scan is taken over."""
    database: DatabaseSettings = DatabaseSettings()
    crashes: tuple[SchedulerCrash, ...] = ()
    """When the schedulers die."""

    @model_validator(mode="after")
    def _fires(self) -> Any:
        try:
            self.schedule(0.0)
        except ScheduleError as error:
            raise refuse(str(error)) from None
        return self

    def schedule(self, origin: float) -> Cron | Every:
        """When scans begin; `origin` is the calendar time of the run's second 0. Raises ScheduleError."""
        if self.cron is not None:
            return Cron(self.cron, self.zone, origin)
        if self.every is None:
            raise ScheduleError("neither cron nor every")
        return Every(self.every, 0.0, origin)

    @property
    def policy(self) -> Missed:
        """What happens to missed ticks."""
        return Missed(self.missed)


def schedules_of(queue: str) -> str:
    """The queue whose jobs are the scans for another queue's overdue tasks."""
    return f"{queue}-schedules"
