"""What a scenario asks of a run, in numbers: the load entries, their job types, and the failures that it wants."""

from __future__ import annotations

from collections import Counter

from queuesim.metrics.health import Asked, LoadAsked, TraceAsked
from queuesim.scenario.handlers import OVERDUE
from queuesim.scenario.load_schema import Arrivals, Bulk, LoadEntry, Trace
from queuesim.scenario.schema import Scenario
from queuesim.units import format_duration, format_rate


def what_is_asked(scenario: Scenario, played: float, *, real_io: bool = False) -> Asked:
    """What the scenario asks of a run that played for so many seconds.

    Args:
        played: seconds; a run that ended early could not add what was to come later.
        real_io: whether handlers may use the network.
    """
    loads = [_load(scenario, entry, min(played, scenario.duration)) for entry in scenario.load]
    return Asked(
        loads=loads,
        overdue="" if scenario.overdue is None else OVERDUE,
        failing=_failing(scenario),
        recorded_failures=_recorded_failures(scenario),
        real_io=real_io,
        expect=scenario.expect,
    )


def _load(scenario: Scenario, entry: LoadEntry, until: float) -> LoadAsked:
    """What a load entry asks for, by the same functions that its producer calls."""
    length = _length(entry, until)
    types = {} if entry.trace is not None else scenario.mix(entry)
    for arrivals in (entry.constant, entry.poisson):
        if arrivals is not None:
            text = f"{entry.kind}, {_rate_text(arrivals)}"
            return LoadAsked(entry.name, text, _expected(arrivals, length), entry.poisson is not None, types=types)
    if entry.bulk is not None:
        return _bulk(entry, entry.bulk, length, _length(entry, scenario.duration), types)
    if entry.trace is not None:
        return _trace(entry, entry.trace, length, scenario.duration)
    if entry.closed is not None:
        producers = entry.closed.producers if length > 0 else 0
        return LoadAsked(entry.name, f"closed, {entry.closed.producers} producers", producers, types=types)
    assert entry.backlog is not None
    return LoadAsked(entry.name, f"backlog of {entry.backlog:,}", entry.backlog, types=types)


def _length(entry: LoadEntry, until: float) -> float:
    """For how many seconds an entry lasts in a run of load until a time."""
    left = max(until - entry.start, 0.0)
    return left if entry.duration is None else min(entry.duration, left)


def _expected(arrivals: Arrivals, length: float) -> float:
    """The integral of the rate: as many jobs as arrive, on average."""
    # a hair more: the last of evenly spaced jobs may come at the very end
    return sum((part.rate + part.target) / 2 * part.duration for part in arrivals.segments(length)) * (1 + 1e-12)


def _rate_text(arrivals: Arrivals) -> str:
    if arrivals.rate is not None:
        return format_rate(arrivals.rate)
    return f"{len(arrivals.stages or ())} stages"


def _bulk(entry: LoadEntry, bulk: Bulk, length: float, whole: float, types: dict[str, float]) -> LoadAsked:
    first = bulk.offset if bulk.at is None else bulk.at
    none = ""
    if first >= whole:
        end = "the load entry ends" if entry.duration is not None and whole == entry.duration else "the run's load ends"
        none = f"its first bulk is due at {format_duration(entry.start + first)}, and {end} at "
        none += format_duration(entry.start + whole)
    text = f"bulk of {bulk.size:,}" + (f" every {format_duration(bulk.every)}" if bulk.every is not None else "")
    return LoadAsked(entry.name, text, bulk.size * bulk.count(length), none=none, types=types)


def _trace(entry: LoadEntry, trace: Trace, length: float, duration: float) -> LoadAsked:
    jobs = trace.jobs
    whole = _length(entry, duration)
    asked = TraceAsked(
        rows=len(jobs),
        outside=sum(1 for job in jobs if job.at >= whole),
        earliest=jobs[0].at if jobs else 0.0,
        latest=jobs[-1].at if jobs else 0.0,
        cut=entry.duration is not None,
        column=trace.columns.get("added_ms") or trace.columns.get("at_ms") or "added_ms",
    )
    text = f"trace {trace.file.name}"
    inside = [job.name for job in jobs if job.at < length]
    shares = {name: count / len(inside) for name, count in Counter(inside).items()}
    # what lies outside is the concern of a check of its own
    return LoadAsked(entry.name, text, len(inside), types=shares, trace=asked)


def _failing(scenario: Scenario) -> dict[str, float]:
    """The greatest probability of a failed attempt, by job type."""
    found = {}
    for name, job in scenario.jobs.items():
        rates = [sum(job.errors.at(attempt).values()) for attempt in range(1, job.errors.attempts + 1)]
        poison = 0.0 if job.poison is None else job.poison.probability
        if most := max([*rates, poison], default=0.0):
            found[name] = min(most, 1.0)
    return found


def _recorded_failures(scenario: Scenario) -> Counter[str]:
    """Jobs of traces whose recording tells of a failed attempt, by type."""
    traces = [entry.trace for entry in scenario.load if entry.trace is not None]
    return Counter(job.name for trace in traces for job in trace.jobs if job.failures)
