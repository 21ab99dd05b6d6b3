"""The validation cases: the stations whose closed forms the simulation is held against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from queuesim.analysis.case import (
    Case,
    Quantity,
    mean_latency,
    mean_waiting,
    probability_of_waiting,
    waiting_percentile,
)
from queuesim.analysis.theory import (
    MD1,
    MG1,
    MM1,
    BernoulliFeedback,
    MDc,
    MMc,
    PriorityClass,
    PriorityMG1,
    PriorityMMc,
    PriorityModel,
)

UNLIMITED = 1_000_000
"""Attempts that no job will ever use up."""


def cases() -> tuple[Case, ...]:
    """All cases. Services have a mean of 1 s, save where classes differ."""
    return (
        _mm1(),
        _mmc(),
        _md1(),
        _mdc(),
        _mg1("lognormal", 2.0, {"lognormal": {"mean": "1s", "p95": f"{lognormal_percentile(1.0, 2.0, 95):.9f}s"}}),
        _mg1("gamma", 0.5, {"gamma": {"mean": "1s", "shape": 2.0}}),
        _feedback(),
        _priority_mg1(),
        _priority_mmc(),
    )


def lognormal_percentile(mean: float, scv: float, percent: float) -> float:
    """The percentile of a lognormal variable with this mean and squared coefficient of variation, in `mean`'s unit.

    Source: with s**2 = ln(1 + scv) the logarithm has standard deviation s and mean ln(mean) - s**2 / 2.
    """
    sigma = math.sqrt(math.log1p(scv))
    return mean * math.exp(NormalDist().inv_cdf(percent / 100) * sigma - sigma**2 / 2)


def _settings(
    name: str, arrival_rate: float, jobs: Mapping[str, Any], servers: int = 1, queue: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "queue": {"name": "validation", **(queue or {})},
        "workers": {"count": 1, "concurrency": servers},
        "jobs": dict(jobs),
        "load": [{"name": "arrivals", "poisson": {"rate": f"{arrival_rate!r}/s"}}],
    }


def _single(
    name: str,
    source: str,
    arrival_rate: float,
    service: Mapping[str, Any],
    *quantities: Quantity,
    servers: int = 1,
) -> Case:
    """A case with one type of job."""
    settings = _settings(name, arrival_rate, {"job": {"service": service}}, servers)
    return Case(name, source, arrival_rate, settings, quantities)


EXPONENTIAL = {"exponential": {"mean": "1s"}}
CONSTANT = {"constant": "1s"}


def _mm1() -> Case:
    model = MM1(0.8, 1.0)
    return _single(
        "M/M/1",
        "Kleinrock vol. 1, 3.2",
        model.arrival_rate,
        EXPONENTIAL,
        mean_waiting(model.mean_waiting_time),
        mean_latency(model.mean_time_in_system),
        probability_of_waiting(model.probability_of_waiting),
        waiting_percentile(model.waiting_quantile(0.95), 95),
    )


def _mmc() -> Case:
    model = MMc(4.0, 1.0, 5)
    return _single(
        "M/M/5",
        "Erlang 1917",
        model.arrival_rate,
        EXPONENTIAL,
        mean_waiting(model.mean_waiting_time),
        mean_latency(model.mean_time_in_system),
        probability_of_waiting(model.probability_of_waiting),
        waiting_percentile(model.waiting_quantile(0.95), 95),
        servers=model.servers,
    )


def _md1() -> Case:
    model = MD1(0.8, 1.0)
    return _single(
        "M/D/1",
        "Erlang 1909; Franx 2001",
        model.arrival_rate,
        CONSTANT,
        mean_waiting(model.mean_waiting_time),
        waiting_percentile(model.waiting_quantile(0.95), 95),
    )


def _mdc() -> Case:
    model = MDc(4.0, 1.0, 5)
    return _single(
        "M/D/5",
        "Crommelin 1932",
        model.arrival_rate,
        CONSTANT,
        mean_waiting(model.mean_waiting_time),
        probability_of_waiting(model.probability_of_waiting),
        servers=model.servers,
    )


def _mg1(distribution: str, scv: float, service: Mapping[str, Any]) -> Case:
    model = MG1(0.7, 1.0, scv)
    return _single(
        f"M/G/1, {distribution}, scv {scv:g}",
        "Pollaczek 1930, Khinchine 1932",
        model.arrival_rate,
        service,
        mean_waiting(model.mean_waiting_time),
        mean_latency(model.mean_time_in_system),
    )


def _feedback() -> Case:
    """A failed attempt goes back to the tail of the queue at once, and its next attempt draws a new service."""
    model = BernoulliFeedback(0.5, 1.0, 0.3)
    name = "M/M/1, Bernoulli feedback 0.3"
    jobs = {"job": {"service": EXPONENTIAL, "errors": {"network": model.feedback_probability}}}
    settings = _settings(name, model.arrival_rate, jobs, queue={"attempts": UNLIMITED, "backoff": "0s"})
    quantities = (
        mean_waiting(model.mean_first_waiting_time, "mean first waiting time"),
        mean_latency(model.mean_time_in_system),
    )
    return Case(name, "Takács 1963", model.arrival_rate, settings, quantities)


def _priority_mg1() -> Case:
    model = PriorityMG1([PriorityClass(0.2, 0.5), PriorityClass(0.3, 1.0), PriorityClass(0.2, 1.5)])
    return _priorities("M/M/1, 3 priorities, own services", model, 1)


def _priority_mmc() -> Case:
    return _priorities("M/M/3, 3 priorities", PriorityMMc((0.4, 0.8, 1.2), 1.0, 3), 3)


def _priorities(name: str, model: PriorityModel, servers: int) -> Case:
    """Priorities 1, 2 and so on: BullMQ's 1 is the most urgent, and 0 would stand outside the order."""
    rate = sum(model.arrival_rates)
    jobs = {
        f"class-{number}": {
            "weight": arrivals / rate,
            "priority": number,
            "service": {"exponential": {"mean": f"{service!r}s"}},
        }
        for number, (arrivals, service) in enumerate(zip(model.arrival_rates, model.mean_services, strict=True), 1)
    }
    quantities = tuple(
        mean_waiting(wait, f"mean waiting time, priority {number}", priority=number)
        for number, wait in enumerate(model.mean_waiting_times, 1)
    )
    return Case(name, "Cobham 1954", rate, _settings(name, rate, jobs, servers), quantities)
