"""What must hold between the parts of a scenario, each of which is right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from queuesim.faults.registry import FaultEntry
from queuesim.faults.timing import ALL, ANY, Timing
from queuesim.inputfile import TableError
from queuesim.scenario.queue import name_workers
from queuesim.text import Location, show, unknown
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.scenario.model import Scenario


# -- What must hold between a scenario's faults and the rest of it

FaultProblem = tuple[Location, str]


def fault_problems(scenario: Scenario) -> Iterator[FaultProblem]:
    """Targets that there are not, and times that can't be."""
    for i, entry in enumerate(scenario.faults):
        place = ("faults", i, entry.kind)
        for key, message in (
            *_targets(scenario, entry),
            *_fault_times(scenario, entry.settings),
            *_needs(scenario, entry),
        ):
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


def _fault_times(scenario: Scenario, settings: Timing) -> Iterator[tuple[str, str]]:
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


MOST_WORKERS = 1_000_000
"""Workers of a run: each has a name, and 10 KB of memory in a simulation."""


Problem = tuple[Location, str]
"""Where in the scenario, and what is wrong."""


def problems(scenario: Scenario) -> Iterator[Problem]:
    """Everything that does not go together, without reading a file."""
    yield from _times(scenario)
    yield from _jobs(scenario)
    yield from _load(scenario)
    yield from _thresholds(scenario)
    too_many = list(_workers(scenario))
    # faults name workers, of which there must not be too many to be named
    yield from too_many or fault_problems(scenario)
    yield from _twice("load", (entry.name for entry in scenario.load))
    yield from _twice("workers", (workers.name for workers in scenario.workers))


def file_problems(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong with the files that the scenario names."""
    for name, job in scenario.jobs.items():
        for key in ("service", "blocking"):
            service = getattr(job, key)
            if service is not None and service.empirical is not None:
                yield from _readable(service.model, ("jobs", name, key, "empirical", "file"))
    for i, entry in enumerate(scenario.load):
        if entry.trace is not None:
            try:
                recorded = entry.trace.jobs
            except TableError as error:
                yield ("load", i, "trace", "file"), str(error)
                continue
            # without a service time of its own, a recorded job runs as the scenario's job of that name
            bare = dict.fromkeys(job.name for job in recorded if job.service is None)
            for missing in [] if scenario.processor else [name for name in bare if name not in scenario.jobs]:
                message = f"no service_ms in the trace, and {unknown('job', missing, scenario.jobs, 'jobs')}"
                yield ("load", i, "trace", "file"), message


def _readable(read: object, location: Location) -> Iterator[Problem]:
    try:
        if callable(read):
            read()
    except TableError as error:
        yield location, str(error)


def _times(scenario: Scenario) -> Iterator[Problem]:
    duration = format_duration(scenario.duration)
    if scenario.warmup >= scenario.duration:
        yield ("warmup",), f"{format_duration(scenario.warmup)} leaves nothing of the duration of {duration}"
    for i, entry in enumerate(scenario.load):
        if entry.start >= scenario.duration:
            yield ("load", i, "start"), f"{format_duration(entry.start)} is after the end of the run, {duration}"
    for i, workers in enumerate(scenario.workers):
        if workers.start >= scenario.duration:
            yield ("workers", i, "start"), f"{format_duration(workers.start)} is after the end of the run, {duration}"


def _workers(scenario: Scenario) -> Iterator[Problem]:
    total = sum(workers.count for workers in scenario.workers)
    if total > MOST_WORKERS:
        largest = max(range(len(scenario.workers)), key=lambda i: scenario.workers[i].count)
        yield ("workers", largest, "count"), f"{show(total)} workers in all: the most is {MOST_WORKERS:,}"


def _jobs(scenario: Scenario) -> Iterator[Problem]:
    named = all(entry.trace or (scenario.processor and entry.jobs) for entry in scenario.load)
    if not scenario.jobs and not named:
        yield (), '"jobs" is missing: the types of jobs that the load is made of'
    if scenario.jobs and not sum(job.weight for job in scenario.jobs.values()) > 0:
        yield ("jobs",), "the weights add up to 0: at least one must be above"
    for name, job in scenario.jobs.items():
        if not name:
            yield ("jobs",), "a job type needs a name"
        if scenario.processor is None and job.service is None:
            yield ("jobs", name), '"service" is missing: how long an attempt takes, as "service: 80ms"'


def _load(scenario: Scenario) -> Iterator[Problem]:
    if not scenario.load and scenario.overdue is None:
        yield (), '"load" is missing: where jobs come from'
    for i, entry in enumerate(scenario.load):
        for name in entry.jobs or ():
            # a processor's own types need no entry in jobs
            if name not in scenario.jobs and scenario.processor is None:
                yield ("load", i, "jobs", name), unknown("job", name, scenario.jobs, "jobs")


def _thresholds(scenario: Scenario) -> Iterator[Problem]:
    loads = [entry.name for entry in scenario.load]
    open_names = scenario.processor is not None or any(entry.trace for entry in scenario.load)
    for i, threshold in enumerate(scenario.thresholds):
        job, load = threshold.where.job, threshold.where.load
        if job is not None and job not in scenario.jobs and not open_names:
            yield ("thresholds", i, "where", "job"), unknown("job", job, scenario.jobs, "jobs")
        if load is not None and load not in loads:
            yield ("thresholds", i, "where", "load"), unknown("load entry", load, loads, "load entries")
        if threshold.over is not None and threshold.over > scenario.duration:
            duration = format_duration(scenario.duration)
            message = f"a window of {format_duration(threshold.over)} is longer than the run, {duration}"
            yield ("thresholds", i, "over"), message


def _twice(section: str, names: Iterable[str]) -> Iterator[Problem]:
    count: Counter[str] = Counter()
    for i, name in enumerate(names):
        count[name] += 1
        if count[name] == 2:
            yield (section, i, "name"), f'"{name}" is there twice: each needs its own name'
