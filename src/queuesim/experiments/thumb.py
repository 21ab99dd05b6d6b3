"""Rules of thumb: what arithmetic on averages would recommend, to compare a recommendation with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from queuesim.check.outline import limiter, slots
from queuesim.experiments.frontier import Array, Frontier, Place
from queuesim.experiments.stability import busiest_load, steady, work_until
from queuesim.results.readings import percentile_of
from queuesim.scenario.loading import vary
from queuesim.text import rate, readable
from queuesim.theory import MMc

if TYPE_CHECKING:
    from queuesim.core.processor import Processor
    from queuesim.experiments.axes import Axes
    from queuesim.scenario.model import Scenario
    from queuesim.scenario.thresholds import Threshold

MOST_SERVERS = 100_000
"""Servers up to which Erlang's formula is asked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule of thumb says."""

    name: str
    """``offered load``, ``Erlang C``."""
    place: Place | None
    """The cheapest combination by the rule; None: none will do."""
    text: str


def rules(
    scenario: Scenario,
    own: Processor | None,
    axes: Axes,
    costs: Array,
    thresholds: Sequence[Threshold],
    deadline: float | None,
) -> list[Rule]:
    """What rules of thumb say, the simplest first."""

    def at(place: Place) -> Scenario:
        values = {path: each[step] for (path, each), step in zip(axes.values.items(), place, strict=True)}
        return vary(scenario, values)

    found = [_offered_load(scenario, own, at, costs, deadline)]
    if (servers := erlang_servers(scenario, own, thresholds)) is not None:
        place = _cheapest(lambda place: slots(at(place), own) >= servers, costs)
        found.append(Rule("Erlang C", place, f"Erlang C: {servers} slots"))
    return found


def _offered_load(
    scenario: Scenario, own: Processor | None, at: Callable[[Place], Scenario], costs: Array, deadline: float | None
) -> Rule:
    """Enough slots and starts for the load at its busiest moment, or for all of the work until the deadline."""

    def enough(place: Place) -> bool:
        varied = at(place)
        if busiest_load(varied, own).too_large:
            return False
        if deadline is None:
            return True
        work, starts = work_until(varied, own, deadline)
        limit = limiter(varied, own)
        allowed = math.inf if limit is None else limit.max / limit.duration
        return work <= slots(varied, own) * deadline and starts <= allowed * deadline

    place = _cheapest(enough, costs)
    dearest: Place = tuple(size - 1 for size in costs.shape)
    load = busiest_load(at(dearest if place is None else place), own)
    starts = "" if math.isinf(load.allowed) else f" and need {rate(load.starts)} starts"
    parts = [load.too_large or f"jobs bring {load.work:.3g} s of work per second{starts} at the busiest time"]
    if not load.work and not load.too_large:
        parts.clear()
    if deadline is not None:
        work, _ = work_until(scenario, own, deadline)
        parts.append(f"{readable(work)} of work arrive until the deadline")
    return Rule("offered load", place, "; ".join(parts) or "the load is unknown")


def _cheapest(enough: Callable[[Place], bool], costs: Array) -> Place | None:
    """The cheapest combination for which something holds that holds for all above it, too."""
    frontier = Frontier.of(costs)
    while (place := frontier.next()) is not None:
        (frontier.good if enough(place) else frontier.bad)(place)
    return frontier.best


# -- Erlang's formula, where it applies


def erlang_servers(scenario: Scenario, own: Processor | None, thresholds: Sequence[Threshold]) -> int | None:
    """How many servers M/M/c needs for the thresholds on waiting and latency; None where it does not apply.

    It applies to Poisson arrivals at steady rates, exponential service times of one mean, and jobs that are served in
    the order in which they come, without errors, limits or faults. Source: Erlang 1917; see `queuesim.theory.MMc`.
    """
    asked = [each for each in thresholds if _understood(each)]
    arrivals, mean = _markovian(scenario, own)
    if not (asked and arrivals and mean):
        return None
    servers = math.floor(arrivals * mean) + 1
    while servers <= MOST_SERVERS:
        model = MMc(arrival_rate=arrivals, mean_service=mean, servers=servers)
        if all(each.holds(_value(model, each)) for each in asked):
            return servers
        servers += 1
        if model.mean_waiting_time == 0 or servers > arrivals * mean * 100 + 100:
            return None
    return None


def _understood(threshold: Threshold) -> bool:
    statistic = threshold.statistic or ""
    known = statistic in ("mean", "median") or percentile_of(statistic) not in (None, 100.0)
    plain = not threshold.where.chosen() and threshold.over is None and threshold.operator in ("<", "<=")
    return plain and threshold.metric in ("waiting", "latency") and known


def _value(model: MMc, threshold: Threshold) -> float:
    waiting, statistic = threshold.metric == "waiting", threshold.statistic or ""
    if statistic == "mean":
        return model.mean_waiting_time if waiting else model.mean_time_in_system
    share = 0.5 if statistic == "median" else (percentile_of(statistic) or 0.0) / 100
    return model.waiting_quantile(share) if waiting else model.time_in_system_quantile(share)


def _markovian(scenario: Scenario, own: Processor | None) -> tuple[float, float]:
    """Jobs per second and their mean service time, if the scenario is M/M/c; zeros if not."""
    none = 0.0, 0.0
    limited = limiter(scenario, own) is not None or scenario.queue.concurrency is not None
    if own is not None or limited or scenario.faults or not steady(scenario) or scenario.overhead.attempt:
        return none
    if any(entry.poisson is None for entry in scenario.load) or any(each.start for each in scenario.workers):
        return none
    arrivals, means = 0.0, set()
    for entry in scenario.load:
        assert entry.poisson is not None
        arrivals += entry.poisson.rate or 0.0
        for name in scenario.mix(entry):
            job = scenario.job(name)
            failing = job.poison is not None or any(job.errors.at(i) for i in range(1, job.errors.attempts + 1))
            service = job.service
            special = job.priority or job.delay or job.timeout is not None or job.blocking is not None
            if service is None or service.exponential is None or failing or special:
                return none
            means.add(service.model().mean)
    return (arrivals, means.pop()) if len(means) == 1 else none


def described(place: Place, values: Mapping[str, Sequence[Any]]) -> str:
    """A combination in words: ``workers.count 7``."""
    return ", ".join(f"{path} {each[step]}" for (path, each), step in zip(values.items(), place, strict=True))
