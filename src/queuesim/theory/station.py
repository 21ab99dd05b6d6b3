"""A run as queueing theory sees it: streams of arrivals, classes of jobs, slots, and what of the run was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from queuesim.check.fluid import entry_length
from queuesim.check.outline import draws
from queuesim.core.job import JobOptions
from queuesim.core.processor import Processor
from queuesim.inputfile import TableError
from queuesim.results.levels import active
from queuesim.results.recording import Facts, RunFrames
from queuesim.runs.effort import Failures
from queuesim.runs.handlers import build_processor, job_options
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.model import Scenario
from queuesim.simulation.random import Constant, Exponential, Streams
from queuesim.theory.assumption import Aspect, Assumption, Fact, violated
from queuesim.theory.batches import superposed_scv

ALIKE = 1e-9
"""Relative difference of two means below which they are the same."""


class Family(StrEnum):
    """What is known of a service beside its moments."""

    EXPONENTIAL = "exponential"
    CONSTANT = "constant"
    GENERAL = "general"


@dataclass(frozen=True, slots=True)
class JobClass:
    """The jobs of one type."""

    name: str
    share: float
    """Of all jobs that arrive."""
    mean_service: float
    """Mean seconds of an attempt."""
    variance: float
    """Of an attempt, in seconds squared."""
    family: Family
    starts: float = 1.0
    """Attempts of a job on average."""
    completed: float = 1.0
    """Share of jobs that complete in the end."""
    again: float | None = 0.0
    """Probability that an attempt fails and another one follows; None if it changes from attempt to attempt."""
    attempts: int = 1
    """Attempts of a job at most."""
    backoff: bool = False
    """Whether a retry waits."""
    cut: float = 0.0
    """Share of attempts that run into their timeout."""
    priority: int = 0
    delay: float = 0.0
    """Seconds before a new job may start."""
    lifo: bool = False
    measured: bool = False
    """Whether the moments are those that were measured in the run, because the scenario does not know them."""

    @property
    def scv(self) -> float:
        """Squared coefficient of variation of an attempt."""
        return self.variance / self.mean_service**2 if self.mean_service else 0.0


class Arrival(StrEnum):
    """How the jobs of a load arrive."""

    POISSON = "poisson"
    EVEN = "even"
    BATCHES = "batches"
    CLOSED = "closed"


class Limited(StrEnum):
    """Which workers a limiter holds for."""

    NONE = "none"
    SOME = "some"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Stream:
    """The jobs of one load, in the measured time."""

    entry: LoadEntry
    arrival: Arrival
    rate: float = 0.0
    """Jobs per second; 0 for a closed load."""


@dataclass(frozen=True)
class Station:
    """A run, as far as theory can say something about it."""

    scenario: Scenario
    facts: Facts
    start: float
    """Seconds: the measured time begins, with the end of the warm-up."""
    end: float
    """Seconds: the load ends."""
    classes: tuple[JobClass, ...]
    streams: tuple[Stream, ...]
    unsteady: tuple[Assumption, ...]
    """What of the load has no steady state."""
    slots: int
    """Jobs that run at the same time at most."""
    share_busy: float
    """Fraction of the measured time in which all slots were busy."""
    share_shut: float
    """Fraction of the measured time in which the limiter had no start left."""
    limiter_filled: bool
    """Whether the limiter was shut at all, the warm-up included."""

    @property
    def backlog(self) -> int:
        """Jobs that wait when the run begins."""
        return sum(entry.backlog or 0 for entry in self.scenario.load)

    @property
    def is_open(self) -> bool:
        """Whether all jobs arrive one by one, at a steady rate."""
        return bool(self.streams) and all(each.arrival in (Arrival.POISSON, Arrival.EVEN) for each in self.streams)

    def only(self, arrival: Arrival) -> bool:
        """Whether all jobs arrive in this way."""
        return bool(self.streams) and all(each.arrival is arrival for each in self.streams)

    @property
    def arrival_rate(self) -> float:
        """New jobs per second."""
        return math.fsum(each.rate for each in self.streams)

    @property
    def starts(self) -> float:
        """Attempts of a job on average."""
        return math.fsum(each.share * each.starts for each in self.classes)

    @property
    def start_rate(self) -> float:
        """Attempts that are needed per second."""
        return self.arrival_rate * self.starts

    @property
    def completed(self) -> float:
        """Share of jobs that complete in the end."""
        return math.fsum(each.share * each.completed for each in self.classes)

    @property
    def repeats(self) -> float:
        """Share of attempts that are not the first of their job."""
        return 1 - 1 / self.starts

    @cached_property
    def mean_service(self) -> float:
        """Mean seconds of an attempt."""
        return math.fsum(each.share * each.starts * each.mean_service for each in self.classes) / self.starts

    @cached_property
    def scv(self) -> float:
        """Squared coefficient of variation of an attempt, over all types of jobs."""
        square = math.fsum(
            each.share * each.starts * (each.variance + each.mean_service**2) for each in self.classes
        ) / (self.starts)
        return max(square / self.mean_service**2 - 1, 0.0) if self.mean_service else 0.0

    @property
    def alike(self) -> bool:
        """Whether all types of jobs have the same service, as far as it is known."""
        first = self.classes[0]
        return all(
            each.family is first.family
            and math.isclose(each.mean_service, first.mean_service, rel_tol=ALIKE)
            and math.isclose(each.variance, first.variance, rel_tol=ALIKE)
            for each in self.classes
        )

    @property
    def family(self) -> Family:
        """What is known of the service over all types of jobs."""
        return self.classes[0].family if self.alike else Family.GENERAL

    @property
    def offered_load(self) -> float:
        """Mean number of busy slots that the arrivals need, in erlangs."""
        return self.start_rate * self.mean_service

    @property
    def utilisation(self) -> float:
        """The offered load as a fraction of the slots; above 1 there is no steady state."""
        return self.offered_load / self.slots if self.slots else math.inf

    @property
    def limited(self) -> Limited:
        """Which workers the limiter holds for. One of the queue holds for all, and so does that of a processor."""
        own = [kind.limiter is not None for kind in self.scenario.workers]
        if self.facts.limiter is None:
            return Limited.NONE
        some = any(own) and not all(own) and self.scenario.queue.rate_limit is None
        # a processor of the user's own may have a limiter for the workers that don't say
        return Limited.SOME if some and self.scenario.processor is None else Limited.ALL

    @property
    def limiter_rate(self) -> float:
        """Starts per second that the limiter allows; infinity without one that holds for all workers."""
        if self.facts.limiter is None or self.limited is not Limited.ALL:
            return math.inf
        return self.facts.limiter[0] / self.facts.limiter[1]

    @cached_property
    def arrival_scv(self) -> float:
        """Squared coefficient of variation of the time between arrivals, of all streams together."""
        scvs = [1.0 if each.arrival is Arrival.POISSON or self.delays_differ else 0.0 for each in self.streams]
        return superposed_scv([each.rate for each in self.streams], scvs, min(self.utilisation, 1.0))

    @property
    def delays_differ(self) -> bool:
        """Whether types of jobs are delayed for different times."""
        return len({each.delay for each in self.classes}) > 1

    @property
    def priorities(self) -> list[int]:
        """The priorities that occur, the most urgent first: 0 goes before all others."""
        return sorted({each.priority for each in self.classes})

    @property
    def settling_time(self) -> float:
        """About how many seconds the queue takes to forget where it began.

        Source: the relaxation time of M/M/1, 1 / (mu (1 - sqrt(rho))**2) (Cohen 1982, The Single Server Queue),
        with the slots as one fast server, and longer for more variable times.
        """
        utilisation = min(self.utilisation, 1.0)
        quantum = self.mean_service / max(self.slots, 1)
        spread = 1.0
        if self.is_open:
            spread = max((self.arrival_scv + self.scv) / 2, 0.1)
        if self.limited is Limited.ALL and self.limiter_filled:
            utilisation = min(max(utilisation, self.start_rate / self.limiter_rate), 1.0)
            quantum = max(quantum, 1 / self.limiter_rate)
        if self.only(Arrival.CLOSED):
            think = max(each.entry.closed.think.model().mean for each in self.streams if each.entry.closed is not None)
            producers = sum(each.entry.closed.producers for each in self.streams if each.entry.closed is not None)
            return float(think) + self.mean_service * max(1.0, producers / max(self.slots, 1))
        if self.only(Arrival.BATCHES):
            periods = [each.entry.bulk.every or 0.0 for each in self.streams if each.entry.bulk is not None]
            quantum, spread = max(quantum, *periods), max(self.scv / self.streams[0].rate / max(periods), 0.1)
        away = 1 - math.sqrt(utilisation)
        return math.inf if away <= 0 else quantum * spread / away**2 + self.mean_service


def station_of(result: RunFrames, scenario: Scenario) -> Station:
    """The station that a run was."""
    facts = result.facts
    start, end = facts.warmup, min(facts.asked, facts.duration)
    streams: list[Stream] = []
    unsteady: list[Assumption] = []
    for entry in scenario.load:
        for each in _stream(entry, scenario, start, end):
            if isinstance(each, Stream):
                streams.append(each)
            else:
                unsteady.append(each)
    total = facts.concurrency
    return Station(
        scenario,
        facts,
        start,
        end,
        tuple(_classes(result, scenario, streams, start, end)),
        tuple(streams),
        tuple(unsteady),
        min(total, scenario.queue.concurrency or total),
        _share_busy(result, min(total, scenario.queue.concurrency or total), start, end),
        *_limiter(result, start, end),
    )


def _share_busy(result: RunFrames, slots: int, start: float, end: float) -> float:
    if not end > start:
        return math.nan
    level = active(result)
    edges = np.clip(np.append(level.times, np.inf), start, end)
    return float(np.diff(edges)[level.values >= slots].sum()) / (end - start)


def _limiter(result: RunFrames, start: float, end: float) -> tuple[float, bool]:
    """The fraction of time for which the limiter was shut, and whether it ever was."""
    windows = result.limiter[result.limiter["opened"] < end]
    if not len(windows) or not end > start:
        return 0.0, False
    filled = bool((windows["starts"] >= windows["max"]).any())
    shut = float(windows["time_limited"][windows["opened"] >= start].sum())
    return min(shut / (end - start), 1.0), filled


# -- Arrivals


def _stream(entry: LoadEntry, scenario: Scenario, start: float, end: float) -> Iterator[Stream | Assumption]:
    """The stream of a load in the measured time, or what of it is not steady."""
    first, last = entry.start, entry.start + entry_length(entry, scenario)
    if entry.trace is not None:
        yield violated(Aspect.RATES, Fact.RECORDED, load=entry.name)
    elif entry.bulk is not None:
        yield from _batches(entry, start, min(end, last))
        if last < end:
            yield violated(Aspect.RATES, Fact.PARTIAL, load=entry.name)
    elif entry.closed is not None:
        yield Stream(entry, Arrival.CLOSED)
        if first > start or last < end:
            yield violated(Aspect.RATES, Fact.PARTIAL, load=entry.name)
    elif entry.backlog is None:
        yield from _rated(entry, first, last, start, end)


def _batches(entry: LoadEntry, start: float, end: float) -> Iterator[Stream | Assumption]:
    bulk = entry.bulk
    assert bulk is not None
    if bulk.every is None:
        yield violated(Aspect.RATES, Fact.ONCE, load=entry.name)
        return
    yield Stream(entry, Arrival.BATCHES, bulk.size / bulk.every)
    until = math.inf if bulk.until is None else entry.start + bulk.until
    if entry.start + bulk.offset > start + bulk.every or until + bulk.every < end:
        yield violated(Aspect.RATES, Fact.PARTIAL, load=entry.name)


def _rated(entry: LoadEntry, first: float, last: float, start: float, end: float) -> Iterator[Stream | Assumption]:
    arrivals = entry.constant or entry.poisson
    assert arrivals is not None
    segments = [
        each
        for each in arrivals.segments(last - first)
        if first + each.start < end and first + each.start + each.duration > start
    ]
    rates = {rate for each in segments for rate in (each.rate, each.target)}
    if not any(rates):
        return
    if len(rates) > 1:
        yield violated(Aspect.RATES, Fact.CHANGING, load=entry.name)
    elif first + segments[0].start > start or first + segments[-1].start + segments[-1].duration < end:
        yield violated(Aspect.RATES, Fact.PARTIAL, load=entry.name)
    yield Stream(entry, Arrival.EVEN if entry.poisson is None else Arrival.POISSON, max(rates))


# -- Classes of jobs


def _classes(
    result: RunFrames, scenario: Scenario, streams: list[Stream], start: float, end: float
) -> Iterator[JobClass]:
    """The types of jobs that the streams add, with their shares."""
    shares: dict[str, float] = {}
    rates = [each.rate or (each.entry.closed.producers if each.entry.closed else 0.0) for each in streams]
    for stream, weight in zip(streams, rates, strict=True):
        for name, share in scenario.mix(stream.entry).items():
            shares[name] = shares.get(name, 0.0) + weight * share
    total = math.fsum(shares.values())
    described = _described(scenario)
    for name, share in shares.items():
        facts = described.get(name) or _measured(result, name, start, end)
        yield JobClass(name, share / total, **facts)


def _described(scenario: Scenario) -> dict[str, Mapping[str, Any]]:
    """What the scenario says of each type of job; nothing if handlers are the user's own, or a file is gone since."""
    if scenario.processor is not None:
        return {}
    try:
        processor = build_processor(scenario, None, Streams(0))
        return {
            name: _type(scenario, name, options, processor) for name, options in job_options(scenario, None).items()
        }
    except TableError:
        return {}


def _type(scenario: Scenario, name: str, options: JobOptions, processor: Processor) -> Mapping[str, Any]:
    settings = scenario.job(name)
    service = _service(scenario, name, settings.timeout)
    failures = Failures(settings, options, processor, service["cut"], unknown=False)
    return {**service, **_failing(failures, settings.errors.attempts), **_options(options)}


def _service(scenario: Scenario, name: str, timeout: float | None) -> dict[str, Any]:
    settings, overhead = scenario.job(name), scenario.overhead.attempt
    parts = [each.model() for each in (settings.service, settings.blocking) if each is not None]
    mean, variance, cut = sum(each.mean for each in parts), sum(each.variance for each in parts), 0.0
    if timeout is not None:
        times = np.sum([draws(each) for each in (settings.service, settings.blocking) if each is not None], axis=0)
        cut = float(np.mean(times > timeout))
        if cut:
            times = times.clip(max=timeout)
            mean, variance = float(times.mean()), float(times.var())
    family = Family.GENERAL
    if not cut and all(isinstance(each, Constant) for each in parts):
        family = Family.CONSTANT
    elif not cut and not overhead and len(parts) == 1 and isinstance(parts[0], Exponential):
        family = Family.EXPONENTIAL
    return {"mean_service": mean + overhead, "variance": variance, "family": family, "cut": cut}


def _failing(failures: Failures, changing: int) -> dict[str, Any]:
    """How attempts fail; `changing` is the attempt from which on the probabilities stay the same."""
    attempts = failures.attempts
    chances = {failures.again(n) for n in range(1, min(attempts, changing + 1))}
    return {
        "starts": failures.starts(),
        "completed": failures.completed(),
        "again": (chances.pop() if chances else 0.0) if len(chances) < 2 and not failures.poisoned else None,
        "attempts": attempts,
        "backoff": failures.starts() > 1 and failures.backoff() > 0,
    }


def _options(options: JobOptions) -> dict[str, Any]:
    return {"priority": options.priority, "delay": options.delay, "lifo": options.lifo}


def _measured(result: RunFrames, name: str, start: float, end: float) -> dict[str, Any]:
    """What was measured of a type of job; a mean of NaN: no attempt of it ended."""
    jobs, attempts = result.jobs, result.attempts
    own = jobs[(jobs["name"] == name) & (jobs["scheduled"] >= start) & (jobs["scheduled"] < end)]
    ended = attempts[(attempts["name"] == name) & (attempts["started"] >= start) & attempts["ended"].notna()]
    service = ended["service"].to_numpy()
    finished = own["state"].isin(["completed", "failed"])
    return {
        "mean_service": float(service.mean()) if len(service) else math.nan,
        "variance": float(service.var()) if len(service) else math.nan,
        "family": Family.GENERAL,
        "starts": max(float(own["attempts"][finished].mean()), 1.0) if finished.any() else 1.0,
        "completed": float((own["state"][finished] == "completed").mean()) if finished.any() else 1.0,
        "again": None if (own["attempts"] > 1).any() else 0.0,
        "backoff": bool((ended["backoff"] > 0).any()),
        "priority": int(own["priority"].iloc[0]) if len(own) else 0,
        "delay": float(own["delay"].iloc[0]) if len(own) else 0.0,
        "measured": True,
    }
