"""What can't happen in a scenario, whatever chance does: attempts that can't end in time, jobs that can't start, and
thresholds on numbers of jobs that the load does not make."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from queuesim.check.closed import most_jobs
from queuesim.check.fluid import entry_length
from queuesim.check.outline import MARGIN, Finding, JobOutline, rate, time, whose
from queuesim.core.processor import Processor
from queuesim.faults.producers import ProducerBurst, ProducerFault
from queuesim.faults.redis import RedisDrop
from queuesim.faults.workers import WorkerClockSkew
from queuesim.runs.handlers import OVERDUE, is_told
from queuesim.runs.judging import what_is_asked
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.model import Scenario
from queuesim.scenario.thresholds import Threshold
from queuesim.scenario.trace import TraceJob

MORE_JOBS = (ProducerFault, ProducerBurst, RedisDrop)
"""Faults by which more jobs are added than the load entries say."""
DEVIATIONS = 5.0
"""Standard deviations by which a random number of jobs may exceed its mean."""


def timeouts(scenario: Scenario) -> Iterator[Finding]:
    """A timeout below the shortest service time: every attempt is cancelled."""
    recorded = {job.name for job in _trace_jobs(scenario) if is_told(job)}
    used = _types(scenario)
    for name, settings in scenario.jobs.items():
        if settings.service is None or settings.timeout is None or name in recorded or name not in used:
            continue
        least = _least(settings)
        if least > settings.timeout:
            always = settings.service.constant is not None and settings.blocking is None
            yield Finding(
                "timeout below the service time",
                f"jobs.{name}.timeout",
                f"an attempt of {name} takes {time(least)}{'' if always else ' or more'}, and is cancelled after "
                f"{time(settings.timeout)}: every attempt fails, and no job completes.",
            )


def _least(settings: JobSettings) -> float:
    """Seconds that an attempt takes at least. One that only blocks, and never waits, can't be cancelled: 0."""
    assert settings.service is not None
    service = settings.service.model().minimum
    blocking = 0.0 if settings.blocking is None else settings.blocking.model().minimum
    return service + blocking if service else 0.0


def delays(scenario: Scenario, jobs: Sequence[JobOutline]) -> Iterator[Finding]:
    """A delay that ends after the run: no job of the type ever starts."""
    end = scenario.duration + scenario.drain_time
    if any(isinstance(entry.settings, WorkerClockSkew) for entry in scenario.faults):
        # a worker whose clock is ahead starts delayed jobs too early
        return
    for job in jobs:
        if job.name == OVERDUE and scenario.overdue is not None:
            continue
        ready = min(_ready(scenario, job), default=None)
        if ready is not None and ready > end:
            yield Finding(
                "delay longer than the run",
                f"jobs.{job.name}.delay",
                f"the first job of {job.name} may start at {time(ready)} at the earliest, and the run is over at "
                f"{time(end)}: none ever starts.",
            )


def _ready(scenario: Scenario, job: JobOutline) -> Iterator[float]:
    """For each source of jobs of a type, when its first one may start at the earliest."""
    for entry in scenario.load:
        length = entry_length(entry, scenario)
        if entry.trace is not None:
            yield from (
                entry.start + row.at + row.delay for row in entry.trace.jobs if row.name == job.name and row.at < length
            )
        elif job.name in scenario.mix(entry) and length > 0:
            yield entry.start + _first(entry) + job.options.delay


def _first(entry: LoadEntry) -> float:
    """Seconds from the start of a load entry to its first job, at least."""
    if entry.bulk is None:
        return 0.0
    return entry.bulk.offset if entry.bulk.at is None else entry.bulk.at


def above_the_load(scenario: Scenario, jobs: Sequence[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """A threshold that wants more jobs, or more of them a second, than the load adds."""
    if any(isinstance(entry.settings, MORE_JOBS) for entry in scenario.faults):
        return
    if any(threshold.abort for threshold in scenario.thresholds):
        # a run that ends early divides by a shorter time
        return
    for i, threshold in enumerate(scenario.thresholds):
        if threshold.metric not in ("throughput", "completed", "added") or threshold.operator not in (">", ">="):
            continue
        most, parts = _most(scenario, threshold, jobs, own), _parts(scenario, threshold)
        if most is None or parts is None:
            continue
        bound = most / parts
        if threshold.limit > bound * MARGIN and threshold.limit > bound + 1e-9:
            shown = rate(bound) if threshold.metric == "throughput" else f"{bound:,.0f} jobs"
            yield Finding(
                "threshold above the load",
                f"thresholds[{i}]",
                f'"{threshold.text}"{whose(threshold)}: the load adds {shown} at most, chance included.',
                bound,
            )


def _most(scenario: Scenario, threshold: Threshold, jobs: Sequence[JobOutline], own: Processor | None) -> float | None:
    """How many jobs of those that a threshold looks at are added, at most; None if nobody knows."""
    where = threshold.where
    if where.load is None and (own is not None or (scenario.overdue is not None and where.job in (None, OVERDUE))):
        return None
    total, varies = 0.0, False
    asked = what_is_asked(scenario, scenario.duration).loads
    for entry, load in zip(scenario.load, asked, strict=True):
        share = 1.0 if where.job is None else load.types.get(where.job, 0.0)
        if where.load not in (None, entry.name) or not share:
            continue
        total += share * (load.jobs if entry.closed is None else most_jobs(scenario, entry, jobs, own))
        varies = varies or load.random or entry.closed is not None or share < 1
    return total + (DEVIATIONS * math.sqrt(total) + 1 if varies else 0.0)


def _parts(scenario: Scenario, threshold: Threshold) -> float | None:
    """By what a number of jobs is divided to get the threshold's metric, at least; None if nobody knows.

    The jobs of the warm-up may finish after it. Windows that lie side by side share the jobs: the worst one has no more
    than the mean.
    """
    span = scenario.duration - scenario.warmup
    if threshold.over is None:
        return (span if span > 0 else None) if threshold.metric == "throughput" else 1.0
    windows = math.floor(span / threshold.over)
    if windows < 1:
        return None
    return windows * (threshold.over if threshold.metric == "throughput" else 1.0)


def _trace_jobs(scenario: Scenario) -> list[TraceJob]:
    return [job for entry in scenario.load if entry.trace is not None for job in entry.trace.jobs]


def _types(scenario: Scenario) -> set[str]:
    """The job types that are added at all."""
    names = {job.name for job in _trace_jobs(scenario)}
    for entry in scenario.load:
        if entry.trace is None:
            names |= set(scenario.mix(entry))
    return names if scenario.overdue is None else names | {OVERDUE}
