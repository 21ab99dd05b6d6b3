"""Closed loads with more producers than slots: their jobs wait for each other, however long the run is.

By Little's law, N producers whose jobs finish at X a second have a cycle of N / X from one job to the next. What of it
is neither service nor pause is spent waiting. X is at most what the slots, or the limiter, can do.
(Denning and Buzen, The Operational Analysis of Queueing Network Models, 1978: asymptotic bounds.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from queuesim.check.fluid import entry_length, statistic_of_jobs
from queuesim.check.outline import MARGIN, Finding, JobOutline, limiter, rate, scaled_up, slots, time, whose
from queuesim.core.processor import Processor
from queuesim.faults.redis import RedisFailover, RedisRestart
from queuesim.results.readings import percentile_of
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.model import Scenario
from queuesim.scenario.thresholds import Threshold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

POINTS = 100
"""Sampled jobs of the beginning, evenly spread over it."""


def closed_loads(scenario: Scenario, jobs: Sequence[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """Thresholds on latency or waiting that the jobs of closed loads exceed because of their own number."""
    if scaled_up(scenario) or _loses_jobs(scenario):
        # a producer whose job is lost waits for ever: there are fewer of them from then on
        return
    for i, threshold in enumerate(scenario.thresholds):
        if threshold.metric not in ("latency", "waiting") or threshold.operator not in ("<", "<="):
            continue
        pool = _pool(scenario, threshold, jobs, own)
        if pool is None:
            continue
        value = pool.value(threshold)
        if value > threshold.limit * MARGIN:
            yield Finding(
                "closed load above the slots",
                f"thresholds[{i}]",
                f'"{threshold.text}"{whose(threshold)}: {pool.producers} producers wait for their jobs, of which '
                f"{rate(pool.speed)} finish at most. After the beginning a job waits {time(pool.wait)} on average, "
                f"and the threshold's metric is about {time(value)}.",
                value,
            )


def _loses_jobs(scenario: Scenario) -> bool:
    faults = [entry.settings for entry in scenario.faults]
    return any(isinstance(each, RedisFailover) or (isinstance(each, RedisRestart) and each.empty) for each in faults)


@dataclass(frozen=True, slots=True)
class _ProducerPool:
    """Producers of closed loads that keep all slots, or the limiter, busy."""

    scenario: Scenario
    entry: LoadEntry
    """One of their loads; all of them begin and end together."""
    producers: int
    slots: int
    speed: float
    """Jobs that finish in a second, at most."""
    wait: float
    """Seconds for which a job waits on average after the beginning, at least."""
    deviation: float
    """Standard deviation of a wait in seconds, at most."""
    shortest: float
    """Seconds of service that every finished job has."""

    def value(self, threshold: Threshold) -> float:
        """Lower bound of the threshold's metric; NaN if unknown."""
        statistic = threshold.statistic or "mean"
        percentile = 50.0 if statistic == "median" else percentile_of(statistic)
        if statistic not in ("mean", "max") and not percentile:
            return math.nan
        found = self._waits()
        if found is None:
            return math.nan
        value = statistic_of_jobs(*found, statistic)
        if percentile is not None:
            # Cantelli's inequality: how far below the mean a percentile can be, whatever the distribution
            value -= self.deviation * math.sqrt((1 - percentile / 100) / (percentile / 100))
        return value + (self.shortest if threshold.metric == "latency" else 0.0)

    def _waits(self) -> tuple[Array, Array] | None:
        """Seconds that jobs wait, and how many jobs wait for so long: all come at once first, and then in turn."""
        import numpy as np

        scenario, entry = self.scenario, self.entry
        begin, length = entry.start, entry_length(entry, scenario)
        total = self.speed * (length - max(scenario.warmup - begin, 0.0))
        first = 0.0 if scenario.warmup > begin else min(float(self.producers), total)
        if total <= 0:
            return None
        places = (np.arange(POINTS) + 0.5) / POINTS * first
        waits = np.clip((places - self.slots) / self.speed, 0.0, self.wait)
        jobs = np.full(POINTS, first / POINTS)
        return np.append(waits, self.wait), np.append(jobs, max(total - first, 0.0))


def _pool(
    scenario: Scenario, threshold: Threshold, jobs: Sequence[JobOutline], own: Processor | None
) -> _ProducerPool | None:
    """The producers of the jobs that a threshold counts; None if others make such jobs, or jobs do not wait."""
    where = threshold.where
    entries = [entry for entry in scenario.load if where.load in (None, entry.name)]
    if where.load is None and (scenario.overdue is not None or own is not None):
        # scans, or handlers of the user's own, may add jobs too
        return None
    if not entries or any(entry.closed is None for entry in entries):
        return None
    if len({(entry.start, entry_length(entry, scenario)) for entry in entries}) > 1:
        return None
    known = {job.name: job for job in jobs}
    if not _in_order(jobs):
        # jobs that are overtaken again and again do not finish, and no metric counts them
        return None
    mixes = [scenario.mix(entry) for entry in entries]
    types = [known[name] for name in dict.fromkeys(name for mix in mixes for name in mix)]
    if any(job.service is None for job in types):
        return None
    return _pool_of(scenario, entries, mixes, known, own)


def _pool_of(
    scenario: Scenario,
    entries: Sequence[LoadEntry],
    mixes: Sequence[dict[str, float]],
    known: dict[str, JobOutline],
    own: Processor | None,
) -> _ProducerPool | None:
    there, limit = slots(scenario, own), limiter(scenario, own)
    works = [sum(share * known[name].work for name, share in mix.items()) for mix in mixes]
    starts = [sum(share * known[name].starts for name, share in mix.items()) for mix in mixes]
    # of several loads the one whose jobs are the least work, and the one that pauses for the longest time
    speeds = [there / min(works)] if min(works) else []
    if limit is not None:
        speeds.append(limit.max / limit.duration / min(starts))
    if not speeds:
        return None
    speed, producers = min(speeds), sum(entry.closed.producers for entry in entries if entry.closed is not None)
    pause = _pause(scenario, entries, mixes, known)
    wait = (producers / speed - pause - max(works)) / max(starts)
    if not 0 < wait < math.inf:
        return None
    visits = speed * min(starts)
    scv = max(_scv(scenario, mix, known) for mix in mixes)
    variance = ((visits * wait + there) * scv + visits * pause) / visits**2
    # slots that end together start together: jobs wait for whole services, or whole windows of the limiter
    variance += (there / visits) ** 2 / 4 + (0.0 if limit is None else limit.duration**2)
    return _ProducerPool(
        scenario,
        entries[0],
        producers,
        there,
        speed,
        wait,
        math.sqrt(variance),
        min(_shortest(scenario, name) for mix in mixes for name in mix),
    )


def _pause(
    scenario: Scenario, entries: Sequence[LoadEntry], mixes: Sequence[dict[str, float]], known: dict[str, JobOutline]
) -> float:
    """Seconds of a producer's cycle in which its job neither waits for a slot nor runs, on average, at most."""
    think = max(entry.closed.think.model().mean for entry in entries if entry.closed is not None)
    later = max(known[name].options.delay + known[name].backoff(0.0) for mix in mixes for name in mix)
    return float(think) + scenario.overhead.add + later


def _in_order(jobs: Iterable[JobOutline]) -> bool:
    """Whether jobs start in the order in which they came."""
    options = [job.options for job in jobs]
    return len({each.priority for each in options}) == 1 and not any(each.lifo for each in options)


def _scv(scenario: Scenario, mix: dict[str, float], known: dict[str, JobOutline]) -> float:
    """Squared coefficient of variation of the time that an attempt takes."""
    mean = sum(share * (known[name].service or 0.0) for name, share in mix.items())
    square = 0.0
    for name, share in mix.items():
        settings = scenario.job(name)
        parts = [part.model() for part in (settings.service, settings.blocking) if part is not None]
        square += share * (sum(part.variance for part in parts) + (known[name].service or 0.0) ** 2)
    return max(square / mean**2 - 1, 0.0) if mean else 0.0


def _shortest(scenario: Scenario, name: str) -> float:
    """Seconds for which an attempt is worked on, at least."""
    settings = scenario.job(name)
    least = sum(part.model().minimum for part in (settings.service, settings.blocking) if part is not None)
    return float(min(least, settings.timeout or math.inf) + scenario.overhead.attempt)


def most_jobs(scenario: Scenario, entry: LoadEntry, jobs: Sequence[JobOutline], own: Processor | None) -> float:
    """Maximum mean number of jobs that a closed load adds; infinity if their service time is unknown.

    A producer's cycle is a pause and an attempt at least, and all of them get no more than the slots can do.
    """
    assert entry.closed is not None
    known = {job.name: job for job in jobs}
    mix = scenario.mix(entry)
    services = [(share, known[name].service) for name, share in mix.items()]
    if any(service is None for _, service in services):
        return math.inf
    service = sum(share * (each or 0.0) for share, each in services)
    cycle, length = service + entry.closed.think.model().mean, entry_length(entry, scenario)
    speeds = [entry.closed.producers / cycle] if cycle else []
    if service and not scaled_up(scenario):
        speeds.append(slots(scenario, own) / service)
    return entry.closed.producers + length * min(speeds, default=math.inf)
