"""The scenario: everything that a run needs to know, as a file or a notebook says it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import Broker, Observer
from queuesim.core.containment import Contained
from queuesim.error import QueuesimError
from queuesim.faults.registry import FaultEntry
from queuesim.fields import (
    NOT_EMPTY,
    CountFromZero,
    PositiveSeconds,
    Seconds,
    Section,
    Word,
    in_file,
    or_single,
    refuse,
    seconds,
)
from queuesim.inputfile import TableError
from queuesim.results.health import HEALTH_CHECKS
from queuesim.results.markup import fill
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.overdue import OverdueSettings
from queuesim.scenario.queue_settings import QueueSettings, WorkerSettings, name_workers
from queuesim.scenario.thresholds import ThresholdField, describe
from queuesim.simulation.allowed_io import EVERYTHING, parse_pattern
from queuesim.simulation.order import NAMES as ORDERS
from queuesim.text import Location, percent, readable, show, unknown
from queuesim.units import DURATION_PATTERN, format_duration

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


REFERENCE_PATTERN = r"^[^\s:]+:[^\s:]+$"
"""An object of the user's: module:attribute."""


def _reference(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(REFERENCE_PATTERN, value):
        raise refuse(f"{show(value)} is not module:attribute, as my_service.jobs:processor")
    return value


def _order(value: Any) -> Any:
    if isinstance(value, str) and not ORDERS.fullmatch(value):
        raise refuse(f"{show(value)} is not an order: write fifo, random, or pct-1 to pct-9")
    return value


Order = Annotated[str, BeforeValidator(_order), Field(json_schema_extra={"pattern": f"^({ORDERS.pattern})$"})]
Reference = Annotated[
    str, BeforeValidator(_reference), Field(strict=True, json_schema_extra={"pattern": REFERENCE_PATTERN})
]
"""An object of the user's own, as module:attribute."""


class Overhead(Section):
    """What the backend itself costs, as fitted from a recording of a real one."""

    attempt: Seconds = 0.0
    """Added to every attempt, while it holds its slot."""
    pickup: Seconds = 0.0
    """From when a job could start until an idle slot starts it."""
    tick: Seconds = 0.0
    """Interval at which the server checks the timeouts of workers that wait for a delayed job, besides at each command
    that reaches it: 100ms for a Redis with its default hz of 10."""
    phase: Seconds | None = None
    """When the first such check is; drawn from the seed if left out."""
    add: Seconds = 0.0
    """For the producer, to add a job or a bulk of jobs."""


def _drain(value: Any, info: ValidationInfo) -> float | bool:
    if isinstance(value, bool):
        return value
    try:
        return seconds(value, info)
    except PydanticCustomError:
        if isinstance(value, (str, int, float)):
            raise
        raise refuse(f"{show(value)} is neither a duration nor true or false") from None


def _allow_io(value: Any) -> Any:
    if isinstance(value, bool):
        return (EVERYTHING,) if value else ()
    return (value,) if isinstance(value, str) else value


def _known_io(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        try:
            parse_pattern(entry)
        except ValueError as error:
            raise refuse(str(error)) from None
    return entries


def _io_schema(schema: dict[str, Any]) -> None:
    """True stands for everything, false for nothing, and one entry need not be a list."""
    array: dict[str, Any] = {key: schema.pop(key) for key in ("type", "items")}
    schema["anyOf"] = [{"type": "boolean"}, array["items"], array]


def _epoch(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise refuse(f"{show(value)} is not a time: write it as 2025-01-01T00:00:00Z") from None
    if not isinstance(value, datetime):
        raise refuse(f"{show(value)} is not a time: write it as 2025-01-01T00:00:00Z")
    if value.tzinfo is None:
        raise refuse(f'the time has no zone: write "{value.isoformat()}Z" for UTC, or a zone as +02:00')
    return value


def _format_epoch(epoch: datetime) -> str:
    return epoch.isoformat().replace("+00:00", "Z")


def _health_name(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse(f"{show(value)} is not the name of a health check")
    if value not in HEALTH_CHECKS:
        raise refuse(unknown("health check", value, HEALTH_CHECKS))
    return value


HealthName = Annotated[
    str, PlainValidator(_health_name), WithJsonSchema({"type": "string", "enum": list(HEALTH_CHECKS)})
]
"""The name of a registered health check."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


class InvariantEntry(Section):
    """A function of the user's that says whether all is well, and when it is asked. It gets what is shared, and the run
    so far, if it has arguments for them. Nothing, true, "" and an empty list mean that all is well; false, a message
    and a list of messages, that the invariant is violated. So does an assertion that fails."""

    short = "at_end"
    choices = ("always", "eventually", "at_end")

    always: Reference | None = None
    """Asked after each attempt: it must hold each time."""
    eventually: Reference | None = None
    """Asked after each attempt and at the end: it must hold at least once."""
    at_end: Reference | None = None
    """Asked when the run is over."""

    @property
    def when(self) -> str:
        """Its key."""
        return next(key for key in self.choices if getattr(self, key) is not None)

    @property
    def reference(self) -> str:
        """The function, as module:attribute."""
        return str(getattr(self, self.when))


class Scenario(Section):
    """A run of a queue: what it is, what comes to it, and what must hold."""

    queuesim: Literal[1] = Field(1, repr=False)
    """The version of this format. It marks a file as a scenario, for tools that find many YAML files."""
    name: Word
    description: str = ""
    seed: CountFromZero = 0
    """All randomness comes from it: the same seed gives the same run."""
    duration: PositiveSeconds
    """Duration of the run, for which load is made and measured."""
    warmup: Seconds = 0.0
    """The beginning of the run, which metrics leave out."""
    drain: Annotated[
        float | bool,
        PlainValidator(_drain),
        PlainSerializer(lambda drain: drain if isinstance(drain, bool) else format_duration(drain), when_used="json"),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": DURATION_PATTERN}]}),
    ] = False
    """After `duration`, continue without new load until all jobs are done: true, or at most for this time."""
    epoch: Annotated[
        datetime,
        PlainValidator(_epoch),
        PlainSerializer(_format_epoch, when_used="json"),
        WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2025-01-01T00:00:00Z"]}),
    ] = datetime(2025, 1, 1, tzinfo=UTC)
    """The calendar time of the run's second 0, with its time zone."""
    calendar: bool = False
    """In virtual time, let `time.time()` and `datetime.now()` in handlers tell the epoch and the time of the run. If
    false, they tell the real time, which differs from run to run. Needs the extra `calendar`."""
    order: Order = "fifo"
    """In virtual time, which of the tasks that are ready at the same instant runs first: fifo; random; or pct-1 to
    pct-9, by random priorities that change at that many points less one. To look for races."""
    queue: QueueSettings = QueueSettings()
    workers: Annotated[tuple[WorkerSettings, ...], NOT_EMPTY, Field(json_schema_extra=or_single)] = (WorkerSettings(),)
    """The workers, or a list of several kinds of workers."""
    processor: Reference | None = None
    """Your own Processor, or a function or class that makes one, as module:attribute. Its handlers run unchanged, in
    a module that is imported anew for each life of each worker."""
    shared: Reference | None = None
    """What outlives the processes of workers, such as a store: a function or class that makes it, as module:attribute.
    It is called once for each run, and what it returns is handed to the function that makes the processor."""
    invariants: tuple[InvariantEntry, ...] = ()
    """What must always hold, eventually hold, or hold at the end: your own functions over what is shared."""
    jobs: dict[str, JobSettings] = Field(default_factory=dict)
    """The types of jobs, by name."""
    load: Annotated[tuple[LoadEntry, ...], NOT_EMPTY, Field(json_schema_extra={"minItems": 1})] = ()
    """The sources of jobs. Needed, unless there are overdue tasks."""
    overdue: OverdueSettings | None = None
    """Scans for overdue tasks, which also add jobs."""
    allow_io: Annotated[
        tuple[Word, ...], BeforeValidator(_allow_io), AfterValidator(_known_io), Field(json_schema_extra=_io_schema)
    ] = ()
    """What handlers may reach outside of the process in virtual time, by blocking calls: hosts such as `localhost:5432`
    or `*.example.org`, `unix:/path`, `process:program`; true for everything. Everything else is refused."""
    overhead: Overhead = Overhead()
    faults: tuple[FaultEntry, ...] = ()
    """What goes wrong. All faults end at `duration`; the drain has none."""
    thresholds: tuple[ThresholdField, ...] = ()
    """Conditions that must hold for the run to pass."""

    expect: Annotated[tuple[HealthName, ...], AfterValidator(_each_once)] = ()
    """Health checks that must fail, for a scenario that is meant to be unhealthy. If one passes, the run fails."""

    _directory: Path = PrivateAttr(default=Path())

    @property
    def directory(self) -> Path:
        """Where the scenario's file is; the processor's module is looked for there first."""
        return self._directory

    @property
    def drain_time(self) -> float:
        """Seconds for which a run goes on after `duration` at most; infinity: until all jobs are done."""
        if isinstance(self.drain, bool):
            return math.inf if self.drain else 0.0
        return self.drain

    @property
    def dead_letters(self) -> str | None:
        """The dead-letter queue's name; None if there is none."""
        return self.queue.dead_letters

    def mix(self, entry: LoadEntry) -> dict[str, float]:
        """The job types that a load entry makes, with their probabilities, which add up to 1."""
        weights: Mapping[str, float] = entry.jobs or {name: job.weight for name, job in self.jobs.items()}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items() if weight}

    def job(self, name: str) -> JobSettings:
        """The settings of a job type; the defaults, if only the processor or a trace knows it."""
        return self.jobs.get(name) or JobSettings()

    @field_validator("workers", mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        if isinstance(value, (dict, WorkerSettings)):
            return [value]
        if not isinstance(value, (list, tuple)):
            raise refuse(f"{show(value)} is neither a mapping nor a list of mappings, as {{count: 1, concurrency: 5}}")
        return value

    @model_validator(mode="after")
    def _coherent(self, info: ValidationInfo) -> Any:
        found = list(problems(self))
        if found and in_file(info):
            raise PydanticCustomError("problems", "{found}", {"found": found})
        if found:
            raise refuse("; ".join(f"{'.'.join(map(str, location))}: {message}" for location, message in found))
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Remember where the file is, if there is one."""
        if context and context.get("directory") is not None:
            self._directory = Path(context["directory"])

    def _repr_html_(self) -> str:
        return to_html(self)


# -- What must hold between the parts of a scenario, each of which is right by itself

Problem = tuple[Location, str]
"""Where in the scenario, and what is wrong."""


class FaultSurroundings:
    """A scenario as its faults are validated against it; see ScenarioOutline in `queuesim.faults.base`."""

    def __init__(self, scenario: Scenario) -> None:
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


def _faults(scenario: Scenario) -> Iterator[Problem]:
    """What in each fault does not fit the rest of the scenario."""
    surroundings = FaultSurroundings(scenario)
    for i, entry in enumerate(scenario.faults):
        place = ("faults", i, entry.kind)
        for key, message in entry.settings.problems(surroundings):
            yield (*place, key) if key else place, message


MOST_WORKERS = 1_000_000
"""Workers of a run: each has a name, and 10 KB of memory in a simulation."""


def problems(scenario: Scenario) -> Iterator[Problem]:
    """Everything that does not fit together, without reading a file."""
    yield from _times(scenario)
    yield from _jobs(scenario)
    yield from _load(scenario)
    yield from _thresholds(scenario)
    too_many = list(_workers(scenario))
    # faults name workers: these must not be too many to be named
    yield from too_many or _faults(scenario)
    yield from _twice(scenario)


def file_problems(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong with the files that the scenario names."""
    for name, job in scenario.jobs.items():
        for key in ("service", "blocking"):
            service = getattr(job, key)
            if service is not None and service.empirical is not None:
                try:
                    service.model()
                except TableError as error:
                    yield ("jobs", name, key, "empirical", "file"), str(error)
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


def _times(scenario: Scenario) -> Iterator[Problem]:
    end = format_duration(scenario.duration)
    if scenario.warmup >= scenario.duration:
        yield ("warmup",), f"{format_duration(scenario.warmup)} leaves nothing of the duration of {end}"
    for section in ("load", "workers"):
        for i, entry in enumerate(getattr(scenario, section)):
            if entry.start >= scenario.duration:
                yield (section, i, "start"), f"{format_duration(entry.start)} is after the end of the run, {end}"


def _workers(scenario: Scenario) -> Iterator[Problem]:
    counts = [workers.count for workers in scenario.workers]
    if sum(counts) > MOST_WORKERS:
        largest = counts.index(max(counts))
        yield ("workers", largest, "count"), f"{show(sum(counts))} workers in total: the maximum is {MOST_WORKERS:,}"


def _jobs(scenario: Scenario) -> Iterator[Problem]:
    named = all(entry.trace or (scenario.processor and entry.jobs) for entry in scenario.load)
    if not scenario.jobs and not named:
        yield (), '"jobs" is missing: the types of jobs that the load is made of'
    if scenario.jobs and not sum(job.weight for job in scenario.jobs.values()) > 0:
        yield ("jobs",), "the weights add up to 0: at least one must be above 0"
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


def _twice(scenario: Scenario) -> Iterator[Problem]:
    for section in ("load", "workers"):
        count: Counter[str] = Counter()
        for i, entry in enumerate(getattr(scenario, section)):
            count[entry.name] += 1
            if count[entry.name] == 2:
                yield (section, i, "name"), f'"{entry.name}" is used twice: each needs its own name'


# -- Backends: where a scenario's queue lives, and by which clock it is played

BACKENDS = {
    "sim": "virtual time, the queue in memory",
    "fakeredis": "virtual time, our Lua scripts on fakeredis",
    "redis": "real time, a real server, workers in processes of their own",
}
"""What each one is."""


class BackendError(QueuesimError):
    """There is no such backend, or it can't play this."""


def check_backend(backend: str) -> None:
    """Raise BackendError if there is no such backend."""
    if backend not in BACKENDS:
        raise BackendError(f'there is no backend "{backend}"; choose from: {", ".join(BACKENDS)}')


class LocalBroker(Broker, Protocol):
    """A queue in this process, which reports all events and can be queried at any moment."""

    observer_errors: Contained
    """What the observer raised."""

    def observe(self, observer: Observer) -> None:
        """Notify `observer` of everything that happens from now on."""
        ...

    @property
    def idle(self) -> bool:
        """No job waits, is delayed or runs."""
        ...

    def flush(self) -> None:
        """Notify the observer of all events so far."""
        ...


def make_broker(backend: str, queue: str, loop: VirtualLoop, epoch: float) -> LocalBroker:
    """The queue of a simulation.

    Args:
        epoch: the loop's second 0, in seconds since the Unix epoch: the origin of times in fakeredis.

    Raises:
        MissingExtraError: fakeredis is not installed.
    """
    if backend == "sim":
        return MemoryBroker(queue)
    from queuesim.brokers.redis.fake import FakeServer, ObservedBroker

    return cast(LocalBroker, ObservedBroker(queue, FakeServer(lambda: loop.time() + epoch), origin=epoch))


# -- The notebook's view of a scenario


def to_html(scenario: Scenario) -> str:
    """Its name and description, and tables of workers, jobs, load and thresholds."""
    written = scenario.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    drain = f", then drains for up to {readable(scenario.drain_time)}" if 0 < scenario.drain_time < 1e12 else ""
    drain = ", then drains" if scenario.drain is True else drain
    weights = sum(job.weight for job in scenario.jobs.values())
    jobs = [
        (
            name,
            percent(job.weight / weights) if weights else "–",
            *(_text(each.get(key)) for key in ("service", "errors")),
        )
        for (name, job), each in zip(scenario.jobs.items(), written.get("jobs", {}).values(), strict=True)
    ]
    load = [
        (entry.name, entry.kind, _text(written["load"][i].get(entry.kind)), _text(written["load"][i].get("jobs")))
        for i, entry in enumerate(scenario.load)
    ]
    workers = [(kind.name, str(kind.count), str(kind.concurrency), _limiter(kind.limiter)) for kind in scenario.workers]
    return fill(
        "scenario.html",
        name=scenario.name,
        seed=scenario.seed,
        duration=f"{readable(scenario.duration)}{drain}",
        description=scenario.description,
        tables=[
            (("workers", "count", "concurrency", "limiter"), workers),
            (("job", "share", "service", "errors"), jobs),
            (("load", "kind", "", "jobs"), load),
        ],
        thresholds=[describe(threshold) for threshold in scenario.thresholds],
    )


def _limiter(limiter: Any) -> str:
    return "none" if limiter is None else f"{limiter.max} per {readable(limiter.duration)}"


def _text(value: Any) -> str:
    """A value as a file would have it, in a line."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list):
        return _text(value[0]) if len(value) == 1 else f"({'; '.join(map(_text, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)
