"""What must hold between a scenario's faults and the rest of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from queuesim.scenario.faults.schema import FaultEntry
from queuesim.scenario.faults.timing_schema import ALL, ANY, Timing
from queuesim.scenario.wording import Location, unknown
from queuesim.scenario.worker_names import name_workers
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.scenario.schema import Scenario

Problem = tuple[Location, str]


def fault_problems(scenario: Scenario) -> Iterator[Problem]:
    """Targets that there are not, and times that can't be."""
    for i, entry in enumerate(scenario.faults):
        place = ("faults", i, entry.kind)
        for key, message in (*_targets(scenario, entry), *_times(scenario, entry.settings), *_needs(scenario, entry)):
            yield (*place, key) if key else place, message


def _targets(scenario: Scenario, entry: FaultEntry) -> Iterator[tuple[str, str]]:
    settings: Any = entry.settings
    kinds = [workers.name for workers in scenario.workers]
    loads = [load.name for load in scenario.load]
    worker, client, job, load = (getattr(settings, key, None) for key in ("worker", "client", "job", "load"))
    known = [*kinds] if worker is None and client is None else [name for name, _ in name_workers(scenario.workers)]
    workers = dict.fromkeys([*kinds, *known])
    if entry.kind == "worker.scale":
        if worker is not None and worker not in kinds:
            yield "worker", unknown("kind of workers", worker, kinds, "kinds")
    elif worker is not None and worker not in (ANY, ALL, *workers):
        yield "worker", unknown("worker", worker, [ANY, ALL, *workers], "workers")
    if client is not None and client not in (ALL, *workers, *loads):
        yield "client", unknown("client", client, [ALL, *workers, *loads], "clients")
    open_names = scenario.processor is not None or any(entry.trace for entry in scenario.load)
    if job is not None and job not in scenario.jobs and not open_names:
        yield "job", unknown("job", job, scenario.jobs, "jobs")
    if load is not None and load not in loads:
        yield "load", unknown("load entry", load, loads, "load entries")


def _times(scenario: Scenario, settings: Timing) -> Iterator[tuple[str, str]]:
    duration = format_duration(scenario.duration)
    times = settings.at or ()
    length = getattr(settings, "for_", None)
    lasts = None if length is None else length.constant
    for time in times:
        if time >= scenario.duration:
            yield "at", f"{format_duration(time)} is after the end of the run, {duration}"
        elif lasts is not None and time + lasts > scenario.duration:
            end = format_duration(time + lasts)
            yield "for", f"it would end at {end}, after the end of the run, {duration}"
    for earlier, later in pairwise(times):
        if lasts is not None and earlier + lasts > later:
            end = format_duration(earlier + lasts)
            yield "at", f"at {format_duration(later)} it is still on: until {end}"
    if settings.every is not None and (settings.every.constant or 0.0) >= scenario.duration:
        yield "every", f"that is not before the end of the run, {duration}"


def _needs(scenario: Scenario, entry: FaultEntry) -> Iterator[tuple[str, str]]:
    settings: Any = entry.settings
    if entry.kind == "worker.scale" and settings.worker is None and len(scenario.workers) > 1:
        kinds = ", ".join(workers.name for workers in scenario.workers)
        yield "", f'"worker" is missing: which kind of workers, of {kinds}'
    if entry.kind == "producer.burst":
        if settings.load is None and len(scenario.load) > 1:
            yield "", f'"load" is missing: whose jobs, of {", ".join(load.name for load in scenario.load)}'
        chosen = [load for load in scenario.load if settings.load in (None, load.name)]
        if chosen and chosen[0].trace is not None:
            yield "load", f'"{chosen[0].name}" replays a trace: it has no jobs to draw from'
    if entry.kind.startswith("cron.") and scenario.overdue is None:
        yield "", 'nobody scans here: it needs the key "overdue"'
    if entry.kind == "handler.payload" and settings.size > settings.memory:
        yield "size", "one such job alone is more than a worker can hold: all of them would fail"
