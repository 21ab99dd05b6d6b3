"""Evidence: what the oracles hold a run against, and what the queue itself says at its end."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import queuesim
from queuesim.core.broker import Broker
from queuesim.core.job import KEEP_ALL, Job, JobOptions, JobRef, JobState, RateLimit
from queuesim.core.processor import Processor
from queuesim.core.worker import Worker
from queuesim.oracles.run_view import Expectations, FinalState
from queuesim.results.fault_kinds import Effect
from queuesim.results.health import Asked, LoadAsked, TraceAsked
from queuesim.results.metrics import METRICS
from queuesim.results.recorder import Recorder
from queuesim.results.recording import CheckRow, FaultRow, Recording, Stop, StopReason, StuckJob
from queuesim.runs.handlers import OVERDUE
from queuesim.runs.virtual.fleet import Fleet
from queuesim.scenario.load import Arrivals, Bulk, LoadEntry, Trace
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import WorkerSettings
from queuesim.scenario.thresholds import Threshold, describe
from queuesim.simulation.diagnosis import awaited, sleeps
from queuesim.text import counted
from queuesim.units import format_duration, format_rate

if TYPE_CHECKING:
    from queuesim.results.result import Result


MOST_LETTERS = 100_000
"""With more dead letters than that nobody reads them all."""


class WorkerSlot(Protocol):
    """A worker's place, in whatever kind of run."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> WorkerSettings: ...

    @property
    def joined(self) -> float:
        """When it came into the run, in seconds; 0: it was there from the beginning."""
        ...


def promises(
    scenario: Scenario, processor: Processor, slots: Sequence[WorkerSlot], options: Sequence[JobOptions]
) -> Expectations:
    """What a run has promised, with workers in these slots and jobs with these options."""
    shared = scenario.queue.rate_limit
    terms = [processor.limiter if slot.settings.limiter is None else slot.settings.limiter.model() for slot in slots]
    own = dict.fromkeys(limiter for limiter in terms if limiter is not None)
    limiters = [limiter if shared is None else RateLimit(shared.max, limiter.duration) for limiter in own]
    if shared is not None and (None in terms or not own):
        # what holds for workers that have none
        limiters.append(shared.model())
    unlimited = None in terms and shared is None
    overhead = scenario.overhead
    return Expectations(
        options=options,
        policies=processor.retries.policies,
        custom_backoff=processor.retries.strategy is not None,
        max_started=processor.retries.max_started,
        concurrency={slot.name: slot.settings.concurrency or processor.concurrency for slot in slots},
        starts={slot.name: slot.joined or slot.settings.start for slot in slots},
        shared_concurrency=scenario.queue.concurrency,
        # a worker without a limiter starts what it likes
        limiters=() if unlimited else limiters,
        keep_completed=processor.keep_completed or KEEP_ALL,
        keep_failed=processor.keep_failed or KEEP_ALL,
        dead_letters=processor.dead_letters is not None,
        drained=scenario.drain is True,
        pickup=overhead.pickup + overhead.tick,
        blocking=frozenset(name for name, job in scenario.jobs.items() if job.blocking is not None),
    )


async def gather(
    broker: Any,
    recorder: Recorder,
    dead_letters: str | None,
    number_of: Callable[[Job], int] = lambda job: job.number,
) -> FinalState:
    """What the queue says of its jobs now."""
    return FinalState(
        census=await _census(broker, number_of),
        known=broker.stored() if hasattr(broker, "stored") else (),
        stranded=[
            number_of(job)
            for job in await broker.jobs(JobState.WAITING_CHILDREN, 0, -1, True)
            if not await _has_child(broker, job)
        ],
        dead_letters=None if dead_letters is None else await _letters(broker.sibling(dead_letters)),
        terms=recorder.terms,
        deduplications=recorder.deduplications,
        holds=recorder.holds,
    )


async def _census(broker: Any, number_of: Callable[[Job], int]) -> dict[str, list[int]]:
    if hasattr(broker, "census"):
        counted: dict[str, list[int]] = broker.census()
        return counted
    return {state.value: [number_of(job) for job in await broker.jobs(state, 0, -1, True)] for state in JobState}


async def _has_child(broker: Any, parent: Job) -> bool:
    """Whether a parent has a child for which it waits rightly: one that has not completed, or failed and keeps it."""
    for child in (await broker.children(parent.id)).pending:
        ref = JobRef.parse(child)
        if await broker.sibling(ref.queue).state(ref.id) not in (None, JobState.COMPLETED):
            return True
    return False


async def _letters(queue: Broker) -> dict[str, int] | None:
    counts = await queue.counts()
    if sum(counts.values()) > MOST_LETTERS:
        return None
    letters: list[Job] = []
    for state, count in counts.items():
        if count:
            letters += await queue.jobs(state, 0, -1, True)
    return Counter(json.loads(letter.raw_data or "{}").get("id", "") for letter in letters)


# -- Thresholds, measured: over a whole run, over a sliding window, and while the run goes on

NOTHING = "nothing to measure"


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a threshold came out."""

    row: CheckRow
    failed_at: float | None
    """Since when it fails, in seconds of the run; None: it holds, or nobody can tell."""


def judge(result: Result, thresholds: Iterable[Threshold]) -> list[CheckRow]:
    """How each threshold came out."""
    return [judgement(result, threshold).row for threshold in thresholds]


def judgement(result: Result, threshold: Threshold) -> Judgement:
    """How a threshold came out, and since when it fails."""
    found = _over_the_run(result, threshold) if threshold.over is None else _slide(result, threshold, threshold.over)
    holds = found.row.ok or math.isnan(found.row.value)
    return (_by_open_jobs(result, threshold) or found) if holds else found


def _by_open_jobs(result: Result, threshold: Threshold) -> Judgement | None:
    """The failure of an upper limit that jobs which have not finished, or not started, are beyond already. Without it
    a threshold would hold because the worst jobs are still waiting."""
    from queuesim.results.metrics import start_of, with_open_jobs

    if threshold.operator not in ("<", "<="):
        return None
    found = with_open_jobs(result, threshold.metric, threshold.statistic, threshold.where.chosen())
    if found is None:
        return None
    (reading, count), facts = found, result.facts
    first = start_of(threshold.metric, facts)
    start = first if threshold.over is None else max(first, facts.duration - threshold.over)
    value = reading.over(start, facts.duration)
    if threshold.holds(value):
        return None
    what = "finished" if threshold.metric == "latency" else "started"
    detail = f"{counted(count, 'job')} that had not {what} by then counted with their time so far"
    return Judgement(_row(threshold, value, facts.duration, detail), facts.duration)


def _over_the_run(result: Result, threshold: Threshold) -> Judgement:
    from queuesim.results.metrics import meter, moment_of

    where = threshold.where.chosen()
    value = meter(result, threshold.metric, threshold.statistic, where)(None, None)
    at = moment_of(result, threshold.metric, threshold.statistic, where, threshold.limit, threshold.operator)
    failed_at = None if threshold.holds(value) else at
    return Judgement(_row(threshold, value, at, NOTHING if math.isnan(value) else ""), failed_at)


def _slide(result: Result, threshold: Threshold, over: float) -> Judgement:
    """The window that meets the threshold worst. Windows in which there is nothing to measure pass."""
    from queuesim.results.sliding import worst_window

    where = threshold.where.chosen()
    worst = worst_window(
        result, threshold.metric, threshold.statistic, where, over, threshold.operator, threshold.limit
    )
    if math.isnan(worst.value):
        row = _row(threshold, worst.value, None, f"{NOTHING} in any window")
        row.ok, row.judged = True, 0.0
        return Judgement(row, None)
    detail = f"worst window: from {_moment(worst.start)} to {_moment(worst.end)}"
    if worst.failed_at is not None and worst.failed_at < worst.end:
        detail += f"; failed first in the window until {_moment(worst.failed_at)}"
    row = _row(threshold, worst.value, worst.end, detail)
    row.judged = worst.judged
    return Judgement(row, worst.failed_at)


def _row(threshold: Threshold, value: float, at: float | None, detail: str) -> CheckRow:
    unit = METRICS[threshold.metric].unit
    return CheckRow(describe(threshold), threshold.holds(value), value, threshold.condition, at, detail, unit=unit)


def _moment(seconds: float) -> str:
    return format_duration(round(seconds, 3))


# -- Thresholds that end a run: whether one has failed at any moment so far, and when first

FIRST = 0.01
"""A value over the whole run so far, such as a percentile, is judged once so large a part of the run is over: of its
very first jobs it would say nothing. A count, maximum or minimum that can't come back is judged from the beginning."""
MORE = 1.1
"""The run is looked at again when it has so many times as many rows as at the last look: each look takes as long as
the run so far is, so that all looks together take a dozen times as long as the last one, however long the run."""
PAUSE = 0.1
"""It is also looked at after so large a part of its duration, for what fails because nothing happens."""


@dataclass(frozen=True, slots=True)
class Failure:
    """That a threshold failed."""

    threshold: Threshold
    at: float
    """When first, in seconds since the run began."""
    value: float
    """What was measured then."""

    @property
    def name(self) -> str:
        """The threshold in words."""
        return describe(self.threshold)


class Abort:
    """The thresholds of a scenario that can end its run. It looks at the run now and then, but at all that happened
    in between, so that what it reports does not depend on when it looked.

    Args:
        thresholds: those with `abort`.
        duration: that was asked for, in seconds.
        warmup: seconds that don't count.
    """

    def __init__(self, thresholds: Sequence[Threshold], duration: float, warmup: float) -> None:
        self.thresholds = thresholds
        self.failure: Failure | None = None
        """The first one that failed, once one has."""
        self._duration = duration
        self._since = warmup + FIRST * (duration - warmup)
        self._rows = 0
        self._looked = 0.0

    @classmethod
    def of(cls, scenario: Scenario) -> Abort | None:
        """None if no threshold can end the run."""
        thresholds = [threshold for threshold in scenario.thresholds if threshold.abort]
        return cls(thresholds, scenario.duration, scenario.warmup) if thresholds else None

    def due(self, time: float, rows: int) -> bool:
        """Whether it is time to look again.

        Args:
            time: seconds since the run began.
            rows: how much was recorded until now.
        """
        if rows < MORE * max(self._rows, 1) and time < self._looked + PAUSE * self._duration:
            return False
        self._looked, self._rows = time, rows
        return True

    def look(self, recording: Recording) -> Failure | None:
        """Which threshold failed first in the run so far; None if none has."""
        from queuesim.results.result import Result

        return self.look_at(Result(recording))

    def look_at(self, result: Result) -> Failure | None:
        """As `look`."""
        failures = [
            Failure(threshold, *found)
            for threshold in self.thresholds
            if (found := first_failure(result, threshold, self._since)) is not None
        ]
        self.failure = min(failures, key=lambda failure: failure.at, default=None)
        return self.failure

    def confirm(self, stopped: Stop | None) -> Stop | None:
        """Why the run ended, by the last look at it. In real time some of what happened is known only after the run
        was ended, and a threshold may have failed earlier by that."""
        if stopped is None or stopped.reason is not StopReason.THRESHOLD or self.failure is None:
            return stopped
        return replace(stopped, at=self.failure.at, detail=self.failure.name)

    def mark(self, rows: Sequence[CheckRow]) -> None:
        """Let the check of the threshold that failed say so, also if it has recovered until the end of the run."""
        if self.failure is None:
            return
        row = next(row for row in rows if row.name == self.failure.name)
        if row.ok:
            ended = "" if row.value != row.value else "; it recovered later"
            row.detail = f"failed at {format_duration(round(self.failure.at, 3))}{ended}"
            row.value = self.failure.value
        row.ok, row.at, row.judged = False, self.failure.at, 1.0


def first_failure(result: Result, threshold: Threshold, since: float) -> tuple[float, float] | None:
    """When a threshold failed first in a run so far, and the value that was measured then; None: it has held.

    With `over`, that is the end of the first window that fails; windows that are not over yet don't count.

    Args:
        since: values over the whole run that can recover are judged from then on, in seconds.
    """
    from queuesim.results.sliding import first_failure_so_far, worst_window

    where, facts = threshold.where.chosen(), result.facts
    asked = (result, threshold.metric, threshold.statistic, where)
    if threshold.over is None:
        return first_failure_so_far(*asked, threshold.operator, threshold.limit, since)
    if facts.duration - facts.warmup < threshold.over:
        return None
    worst = worst_window(*asked, threshold.over, threshold.operator, threshold.limit)
    return None if worst.failed_at is None else (worst.failed_at, worst.value)


# -- Starvation: whether the faults of a run left nobody able to work

STARVED = 0.5
"""A run without a drain got stuck if for more than this part of it jobs waited and none started or ended."""
READY = (JobState.WAITING, JobState.PRIORITIZED)


async def starved_since(broker: Broker, fleet: Fleet, recorder: Recorder, duration: float, now: float) -> float | None:
    """Since when, at the end of a run with faults and without a drain, jobs wait and none starts or ends.

    Returns:
        Seconds since the run began; None if that is not so for most of the run, if the limiter holds the jobs, or if
        attempts are under way that take their time.
    """
    waiting = [job.ready_at or 0.0 for state in READY for job in await broker.jobs(state, 0, 0, True)]
    # jobs that nobody could add wait too
    waiting += [away] if (away := _away_since(recorder.faults, now)) < now else []
    limited = await broker.rate_limit_ttl(None, now) > 0
    working = any(member.worker is not None and member.worker.running for member in fleet.running)
    hanging = any(Effect.HANGS in fault.effects for fault in recorder.faults)
    if not waiting or limited or (working and not hanging):
        return None
    starts = [job.processed_on or 0.0 for worker in fleet.workers for job in worker.running.values()]
    since = max([recorder.last_ended, *starts, min(waiting)])
    return since if now - since > STARVED * duration else None


def _away_since(faults: Sequence[FaultRow], now: float) -> float:
    """Since when Redis is away, by outages that overlap or follow each other at once; now: it is there."""
    since = now
    for fault in sorted(faults, key=lambda fault: fault.began, reverse=True):
        ended = now if math.isnan(fault.ended) else fault.ended
        if Effect.AWAY in fault.effects and ended >= since:
            since = min(since, fault.began)
    return since


# -- Whether a run still gets on, and which jobs keep it from ending

UNFINISHED = (JobState.ACTIVE, JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED)
MOST_JOBS = 100
"""Stuck jobs that a result lists."""
FEW_ROUNDS = 10
"""At the end of a drain that is limited in time, a job that was put off so often is on its way nowhere."""

PACKAGE = str(Path(queuesim.__file__).parent)
OWN_CODE = (f"{PACKAGE}/core/", f"{PACKAGE}/brokers/")
"""What runs between a worker's slot and a handler."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long jobs may be put off before that counts as no progress."""

    rounds: int
    """Each must have been put off so often, and ..."""
    seconds: float
    """... for so many seconds, or ..."""
    total: int
    """... all together so often."""


NumberOf = Callable[[Job], int]


def number(job: Job) -> int:
    """A job's number, where the queue itself counts them."""
    return job.number


async def goes_round(
    broker: Broker,
    recorder: Recorder,
    workers: Sequence[Worker],
    now: float,
    patience: Patience,
    number_of: NumberOf = number,
) -> bool:
    """Whether jobs that are put off again and again are all that happens, or all that is left."""
    if not recorder.put_off:
        return False
    quiet = now - max(recorder.last_progress, recorder.last_added)
    long = quiet >= patience.seconds and recorder.fruitless >= patience.rounds
    if long or recorder.fruitless >= patience.total:
        return await stands_still(broker, recorder, workers, now, number_of)
    return await _only_rounds_left(broker, recorder, now, patience, number_of)


async def _only_rounds_left(
    broker: Broker, recorder: Recorder, now: float, patience: Patience, number_of: NumberOf
) -> bool:
    """Whether each job that is left was put off again and again, whatever was added and ended meanwhile."""
    put_off = recorder.put_off
    counts = await broker.counts()
    left = sum(counts[state] for state in UNFINISHED)
    if not left or len(put_off) < left:
        return False
    records = [put_off.get(each) for each in await _left(broker, number_of)]
    known = [record for record in records if record is not None and record.times >= patience.rounds]
    if not records or len(known) < len(records):
        return False
    long = all(now - record.since >= patience.seconds for record in known)
    return long or sum(record.times for record in known) >= patience.total


async def _left(broker: Broker, number_of: NumberOf) -> list[int]:
    return [number_of(job) for state in UNFINISHED for job in await broker.jobs(state, 0, -1, True)]


async def stands_still(
    broker: Broker, recorder: Recorder, workers: Iterable[Worker], now: float, number_of: NumberOf = number
) -> bool:
    """Whether the jobs that are left would be left however long one waited: nothing is due, and no handler sleeps.

    Workers in other processes have no tasks here: what their handlers wait for is unknown, and taken for work.
    """
    tasks = slot_tasks(workers)
    states = {state: await broker.jobs(state, 0, -1, True) for state in UNFINISHED}
    if await broker.rate_limit_ttl(None, now) > 0 and not recorder.put_off:
        return False
    for job in states[JobState.ACTIVE]:
        task = tasks.get(job.id)
        if not _rounds(recorder, number_of(job)) and (task is None or sleeps(task)):
            return False
    return all(_rounds(recorder, number_of(job)) for job in states[JobState.DELAYED])


def _rounds(recorder: Recorder, number: int) -> bool:
    record = recorder.put_off.get(number)
    return record is not None and record.times >= FEW_ROUNDS


def slot_tasks(workers: Iterable[Worker]) -> dict[str, asyncio.Task[Any]]:
    """The task that runs each job's handler, by the job's id."""
    return {
        job.id: task
        for worker in workers
        for slot, job in worker.running.items()
        if (task := worker.slot_task(slot)) is not None
    }


async def all_since(broker: Broker, since: float) -> bool:
    """Whether every job that is left was added after a moment; False if none is."""
    added = [job.timestamp for state in UNFINISHED for job in await broker.jobs(state, 0, -1, True)]
    return bool(added) and min(added) > since


async def no_progress(
    broker: Broker, recorder: Recorder, workers: Sequence[Worker], since: float, number_of: NumberOf = number
) -> Stop:
    """The verdict, with the jobs that are left: those in a handler first."""
    tasks = slot_tasks(workers)
    jobs: list[StuckJob] = []
    for state in UNFINISHED:
        for job in await broker.jobs(state, 0, MOST_JOBS - 1, True):
            hangs = awaited(tasks[job.id], OWN_CODE) if job.id in tasks else None
            record = recorder.put_off.get(number_of(job))
            jobs.append(
                StuckJob(
                    number_of(job),
                    job.name,
                    state.value,
                    worker=(job.processed_by or "") if state is JobState.ACTIVE else "",
                    awaits="" if hangs is None else hangs.code,
                    place="" if hangs is None else hangs.place,
                    put_off=0 if record is None else record.times,
                )
            )
    detail = "the queue is paused" if await broker.is_paused() else ""
    return Stop(StopReason.NO_PROGRESS, since, detail, tuple(jobs[:MOST_JOBS]))


# -- What a scenario asks of a run, in numbers: the load entries, their job types, and the failures that it wants


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
