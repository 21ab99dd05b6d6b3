"""Theory beside a run: which models apply to it, what they predict, and how far the run is off."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from queuesim.check.fluid import Fluid
from queuesim.check.outline import JobOutline, outlines
from queuesim.inputfile import TableError
from queuesim.results.recording import RunFrames
from queuesim.scenario.model import Scenario
from queuesim.scenario.thresholds import Threshold
from queuesim.theory import conditions as are
from queuesim.theory.assumption import Aspect, Assumption, Fact, holds, violated
from queuesim.theory.catalogue import CATALOGUE, Entry, Kind, Prediction
from queuesim.theory.frame import TheoryFrame, make_frame
from queuesim.theory.measured import Measurements, compare
from queuesim.theory.model import UnstableError
from queuesim.theory.station import Station, station_of
from queuesim.theory.verdict import Row, Verdict

FLUID = "fluid"
SAME = 1e-9
"""Relative difference below which two models predict the same."""
PILED = 0.1
"""Mean services that the jobs of a fluid wait at least before it says something."""


def compare_with_theory(result: RunFrames) -> TheoryFrame:
    """See `queuesim.theory.of`."""
    definition = result.facts.definition
    if not definition:
        unknown = violated(Aspect.RUN, Fact.UNKNOWN_SCENARIO)
        return make_frame([], [Verdict("all models", "", Kind.EXACT, False, (), (unknown,))])
    scenario = Scenario.model_validate(definition)
    station = station_of(result, scenario)
    verdicts = [*_catalogued(station), _fluid(station)]
    steady = Measurements(result, station.start, station.end, _settling(station))
    whole = Measurements(result, station.start, result.facts.duration, math.inf)
    rows = [
        Row(verdict, each, compare(whole if verdict.model == FLUID else steady, each.figure, each.value, each.jobs))
        for verdict in verdicts
        for each in verdict.predictions
    ]
    return make_frame(rows, verdicts)


def _settling(station: Station) -> float:
    """The station's settling time; infinite for a run without a steady state, in which batches are no samples."""
    steady = next(are.obstacles(station), None) is None
    return station.settling_time if steady else math.inf


def _catalogued(station: Station) -> Iterator[Verdict]:
    obstacles = tuple(are.obstacles(station))
    given: list[Verdict] = []
    for entry in CATALOGUE:
        found = _judged(entry, station, () if entry.transient else obstacles)
        new = found.predictions
        if found.kind in (Kind.EXACT, Kind.APPROXIMATE):
            new = tuple(each for each in new if not any(_known(each, other) for other in given))
        if found.predictions and not new:
            said = holds(Aspect.LANGUAGE, Fact.SAME_AS, model=given[-1].model)
            found = replace(found, holds=(*found.holds, said))
        found = replace(found, predictions=new)
        if new:
            given.append(found)
        yield found


def _known(prediction: Prediction, verdict: Verdict) -> bool:
    """Whether a model predicts the same of the same jobs, to nine digits. A bound is no prediction of that kind."""
    return verdict.kind in (Kind.EXACT, Kind.APPROXIMATE) and any(
        (each.figure, each.jobs) == (prediction.figure, prediction.jobs)
        and math.isclose(each.value, prediction.value, rel_tol=SAME)
        for each in verdict.predictions
    )


def _judged(entry: Entry, station: Station, obstacles: tuple[Assumption, ...]) -> Verdict:
    """Whether a model applies, and what it predicts."""
    if obstacles:
        return Verdict(entry.name, entry.source, entry.kind, False, (), obstacles)
    needed = [condition(station) for condition in entry.needs]
    failing = tuple(each for each in needed if not each.holds)
    if failing:
        return Verdict(entry.name, entry.source, entry.kind, False, (), failing)
    wanted = [condition(station) for condition in entry.wants]
    violations = [each for each in wanted if not each.holds]
    kind = Kind.APPROXIMATE if violations and entry.kind is Kind.EXACT else entry.kind
    try:
        predictions = tuple(entry.predict(station))
    except UnstableError:
        overload = violated(Aspect.STABILITY, Fact.OVERLOAD, erlangs=station.offered_load, slots=station.slots)
        return Verdict(entry.name, entry.source, entry.kind, False, (), (overload,))
    warm = are.warmed_up(station)
    if not entry.transient:
        (needed if warm.holds else violations).append(warm)
    held = _once(each for each in (*needed, *wanted) if each.holds)
    return Verdict(entry.title(station), entry.source, kind, True, held, _once(violations), predictions)


def _once(assumptions: Iterable[Assumption]) -> tuple[Assumption, ...]:
    """Each fact once."""
    return tuple({each.fact: each for each in assumptions}.values())


# -- The fluid, which needs no steady state


def _fluid(station: Station) -> Verdict:
    """The scenario as a fluid: what waits even if nothing is random."""
    scenario, facts, source = station.scenario, station.facts, "Newell 1982, chapter 2"

    def no(assumption: Assumption) -> Verdict:
        return Verdict(FLUID, source, Kind.LOWER_BOUND, False, (), (assumption,))

    if facts.stopped is not None:
        return no(violated(Aspect.RUN, Fact.STOPPED, seconds=facts.duration))
    if scenario.processor is not None:
        return no(violated(Aspect.SERVICE, Fact.NOT_OUTLINED))
    producing = next((each for each in scenario.load if each.closed is not None), None)
    if producing is not None:
        return no(violated(Aspect.ARRIVALS, Fact.PRODUCERS_TOO, load=producing.name))
    try:
        jobs = outlines(scenario)
        fluid = Fluid(scenario, jobs, None)
    except TableError:
        return no(violated(Aspect.SERVICE, Fact.NOT_OUTLINED))
    waiting = fluid.value(Threshold("waiting", "mean", "<", 0.0))
    least = PILED * max((each.service or 0.0 for each in jobs), default=0.0)
    if not waiting > least:
        return no(violated(Aspect.STABILITY, Fact.WELL_BELOW))
    predictions = (
        Prediction("waiting.mean", waiting),
        Prediction("waiting.p95", fluid.value(Threshold("waiting", "p95", "<", 0.0))),
        Prediction("backlog.mean", fluid.mean_backlog(station.start, facts.duration)),
    )
    said = (holds(Aspect.RATES, Fact.FLOWS),)
    wrong = tuple(_not_fluid(scenario, jobs))
    return Verdict(FLUID, source, Kind.APPROXIMATE if wrong else Kind.LOWER_BOUND, True, said, wrong, predictions)


def _not_fluid(scenario: Scenario, jobs: Sequence[JobOutline]) -> Iterator[Assumption]:
    """What the fluid has otherwise than a run, so that its waiting times are no bounds."""
    if scenario.faults:
        yield violated(Aspect.FAULTS, Fact.RANDOM_FAULTS)
    if scenario.overdue is not None:
        yield violated(Aspect.OVERDUE, Fact.SCANS_AT_ONCE)
    if any(each.starts > 1 + are.NEVER for each in jobs):
        yield violated(Aspect.RETRIES, Fact.RETRIES_IN_PLACE)
    if last := tuple(each.name for each in jobs if each.options.lifo):
        yield violated(Aspect.ORDER, Fact.LIFO, names=last)
