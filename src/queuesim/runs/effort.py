"""What a run would take, at least: seconds of real time and bytes of memory, told before anything is played."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from queuesim.core.errors import SIMULATED, ErrorInfo, simulated
from queuesim.core.job import JobOptions
from queuesim.error import QueuesimError
from queuesim.faults.producers import ProducerBurst
from queuesim.faults.workers import WorkerScale
from queuesim.runs.handlers import build_processor, job_options
from queuesim.runs.judging import what_is_asked
from queuesim.scenario.loading import dotted
from queuesim.simulation.random import Streams
from queuesim.simulation.service_times import ServiceTime
from queuesim.text import Location
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.core.processor import Processor
    from queuesim.core.scheduler import Schedule
    from queuesim.scenario.jobs import JobSettings
    from queuesim.scenario.load import LoadEntry
    from queuesim.scenario.loading import Check
    from queuesim.scenario.model import Scenario


MOST_SECONDS = 24 * 3600.0
"""A scenario that would play for longer is refused, unless the user says that it is meant so."""
MOST_BYTES = 64e9
"""The same for its memory."""

JOB = (10e-6, 250.0)
"""Seconds and bytes to add a job, record and judge it. Measured at 200,000 jobs that only wait: 11 microseconds of
processor time and 1,100 bytes. All figures here are rounded down, so that what is refused can't be played in less."""
KEPT = 500.0
"""Bytes that a job takes as long as it stays in its queue, waiting or finished; measured: 620 to 850."""
ATTEMPT = (15e-6, 60.0)
"""An attempt; measured: 22 microseconds and 130 bytes."""
WORKER = (100e-6, 10_000.0)
"""A worker; measured at 10,000 of them: 280 microseconds and 16,500 bytes."""
PROCESS = (50e-3, 20e6)
"""A worker process of a live run; measured: 300 milliseconds of processor time and 60 MB."""
SLOT = (0.2e-6, 100.0)
"""A slot that is never used; measured at a million: 0.5 microseconds and 120 bytes."""
PRODUCER = (20e-6, 2000.0)
"""A producer of a closed load; measured: 2,700 bytes."""
BULK = (5e-6, 30.0)
"""A bulk, beside its jobs."""
UPKEEP = (4e-6, 0.0)
"""A worker that looks after its locks or for stalled jobs once; measured: 5.5 microseconds."""
SCAN = (1e-3, 1000.0)
"""A scan for overdue tasks; measured: 4 milliseconds and 14,000 bytes."""
TASK = (20e-6, 300.0)
"""A task in the database of overdue tasks; measured: 80 microseconds and 1,300 bytes."""
STRIKE = (20e-6, 100.0)
"""A fault that strikes once; measured: 40 microseconds and 320 bytes."""


SAMPLES = 64
"""Times at which a schedule is looked at."""
CALENDAR = 1000 * 365 * 86400.0
"""Seconds for which the calendar is asked for ticks: it ends with the year 9999."""


class TooLargeError(QueuesimError):
    """A scenario, or a sweep of them, would take longer or need more memory than any machine has for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a scenario, and what it takes."""

    place: Location
    what: str
    """How many of what."""
    seconds: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Effort:
    """What a scenario takes at least."""

    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """Real seconds for which it plays."""
        return sum(part.seconds for part in self.parts)

    @property
    def bytes(self) -> float:
        """Bytes of memory."""
        return sum(part.bytes for part in self.parts)

    @property
    def too_large(self) -> bool:
        """Whether it is above what is played without being told to."""
        return self.seconds > MOST_SECONDS or self.bytes > MOST_BYTES

    @property
    def largest(self) -> Part:
        """The part that takes the most."""
        return max(self.parts, key=lambda part: max(part.seconds / MOST_SECONDS, part.bytes / MOST_BYTES))

    @property
    def refusal(self) -> str:
        """Why a run that is too large is refused."""
        needs = f"{_long(self.seconds)} to play and {_memory(self.bytes)} of memory"
        return f"{self.largest.what}: the run would take at least {needs}; {LIMITS}"


LIMITS = (
    f"the limits are {format_duration(MOST_SECONDS)} and {MOST_BYTES / 1e9:.0f} GB, and --no-limit (in Python "
    "no_limit=True) plays it all the same"
)


def effort(scenario: Scenario, own: Processor | None = None, *, live: bool = False) -> Effort:
    """What a scenario takes at least in virtual time, or `live`. `own` is its own processor."""
    parts = [
        *_loads(scenario, own),
        *_workers(scenario),
        *_scans(scenario),
        *_faults(scenario),
        *(_real_time(scenario) if live else ()),
    ]
    return Effort(tuple(parts))


def size_problems(scenario: Scenario) -> Iterator[tuple[Location, str]]:
    """Why a scenario is too large to be played, with the place in it; a check of `scenario.loading`."""
    found = effort(scenario)
    if found.too_large:
        yield found.largest.place, found.refusal


def size_checks(no_limit: bool) -> Sequence[Check]:
    """The checks for `scenario.loading` that refuse what is too large; none if there is to be no limit."""
    return () if no_limit else (size_problems,)


def refuse_too_large(scenario: Scenario, own: Processor | None = None, *, live: bool = False) -> None:
    """Raise TooLargeError for a scenario that is above the limits in virtual time, or `live`."""
    found = effort(scenario, own, live=live)
    if found.too_large:
        raise TooLargeError(f"{dotted(found.largest.place)}: {found.refusal}")


def refuse_many(runs: int, seconds: float, what: str) -> None:
    """Raise TooLargeError if so many runs of so many seconds each, at least, are above the limit of time."""
    total = times(runs, seconds)
    if total > MOST_SECONDS:
        raise TooLargeError(
            f"{_count(runs, what)} would take at least {_long(total)} to play; the limit is "
            f"{format_duration(MOST_SECONDS)}, and --no-limit (in Python no_limit=True) plays them all the same"
        )


def _loads(scenario: Scenario, own: Processor | None) -> Iterator[Part]:
    horizon = scenario.duration + scenario.drain_time
    options = job_options(scenario, own)
    processor = build_processor(scenario, own, Streams(0))
    asked = what_is_asked(scenario, scenario.duration).loads
    for i, (entry, load) in enumerate(zip(scenario.load, asked, strict=True)):
        place: Location = ("load", i, entry.kind)
        jobs, wishes = load.jobs, 0.0
        if entry.closed is not None:
            yield _part(place, entry.closed.producers, "producers", PRODUCER)
            jobs = _closed_jobs(scenario, entry)
        if entry.bulk is not None:
            yield _part(place, jobs / entry.bulk.size, "bulks", BULK)
        for name, share in load.types.items():
            rounds = Failures(scenario.job(name), options.get(name, JobOptions()), processor, 0.0, unknown=False)
            wishes += times(jobs * share, min(rounds.starts(), _reachable(scenario, name, rounds, horizon)))
        kept = 0.0 if scenario.queue.keep.completed or scenario.queue.keep.failed else KEPT
        yield _part(place, jobs, "jobs", (JOB[0], JOB[1] + kept))
        yield _part(place, min(wishes, _room(scenario, entry, horizon)), "attempts", ATTEMPT)


def _reachable(scenario: Scenario, name: str, rounds: Failures, horizon: float) -> float:
    """Attempts of one job that begin before the end, if all of its waits are the longest."""
    if math.isinf(horizon):
        return math.inf
    each, passed, attempt = _mean(scenario.job(name).service), 0.0, 1
    while passed < horizon and attempt < min(rounds.attempts, 1000):
        passed += each + rounds.wait(attempt)
        attempt += 1
    step = each + rounds.wait(attempt)
    return attempt + ((horizon - passed) / step if step and passed < horizon else 0.0 if step else math.inf)


def _room(scenario: Scenario, entry: LoadEntry, horizon: float) -> float:
    """Attempts that all slots together can make until the end."""
    names = [] if entry.trace is not None else list(scenario.mix(entry))
    shortest = min((_mean(scenario.job(name).service) for name in names), default=0.0)
    slots = sum(times(kind.count, kind.concurrency or 1) for kind in scenario.workers)
    own = any(kind.concurrency is None for kind in scenario.workers) and scenario.processor is not None
    return math.inf if not shortest or own else times(slots, horizon) / shortest


def _closed_jobs(scenario: Scenario, entry: LoadEntry) -> float:
    """Jobs that the producers of a closed load add, as long as that can be told."""
    assert entry.closed is not None
    names = list(scenario.mix(entry))
    if any(scenario.job(name).service is None for name in names):
        return float(entry.closed.producers)
    service = max(_mean(scenario.job(name).service) for name in names)
    cycle = service + _mean(entry.closed.think)
    length = min(entry.duration or math.inf, max(scenario.duration - entry.start, 0.0))
    slots = sum(times(kind.count, kind.concurrency or 1) for kind in scenario.workers)
    if not cycle:
        return float(entry.closed.producers)
    return min(times(entry.closed.producers, length) / cycle, times(slots, length) / (service or cycle))


def _workers(scenario: Scenario) -> Iterator[Part]:
    length = scenario.duration + min(scenario.drain_time, _longest_delay(scenario))
    for i, kind in enumerate(scenario.workers):
        renew = (kind.lock_renew or kind.lock_duration / 2) / 2
        looks = times(kind.count, length / renew + length / kind.stalled_interval)
        yield _part(("workers", i, "count"), kind.count, "workers", WORKER)
        yield _part(("workers", i, "concurrency"), times(kind.count, kind.concurrency or 1), "slots", SLOT)
        yield _part(("duration",), looks, "looks of workers at their locks and for stalled jobs", UPKEEP)


def _longest_delay(scenario: Scenario) -> float:
    """The longest delay of the job types that are added: a run that drains waits for it."""
    asked = what_is_asked(scenario, scenario.duration).loads
    added = {name for load in asked for name, share in load.types.items() if load.jobs * share >= 1}
    return max((scenario.job(name).delay for name in added), default=0.0)


def _real_time(scenario: Scenario) -> Iterator[Part]:
    yield Part(("duration",), f"{_long(scenario.duration)} of real time", scenario.duration, 0.0)
    for i, kind in enumerate(scenario.workers):
        yield _part(("workers", i, "count"), kind.count, "worker processes", PROCESS)


def _scans(scenario: Scenario) -> Iterator[Part]:
    overdue = scenario.overdue
    if overdue is None:
        return
    yield _part(("overdue", "tasks"), times(overdue.tasks + overdue.backlog, 1.0), "overdue tasks", TASK)
    schedule = overdue.schedule(scenario.epoch.timestamp())
    scans = times(overdue.schedulers if overdue.by == "timer" else 1, _ticks(schedule, scenario.duration))
    yield _part(("overdue", "every" if overdue.cron is None else "cron"), scans, "scans", SCAN)
    yield _part(("overdue", "schedulers"), times(overdue.schedulers, 1.0), "schedulers", WORKER)


def _ticks(schedule: Schedule, duration: float) -> float:
    """About how many ticks there are: at a random time, one over the gap between two ticks is their rate on average."""
    rate = 0.0
    for i in range(SAMPLES):
        # multiples of the golden ratio are spread evenly, and are in step with no calendar
        time = (0.5 + i * 0.6180339887498949) % 1.0 * min(duration, CALENDAR)
        try:
            before, after = schedule.until(time), schedule.after(time)
        except (ValueError, OverflowError):
            # beyond the year 9999
            continue
        if before is not None and after is not None and after > before:
            rate += 1 / (after - before) / SAMPLES
    return times(rate, duration)


def _faults(scenario: Scenario) -> Iterator[Part]:
    for i, entry in enumerate(scenario.faults):
        settings = entry.settings
        strikes = float(len(settings.at or ()))
        if settings.every is not None:
            length = getattr(settings, "for_", None)
            period = _mean(settings.every) + (0.0 if length is None else _mean(length))
            strikes = math.inf if not period else scenario.duration / period
        place: Location = ("faults", i, entry.kind)
        yield _part(place, strikes, "strikes", STRIKE)
        if isinstance(settings, ProducerBurst):
            yield _part(place, times(strikes, settings.size), "jobs", JOB)
        if isinstance(settings, WorkerScale) and strikes:
            yield _part(place, times(settings.to, 1.0), "workers", WORKER)


def _mean(service: ServiceTime | None) -> float:
    """Mean seconds of a distribution; 0 if there is none."""
    return 0.0 if service is None else float(service.model().mean)


def times(count: float, each: float) -> float:
    """A product that may be beyond all floats, which whole numbers may be by themselves."""
    try:
        return float(count) * float(each) if count and each else 0.0
    except OverflowError:
        return math.inf


def _part(place: Location, count: float, what: str, each: tuple[float, float]) -> Part:
    return Part(place, _count(count, what), times(count, each[0]), times(count, each[1]))


def _count(count: float, what: str) -> str:
    count = float(f"{count:.6g}") if count < 1e18 else count
    return f"{count:,.0f} {what}" if count < 1e18 else f"more than {10**18:,} {what}"


def _long(seconds: float) -> str:
    years = seconds / (365 * 86400)
    if years > 1000:
        return "1,000 years"
    if years >= 2:
        return f"{years:,.0f} years"
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:,.0f} days"
    return format_duration(float(f"{seconds:.2g}"))


def _memory(size: float) -> str:
    for unit, scale in (("MB", 1e6), ("GB", 1e9), ("TB", 1e12)):
        if size < 1000 * scale:
            return f"{size / scale:,.3g} {unit}"
    return f"{size / 1e15:,.0f} PB" if size < 1e18 else "1,000 PB"


# -- How attempts of a type of job fail, and how often it runs: expected numbers, from the rules of the core


LONG = 2000
"""Attempts that are looked at one by one; what follows is summed in closed form."""


class Failures:
    """How attempts of a type of job fail, and what follows, by the rules of the core.

    Args:
        cut: the share of attempts that run into their timeout.
        unknown: a handler of the user's own, of which nobody knows how often it fails.
    """

    def __init__(
        self, settings: JobSettings, options: JobOptions, processor: Processor, cut: float, *, unknown: bool
    ) -> None:
        self._settings = settings
        self._options = options
        self._retries = processor.retries
        self._infos = {name: processor.errors.describe(simulated(name)) for name in SIMULATED}
        self._timed_out = processor.errors.describe(TimeoutError())
        self._cut = cut
        self._unknown = unknown
        self._poison = None if settings.poison is None or not settings.poison.probability else settings.poison

    @cached_property
    def attempts(self) -> int:
        """Runs at most, whatever they fail with."""
        return max(self._attempts(info) for info in [*self._infos.values(), self._timed_out])

    @property
    def poisoned(self) -> bool:
        """Whether some jobs can never succeed."""
        return self._poison is not None

    def starts(self) -> float:
        """Runs of a job on average: 1 + p1 + p1 p2 + ..., where p is how likely an attempt fails and is retried."""
        total, share = 1.0, 1.0
        for n in range(1, self.attempts):
            again = self.again(n)
            if n >= LONG:
                left = self.attempts - n
                total += share * (left if again == 1 else again * (1 - again**left) / (1 - again))
                break
            share *= again
            total += share
            if share < 1e-12:
                break
        if self._poison is None:
            return total
        sick = self._poison.probability
        return (1 - sick) * total + sick * self._attempts(self._infos[self._poison.category])

    def completed(self) -> float:
        """The share of jobs that complete in the end."""
        total, share = 0.0, 1.0
        for n in range(1, self.attempts + 1):
            again, succeeds = self.again(n), max(1 - sum(rate for _, rate in self._chances(n)), 0.0)
            if n >= LONG:
                left = self.attempts - n + 1
                total += share * succeeds * (left if again == 1 else (1 - again**left) / (1 - again))
                break
            total += share * succeeds
            share *= again
            if share < 1e-12:
                break
        return total * (1.0 if self._poison is None else 1 - self._poison.probability)

    def backoff(self, share: float = 0.0) -> float:
        """Seconds that a job waits for its retries together, at most; of all jobs but this share of them."""
        total, reached = 0.0, 1.0
        for n in range(1, self.attempts):
            reached *= self.again(n)
            sick = 0.0
            if self._poison is not None and n < self._attempts(self._infos[self._poison.category]):
                sick = self._poison.probability
            if not self._unknown and (1 - sick) * reached + sick <= share:
                break
            wait = self.wait(n)
            if n >= LONG:
                return total + wait * (self.attempts - n)
            total += wait
        return total

    def _attempts(self, info: ErrorInfo) -> int:
        return self._retries.attempts(self._options, info)

    def _chances(self, attempt: int) -> Iterator[tuple[ErrorInfo, float]]:
        """What an attempt of a job that is no poison may fail with, and how likely."""
        yield self._timed_out, self._cut
        for name, rate in self._settings.errors.at(attempt).items():
            yield self._infos[name], rate * (1 - self._cut)

    def again(self, attempt: int) -> float:
        """How likely the attempt fails and another one follows."""
        return min(sum(rate for info, rate in self._chances(attempt) if attempt < self._attempts(info)), 1.0)

    def wait(self, attempt: int) -> float:
        """The longest wait in seconds that can follow the attempt."""
        infos = [info for info, rate in self._chances(attempt) if rate]
        if self._poison is not None:
            infos.append(self._infos[self._poison.category])
        if self._unknown:
            infos = [*self._infos.values()]
        backoffs = [self._retries.backoff(self._options, info) for info in infos if attempt < self._attempts(info)]
        return max((each.bounds(attempt)[1] for each in backoffs if each is not None), default=0.0)
