"""A scenario as the arrays that the compiled loop reads, and those that it writes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.errors import ErrorInfo, simulated
from queuesim.core.job import JobOptions
from queuesim.core.processor import Processor
from queuesim.results.engines import NotCompiled
from queuesim.results.recording import ATTEMPT_ROW, EVENT_ROW, JOB_ROW, WINDOW_ROW
from queuesim.runs.compiled import kernel
from queuesim.runs.compiled.reasons import UnplayableError
from queuesim.runs.compiled.streams import BATCH, Block, Buffers, uniform_blocks
from queuesim.runs.handlers import poison_salt
from queuesim.runs.producers import Endings, Producer
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import LoadEntry, Segment
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import CATEGORIES, WorkerSettings, name_workers
from queuesim.simulation.random import Constant, Exponential, Streams

Array = npt.NDArray[Any]

TIMED_OUT = len(CATEGORIES) + 1
"""The place of a timeout among the errors: 0 is none, then come the categories."""
MOST_JOBS = 2**32 - 2**20
MOST_TABLES = 64_000_000
"""Numbers in the table of delays, and in those of random streams: half a gigabyte."""
ROWS = 65_536
"""Rows that an array has at least; there are more of them when they run out."""


@dataclass(frozen=True, slots=True)
class Failing:
    """An error with which attempts end."""

    info: ErrorInfo
    message: str


class Plan:
    """What is played.

    Args:
        options: by job type, what its jobs are added with.

    Raises:
        UnplayableError: its numbers don't fit.
        ValidationError: as `Producer`.
    """

    def __init__(
        self, scenario: Scenario, processor: Processor, options: dict[str, JobOptions], streams: Streams
    ) -> None:
        self.scenario = scenario
        self.processor = processor
        self.streams = streams
        self.types = list(scenario.jobs)
        self.options = [options[name] for name in self.types]
        self.workers = name_workers(scenario.workers)
        self.slots = [settings.concurrency or processor.concurrency for _, settings in self.workers]
        self.errors = self._errors()
        self._blocks: list[Block] = []
        self._loads = [self._arrivals(entry, options) for entry in scenario.load]
        self.jobs = sum(len(load.types) for load in self._loads)
        """Jobs that are added at most."""
        if self.jobs > MOST_JOBS or len(self.types) > 0xFFFF or len(self._loads) > 0xFFFF:
            raise UnplayableError(NotCompiled.TOO_LARGE)
        self.rules = self._rules()

    def _errors(self) -> list[Failing]:
        errors: list[BaseException] = [*map(simulated, CATEGORIES), TimeoutError()]
        described = [self.processor.errors.describe(error) for error in errors]
        return [Failing(info, str(error) or info.type) for error, info in zip(errors, described, strict=True)]

    # -- random streams

    def _stream(self, block: Block) -> int:
        self._blocks.append(block)
        return len(self._blocks) - 1

    def _uniform(self, name: str) -> int:
        return self._stream(uniform_blocks(self.streams.python(name)))

    # -- loads

    def _arrivals(self, entry: LoadEntry, options: dict[str, JobOptions]) -> Load:
        # it refuses what a queue does not take
        broker: Any = MemoryBroker(self.processor.queue)
        producer = Producer(entry, self.scenario, broker, options, self.streams, Endings())
        size = 1
        if entry.closed is not None:
            until = entry.start + producer.length
            if until > self.scenario.duration:
                # lost in rounding: which producers still see a moment before their end is a matter of single steps
                raise UnplayableError(NotCompiled.SHORT_WAIT)
            return Load(np.empty(0), np.empty(0, dtype=np.uint16), 0, 0, entry.start, entry.closed.producers, until)
        if entry.backlog is not None:
            times, size = np.empty(0), 0
            count = entry.backlog
        elif entry.bulk is not None:
            times, size = entry.start + np.array(entry.bulk.times(producer.length)), entry.bulk.size
            count = len(times) * size
        else:
            times = self._times(entry, producer.length)
            count = len(times)
        if count > MOST_JOBS:
            raise UnplayableError(NotCompiled.TOO_LARGE)
        return Load(times, self._picked(entry, count), size, entry.backlog or 0, entry.start)

    def _times(self, entry: LoadEntry, length: float) -> Array:
        """When jobs are added, as `arrival_times` has it."""
        arrivals = entry.constant or entry.poisson
        assert arrivals is not None
        segments = segment_table(arrivals.segments(length))
        rng = self.streams.named(f"arrivals/{entry.name}")
        gaps = partial(Exponential(1.0).draw, rng) if entry.constant is None else np.ones
        state, parts = np.zeros(4), list[Array]()
        while state[0] < len(segments):
            # the first block may do; the last one is drawn in vain for the most part
            block = np.concatenate([gaps(BATCH) for _ in range(min(1 + 4 * len(parts), 64))])
            out = np.empty(len(block))
            count = kernel.arrivals(block, segments, entry.start, state, out)
            parts.append(out[:count])
            if sum(map(len, parts)) > MOST_JOBS:
                raise UnplayableError(NotCompiled.TOO_LARGE)
        return np.concatenate(parts) if parts else np.empty(0)

    def _picked(self, entry: LoadEntry, count: int) -> Array:
        """The type of each job, as Producer draws it from the mix."""
        mix = self.scenario.mix(entry)
        kinds = np.array([self.types.index(name) for name in mix], dtype=np.uint16)
        if len(mix) == 1:
            return np.broadcast_to(kinds, count)
        bounds = np.array(list(accumulate(mix.values()))[:-1])
        draw = uniform_blocks(self.streams.python(f"mix/{entry.name}"))
        picked: Array = kinds[np.searchsorted(bounds, draw(count), side="right")]
        return picked

    # -- rules

    def _rules(self) -> kernel.Rules:
        errors = self._error_rules()
        workers = self._worker_rules(jittered=bool(errors["jitter"].any()))
        kinds, closed = self._type_rules(), self._closed_rules()
        # now all streams are known
        if 2 * BATCH * len(self._blocks) > MOST_TABLES:
            raise UnplayableError(NotCompiled.TOO_LARGE)
        size = min(64 * BATCH, 4 * self.jobs + (ROWS if len(self._closed) else 0), 2**24 // max(len(self._blocks), 1))
        self.buffers = Buffers(self._blocks, size)
        return kernel.Rules(**kinds, **errors, **workers, **closed, **self._load_rules(errors["backoff"]))

    def _type_rules(self) -> dict[str, Array]:
        jobs = [self.scenario.jobs[name] for name in self.types]
        pairs = list(zip(self.types, jobs, strict=True))
        tables = list(zip(pairs, self.options, strict=True))
        return {
            "kinds": table(
                [
                    self._service_stream(*pair),
                    self._failure_stream(*pair),
                    pair[1].errors.attempts,
                    poison_error(pair[1]),
                    options.priority,
                    options.lifo,
                    min(options.attempts, 2**62),
                ]
                for pair, options in tables
            ),
            "kind_times": np.array(
                [[constant_service(pair[1]), pair[1].timeout or 0.0, options.delay] for pair, options in tables]
            ),
            "bounds": error_bounds(jobs),
            "poison": np.array(
                [[poison_bound(job), poison_salt(name, self.streams)] for name, job in pairs], dtype=np.uint64
            ),
        }

    def _service_stream(self, name: str, job: JobSettings) -> int:
        assert job.service is not None
        service = job.service.model()
        if isinstance(service, Constant):
            return -1
        return self._stream(partial(service.draw, self.streams.named(f"service/{name}")))

    def _failure_stream(self, name: str, job: JobSettings) -> int:
        fails = any(job.errors.at(attempt) for attempt in range(1, job.errors.attempts + 1))
        return self._uniform(f"errors/{name}") if fails else -1

    def _error_rules(self) -> dict[str, Array]:
        """How often attempts are made, and after what delay, by job type and error."""
        retries, size = self.processor.retries, len(self.errors) + 1
        tries = np.ones((len(self.types), size), dtype=np.int64)
        jitter = np.zeros((len(self.types), size))
        for kind, options in enumerate(self.options):
            for error, failing in enumerate(self.errors, 1):
                tries[kind, error] = min(retries.attempts(options, failing.info), 2**62)
        width = min(int(tries.max()), kernel.MOST_ATTEMPTS) + 1
        if tries.size * width > MOST_TABLES:
            raise UnplayableError(NotCompiled.TOO_LARGE)
        delays = np.zeros((len(self.types), size, width))
        for kind, options in enumerate(self.options):
            for error, failing in enumerate(self.errors, 1):
                backoff = retries.backoff(options, failing.info)
                if backoff is not None:
                    jitter[kind, error] = backoff.jitter
                    delays[kind, error, 1:] = [backoff.base(made) for made in range(1, width)]
        return {"tries": tries, "backoff": delays, "jitter": jitter}

    def _worker_rules(self, jittered: bool) -> dict[str, Array]:
        shared = self.scenario.queue.rate_limit
        limits = [limit_of(settings, shared) for _, settings in self.workers]
        streams = [self._uniform(f"backoff/{name}") if jittered else -1 for name, _ in self.workers]
        starts = [settings.start for _, settings in self.workers]
        return {
            "limits": table([most, stream] for (most, _), stream in zip(limits, streams, strict=True)),
            "worker_times": np.array(
                [[start, duration] for start, (_, duration) in zip(starts, limits, strict=True)], dtype=float
            ),
            "first_slot": integers([0, *accumulate(self.slots)]),
            "worker_of": np.repeat(np.arange(len(self.slots)), self.slots),
        }

    def _closed_rules(self) -> dict[str, Array]:
        """What is added each time, by whom, and which types producers of closed models draw from."""
        rows, most = [], len(self.types)
        mix = np.full((len(self._loads), most), math.inf)
        mix_kinds = np.zeros((len(self._loads), most), dtype=np.int64)
        for i, (entry, load) in enumerate(zip(self.scenario.load, self._loads, strict=True)):
            stream, mixed = -1, 0
            if load.producers:
                shares = self.scenario.mix(entry)
                mixed = len(shares)
                mix_kinds[i, :mixed] = [self.types.index(name) for name in shares]
                mix[i, : mixed - 1] = list(accumulate(shares.values()))[:-1]
                stream = self._uniform(f"mix/{entry.name}") if mixed > 1 else -1
            rows.append([load.size, load.backlog, load.producers, stream, mixed])
        first = integers([0, *accumulate(load.producers for load in self._loads)])
        self._closed, self._closed_times = self._producers()
        return {"loads": table(rows), "first_producer": first, "mix": mix, "mix_kinds": mix_kinds}

    def _producers(self) -> tuple[Array, Array]:
        """The producers of closed models before their first step."""
        rows, times = [], []
        for i, (entry, load) in enumerate(zip(self.scenario.load, self._loads, strict=True)):
            if entry.closed is None:
                continue
            think = entry.closed.think.model()
            for number in range(load.producers):
                constant = isinstance(think, Constant)
                name = f"think/{entry.name}/{number}"
                stream = -1 if constant else self._stream(partial(think.draw, self.streams.named(name)))
                rows.append([i, stream, kernel.NEXT, 0])
                times.append([load.until, think.mean if constant else 0.0, 0.0])
        return table(rows).reshape(-1, kernel.NEXT_KIND + 1), np.array(times, dtype=float).reshape(-1, 3)

    def _load_rules(self, delays: Array) -> dict[str, Array]:
        loads, scenario = self._loads, self.scenario
        overhead = scenario.overhead
        return {
            "load_start": np.array([load.start for load in loads], dtype=float),
            "first_time": integers([0, *accumulate(len(load.times) for load in loads)]),
            "first_job": integers([0, *accumulate(len(load.types) for load in loads)]),
            "times": joined([load.times for load in loads], np.float64),
            "types": joined([load.types for load in loads], np.uint16),
            "numbers": integers(
                [
                    scenario.queue.concurrency or 0,
                    bool(scenario.drain_time),
                    len(loads),
                    TIMED_OUT,
                    len(self.slots),
                    sum(self.slots),
                    max(self.slots),
                    self.buffers.draws.shape[1],
                    len(self.errors) + 1,
                    max(job.errors.attempts for job in scenario.jobs.values()),
                    delays.shape[2],
                    1 if scenario.queue.rate_limit is None else scenario.queue.rate_limit.max,
                    self.jobs,
                    len(self.types),
                ]
            ),
            "seconds": np.array(
                [scenario.duration, scenario.drain_time, overhead.add, overhead.pickup, overhead.attempt], dtype=float
            ),
        }

    # -- what is written

    def state(self) -> kernel.State:
        """Everything as it is before second 0."""
        workers, slots, loads, jobs = len(self.workers), sum(self.slots), len(self._loads), self._job_room
        most = 4 * slots + 4 * workers + 2 * loads + 2 * len(self._closed) + 16
        ring = 1 << (2 * most).bit_length()
        counters = zeros(kernel.COUNTERS)
        counters[[kernel.WAITER_HEAD, kernel.WAITER_TAIL]] = -1
        counters[kernel.RING] = ring - 1
        first_slot = self.rules.first_slot
        vacant = [np.arange(first, first + count) for first, count in zip(first_slot[:-1], self.slots, strict=True)]
        delayed = jobs if self.rules.kind_times[:, kernel.DELAY].any() or self.rules.backoff.any() else 0
        prioritized = jobs if self.rules.kinds[:, kernel.PRIORITY].any() else 0
        worker = zeros(workers, kernel.TIMER_SET + 1)
        worker[:, kernel.VACANT_COUNT] = self.slots
        load = zeros(loads, kernel.LOAD_JOB + 1)
        load[:, kernel.LOAD_TIME], load[:, kernel.LOAD_JOB] = self.rules.first_time[:-1], self.rules.first_job[:-1]
        return kernel.State(
            n=counters,
            t=np.zeros(kernel.TIMES),
            heap_time=np.zeros(2 * most + 256),
            heap=zeros(2 * most + 256, kernel.HEAP_SEQ + 1),
            ready=zeros(ring, kernel.READY_SEQ + 1),
            draws=self.buffers.draws,
            streams=self.buffers.streams,
            ready_at=np.empty(jobs),
            counts=np.empty((jobs, kernel.TIMES_STARTED + 1), dtype=np.uint16),
            state=np.zeros(jobs, dtype=np.uint8),
            links=np.empty((jobs, kernel.BEFORE + 1), dtype=np.int64),
            delayed_due=np.empty(delayed),
            delayed=np.empty((delayed, kernel.DELAYED_JOB + 1), dtype=np.int64),
            prioritized=np.empty((prioritized, kernel.PRIORITIZED_JOB + 1), dtype=np.int64),
            worker=worker,
            moments=np.full((workers, kernel.PRESENT + 1), math.nan),
            vacant=np.concatenate(vacant),
            taken=zeros(max(self.slots)),
            slot=zeros(slots, kernel.SLOT_TIMED + 1),
            slot_times=np.zeros((slots, kernel.SLOT_STARTED + 1)),
            load=load,
            closed=self._closed,
            closed_times=self._closed_times,
            owner=np.full(jobs if len(self._closed) else 0, -1, dtype=np.int64),
        )

    @property
    def _job_room(self) -> int:
        """Jobs for which there is room at first."""
        return self.jobs if not len(self._closed) else 2 * self.jobs + ROWS

    def rows(self) -> kernel.Rows:
        """Room for what is recorded."""
        windows = ROWS if self.rules.limits[:, kernel.LIMIT_MAX].any() else 0
        slots = sum(self.slots)
        return kernel.Rows(
            jobs=np.empty(self._job_room, dtype=JOB_ROW),
            attempts=np.empty(self.jobs + ROWS + slots, dtype=ATTEMPT_ROW),
            events=np.empty(4 * self.jobs + 4 * ROWS + 8 * slots, dtype=EVENT_ROW),
            windows=np.empty(windows + 8 + 2 * slots, dtype=WINDOW_ROW),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a load adds, as far as that does not depend on the run."""

    times: Array
    types: Array
    size: int
    backlog: int
    start: float
    producers: int = 0
    """Of a closed model, whose jobs depend on the run."""
    until: float = 0.0
    """When these add no more."""


def integers(values: Any) -> Array:
    """An array of whole numbers."""
    return np.array([int(value) for value in values], dtype=np.int64)


def zeros(*shape: int) -> Array:
    """A table of whole numbers."""
    return np.zeros(shape, dtype=np.int64)


def table(rows: Iterable[Sequence[int]]) -> Array:
    """The same, with these rows."""
    return np.array([[int(value) for value in row] for row in rows], dtype=np.int64)


def joined(parts: Sequence[Array], dtype: Any) -> Array:
    """The parts in one array."""
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, dtype)]), dtype)


def segment_table(segments: Sequence[Segment]) -> Array:
    """Start, duration, rate, target, square of the rate, twice the slope and expected arrivals of each segment.

    They are worked out in Python, whose power may round otherwise than a compiled product.
    """
    rows = [
        (
            each.start,
            each.duration,
            each.rate,
            each.target,
            each.rate**2,
            2 * ((each.target - each.rate) / each.duration),
            (each.rate + each.target) / 2 * each.duration,
        )
        for each in segments
        if each.rate or each.target
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def error_bounds(jobs: Sequence[JobSettings]) -> Array:
    """[type, attempt, error]: an attempt fails with the first error whose bound is above the number drawn."""
    bounds = np.full((len(jobs), max(job.errors.attempts for job in jobs), TIMED_OUT + 1), -1.0)
    places = {category: place for place, category in enumerate(CATEGORIES, 1)}
    for kind, job in enumerate(jobs):
        for attempt in range(job.errors.attempts):
            rates = job.errors.at(attempt + 1)
            for category, bound in zip(rates, accumulate(rates.values()), strict=True):
                bounds[kind, attempt, places[category]] = bound
    return bounds


def constant_service(job: JobSettings) -> float:
    """Its service time, if that is always the same; else 0."""
    assert job.service is not None
    service = job.service.model()
    return float(service.mean) if isinstance(service, Constant) else 0.0


def poison_bound(job: JobSettings) -> int:
    """The largest mixed number of a poisoned job: whole numbers below a float are compared exactly in Python."""
    probability = 0.0 if job.poison is None else job.poison.probability
    return max(min(math.ceil(probability * 2**64), 2**64) - 1, 0)


def poison_error(job: JobSettings) -> int:
    """The place of the error with which its poisoned jobs fail; -1: it has none."""
    if job.poison is None or not job.poison.probability:
        return -1
    return 1 + list(CATEGORIES).index(job.poison.category)


def limit_of(settings: WorkerSettings, shared: Any) -> tuple[int, float]:
    """A worker's limiter, as `MemoryBroker._limits` has it; 0 and 0: none."""
    own = settings.limiter
    if own is None:
        return (0, 0.0) if shared is None else (shared.max, shared.duration)
    return own.max if shared is None else shared.max, own.duration
