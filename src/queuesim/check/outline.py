"""What of a scenario the checks reckon with: arrival rates, attempts, service times, the limiter, in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from queuesim.backoff import Backoff
from queuesim.job import JobOptions
from queuesim.limits import RateLimit
from queuesim.processor import Processor
from queuesim.scenario.handlers import job_options
from queuesim.scenario.job_schema import CATEGORIES, JobSettings
from queuesim.scenario.schema import Scenario


@dataclass(frozen=True, slots=True)
class JobOutline:
    """One type of job."""

    name: str
    rate: float
    """Jobs that arrive per second, in the busiest stage of each load."""
    attempts: int
    """Runs at most."""
    starts: float
    """Runs of a job on average, retries counted."""
    service: float | None
    """Mean seconds of an attempt; None: a handler of the user's own, that takes what it takes."""
    slow: float | None
    """The 99.9th percentile of an attempt in seconds."""
    backoff: float
    """Seconds that a job waits for its retries at most, all together."""


def outlines(scenario: Scenario, own: Processor | None = None) -> list[JobOutline]:
    """Every type of job that has settings, or arrives at a known rate. `own` is the scenario's own processor."""
    rates, options = arrival_rates(scenario), job_options(scenario, own)
    names = dict.fromkeys([*scenario.jobs, *rates])
    return [_outline(name, scenario.job(name), options[name], rates.get(name, 0.0)) for name in names]


def arrival_rates(scenario: Scenario) -> dict[str, float]:
    """By job type, jobs per second while load is at its highest. Bulks, traces and closed loads have no rate."""
    rates: dict[str, float] = {}
    for entry in scenario.load:
        arrivals = entry.constant or entry.poisson
        if arrivals is None:
            continue
        peak = max(max(segment.start, segment.end) for segment in _segments(arrivals, scenario.duration))
        for name, share in scenario.mix(entry).items():
            rates[name] = rates.get(name, 0.0) + peak * share
    return rates


@dataclass(frozen=True, slots=True)
class _Segment:
    start: float
    end: float


def _segments(arrivals: object, duration: float) -> Iterator[_Segment]:
    """The rates of an arrival process at the ends of its stages."""
    rate = getattr(arrivals, "rate", None)
    if rate is not None:
        yield _Segment(rate, rate)
        return
    before = 0.0
    for stage in getattr(arrivals, "stages", None) or ():
        yield _Segment(before, stage.target)
        before = stage.target


def _outline(name: str, settings: JobSettings, options: JobOptions, rate: float) -> JobOutline:
    attempts = max(options.attempts, 1)
    service = None if settings.service is None else settings.service.model()
    return JobOutline(
        name,
        rate,
        attempts,
        _starts(settings, attempts),
        None if service is None else float(service.mean),
        None if service is None else slow(service),
        longest_backoff(options.backoff, attempts),
    )


def _starts(settings: JobSettings, attempts: int) -> float:
    """1 + p1 + p1 p2 + ...: each further run needs all before it to have failed in a way that is retried."""
    total, reached = 1.0, 1.0
    for attempt in range(1, attempts):
        failing = sum(
            rate for category, rate in settings.errors.at(attempt).items() if CATEGORIES[category] != "Validation"
        )
        reached *= failing
        total += reached
    return total


def slow(service: object) -> float:
    """The 99.9th percentile, by drawing: exact enough for a warning, and the same every time."""
    import numpy as np

    draw = service.sampler(np.random.Generator(np.random.PCG64(0)))  # type: ignore[attr-defined]
    return float(np.quantile([draw() for _ in range(20_000)], 0.999))


def longest_backoff(backoff: Backoff | None, attempts: int) -> float:
    """Seconds that a job waits for its retries at most, all together."""
    if backoff is None:
        return 0.0
    delays = (
        backoff.delay * 2 ** (n - 1) if backoff.type == "exponential" else backoff.delay for n in range(1, attempts)
    )
    return sum(min(delay, backoff.cap or delay) for delay in delays)


def limiter(scenario: Scenario, processor: Processor | None = None) -> RateLimit | None:
    """The limiter that holds for the whole queue; the queue's own goes before the workers' (BullMQ 6.7)."""
    given = next((workers.limiter.model() for workers in scenario.workers if workers.limiter is not None), None)
    own = given or (None if processor is None else processor.limiter)
    shared = scenario.queue.rate_limit
    if shared is not None:
        return RateLimit(shared.max, shared.duration if own is None else own.duration)
    return own


def slots(scenario: Scenario, processor: Processor | None = None) -> int:
    """Jobs that run at the same time at most, over all workers."""
    each = 1 if processor is None else processor.concurrency
    total = sum(workers.count * (workers.concurrency or each) for workers in scenario.workers)
    return min(total, scenario.queue.concurrency or total)


def period(scenario: Scenario) -> float | None:
    """Seconds between the first two scans for overdue tasks; None if there are no two."""
    if scenario.overdue is None:
        return None
    schedule = scenario.overdue.schedule(scenario.epoch.timestamp())
    first = schedule.after(0.0)
    second = None if first is None else schedule.after(first)
    return None if first is None or second is None else second - first


def batch(scenario: Scenario) -> int:
    """Notification jobs of the overdue tasks that are there from the beginning."""
    overdue = scenario.overdue
    if overdue is None:
        return 0
    size = overdue.page_size if overdue.per == "page" else 1
    return -(-overdue.backlog // size)
