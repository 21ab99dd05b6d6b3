"""Conditions of models: each looks at a station and says what of it is so, as an assumption that holds or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from queuesim.scenario.queue_settings import name_workers
from queuesim.theory.assumption import Aspect, Assumption, Fact, holds, violated
from queuesim.theory.station import Arrival, Family, Limited, Station

Condition = Callable[[Station], Assumption]

NEVER = 1e-6
"""Share of jobs below which something practically never happens."""
FREE, MOSTLY_FREE = 0.001, 0.05
"""Shares of the time up to which all slots are busy never, and so rarely that it hardly matters."""
SETTLED = 3.0
"""Settling times after which a queue has forgotten its beginning: what is left of it is below 5 %."""


# -- What rules out every model with a steady state


def obstacles(station: Station) -> Iterator[Assumption]:
    """Everything because of which a run has no steady state that theory knows."""
    facts, scenario = station.facts, station.scenario
    if not station.end > station.start:
        yield violated(Aspect.RUN, Fact.NO_TIME)
    if facts.stopped is not None and facts.stopped.stuck:
        yield violated(Aspect.RUN, Fact.STUCK)
    if scenario.faults:
        names = tuple(dict.fromkeys(entry.kind for entry in scenario.faults))
        yield violated(Aspect.FAULTS, Fact.FAULTS, names=names)
    if scenario.overdue is not None and (scenario.overdue.tasks or scenario.overdue.backlog):
        yield violated(Aspect.OVERDUE, Fact.SCANS)
    yield from station.unsteady
    yield from _mixed_loads(station)
    late = tuple(name for name, kind in name_workers(scenario.workers) if kind.start > station.start)
    if late:
        yield violated(Aspect.SLOTS, Fact.LATE_WORKERS, names=late[:3])
    if station.streams:
        yield from _of_types(station)


def _mixed_loads(station: Station) -> Iterator[Assumption]:
    if not station.streams and not station.unsteady:
        yield violated(Aspect.ARRIVALS, Fact.NO_ARRIVALS)
    kinds = {each.arrival for each in station.streams}
    for arrival, fact in ((Arrival.BATCHES, Fact.BATCHES_TOO), (Arrival.CLOSED, Fact.PRODUCERS_TOO)):
        several = len([each for each in station.streams if each.arrival is arrival]) > 1 and arrival is Arrival.BATCHES
        if arrival in kinds and (len(kinds) > 1 or several):
            name = next(each.entry.name for each in station.streams if each.arrival is arrival)
            yield violated(Aspect.ARRIVALS, fact, load=name)


def _of_types(station: Station) -> Iterator[Assumption]:
    unmeasured = tuple(each.name for each in station.classes if math.isnan(each.mean_service))
    if unmeasured:
        yield violated(Aspect.SERVICE, Fact.UNMEASURED, names=unmeasured)
        return
    jobs = (station.scenario.job(each.name) for each in station.classes)
    wide = any((kind.concurrency or 1) > 1 for kind in station.scenario.workers)
    if wide and any(each.blocking is not None for each in jobs):
        yield violated(Aspect.SERVICE, Fact.BLOCKING)
    if station.only(Arrival.CLOSED):
        return
    yield from (each for each in (stability(station), limiter_stability(station)) if not each.holds)
    if station.backlog and station.utilisation < 1 and not _backlog_gone(station):
        yield violated(Aspect.RATES, Fact.BACKLOG_LEFT, jobs=station.backlog)


def _backlog_gone(station: Station) -> bool:
    """Whether a fluid has drained the jobs of the beginning by the end of the warm-up."""
    free = (station.slots - station.offered_load) / (station.mean_service or math.inf)
    starts = min(free, station.limiter_rate - station.start_rate)
    return starts > 0 and station.backlog * station.starts / starts <= station.start


def stability(station: Station) -> Assumption:
    """Less work arrives than the slots can do."""
    values = {"erlangs": station.offered_load, "slots": station.slots}
    if station.utilisation < 1:
        return holds(Aspect.STABILITY, Fact.STABLE, **values)
    return violated(Aspect.STABILITY, Fact.OVERLOAD, **values)


def limiter_stability(station: Station) -> Assumption:
    """Fewer attempts are needed than the limiter lets start."""
    if station.start_rate < station.limiter_rate:
        return holds(Aspect.STABILITY, Fact.STABLE, erlangs=station.offered_load, slots=station.slots)
    return violated(Aspect.STABILITY, Fact.LIMITER_OVERLOAD, starts=station.start_rate, rate=station.limiter_rate)


# -- Arrivals


def poisson(station: Station) -> Assumption:
    """Arrivals are Poisson. Delays shift each type by a constant, which leaves them Poisson."""
    return _arrivals(station, station.only(Arrival.POISSON))


def even(station: Station) -> Assumption:
    """One stream of evenly spaced arrivals."""
    if station.only(Arrival.EVEN) and station.delays_differ:
        return violated(Aspect.ARRIVALS, Fact.EVEN_SHIFTED)
    return _arrivals(station, station.only(Arrival.EVEN) and len(station.streams) == 1)


def one_by_one(station: Station) -> Assumption:
    """Jobs arrive one by one, whatever becomes of those before."""
    return _arrivals(station, station.is_open)


def not_poisson(station: Station) -> Assumption:
    """Jobs arrive one by one, and not as a Poisson process."""
    return _arrivals(station, station.is_open and not station.only(Arrival.POISSON))


def batches(station: Station) -> Assumption:
    """One load adds batches, and none adds anything else."""
    if station.only(Arrival.BATCHES):
        return _arrivals(station, True)
    return violated(Aspect.ARRIVALS, Fact.NOT_BATCHES)


def closed(station: Station) -> Assumption:
    """All jobs are those of producers that wait for them."""
    if not station.only(Arrival.CLOSED):
        return violated(Aspect.ARRIVALS, Fact.NOT_CLOSED)
    thinks = {each.entry.closed.think.model().mean for each in station.streams if each.entry.closed is not None}
    if len(thinks) > 1:
        return violated(Aspect.ARRIVALS, Fact.THINKING_DIFFERS)
    return _arrivals(station, True)


def _arrivals(station: Station, fits: bool) -> Assumption:
    """The arrivals as they are, which fit or don't."""
    say = holds if fits else violated
    if station.only(Arrival.CLOSED):
        return say(Aspect.ARRIVALS, Fact.CLOSED, producers=producers(station), seconds=think(station))
    if station.only(Arrival.BATCHES):
        bulk = station.streams[0].entry.bulk
        assert bulk is not None
        return say(Aspect.ARRIVALS, Fact.BATCHES, jobs=bulk.size, seconds=bulk.every)
    if station.only(Arrival.POISSON):
        return say(Aspect.ARRIVALS, Fact.POISSON, rate=station.arrival_rate)
    if station.only(Arrival.EVEN) and len(station.streams) == 1:
        return say(Aspect.ARRIVALS, Fact.EVEN, rate=station.arrival_rate)
    return say(Aspect.ARRIVALS, Fact.MIXED, scv=station.arrival_scv, rate=station.arrival_rate)


def producers(station: Station) -> int:
    """The producers of all closed loads."""
    return sum(each.entry.closed.producers for each in station.streams if each.entry.closed is not None)


def think(station: Station) -> float:
    """Seconds from the end of a producer's job until its next one can start, on average: delays are part of it."""
    means = [each.entry.closed.think.model().mean for each in station.streams if each.entry.closed is not None]
    delay = math.fsum(each.share * each.delay for each in station.classes)
    return float(means[0]) + delay + station.scenario.overhead.add


# -- Service and slots


def exponential(station: Station) -> Assumption:
    """Service is exponential, with one mean for all types of jobs."""
    return _service(station, station.family is Family.EXPONENTIAL)


def constant(station: Station) -> Assumption:
    """Service is constant, the same for all types of jobs."""
    return _service(station, station.family is Family.CONSTANT and station.mean_service > 0)


def any_service(station: Station) -> Assumption:
    """Service takes time."""
    if not station.mean_service:
        return violated(Aspect.SERVICE, Fact.NO_SERVICE)
    return _service(station, True)


def exponential_or_insensitive(station: Station) -> Assumption:
    """Service is exponential, or its distribution does not matter: nobody thinks, or nobody waits."""
    if station.family is not Family.EXPONENTIAL and (not think(station) or producers(station) <= station.slots):
        return holds(Aspect.SERVICE, Fact.INSENSITIVE)
    return exponential(station)


def _service(station: Station, fits: bool) -> Assumption:
    say = holds if fits else violated
    if station.family is Family.EXPONENTIAL:
        return say(Aspect.SERVICE, Fact.EXPONENTIAL, seconds=station.mean_service)
    if station.family is Family.CONSTANT:
        return say(Aspect.SERVICE, Fact.CONSTANT, seconds=station.mean_service)
    return say(Aspect.SERVICE, Fact.GENERAL, seconds=station.mean_service, scv=station.scv)


def alike(station: Station) -> Assumption:
    """All types of jobs have the same service."""
    return holds(Aspect.TYPES, Fact.ALIKE) if station.alike else violated(Aspect.TYPES, Fact.NOT_ALIKE)


def given(station: Station) -> Assumption:
    """The scenario knows the service of all types of jobs."""
    if any(each.measured for each in station.classes):
        return violated(Aspect.SERVICE, Fact.MEASURED_SERVICE)
    cut = math.fsum(each.share * each.cut for each in station.classes)
    if cut:
        return violated(Aspect.SERVICE, Fact.TIMEOUTS, share=cut)
    return any_service(station)


def one_slot(station: Station) -> Assumption:
    """There is one slot."""
    if station.slots == 1:
        return holds(Aspect.SLOTS, Fact.ONE_SLOT)
    return violated(Aspect.SLOTS, Fact.SLOTS, slots=station.slots)


def slots(station: Station) -> Assumption:
    """How many slots there are: any number fits."""
    return holds(Aspect.SLOTS, Fact.SLOTS, slots=station.slots)


def slots_free(station: Station) -> Assumption:
    """Slots are no bottleneck: in the run they were never all busy, or hardly ever."""
    if station.share_busy <= FREE:
        return holds(Aspect.SLOTS, Fact.SLOTS_FREE, share=1 - station.share_busy)
    return violated(Aspect.SLOTS, Fact.SLOTS_BUSY, share=station.share_busy)


def slots_mostly_free(station: Station) -> Assumption:
    """Slots are hardly ever a bottleneck. Where they are, no formula is known for the limiter."""
    if station.limited is Limited.NONE:
        return slots(station)
    if station.share_busy <= MOSTLY_FREE:
        return holds(Aspect.SLOTS, Fact.SLOTS_FREE, share=1 - station.share_busy)
    return violated(Aspect.SLOTS, Fact.SLOTS_BIND, share=station.share_busy)


# -- Order


def in_order(station: Station) -> Assumption:
    """First come, first served."""
    if len(station.priorities) > 1:
        return violated(Aspect.ORDER, Fact.PRIORITIES, priorities=len(station.priorities))
    return no_lifo(station)


def no_lifo(station: Station) -> Assumption:
    """Within a priority, first come, first served."""
    last = tuple(each.name for each in station.classes if each.lifo)
    return violated(Aspect.ORDER, Fact.LIFO, names=last) if last else holds(Aspect.ORDER, Fact.FIFO)


def blind_order(station: Station) -> Assumption:
    """First come, first served, or another order that does not depend on the service: the mean is the same, then.

    Source: Kleinrock vol. 2, section 3.4, the conservation law.
    """
    found = in_order(station)
    if found.fact is Fact.LIFO and (station.alike or len({each.lifo for each in station.classes}) == 1):
        return holds(Aspect.ORDER, Fact.LIFO_MEAN, **found.values)
    return found


def priorities(station: Station) -> Assumption:
    """There are several priorities."""
    if len(station.priorities) > 1:
        return holds(Aspect.ORDER, Fact.PRIORITIES, priorities=len(station.priorities))
    return violated(Aspect.ORDER, Fact.ONE_PRIORITY)


# -- Retries


def no_retries(station: Station) -> Assumption:
    """No attempt is repeated."""
    if station.repeats < NEVER:
        return holds(Aspect.RETRIES, Fact.NO_RETRIES)
    return violated(Aspect.RETRIES, Fact.RETRIES, share=station.repeats)


def retries_in_order(station: Station) -> Assumption:
    """No attempt is repeated, or repeats are visits of an open network with a product form.

    Source: Baskett, Chandy, Muntz & Palacios 1975: a station that serves first come, first served, with the same
    exponential service for all, and classes of jobs that change from visit to visit (here, the number of the attempt).
    A backoff is a station of their type 3, whose distribution does not matter; see `retries_at_once` for its order.
    """
    if station.repeats < NEVER:
        return holds(Aspect.RETRIES, Fact.NO_RETRIES)
    if station.family is Family.EXPONENTIAL and in_order(station).holds:
        return holds(Aspect.RETRIES, Fact.PRODUCT_FORM)
    return violated(Aspect.RETRIES, Fact.RETRIES, share=station.repeats)


def retries_at_once(station: Station) -> Assumption:
    """No job waits for a backoff. One that does loses places: it enters the queue when a worker next asks for jobs."""
    if station.repeats < NEVER:
        return holds(Aspect.RETRIES, Fact.NO_RETRIES)
    if any(each.backoff for each in station.classes):
        return violated(Aspect.RETRIES, Fact.LATE_RETRIES)
    return holds(Aspect.RETRIES, Fact.RETRIES_AT_ONCE)


def feedback(station: Station) -> Assumption:
    """Every attempt fails with the same probability, and goes back to the tail at once."""
    chances = {each.again for each in station.classes}
    if station.repeats < NEVER:
        return violated(Aspect.RETRIES, Fact.NO_RETRIES)
    if None in chances or len(chances) > 1:
        return violated(Aspect.RETRIES, Fact.RETRIES_DIFFER)
    if any(each.backoff for each in station.classes):
        return violated(Aspect.RETRIES, Fact.BACKOFFS)
    return holds(Aspect.RETRIES, Fact.FEEDBACK, share=chances.pop())


def endless_attempts(station: Station) -> Assumption:
    """Jobs don't use up their attempts."""
    first = station.classes[0]
    used = (first.again or 0.0) ** first.attempts
    if used < NEVER:
        return holds(Aspect.RETRIES, Fact.ATTEMPTS_DO_NOT_END)
    return violated(Aspect.RETRIES, Fact.ATTEMPTS_END, share=used, attempts=first.attempts)


# -- Limiter


def no_limiter(station: Station) -> Assumption:
    """There is no limiter, or it was never shut."""
    if station.limited is Limited.NONE:
        return holds(Aspect.LIMITER, Fact.NO_LIMITER)
    if not station.limiter_filled:
        return holds(Aspect.LIMITER, Fact.LIMITER_IDLE)
    return violated(Aspect.LIMITER, Fact.LIMITER_SHUT, share=station.share_shut)


def limiter(station: Station) -> Assumption:
    """There is a limiter, which was shut at times."""
    found = no_limiter(station)
    if not found.holds and station.limited is Limited.SOME:
        return violated(Aspect.LIMITER, Fact.LIMITER_OF_SOME)
    return Assumption(found.aspect, not found.holds, found.fact, found.values)


# -- What is in no model


def no_overhead(station: Station) -> Assumption:
    """The backend costs nothing beside what is part of the service."""
    overhead = station.scenario.overhead
    there = tuple(name for name in ("pickup", "tick", "add") if getattr(overhead, name))
    if there:
        return violated(Aspect.OVERHEAD, Fact.OVERHEAD, names=there)
    if station.facts.backend == "redis":
        return violated(Aspect.OVERHEAD, Fact.REAL_TIME)
    return holds(Aspect.FAULTS, Fact.NO_FAULTS)


def never(fact: Fact) -> Condition:
    """What no scenario can have."""
    return lambda station: violated(Aspect.LANGUAGE, fact)


def warmed_up(station: Station) -> Assumption:
    """The warm-up is long enough for a queue that begins empty to settle."""
    settles = station.settling_time
    if station.start >= SETTLED * settles:
        return holds(Aspect.RATES, Fact.STEADY, seconds=station.start)
    return violated(Aspect.RUN, Fact.COLD, seconds=station.start, settles=settles)
