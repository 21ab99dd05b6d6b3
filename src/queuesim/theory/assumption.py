"""What a model assumes of a run, and whether that is so: facts as data, of which sentences are made when shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from queuesim.text import counted, listing, percent, rate, readable, shown


class Aspect(StrEnum):
    """What of a run an assumption is about."""

    RUN = "run"
    ARRIVALS = "arrivals"
    RATES = "rates"
    STABILITY = "stability"
    SERVICE = "service"
    TYPES = "types"
    SLOTS = "slots"
    ORDER = "order"
    RETRIES = "retries"
    LIMITER = "limiter"
    FAULTS = "faults"
    OVERDUE = "overdue"
    OVERHEAD = "overhead"
    LANGUAGE = "language"


class Fact(StrEnum):
    """A fact about a run, as the template of its sentence."""

    # fmt: off
    UNKNOWN_SCENARIO = "the result does not say which scenario was played"
    NO_TIME = "the run ended before its warm-up was over"
    STUCK = "the run got stuck"
    STOPPED = "the run was stopped after {seconds}"
    REAL_TIME = "it ran in real time, whose own costs are in no model"
    COLD = "a warm-up of {seconds} is short for a queue that settles in about {settles}"

    POISSON = "arrivals are Poisson, {rate}"
    EVEN = "arrivals are evenly spaced, {rate}"
    EVEN_SHIFTED = "evenly spaced jobs reach the queue after delays that differ by type"
    MIXED = "several streams of arrivals, not all of them Poisson, with an SCV of {scv} together, {rate}"
    BATCHES = "batches of {jobs} every {seconds}"
    CLOSED = "{producers}, each with one job at a time and {seconds} between its jobs on average"
    RECORDED = "load {load} replays a recording"
    ONCE = "load {load} adds all of its jobs at once"
    BATCHES_TOO = "load {load} adds batches beside other loads"
    PRODUCERS_TOO = "load {load} has producers that wait for their jobs, beside other loads"
    THINKING_DIFFERS = "producers think for different times"
    NO_ARRIVALS = "no load adds jobs at a rate"
    NOT_BATCHES = "no load adds batches"
    NOT_CLOSED = "no load has producers that wait for their jobs"

    STEADY = "rates do not change after a warm-up of {seconds}, in which the queue settles"
    CHANGING = "load {load} changes its rate after the warm-up"
    PARTIAL = "load {load} is there for a part of the measured time only"
    BACKLOG_LEFT = "the run begins with a backlog of {jobs}, which the warm-up does not outlast"

    STABLE = "{erlangs} on {slots}"
    OVERLOAD = "no steady state: {erlangs} offered, and {slots} to serve them"
    LIMITER_OVERLOAD = "no steady state: {starts} starts are needed, and the limiter allows {rate}"
    WELL_BELOW = "at no time does more work arrive than can be done"
    BELOW_CAPACITY = "the load is below the capacity: throughput is what arrives"

    EXPONENTIAL = "service is exponential, {seconds} on average"
    CONSTANT = "service is constant, {seconds}"
    GENERAL = "service has a mean of {seconds} and an SCV of {scv}"
    NO_SERVICE = "service takes no time"
    MEASURED_SERVICE = "handlers are your own: service times and retries were measured in the run"
    UNMEASURED = "handlers are your own, and no attempt of {names} ended"
    NOT_OUTLINED = "handlers are your own: their service times are not in the scenario"
    INSENSITIVE = "the distribution of the service does not matter here"
    BLOCKING = "jobs block the event loop of their worker, and with it its other slots"
    TIMEOUTS = "{share} of attempts run into their timeout"
    ALIKE = "all types of jobs have the same service"
    NOT_ALIKE = "types of jobs have different services"

    ONE_SLOT = "one slot"
    SLOTS = "{slots}"
    LATE_WORKERS = "workers {names} start after the warm-up"
    SLOTS_FREE = "a slot was free for {share} of the time"
    SLOTS_BIND = "all slots were busy for {share} of the time: no formula is known for a limiter where slots bind, too"
    SLOTS_BUSY = "all slots were busy for {share} of the time"

    FIFO = "first come, first served"
    LIFO = "jobs of {names} go to the front of the queue"
    LIFO_MEAN = "jobs of {names} go to the front of the queue, which does not change the mean"
    PRIORITIES = "{priorities}, no job is interrupted"
    ONE_PRIORITY = "all jobs have the same priority"

    NO_RETRIES = "no attempt is repeated"
    RETRIES = "{share} of attempts are repeats"
    PRODUCT_FORM = "repeats are further visits, which exponential service allows for"
    FEEDBACK = "{share} of attempts fail and go back to the tail at once"
    BACKOFFS = "retries wait for a backoff"
    LATE_RETRIES = "a retry whose backoff is over enters the queue when a worker next asks, behind jobs that came since"
    RETRIES_AT_ONCE = "retries go to the tail at once"
    RETRIES_DIFFER = "the share of attempts that are repeated depends on the type or on the attempt"
    ATTEMPTS_END = "{share} of jobs use up their {attempts}"
    ATTEMPTS_DO_NOT_END = "jobs practically never use up their attempts"

    NO_LIMITER = "no limiter"
    LIMITER_OF_SOME = "only some of the workers have the limiter"
    LIMITER_IDLE = "the limiter was never shut"
    LIMITER_SHUT = "the limiter was shut for {share} of the time"

    NO_FAULTS = "no faults"
    FAULTS = "faults: {names}"
    SCANS = "scans for overdue tasks add batches of jobs"
    OVERHEAD = "overhead of the backend is not in the model: {names}"

    FLOWS = "jobs flow at their expected rates, as slots, limiter, priorities and planned stoppages let them"
    RETRIES_IN_PLACE = "retries take their slots with the first attempt in it, not later"
    SCANS_AT_ONCE = "a scan for overdue tasks adds its jobs at once in it, not page by page"
    RANDOM_FAULTS = "of faults, only stoppages at fixed times are in it"

    NEVER_FULL = "no queue of a scenario turns jobs away"
    NO_RANDOM_BATCHES = "no load of a scenario adds batches at random times"
    SAME_AS = "it is the same as {model} here"
    TOO_SHORT = "no interval: {batches} of independent means need a run of {seconds}"
    NO_SAMPLES = "no interval: the run has no steady state"
    FEW_JOBS = "no interval: it was measured on {jobs}"
    # fmt: on


def _number(value: float) -> str:
    return f"{value:,.4g}"


def _seconds(value: float) -> str:
    return readable(value) if math.isfinite(value) else "ever"


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "rate": rate,
    "starts": rate,
    "seconds": _seconds,
    "settles": _seconds,
    "share": percent,
    "scv": _number,
    "erlangs": lambda load: f"{_number(load)} erlang{'' if load == 1 else 's'}",
    "jobs": lambda count: counted(round(count), "job"),
    "producers": lambda count: counted(count, "producer"),
    "slots": lambda count: counted(count, "slot"),
    "attempts": lambda count: counted(count, "attempt"),
    "batches": lambda count: counted(count, "batch"),
    "priorities": lambda count: counted(count, "priority") if count == 1 else f"{count:,} priorities",
    "load": shown,
    "names": lambda names: listing(shown(name) for name in names),
    "model": str,
}
"""How each value of a fact is shown."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """One thing that a model assumes, as it is in a run."""

    aspect: Aspect
    holds: bool
    fact: Fact
    values: Mapping[str, Any] = field(default_factory=dict)
    """The numbers and names of the sentence: times in seconds, rates per second, shares of 1."""

    def __str__(self) -> str:
        """The sentence."""
        return self.fact.value.format(**{name: FORMATS[name](value) for name, value in self.values.items()})


def holds(aspect: Aspect, fact: Fact, **values: Any) -> Assumption:
    """An assumption that holds."""
    return Assumption(aspect, True, fact, values)


def violated(aspect: Aspect, fact: Fact, **values: Any) -> Assumption:
    """An assumption that does not hold."""
    return Assumption(aspect, False, fact, values)
