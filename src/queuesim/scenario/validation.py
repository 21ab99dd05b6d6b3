"""What must hold between the parts of a scenario, each of which is right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from queuesim.faults.registry import FaultEntry
from queuesim.inputfile import TableError
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.overdue import OverdueSettings
from queuesim.scenario.queue_settings import WorkerSettings, name_workers
from queuesim.scenario.thresholds import Threshold
from queuesim.text import Location, show, unknown
from queuesim.units import format_duration

Problem = tuple[Location, str]
"""Where in the scenario, and what is wrong."""


class ScenarioParts(Protocol):
    """A scenario, each of whose parts is right by itself; see Scenario."""

    @property
    def duration(self) -> float: ...

    @property
    def warmup(self) -> float:
        """Seconds that metrics leave out."""
        ...

    @property
    def workers(self) -> Sequence[WorkerSettings]: ...

    @property
    def processor(self) -> str | None:
        """The user's own processor."""
        ...

    @property
    def jobs(self) -> Mapping[str, JobSettings]: ...

    @property
    def load(self) -> Sequence[LoadEntry]: ...

    @property
    def overdue(self) -> OverdueSettings | None: ...

    @property
    def faults(self) -> Sequence[FaultEntry]: ...

    @property
    def thresholds(self) -> Sequence[Threshold]:
        """What must hold."""
        ...


class FaultSurroundings:
    """A scenario as its faults are validated against it; see ScenarioOutline."""

    def __init__(self, scenario: ScenarioParts) -> None:
        self._scenario = scenario
        self.duration = scenario.duration
        self.worker_kinds = [workers.name for workers in scenario.workers]
        self.loads = [entry.name for entry in scenario.load]
        self.traces = {entry.name for entry in scenario.load if entry.trace is not None}
        self.jobs = None if scenario.processor is not None or self.traces else list(scenario.jobs)
        self.scans = scenario.overdue is not None

    @cached_property
    def workers(self) -> list[str]:
        """The name of every worker."""
        return [name for name, _ in name_workers(self._scenario.workers)]


def fault_problems(scenario: ScenarioParts) -> Iterator[Problem]:
    """What each fault says that does not fit to the rest of the scenario."""
    surroundings = FaultSurroundings(scenario)
    for i, entry in enumerate(scenario.faults):
        place = ("faults", i, entry.kind)
        for key, message in entry.settings.problems(surroundings):
            yield (*place, key) if key else place, message


MOST_WORKERS = 1_000_000
"""Workers of a run: each has a name, and 10 KB of memory in a simulation."""


def problems(scenario: ScenarioParts) -> Iterator[Problem]:
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


def file_problems(scenario: ScenarioParts) -> Iterator[Problem]:
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


def _times(scenario: ScenarioParts) -> Iterator[Problem]:
    duration = format_duration(scenario.duration)
    if scenario.warmup >= scenario.duration:
        yield ("warmup",), f"{format_duration(scenario.warmup)} leaves nothing of the duration of {duration}"
    for i, entry in enumerate(scenario.load):
        if entry.start >= scenario.duration:
            yield ("load", i, "start"), f"{format_duration(entry.start)} is after the end of the run, {duration}"
    for i, workers in enumerate(scenario.workers):
        if workers.start >= scenario.duration:
            yield ("workers", i, "start"), f"{format_duration(workers.start)} is after the end of the run, {duration}"


def _workers(scenario: ScenarioParts) -> Iterator[Problem]:
    total = sum(workers.count for workers in scenario.workers)
    if total > MOST_WORKERS:
        largest = max(range(len(scenario.workers)), key=lambda i: scenario.workers[i].count)
        yield ("workers", largest, "count"), f"{show(total)} workers in all: the most is {MOST_WORKERS:,}"


def _jobs(scenario: ScenarioParts) -> Iterator[Problem]:
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


def _load(scenario: ScenarioParts) -> Iterator[Problem]:
    if not scenario.load and scenario.overdue is None:
        yield (), '"load" is missing: where jobs come from'
    for i, entry in enumerate(scenario.load):
        for name in entry.jobs or ():
            # a processor's own types need no entry in jobs
            if name not in scenario.jobs and scenario.processor is None:
                yield ("load", i, "jobs", name), unknown("job", name, scenario.jobs, "jobs")


def _thresholds(scenario: ScenarioParts) -> Iterator[Problem]:
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
