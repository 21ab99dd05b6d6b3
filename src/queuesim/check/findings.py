"""Findings: what will go wrong, by arithmetic, each with its numbers and a scenario that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from queuesim.check.outline import OVERDUE, JobOutline, batch, limiter, outlines, slots
from queuesim.scenario.schema import Scenario
from queuesim.units import format_duration

PATIENCE = 30.0
"""Seconds for which whoever waits for a job's result usually waits: the time-out of HTTP clients and proxies."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will go wrong, or that does nothing."""

    name: str
    key: str
    """The key of the scenario that it is about, as ``workers.limiter``."""
    message: str
    shown_by: str
    """A scenario of the repository in which it can be seen."""


def examine(scenario: Scenario) -> list[Finding]:
    """All findings, the most harmful kinds first."""
    jobs = outlines(scenario)
    return [
        *_overload(scenario, jobs),
        *_overdue_batch(scenario, jobs),
        *_locks(scenario, jobs),
        *_retention(scenario, jobs),
        *_backoffs(jobs),
        *_concurrency(scenario, jobs),
    ]


def _overload(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """More starts are needed than the limiter or the slots allow: the backlog grows without end."""
    arrivals, starts = sum(job.rate for job in jobs), sum(job.rate * job.starts for job in jobs)
    limit = limiter(scenario)
    if limit is not None and starts > limit.max / limit.duration:
        capacity = limit.max / limit.duration
        yield Finding(
            "limiter below arrivals",
            "workers.limiter",
            f"{_rate(arrivals)} arrive at the busiest time, which with retries makes {_rate(starts)} starts; "
            f"the limiter allows {_rate(capacity)}. The backlog grows by {_rate(starts - capacity)} meanwhile.",
            "scenarios/task-processing.yaml",
        )
    known = [job for job in jobs if job.service is not None]
    work = sum(job.rate * job.starts * (job.service or 0.0) for job in known)
    if work > slots(scenario):
        yield Finding(
            "too few slots",
            "workers.concurrency",
            f"jobs bring {work:.3g} s of work a second, retries counted, and there are {slots(scenario)} slots: "
            f"{-(-work // 1):.0f} are needed at least.",
            "scenarios/task-processing.yaml",
        )


def _overdue_batch(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """The batch is not done when the next scan comes, which finds all that is left of it again."""
    overdue, limit, size = scenario.overdue, limiter(scenario), batch(scenario)
    if overdue is None or not size:
        return
    others = sum(job.rate * job.starts for job in jobs if job.name != OVERDUE)
    service = next((job.service or 0.0 for job in jobs if job.name == OVERDUE), 0.0)
    speeds = [slots(scenario) / service] if service else []
    if limit is not None:
        speeds.append(max(limit.max / limit.duration - others, 0.0))
    schedule = overdue.schedule(scenario.epoch.timestamp())
    first = schedule.after(0.0)
    second = None if first is None else schedule.after(first)
    if first is None or second is None or not speeds:
        return
    takes = size / min(speeds) if min(speeds) else float("inf")
    if takes > second - first:
        lasts = "never ends" if takes == float("inf") else f"takes {_time(takes)}"
        advice = (
            "" if overdue.per == "page" else f'; "per: page" makes {-(-overdue.backlog // overdue.page_size):,} jobs'
        )
        yield Finding(
            "overdue batch outlives its period",
            "overdue",
            f"{size:,} notification jobs at {_rate(min(speeds))} {lasts}, and scans come every "
            f"{_time(second - first)}: each finds what is left again{advice}.",
            "scenarios/overdue-backlog-per-task.yaml",
        )


def _locks(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """A part of an attempt that holds the event loop keeps its lock from being renewed."""
    shortest = min(workers.lock_duration for workers in scenario.workers)
    for name, settings in scenario.jobs.items():
        if settings.blocking is not None:
            from queuesim.check.outline import _slow

            blocked = _slow(settings.blocking.model())
            if blocked > shortest / 2:
                yield Finding(
                    "lock shorter than a blocking job",
                    f"jobs.{name}.blocking",
                    f"one attempt in a thousand holds the event loop for {_time(blocked)} or more; locks last "
                    f"{_time(shortest)} and are renewed halfway, which can't happen meanwhile: such jobs run twice.",
                    "scenarios/task-processing.yaml",
                )
    renewed = all(
        (workers.lock_renew or workers.lock_duration / 2) / 2 < workers.lock_duration for workers in scenario.workers
    )
    for job in jobs:
        if not renewed and job.slow is not None and job.slow > shortest:
            yield Finding(
                "lock shorter than slow jobs",
                "workers.lock_duration",
                f"one attempt of {job.name} in a thousand takes {_time(job.slow)} or more, and locks last "
                f"{_time(shortest)} without being renewed in time: such jobs run twice.",
                "scenarios/task-processing.yaml",
            )


def _retention(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """A custom id only keeps a second job away while the first one is kept."""
    keep = scenario.queue.keep.completed
    rate = sum(job.rate for job in jobs)
    if keep is None or keep.count is None or not rate:
        return
    kept = keep.count / rate
    period = None
    if scenario.overdue is not None:
        schedule = scenario.overdue.schedule(scenario.epoch.timestamp())
        first = schedule.after(0.0)
        second = None if first is None else schedule.after(first)
        period = None if first is None or second is None else second - first
    if period is not None and kept < period:
        yield Finding(
            "retention undoes deduplication",
            "queue.keep.completed",
            f"{keep.count} completed jobs are kept, which at {_rate(rate)} is {_time(kept)}; after that their ids are "
            f"free, and a job of the same id is added again. Scans come every {_time(period)}: job ids alone would "
            "not keep their notifications apart.",
            "scenarios/overdue-hourly.yaml",
        )


def _backoffs(jobs: list[JobOutline]) -> Iterator[Finding]:
    """The last attempt comes when nobody waits for it any more."""
    for job in jobs:
        if job.backoff > PATIENCE:
            yield Finding(
                "backoff outlives the caller",
                f"jobs.{job.name}.backoff",
                f"the retries of {job.name} wait {_time(job.backoff)} together before attempt {job.attempts}: longer "
                f"than the {_time(PATIENCE)} for which a caller usually waits.",
                "scenarios/task-processing.yaml",
            )


def _concurrency(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """By Little's law the limiter never lets so many jobs run at once."""
    limit = limiter(scenario)
    services = [(job.rate or 1e-12, job.service) for job in jobs if job.service is not None]
    if limit is None or not services:
        return
    mean = sum(rate * service for rate, service in services) / sum(rate for rate, _ in services)
    busy = limit.max / limit.duration * mean
    if slots(scenario) > max(4 * busy, 1) and limit.max < limit.duration / mean * slots(scenario):
        yield Finding(
            "concurrency that the limiter makes useless",
            "workers.concurrency",
            f"at {_rate(limit.max / limit.duration)} and {_time(mean)} an attempt {busy:.2g} jobs run at once on "
            f"average (Little's law); {slots(scenario)} slots only make each window's jobs start sooner, not more of "
            "them.",
            "scenarios/task-processing.yaml",
        )


def _rate(per_second: float) -> str:
    return f"{per_second * 60:.3g}/min"


def _time(seconds: float) -> str:
    return format_duration(float(f"{seconds:.3g}")) if seconds < 100 else format_duration(float(round(seconds)))
