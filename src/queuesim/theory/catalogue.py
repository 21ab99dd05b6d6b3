"""The models that a run is compared with: what each needs, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from queuesim.theory import conditions as are
from queuesim.theory.assumption import Aspect, Assumption, Fact, violated
from queuesim.theory.batches import BatchGGc
from queuesim.theory.conditions import Condition
from queuesim.theory.deterministic import MD1, MDc
from queuesim.theory.feedback import BernoulliFeedback
from queuesim.theory.finite_source import MachineRepair
from queuesim.theory.general import DM1, GG1, MG1, GGc
from queuesim.theory.limiter import WindowLimiter
from queuesim.theory.markovian import MM1, MMc
from queuesim.theory.priority import PriorityClass, PriorityMG1, PriorityMMc, PriorityModel
from queuesim.theory.station import JobClass, Station


class Kind(StrEnum):
    """How good a prediction is meant to be."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    UPPER_BOUND = "upper bound"
    LOWER_BOUND = "lower bound"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One figure of a run as a model has it."""

    figure: str
    """A metric with its statistic, as thresholds name it: ``waiting.mean``."""
    value: float
    """In the metric's unit."""
    jobs: tuple[str, ...] = ()
    """The types of jobs that it is about; empty: all."""
    label: str = "all"
    """What these jobs are called."""


Predict = Callable[[Station], list[Prediction]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the catalogue."""

    name: str
    """In general, as M/M/c."""
    title: Callable[[Station], str]
    """Of a station that it applies to, as M/M/5."""
    source: str
    kind: Kind
    needs: tuple[Condition, ...]
    """What must hold, or the model says nothing."""
    wants: tuple[Condition, ...]
    """What should hold: otherwise an exact model is an approximation."""
    predict: Predict
    transient: bool = False
    """Whether it describes a run without a steady state, too."""


PERCENTILE = 0.95


def _open(
    station: Station, model: Any, *, waiting: float | None = None, starts: float | None = None
) -> list[Prediction]:
    """The figures of an open model: of first attempts the waiting time, of all attempts the rest."""
    rate = station.start_rate if starts is None else starts
    mean = model.mean_waiting_time if waiting is None else waiting
    return [
        Prediction("waiting.mean", mean),
        *_percentile(station, model),
        *_flow(station),
        Prediction("backlog.mean", rate * mean),
    ]


def _percentile(station: Station, model: Any) -> list[Prediction]:
    """The 95th percentile of the waiting time, where the model has it and jobs are served in order.

    A delayed job enters the queue when a worker next asks for jobs: behind those without a delay that came since.
    """
    if not hasattr(model, "waiting_quantile") or not are.in_order(station).holds or station.delays_differ:
        return []
    try:
        return [Prediction("waiting.p95", model.waiting_quantile(PERCENTILE))]
    except ValueError:
        # a distribution that is too long for this machine: the mean is still known
        return []


def _flow(station: Station) -> list[Prediction]:
    """Utilisation and throughput of an open system in steady state: what arrives, leaves."""
    return [
        Prediction("utilisation", station.offered_load / station.facts.concurrency),
        Prediction("throughput", station.arrival_rate * station.completed),
    ]


# -- Models with a steady state


def _memoryless(station: Station) -> list[Prediction]:
    rate, service = station.start_rate, station.mean_service
    return _open(station, MM1(rate, service) if station.slots == 1 else MMc(rate, service, station.slots))


def _deterministic(station: Station) -> list[Prediction]:
    rate, service = station.arrival_rate, station.mean_service
    return _open(station, MD1(rate, service) if station.slots == 1 else MDc(rate, service, station.slots))


def _general(station: Station) -> list[Prediction]:
    return _open(station, MG1(station.arrival_rate, station.mean_service, station.scv))


def _fed_back(station: Station) -> list[Prediction]:
    again = station.classes[0].again or 0.0
    model = BernoulliFeedback(station.arrival_rate, station.mean_service, again, station.scv)
    return [
        Prediction("waiting.mean", model.mean_first_waiting_time),
        *_flow(station),
        Prediction("backlog.mean", model.mean_queue_length),
    ]


def _by_priority(station: Station, model: PriorityModel) -> list[Prediction]:
    found = []
    for priority, waiting in zip(station.priorities, model.mean_waiting_times, strict=True):
        names = tuple(each.name for each in station.classes if each.priority == priority)
        found.append(Prediction("waiting.mean", waiting, names, f"priority {priority}"))
    return [
        *found,
        Prediction("waiting.mean", model.mean_waiting_time),
        *_flow(station),
        Prediction("backlog.mean", station.arrival_rate * model.mean_waiting_time),
    ]


def _classes_of(station: Station) -> list[list[JobClass]]:
    return [[each for each in station.classes if each.priority == priority] for priority in station.priorities]


def _memoryless_priorities(station: Station) -> list[Prediction]:
    rates = [station.arrival_rate * math.fsum(each.share for each in group) for group in _classes_of(station)]
    return _by_priority(station, PriorityMMc(rates, station.mean_service, station.slots))


def _general_priorities(station: Station) -> list[Prediction]:
    classes = []
    for group in _classes_of(station):
        share = math.fsum(each.share for each in group)
        mean = math.fsum(each.share * each.mean_service for each in group) / share
        square = math.fsum(each.share * (each.variance + each.mean_service**2) for each in group) / share
        classes.append(PriorityClass(station.arrival_rate * share, mean, max(square / mean**2 - 1, 0.0)))
    return _by_priority(station, PriorityMG1(classes))


def _regular_memoryless(station: Station) -> list[Prediction]:
    return _open(station, DM1(station.arrival_rate, station.mean_service))


def _two_moments(station: Station) -> GGc:
    return GGc(station.start_rate, station.mean_service, station.slots, station.arrival_scv, station.scv)


def _allen_cunneen(station: Station) -> list[Prediction]:
    return _open(station, _two_moments(station))


def _corrected(station: Station) -> list[Prediction]:
    mean = _two_moments(station).corrected_mean_waiting_time
    return [Prediction("waiting.mean", mean), Prediction("backlog.mean", station.start_rate * mean)]


def _kingman(station: Station) -> list[Prediction]:
    model = GG1(station.arrival_rate, station.mean_service, station.arrival_scv, station.scv)
    return [
        Prediction("waiting.mean", model.kingman_bound),
        Prediction("backlog.mean", station.arrival_rate * model.kingman_bound),
    ]


def _in_batches(station: Station) -> list[Prediction]:
    bulk = station.streams[0].entry.bulk
    assert bulk is not None
    assert bulk.every is not None
    model = BatchGGc(1 / bulk.every, bulk.size, station.mean_service, station.slots, 0.0, station.scv)
    return _open(station, model)


def _from_producers(station: Station) -> list[Prediction]:
    model = MachineRepair(are.producers(station), are.think(station), station.mean_service, station.slots)
    percentile = _percentile(station, model) if are.exponential(station).holds else []
    return [
        Prediction("waiting.mean", model.mean_waiting_time),
        *percentile,
        Prediction("utilisation", model.utilisation * station.slots / station.facts.concurrency),
        Prediction("throughput", model.throughput * station.completed),
        Prediction("backlog.mean", model.mean_queue_length),
    ]


def _behind_limiter(station: Station) -> list[Prediction]:
    limiter = station.facts.limiter
    assert limiter is not None
    return _open(station, WindowLimiter(station.start_rate, *limiter))


# -- Bounds


def _capacity(station: Station) -> list[Prediction]:
    """Throughput at most: what slots, limiter and producers can do, whatever the distributions are.

    In an overload, the jobs that complete are of the mix of those that arrive only if they are served in order. And
    retries lag behind: for a while a job that completes may have taken one start.
    """
    mixed = station.alike or (are.in_order(station).holds and not station.delays_differ)
    service = station.mean_service if mixed else min(each.mean_service for each in station.classes)
    once = are.no_retries(station).holds and mixed
    completed = station.completed if once else 1.0
    speeds = [station.limiter_rate * completed]
    if service:
        speeds.append(station.slots / service * completed)
    if are.closed(station).holds:
        speeds.append(are.producers(station) / (are.think(station) + service) * completed)
    elif station.is_open and not station.unsteady:
        speeds.append(station.arrival_rate * station.completed)
    return [Prediction("throughput", min(speeds))]


HIDDEN = frozenset(
    {
        *(Fact.NO_TIME, Fact.STUCK, Fact.NO_ARRIVALS, Fact.UNMEASURED),
        *(Fact.FAULTS, Fact.SCANS, Fact.RECORDED, Fact.ONCE, Fact.BACKLOG_LEFT),
    }
)
"""Obstacles because of which the work of a job, or the number of slots, is not known either."""


def overloaded_or_limited(station: Station) -> Assumption:
    """Something else than the arrivals can decide on throughput: slots, the limiter, or producers that wait."""
    hidden = next((each for each in are.obstacles(station) if each.fact in HIDDEN), None)
    if hidden is not None:
        return hidden
    if any(each.measured for each in station.classes):
        return violated(Aspect.SERVICE, Fact.NOT_OUTLINED)
    if are.closed(station).holds:
        return are.closed(station)
    for found in (are.stability(station), are.limiter_stability(station)):
        if not found.holds:
            return Assumption(found.aspect, True, found.fact, found.values)
    shut = are.no_limiter(station)
    if not shut.holds:
        return Assumption(shut.aspect, True, shut.fact, shut.values)
    return violated(Aspect.STABILITY, Fact.BELOW_CAPACITY)


# -- The catalogue


def _servers(general: str, rest: str = "") -> tuple[str, Callable[[Station], str]]:
    """A name that ends with the number of slots, and what follows it."""
    return f"{general}c{rest}", lambda station: f"{general}{station.slots}{rest}"


def _named(name: str) -> tuple[str, Callable[[Station], str]]:
    return name, lambda station: name


STEADY: tuple[Condition, ...] = (are.given, are.no_overhead)

CATALOGUE: Sequence[Entry] = (
    Entry(
        *_servers("M/M/"),
        "Erlang 1917; Kleinrock vol. 1, 3.2",
        Kind.EXACT,
        (are.poisson, are.exponential, are.slots, are.blind_order, are.retries_in_order, are.no_limiter),
        (*STEADY, are.retries_at_once),
        _memoryless,
    ),
    Entry(
        *_servers("M/D/"),
        "Crommelin 1932; Franx 2001",
        Kind.EXACT,
        (are.poisson, are.constant, are.slots, are.blind_order, are.no_retries, are.no_limiter),
        STEADY,
        _deterministic,
    ),
    Entry(
        *_named("M/G/1"),
        "Pollaczek 1930, Khinchine 1932",
        Kind.EXACT,
        (are.poisson, are.any_service, are.one_slot, are.blind_order, are.no_retries, are.no_limiter),
        STEADY,
        _general,
    ),
    Entry(
        *_named("M/G/1 with feedback"),
        "Takács 1963",
        Kind.EXACT,
        (are.poisson, are.any_service, are.one_slot, are.in_order, are.feedback, are.no_limiter),
        (*STEADY, are.alike, are.endless_attempts),
        _fed_back,
    ),
    Entry(
        *_servers("M/M/", " with priorities"),
        "Cobham 1954",
        Kind.EXACT,
        (are.poisson, are.exponential, are.slots, are.priorities, are.no_retries, are.no_limiter),
        STEADY,
        _memoryless_priorities,
    ),
    Entry(
        *_named("M/G/1 with priorities"),
        "Cobham 1954",
        Kind.EXACT,
        (are.poisson, are.any_service, are.one_slot, are.priorities, are.no_retries, are.no_limiter),
        STEADY,
        _general_priorities,
    ),
    Entry(
        *_named("D/M/1"),
        "Kleinrock vol. 1, 6.4",
        Kind.EXACT,
        (are.even, are.exponential, are.one_slot, are.blind_order, are.no_retries, are.no_limiter),
        STEADY,
        _regular_memoryless,
    ),
    Entry(
        "M/M/c//N",
        lambda station: f"M/M/{station.slots}//{are.producers(station)}",
        "Gross et al., 2.8; Baskett et al. 1975",
        Kind.EXACT,
        (are.closed, are.any_service, are.slots, are.blind_order, are.no_retries, are.no_limiter),
        (*STEADY, are.exponential_or_insensitive),
        _from_producers,
    ),
    Entry(
        *_named("window limiter"),
        "Crommelin 1932; Spitzer 1956; bulk service",
        Kind.EXACT,
        (are.poisson, are.limiter, are.slots_mostly_free, are.in_order),
        (*STEADY, are.slots_free, are.no_retries),
        _behind_limiter,
    ),
    Entry(
        *_servers("G/G/", " (Allen-Cunneen)"),
        "Allen 1990; Kingman 1961",
        Kind.APPROXIMATE,
        (are.one_by_one, are.any_service, are.slots, are.no_limiter),
        (*STEADY, are.in_order, are.no_retries),
        _allen_cunneen,
    ),
    Entry(
        *_servers("G/G/", " (Krämer and Langenbach-Belz)"),
        "Krämer and Langenbach-Belz 1976; Whitt 1983",
        Kind.APPROXIMATE,
        (are.not_poisson, are.any_service, are.slots, are.no_limiter),
        (*STEADY, are.in_order, are.no_retries),
        _corrected,
    ),
    Entry(
        *_named("G/G/1 (Kingman's bound)"),
        "Kingman 1962",
        Kind.UPPER_BOUND,
        (are.even, are.any_service, are.one_slot, are.blind_order, are.no_retries, are.no_limiter),
        STEADY,
        _kingman,
    ),
    Entry(
        *_servers("G^X/G/"),
        "Burke 1975; Krämer and Langenbach-Belz 1976",
        Kind.APPROXIMATE,
        (are.batches, are.any_service, are.slots, are.blind_order, are.no_retries, are.no_limiter),
        STEADY,
        _in_batches,
    ),
    Entry(
        *_named("M/M/c/K"),
        "Gross et al., 2.5",
        Kind.EXACT,
        (are.never(Fact.NEVER_FULL),),
        (),
        _memoryless,
    ),
    Entry(
        *_named("M^X/M/1"),
        "Gross et al., 3.1",
        Kind.EXACT,
        (are.never(Fact.NO_RANDOM_BATCHES),),
        (),
        _general,
    ),
    Entry(
        *_named("capacity"),
        "Denning and Buzen 1978",
        Kind.UPPER_BOUND,
        (overloaded_or_limited,),
        (are.given,),
        _capacity,
        transient=True,
    ),
)
"""All models but the fluid, which `queuesim.theory.comparison` adds: the more special ones come first."""
