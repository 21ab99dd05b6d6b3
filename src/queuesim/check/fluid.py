"""A scenario as a fluid: how long jobs wait if nothing is random. Chance never makes them wait less on average.

Jobs flow in at their expected rates, bulks at once, and flow out at the speed of the slots and of the limiter, class by
class of priority. Waits that come from chance alone are left out: where the fluid exceeds a threshold, a run does.
(Newell, Applications of Queueing Theory, 1982, chapter 2: cumulative curves of arrivals and departures.)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from queuesim.check.outline import JobOutline, Stoppage, deploys, limiter, slots, stoppages
from queuesim.core.processor import Processor
from queuesim.results.readings import percentile_of
from queuesim.runs.handlers import OVERDUE
from queuesim.scenario.load import LoadEntry, Segment
from queuesim.scenario.model import Scenario
from queuesim.scenario.thresholds import Threshold, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CELLS = 400
"""Steps into which the run is cut, and the drain after it."""

WINDOWS = 4 * CELLS
"""Maximum number of windows of a threshold that are examined."""

MOST_BATCHES = 400
"""Batches of one load that are treated one by one; more of them count as a steady stream."""

POINTS = 100
"""Sampled jobs of a batch, evenly spread over it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Jobs of one type and load that arrive together, or evenly over a short time."""

    at: float
    jobs: float
    spread: float
    """Seconds over which they arrive; 0: all at once."""
    name: str
    load: str
    scheduled: float
    """When they were to arrive, before a delay of their own."""
    delay: float
    """The seconds of it."""


@dataclass(frozen=True, slots=True)
class Without:
    """What is left out of a scenario, to see whether it is the cause."""

    batches: bool = False
    priorities: bool = False
    deploys: bool = False
    stoppages: bool = False


@dataclass(slots=True)
class _Class:
    """The jobs of one priority: cumulative curves of their arrivals and departures."""

    work: float
    """Seconds of a slot that a job takes on average."""
    starts: float
    waiting: float = 0.0
    """Jobs that are there and could start."""
    flows: list[tuple[float, float]] = field(default_factory=list)
    """Of jobs that come evenly: until when, and how many per second."""
    gone: float = 0.0
    times: list[float] = field(default_factory=lambda: [0.0])
    levels: list[float] = field(default_factory=lambda: [0.0])

    def leave(self, jobs: float, start: float, seconds: float) -> None:
        """Let jobs leave, evenly from `start` on."""
        self.times += [start, start + seconds]
        self.levels += [self.gone, self.gone + jobs]
        self.gone += jobs

    def add(self, parcel: Parcel) -> None:
        """Let the jobs of a parcel come, from now on."""
        if parcel.spread:
            self.flows.append((parcel.at + parcel.spread, parcel.jobs / parcel.spread))
        else:
            self.waiting += parcel.jobs

    def inflow(self, start: float, end: float) -> float:
        """Jobs per second that come between two times."""
        self.flows = [flow for flow in self.flows if flow[0] > start]
        return sum(rate * (min(until, end) - start) for until, rate in self.flows) / (end - start)


class _Line:
    """The order in which the jobs of one priority come: how many have come before each of them.

    What comes at the same time mixes: the types of a load, and loads that are spread over the same time.
    """

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        import numpy as np

        self._edges, self._come = _ramps([each for each in parcels if each.spread])
        self._batches: dict[tuple[float, float, str], float] = {}
        """Jobs that come at once, by their time, when they were to come, and their load."""
        for each in parcels:
            if not each.spread:
                self._batches[_batch(each)] = self._batches.get(_batch(each), 0.0) + each.jobs
        self._batch_times = np.array([key[0] for key in self._batches])
        self._batch_sums = np.concatenate(([0.0], np.cumsum(list(self._batches.values()))))
        self._before = dict(zip(self._batches, self._batch_sums.tolist(), strict=False))

    def places(self, parcel: Parcel, middle: Array) -> Array:
        """How many jobs have come before each of a parcel's, which stand at these fractions of it."""
        import numpy as np

        arrives = parcel.at + middle * parcel.spread
        even = np.interp(arrives, self._edges, self._come)
        if parcel.spread:
            return np.asarray(even + self._batch_sums[np.searchsorted(self._batch_times, arrives, side="right")])
        return np.asarray(even + self._before[_batch(parcel)] + middle * self._batches[_batch(parcel)])


def _batch(parcel: Parcel) -> tuple[float, float, str]:
    return parcel.at, parcel.scheduled, parcel.load


def _ramps(parcels: Sequence[Parcel]) -> tuple[Array, Array]:
    """Times at which the rate of the parcels together changes, and how many of their jobs have come until then."""
    import numpy as np

    if not parcels:
        return np.zeros(1), np.zeros(1)
    begin, length, jobs = (np.array([getattr(each, name) for each in parcels]) for name in ("at", "spread", "jobs"))
    edges = np.concatenate((begin, begin + length))
    order = np.argsort(edges, kind="stable")
    rates = np.cumsum(np.concatenate((jobs / length, -jobs / length))[order])
    return edges[order], np.concatenate(([0.0], np.cumsum(np.diff(edges[order]) * rates[:-1])))


class Fluid:
    """Plays a scenario as a fluid."""

    def __init__(
        self, scenario: Scenario, jobs: Sequence[JobOutline], own: Processor | None, without: Without | None = None
    ) -> None:
        self._scenario = scenario
        self._without = without or Without()
        self._jobs = {job.name: job for job in jobs}
        self._limit = limiter(scenario, own)
        self._slots = slots(scenario, own)
        self._down = [] if self._without.deploys else list(deploys(scenario, own, jobs))
        self._stoppages = [] if self._without.stoppages else list(stoppages(scenario))
        self._down += self._stopped(jobs)
        self.end = scenario.duration + scenario.drain_time
        parcels = sorted(self._held(self._parcels()), key=lambda parcel: parcel.at)
        self._classes = self._sorted_classes(parcels)
        self._waits = self._play(parcels)

    def _priority(self, name: str) -> int:
        return 0 if self._without.priorities else self._jobs[name].options.priority

    # -- arrivals

    def _parcels(self) -> Iterator[Parcel]:
        for entry in self._scenario.load:
            shares = {} if entry.trace is not None else self._scenario.mix(entry)
            for at, jobs, spread in self._course(entry):
                for name, share in shares.items():
                    yield self._parcel(at, jobs * share, spread, name, entry.name)
            if entry.trace is not None:
                for job in entry.trace.jobs:
                    yield self._parcel(entry.start + job.at, 1.0, 0.0, job.name, entry.name, job.delay)
        yield from self._overdue()

    def _parcel(
        self, at: float, jobs: float, spread: float, name: str, load: str, delay: float | None = None
    ) -> Parcel:
        later = self._jobs[name].options.delay if delay is None else delay
        return Parcel(at + later, jobs, spread, name, load, at, later)

    def _course(self, entry: LoadEntry) -> Iterator[tuple[float, float, float]]:
        """When jobs of a load arrive, how many, and over how many seconds."""
        length = entry_length(entry, self._scenario)
        arrivals = entry.constant or entry.poisson
        if arrivals is not None:
            yield from _cells(entry.start, length, arrivals.segments(length))
        elif self._without.batches:
            return
        elif entry.backlog is not None:
            yield 0.0, float(entry.backlog), 0.0
        elif entry.bulk is not None and length > 0:
            count = entry.bulk.count(length)
            if count <= MOST_BATCHES:
                yield from ((entry.start + time, float(entry.bulk.size), 0.0) for time in entry.bulk.times(length))
            else:
                jobs = count * entry.bulk.size
                yield from _cells(entry.start, length, (Segment(0.0, length, jobs / length, jobs / length),))

    def _overdue(self) -> Iterator[Parcel]:
        """The notifications of each scan: for the backlog at the first, and for tasks that became due since."""
        overdue, duration = self._scenario.overdue, self._scenario.duration
        if overdue is None or self._without.batches:
            return
        schedule, size = overdue.schedule(self._scenario.epoch.timestamp()), 1
        if overdue.per == "page":
            size = overdue.page_size
        before, due = 0.0, float(overdue.backlog)
        time: float | None = schedule.after(0.0)
        for _ in range(MOST_BATCHES):
            if time is None or time >= duration:
                return
            due += overdue.tasks * (time - before) / duration
            if due:
                yield self._parcel(time, math.ceil(due / size), 0.0, OVERDUE, "")
            before, due, time = time, 0.0, schedule.after(time)

    def _held(self, parcels: Iterator[Parcel]) -> Iterator[Parcel]:
        """Jobs that can't be added because of a stoppage arrive at its end."""
        holding = sorted((each for each in self._stoppages if not each.adds), key=lambda each: each.start)
        if not holding:
            yield from parcels
            return
        for parcel in parcels:
            parts = [parcel]
            for stoppage in holding:
                parts = [held for part in parts for held in _hold(part, stoppage)]
            yield from parts

    def _stopped(self, jobs: Sequence[JobOutline]) -> Iterator[tuple[float, float, float]]:
        """When all slots are missing in a stoppage: what runs as it begins goes on, for a slow service at most."""
        running = max((job.slow or 0.0 for job in jobs), default=0.0)
        for stoppage in self._stoppages:
            if stoppage.start + running < stoppage.end:
                yield stoppage.start + running, stoppage.end, float(self._slots)

    # -- service

    def _sorted_classes(self, parcels: Sequence[Parcel]) -> dict[int, _Class]:
        """By priority, the most urgent first; 0 has none and goes before all others."""
        amounts: dict[int, dict[str, float]] = {}
        for parcel in parcels:
            names = amounts.setdefault(self._priority(parcel.name), {})
            names[parcel.name] = names.get(parcel.name, 0.0) + parcel.jobs
        classes = {}
        for priority in sorted(amounts):
            total = sum(amounts[priority].values()) or 1.0
            mean = [(self._jobs[name], jobs / total) for name, jobs in amounts[priority].items()]
            work, starts = sum(job.work * share for job, share in mean), sum(job.starts * share for job, share in mean)
            classes[priority] = _Class(work, starts)
        return classes

    def _play(self, parcels: Sequence[Parcel]) -> list[tuple[Parcel, Array, Array, Array]]:
        """For each parcel, how many jobs each of its points stands for, when they arrive, and when they start."""
        import numpy as np

        tokens = math.inf if self._limit is None else float(self._limit.max)
        edges = self._edges(parcels)
        next_parcel = 0
        for start, end in pairwise(edges):
            while next_parcel < len(parcels) and parcels[next_parcel].at <= start:
                parcel = parcels[next_parcel]
                self._classes[self._priority(parcel.name)].add(parcel)
                next_parcel += 1
            tokens = self._serve(start, end, tokens)
        waits = []
        priorities = [self._priority(parcel.name) for parcel in parcels[:next_parcel]]
        lines, curves = {}, {}
        for priority, queue in self._classes.items():
            lines[priority] = _Line([each for each, own in zip(parcels, priorities, strict=False) if own == priority])
            curves[priority] = np.array(queue.levels), np.array(queue.times)
        for parcel, priority in zip(parcels, priorities, strict=False):
            points = min(max(round(parcel.jobs), 1), POINTS) if not parcel.spread else 4
            middle = (np.arange(points) + 0.5) / points
            arrives = parcel.at + middle * parcel.spread
            starts = np.interp(lines[priority].places(parcel, middle), *curves[priority], right=np.inf)
            service = self._jobs[parcel.name].work
            # the curve says when it leaves if all slots work on it together: it starts a service time before
            started = self._allowed(np.maximum(starts - service, arrives))
            waits.append((parcel, np.full(points, parcel.jobs / points), arrives - parcel.at, started))
        return waits

    def _allowed(self, started: Array) -> Array:
        """Times of starts, of which none is in a stoppage."""
        for stoppage in sorted(self._stoppages, key=lambda each: each.start):
            started[(started >= stoppage.start) & (started < stoppage.end)] = stoppage.end
        return started

    def _edges(self, parcels: Sequence[Parcel]) -> list[float]:
        duration = self._scenario.duration
        work = sum(queue.work * self._amount(parcels, priority) for priority, queue in self._classes.items())
        last = max((parcel.at for parcel in parcels), default=0.0)
        needed = work / self._slots
        if self._limit is not None:
            starts = sum(queue.starts * self._amount(parcels, priority) for priority, queue in self._classes.items())
            needed = max(needed, starts * self._limit.duration / self._limit.max)
        end = min(self.end, max(duration, last) + 1.1 * needed + 1.0 + sum(b - a for a, b, _ in self._down))
        self.end = end
        steps = {duration * i / CELLS for i in range(CELLS + 1)}
        if end > duration:
            steps |= {duration + (end - duration) * i / CELLS for i in range(CELLS + 1)}
        steps |= {parcel.at for parcel in parcels if parcel.at < end}
        steps |= {edge for start, stop, _ in self._down for edge in (start, stop) if edge < end}
        return sorted(steps)

    def _amount(self, parcels: Sequence[Parcel], priority: int) -> float:
        return sum(parcel.jobs for parcel in parcels if self._priority(parcel.name) == priority)

    def _serve(self, start: float, end: float, tokens: float) -> float:
        """Let jobs leave from `start` to `end`. Returns how many starts are left in the limiter's window."""
        lost = sum(gone for first, last, gone in self._down if first <= start < last)
        there = max(self._slots - lost, 0.0)
        refill = 0.0 if self._limit is None else self._limit.max / self._limit.duration
        inflows = {priority: queue.inflow(start, end) for priority, queue in self._classes.items()}
        time = start
        while time < end:
            if not there:
                self._pass(inflows, {}, time, end - time)
                return self._filled(tokens + refill * (end - time))
            tokens = self._at_once(time, tokens)
            speeds = self._speeds(inflows, there, math.inf if tokens else refill)
            used = sum(speed * self._classes[priority].starts for priority, speed in speeds.items())
            seconds = min(end - time, tokens / (used - refill) if tokens and used > refill else math.inf)
            for priority, queue in self._classes.items():
                shrinks = speeds[priority] - inflows[priority]
                if queue.waiting and shrinks > 0:
                    seconds = min(seconds, queue.waiting / shrinks)
            self._pass(inflows, speeds, time, seconds)
            tokens = self._filled(tokens + (refill - used) * seconds)
            # a step that is too short to be one of time at all
            time = max(time + seconds, math.nextafter(time, math.inf))
        return tokens

    def _filled(self, tokens: float) -> float:
        """Starts that are left in the limiter's window, at most as many as it has; next to none is none."""
        if self._limit is None:
            return math.inf
        return min(tokens, float(self._limit.max)) if tokens > 1e-6 else 0.0

    def _at_once(self, time: float, tokens: float) -> float:
        """Let all jobs leave that take no time, as far as the window has starts. Returns how many are left."""
        for queue in self._classes.values():
            if queue.work or not queue.waiting:
                continue
            jobs = min(queue.waiting, tokens / queue.starts)
            queue.leave(jobs, time, 0.0)
            queue.waiting -= jobs
            tokens = self._filled(tokens - jobs * queue.starts)
        return tokens

    def _speeds(self, inflows: Mapping[int, float], free: float, starts: float) -> dict[int, float]:
        """Jobs per second that leave by priority: a standing queue takes all that is left, another one what comes."""
        speeds = {}
        for priority, queue in self._classes.items():
            most = min(free / queue.work if queue.work else math.inf, starts / queue.starts)
            speed = most if queue.waiting and math.isfinite(most) else min(inflows[priority], most)
            speeds[priority] = speed
            free, starts = max(free - speed * queue.work, 0.0), max(starts - speed * queue.starts, 0.0)
        return speeds

    def _pass(self, inflows: Mapping[int, float], speeds: Mapping[int, float], time: float, seconds: float) -> None:
        """Let some time pass."""
        for priority, queue in self._classes.items():
            speed = speeds.get(priority, 0.0)
            if speed:
                queue.leave(speed * seconds, time, seconds)
            left = queue.waiting + (inflows[priority] - speed) * seconds
            queue.waiting = left if left > 1e-9 else 0.0

    # -- what comes of it

    def value(self, threshold: Threshold, deviations: float = 0.0) -> float:
        """What the threshold's metric would be; NaN if the fluid knows nothing of it.

        Args:
            deviations: standard deviations by which chance may leave fewer late jobs than expected.
        """
        import numpy as np

        parcels = [wait for wait in self._waits if _chosen(wait[0], threshold.where)]
        parcels = [wait for wait in parcels if wait[0].scheduled >= self._scenario.warmup]
        if not parcels:
            return math.nan
        if threshold.metric == "unfinished":
            left = sum(
                float(jobs[~np.isfinite(started) | (started > self.end)].sum()) for _, jobs, _, started in parcels
            )
            return left - deviations * math.sqrt(left)
        value, when, jobs = (np.concatenate(each) for each in zip(*self._measured(parcels, threshold), strict=True))
        measured = np.isfinite(value) & (when <= self.end)
        value, when, jobs = value[measured], when[measured], jobs[measured]
        if not len(value):
            return math.nan
        if threshold.over is None:
            return statistic_of_jobs(value, jobs, threshold.statistic or "mean", deviations)
        worst = math.nan
        for first in _window_starts(when, threshold.over, self.end):
            inside = (when >= first) & (when < first + threshold.over)
            if inside.any():
                found = statistic_of_jobs(value[inside], jobs[inside], threshold.statistic or "mean", deviations)
                worst = np.fmax(worst, found)
        return float(worst)

    def mean_backlog(self, start: float, end: float) -> float:
        """Jobs that wait on average between two times in seconds; NaN if that is no time."""
        import numpy as np

        if not end > start:
            return math.nan
        waited = 0.0
        for parcel, jobs, later, started in self._waits:
            since, until = np.maximum(parcel.at + later, start), np.minimum(started, end)
            waited += float(jobs @ np.maximum(until - since, 0.0))
        return waited / (end - start)

    def _measured(
        self, parcels: Sequence[tuple[Parcel, Array, Array, Array]], threshold: Threshold
    ) -> Iterator[tuple[Array, Array, Array]]:
        """For each parcel: values of the threshold's metric, when they are measured, and how many jobs have each."""
        import numpy as np

        for parcel, jobs, later, started in parcels:
            arrived = parcel.at + later
            if threshold.metric == "waiting":
                yield started - arrived, started, jobs
                continue
            job = self._jobs[parcel.name]
            # the delay that a job asks for is no part of its latency
            held = arrived - parcel.scheduled - parcel.delay - later
            # a mean knows no more than the mean; a percentile of all jobs depends on how attempts are spread
            times = np.array([job.service or 0.0] if threshold.statistic == "mean" else job.times)
            waits = started - arrived + held
            yield (
                (waits[:, None] + times).ravel(),
                (started[:, None] + times).ravel(),
                np.repeat(jobs / len(times), len(times)),
            )


def _window_starts(when: Array, length: float, end: float) -> Array:
    """Starts of the examined windows: half a window apart, or fewer, evenly spread over the measurements."""
    import numpy as np

    last = max(end - length, 0.0)
    if last / (length / 2) < WINDOWS:
        return np.arange(0.0, last + 1e-9, length / 2)
    found = np.unique(when[when <= last])
    return found[:: -(-len(found) // WINDOWS)] if len(found) else np.zeros(1)


KNOWN = ("latency", "waiting", "unfinished")
"""The metrics that a fluid has."""


def entry_length(entry: LoadEntry, scenario: Scenario) -> float:
    """Seconds for which a load lasts."""
    return min(entry.duration or math.inf, max(scenario.duration - entry.start, 0.0))


def _cells(start: float, length: float, segments: Sequence[Segment]) -> Iterator[tuple[float, float, float]]:
    """A course of rates, cut into steps: when each begins, how many jobs arrive in it, and how long it is."""
    if not segments or not 0 < length < math.inf:
        return
    begins = [segment.start for segment in segments]
    totals = list(accumulate((_within(segment, segment.duration) for segment in segments), initial=0.0))

    def until(time: float) -> float:
        i = bisect_right(begins, time) - 1
        return totals[i] + _within(segments[i], min(time - begins[i], segments[i].duration))

    last = min(length, segments[-1].start + segments[-1].duration)
    edges = [last * i / CELLS for i in range(CELLS + 1)]
    before = 0.0
    for first, end in pairwise(edges):
        passed = until(end)
        if passed > before:
            yield start + first, passed - before, end - first
        before = passed


def _within(segment: Segment, time: float) -> float:
    """Jobs that are expected in the first `time` seconds of a segment."""
    return segment.rate * time + (segment.target - segment.rate) * time * time / (2 * segment.duration)


HELD = 20
"""Parts into which the jobs of a stoppage are cut: each of them then waits for the same time."""


def _hold(parcel: Parcel, stoppage: Stoppage) -> Iterator[Parcel]:
    """A parcel, of which what was to arrive in a stoppage arrives at its end."""
    delay = parcel.delay
    first, last = parcel.scheduled, parcel.scheduled + parcel.spread
    start, end = max(first, stoppage.start), min(last, stoppage.end)
    if not parcel.spread:
        inside = stoppage.start <= first < stoppage.end
        yield replace(parcel, at=max(parcel.at, stoppage.end)) if inside else parcel
        return
    if start >= end:
        yield parcel
        return
    density = parcel.jobs / parcel.spread
    if start > first:
        yield replace(parcel, jobs=density * (start - first), spread=start - first)
    parts = max(math.ceil(HELD * (end - start) / (stoppage.end - stoppage.start)), 1)
    step = (end - start) / parts
    for i in range(parts):
        # the latest moment of the part: no job of it waits for a shorter time
        due = start + (i + 1) * step
        yield replace(parcel, at=max(stoppage.end, due + delay), jobs=density * step, spread=0.0, scheduled=due)
    if last > end:
        yield replace(parcel, at=end + delay, jobs=density * (last - end), spread=last - end, scheduled=end)


def _chosen(parcel: Parcel, where: Where) -> bool:
    return where.job in (None, parcel.name) and where.load in (None, parcel.load)


def statistic_of_jobs(values: Array, weights: Array, statistic: str, deviations: float = 0.0) -> float:
    """A statistic of weighted values.

    Numbers of jobs are random, with a variance of about their mean: the statistic is lowered by `deviations` standard
    deviations.
    """
    import numpy as np

    total = float(weights.sum())
    if statistic == "mean":
        mean = float(np.average(values, weights=weights))
        return mean - deviations * math.sqrt(float((weights * (values - mean) ** 2).sum())) / total
    if statistic == "min":
        return float(values.min())
    percentile = {"median": 50.0, "max": 100.0}.get(statistic, percentile_of(statistic))
    if percentile is None:
        return math.nan
    above = 1 - percentile / 100
    # of this many expected jobs at least one is there
    above = max(above + deviations * math.sqrt(above / total), deviations**2 / total)
    rank = 1 - above
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(share, max(rank, 0.0))), len(order) - 1)])
