"""What must hold between the parts of a scenario, each of which is right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from queuesim.scenario.faults.checks import fault_problems
from queuesim.scenario.table import TableError
from queuesim.scenario.wording import Location, show, unknown
from queuesim.units import format_duration

MOST_WORKERS = 1_000_000
"""Workers of a run: each has a name, and 10 KB of memory in a simulation."""

if TYPE_CHECKING:
    from queuesim.scenario.schema import Scenario

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
