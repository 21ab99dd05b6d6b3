"""The numbers of a scenario that checks use: arrival rates, attempts, service times, the limiter; and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from queuesim.core.job import JobOptions, RateLimit
from queuesim.core.processor import Processor
from queuesim.faults.redis import QueuePause, RedisOutage, RedisReadOnly, RedisRestart
from queuesim.faults.timing import ALL
from queuesim.faults.workers import WorkerDeploy, WorkerScale
from queuesim.runs.effort import Failures
from queuesim.runs.handlers import build_processor, job_options
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import name_workers, shared_limiter
from queuesim.simulation.random import Streams
from queuesim.simulation.service_times import ServiceTime
from queuesim.units import format_duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from queuesim.scenario.thresholds import Threshold


# -- A finding: one thing that will go wrong

PATIENCE = 30.0
"""Seconds for which a caller usually waits for a job's result: the timeout of HTTP clients and proxies."""

MARGIN = 1.05
"""A threshold is only called out of reach if it is missed by more than this: the arithmetic is no more exact."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will go wrong, or that does nothing."""

    name: str
    key: str
    """The key of the scenario, as ``workers.limiter``, or the argument of the processor."""
    message: str
    expected: float | None = None
    """What a threshold's metric comes to, in its unit, where the finding is about one."""

    @property
    def shown_by(self) -> str:
        """A scenario of the repository that shows it."""
        return f"scenarios/check/{self.name.replace(' ', '-')}.yaml"


def rate(per_second: float) -> str:
    """A rate as findings show it."""
    return f"{per_second * 60:.3g}/min"


AGES = 1000 * 365 * 86400.0
"""Seconds above which a duration is not shown exactly."""


def time(seconds: float) -> str:
    """A duration as findings show it."""
    if seconds > AGES:
        return "more than 1,000 years"
    return format_duration(float(f"{seconds:.3g}")) if seconds < 100 else format_duration(float(round(seconds)))


def whose(threshold: Threshold) -> str:
    """The jobs that a threshold counts, as findings show them."""
    chosen = threshold.where.chosen()
    return f" of {', '.join(f'{key} {name}' for key, name in chosen.items())}" if chosen else ""


DRAWS = 20_000
"""Attempts that are drawn for percentiles: exact enough for a warning."""


@dataclass(frozen=True, slots=True)
class JobOutline:
    """One type of job."""

    name: str
    options: JobOptions
    service: float | None
    """Mean seconds for which an attempt holds its slot; None: a handler of the user's own, whose time is unknown."""
    slow: float | None
    """The 99.9th percentile of an attempt in seconds."""
    times: tuple[float, ...]
    """Quantiles of an attempt in seconds, evenly spread; a single 0 if unknown."""
    starts: float
    """Runs of a job on average, retries and poison jobs counted."""
    attempts: int
    """Runs at most."""
    backoff: Callable[[float], float]
    """Seconds that a job waits for its retries together, at most; of all jobs but the given share of them."""

    @property
    def work(self) -> float:
        """Seconds of slots that a job takes on average, retries counted; 0 if unknown."""
        return self.starts * (self.service or 0.0)


def outlines(scenario: Scenario, own: Processor | None = None) -> list[JobOutline]:
    """Every type of job that the scenario names. `own` is the scenario's own processor."""
    processor = build_processor(scenario, own, Streams(0))
    return [_outline(name, scenario, options, processor) for name, options in job_options(scenario, own).items()]


def _outline(name: str, scenario: Scenario, options: JobOptions, processor: Processor) -> JobOutline:
    settings, known = scenario.job(name), processor.types.get(name)
    timeout = None if known is None else known.timeout
    service, slow, times, cut = _times(settings, timeout, scenario.overhead.attempt)
    failures = Failures(settings, options, processor, cut, unknown=service is None)
    return JobOutline(name, options, service, slow, times, failures.starts(), failures.attempts, failures.backoff)


QUANTILES = 20
"""Into how many equally likely times a distribution is cut."""


def _times(
    settings: JobSettings, timeout: float | None, overhead: float
) -> tuple[float | None, float | None, tuple[float, ...], float]:
    """Mean, 99.9th percentile and quantiles of an attempt, and the share of attempts that run into their timeout."""
    if settings.service is None:
        return None, None, (0.0,), 0.0
    pieces = [settings.service, *([] if settings.blocking is None else [settings.blocking])]
    mean = float(sum(part.model().mean for part in pieces))
    import numpy as np

    held = np.sum([draws(part) for part in pieces], axis=0)
    cut = 0.0 if timeout is None else float(np.mean(held > timeout))
    if timeout is not None and cut:
        held = held.clip(max=timeout)
        mean = float(held.mean())
    # the lower end of each part: no attempt of it is shorter
    parts = 1 if held.min() == held.max() else QUANTILES
    quantiles = np.quantile(held, np.arange(parts) / parts)
    times = tuple(float(each) + overhead for each in quantiles)
    return mean + overhead, float(np.quantile(held, 0.999)) + overhead, times, cut


def draws(service: ServiceTime) -> NDArray[np.float64]:
    """Times of a distribution, the same ones at every call."""
    import numpy as np

    draw = service.model().sampler(np.random.Generator(np.random.PCG64(0)))
    return np.fromiter((draw() for _ in range(DRAWS)), float, DRAWS)


def slow(service: ServiceTime) -> float:
    """The 99.9th percentile of a distribution."""
    import numpy as np

    return float(np.quantile(draws(service), 0.999))


def limiter(scenario: Scenario, processor: Processor | None = None) -> RateLimit | None:
    """The limiter that holds for the whole queue; None if some workers have none, for these are not limited."""
    own = None if processor is None else processor.limiter
    if scenario.queue.rate_limit is None and own is None and any(kind.limiter is None for kind in scenario.workers):
        return None
    return shared_limiter(scenario.workers, scenario.queue.rate_limit, own)


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


def deploys(
    scenario: Scenario, own: Processor | None, jobs: Sequence[JobOutline]
) -> Iterator[tuple[float, float, float]]:
    """Beginning, end, and how many slots are missing, of each worker's absence in a rolling deploy at a known time.

    A worker that is to go takes no more jobs until those that it has are done, for which it is given a grace.
    """
    running = max((job.service or 0.0 for job in jobs), default=0.0)
    each = 1 if own is None else own.concurrency
    for entry in scenario.faults:
        deploy = entry.settings
        if not isinstance(deploy, WorkerDeploy):
            continue
        for at in deploy.at or ():
            time = at
            for name, settings in name_workers(scenario.workers):
                if deploy.worker not in (ALL, name, settings.name):
                    continue
                end = time + min(running, deploy.grace) + deploy.down
                yield time, end, float(settings.concurrency or each)
                time = end + deploy.pause


@dataclass(frozen=True, slots=True)
class Stoppage:
    """A known time in which no job can start."""

    start: float
    end: float
    adds: bool
    """Whether jobs can be added meanwhile; otherwise their producers hold them until the end."""


def stoppages(scenario: Scenario) -> Iterator[Stoppage]:
    """The stoppages whose times are fixed: outages, read-only servers and pauses at given times.

    A server that loses jobs is left out: a lost job waits for nothing. So are random times and conditions.
    """
    for entry in scenario.faults:
        fault = entry.settings
        if isinstance(fault, (RedisOutage, RedisReadOnly, QueuePause)) and fault.for_ is not None:
            length = fault.for_.model().minimum
        elif isinstance(fault, RedisRestart) and not fault.empty:
            length = fault.down
        else:
            continue
        free = 0.0
        for at in fault.at or ():
            # the next strike waits until the last one is over
            start = max(at, free)
            free = start + length
            # faults end with the load
            end = min(free, scenario.duration)
            if end > start:
                yield Stoppage(start, end, adds=isinstance(fault, QueuePause))


def scaled_up(scenario: Scenario) -> bool:
    """Whether a fault starts more workers than the scenario has, so that `slots` is not the most there can be."""
    for entry in scenario.faults:
        scale = entry.settings
        if isinstance(scale, WorkerScale):
            least = min(workers.count for workers in scenario.workers if scale.worker in (None, workers.name))
            if scale.to > least:
                return True
    return False


def left_to_chance(scenario: Scenario) -> bool:
    """Whether anything that decides on waits is random: arrivals, types, times or errors."""
    loads = any(entry.poisson or (entry.trace is None and len(scenario.mix(entry)) > 1) for entry in scenario.load)
    return loads or any(_random(settings) for settings in scenario.jobs.values())


def _random(settings: JobSettings) -> bool:
    times = [each for each in (settings.service, settings.blocking) if each is not None]
    failing = any(settings.errors.at(attempt) for attempt in range(1, settings.errors.attempts + 1))
    return failing or settings.poison is not None or any(each.constant is None for each in times)
