"""The view of a run that oracles judge: what was recorded, what the queue reports at the end, and the rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from queuesim.core.events import EventKind
from queuesim.core.job import KEEP_ALL, Backoff, Deduplication, JobOptions, JobState, Keep, RateLimit
from queuesim.core.retry import RetryPolicy
from queuesim.core.scheduler import Cron, Every, Missed
from queuesim.oracles.columns import Array, Columns
from queuesim.oracles.rollback import FLIGHT, Rollbacks
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import CheckRow, Ending, FaultRow, Recording, rows_of

# -- What is known of overdue scans when a run is over: what their database and their job scheduler say

UNFINISHED = (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE)
"""Where a job is that has not ended."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """The job scheduler whose ticks begin scans. Times are seconds since the run began."""

    schedule: Cron | Every
    missed: Missed
    asked_at: float
    """When the queue was asked for what follows."""
    stored: bool
    """Whether the queue has the scheduler."""
    due: float | None = None
    """When its pending job is due."""
    pending: str | None = None
    """The id of that job."""
    state: JobState | None = None
    """Where that job is; None: nowhere."""
    under_way: Sequence[tuple[float, float | None]] = ()
    """The ticks whose jobs have not ended, and when each job started, if it did: its scan need not have begun yet."""
    dead: Sequence[tuple[float, float]] = ()
    """Spans in which nobody was there to run it: crashes of all schedulers."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan, as its row in the database says."""

    number: int
    trigger: str
    tick: float | None
    cutoff: float
    began: float
    ended: float | None
    pages: int
    found: int
    enqueued: int
    duplicates: int
    leased_until: float


@dataclass(frozen=True, slots=True)
class OverdueState:
    """Everything that the oracles of overdue scans look at."""

    scans: Sequence[Scan]
    per_page: bool
    """Whether one notification job is about a page of tasks, not about one."""
    window: float
    """Seconds within which nobody is notified twice of a task."""
    notified: Sequence[tuple[int, float]] = ()
    """(task, when) of each notification, in order."""
    not_notified: Sequence[tuple[int, float, str]] = ()
    """Tasks whose assignees have not been notified: (task, since when, deduplication id of a notification)."""
    staged: int = 0
    """Jobs that are still in the outbox."""
    ticks: Ticks | None = None
    """None: timers begin the scans, not a job scheduler."""
    crashed: bool = False
    """Whether processes that scan were killed."""


# -- The rules that apply to a run


@dataclass(frozen=True, slots=True)
class Expectations:
    """The rules of one run."""

    options: Sequence[JobOptions] = ()
    """Different options of jobs."""
    policies: Mapping[str, RetryPolicy] = field(default_factory=dict)
    """By category of error."""
    custom_backoff: bool = False
    """Whether a function of the user's decides on delays."""
    max_started: int | None = None
    concurrency: Mapping[str, int] = field(default_factory=dict)
    """Slots by worker."""
    starts: Mapping[str, float] = field(default_factory=dict)
    """When each worker begins to work, in seconds."""
    shared_concurrency: int | None = None
    limiters: Sequence[RateLimit] = ()
    """Of the workers, different ones; with a shared one, what comes of both."""
    keep_completed: Keep = KEEP_ALL
    keep_failed: Keep = KEEP_ALL
    dead_letters: bool = False
    drained: bool = False
    """Whether the run had all the time that it needed to end every job."""
    resolution: float = 1e-6
    """Seconds that two moments may differ and be one."""
    slack: float = 0.0
    """Seconds that a command may be under way: what is recorded of it bears the time before or after."""
    pickup: float = 0.0
    """Seconds that the backend itself may take to start a job."""
    blocking: frozenset[str] = frozenset()
    """The types of jobs whose handlers hold the event loop."""
    presence: Sequence[tuple[str, float, float]] | None = None
    """(worker, since, until) for each time that a worker took jobs; None: each does from `starts` on."""

    def allowed(self, options: JobOptions) -> int:
        """Attempts that such a job may have at most, whatever it fails with."""
        own = max(1, options.attempts)
        return max([own, *(policy.attempts for policy in self.policies.values() if policy.attempts is not None)])

    def retried(self, options: JobOptions, category: str, retryable: bool, made: int) -> bool:
        """Whether an attempt that failed so, the `made`-th that counts, is followed by another."""
        policy = self.policies.get(category, RetryPolicy())
        retry = retryable if policy.retry is None else policy.retry
        attempts = options.attempts if policy.attempts is None else policy.attempts
        return retry and made < attempts

    def backoff(self, options: JobOptions, category: str, made: int) -> tuple[float, float]:
        """Shortest and longest delay after the `made`-th attempt that counts."""
        if self.custom_backoff:
            return 0.0, math.inf
        policy = self.policies.get(category, RetryPolicy())
        backoff: Backoff | None = policy.backoff or options.backoff
        return (0.0, 0.0) if backoff is None else backoff.bounds(made)


@dataclass(slots=True)
class FinalState:
    """What the queue itself says when a run is over, beside what was recorded."""

    census: Mapping[str, Sequence[int] | Array] = field(default_factory=dict)
    """The numbers of the jobs in each state; a job that is there twice is listed twice."""
    known: Sequence[int] | Array = ()
    """All jobs that are stored."""
    stranded: Sequence[int] = ()
    """Parents that wait for children although all of them have completed or are gone, by their numbers."""
    dead_letters: Mapping[str, int] | None = None
    """How many dead letters there are of each job, by its id; None: they were not read."""
    terms: Sequence[int] | Array = ()
    """For each job, in the order of adding, the place of its options in `Expectations.options`."""
    deduplications: Mapping[int, Deduplication] = field(default_factory=dict)
    """By the numbers of the jobs that have one."""
    holds: Sequence[tuple[int, float, float]] = ()
    """(number of the job, when, for how many seconds) for each attempt whose handler limited the queue."""
    overdue: OverdueState | None = None
    """Of overdue scans; None: there are none."""


WITNESSES = 3
"""Number of violations that a row describes."""
FORGETFUL = "the server lost a part of its memory"

TRANSITIONS = np.isin(
    np.arange(len(EventKind)),
    [
        kind.code
        for kind in (
            EventKind.ADDED,
            EventKind.WAITING_CHILDREN,
            EventKind.WAITING,
            EventKind.DELAYED,
            EventKind.ACTIVE,
            EventKind.COMPLETED,
            EventKind.FAILED,
            EventKind.REMOVED,
        )
    ],
)
"""Which kinds of events record a transition of a job, by their codes."""


COUNTED = (Ending.OK, Ending.RETRIED, Ending.FAILED)
"""How attempts end that use one up."""


class RunView:
    """A run as the oracles see it.

    Args:
        expectations: the rules that apply to it.
        final_state: what the queue itself reports at its end.
    """

    def __init__(self, recording: Recording, expectations: Expectations, final_state: FinalState) -> None:
        self.recording = recording
        self.expectations = expectations
        self.final_state = final_state
        self.attempts = Columns(recording.attempts)
        self.events = Columns(recording.events)
        self.end = recording.facts.duration

    # -- jobs

    @cached_property
    def numbers(self) -> Array:
        """The jobs' numbers, ascending."""
        numbers = self.recording.jobs["number"]
        ordered: Array = np.sort(numbers, kind="stable")
        return ordered

    @cached_property
    def _order(self) -> Array:
        return np.argsort(self.recording.jobs["number"], kind="stable")

    def of_jobs(self, column: str) -> Array:
        """A column of the jobs, in the order of `numbers`."""
        values: Array = self.recording.jobs[column][self._order]
        return values

    @cached_property
    def terms(self) -> Array:
        """The place of each job's options in `Expectations.options`; -1: unknown."""
        terms = np.asarray(self.final_state.terms, dtype=np.int64)
        if len(terms) != len(self.numbers):
            return np.full(len(self.numbers), -1, dtype=np.int64)
        return terms[self._order]

    @cached_property
    def _rules(self) -> tuple[list[JobOptions], Array]:
        first: dict[tuple[int, Backoff | None], int] = {}
        rules: list[JobOptions] = []
        rule_of = np.zeros(len(self.expectations.options), dtype=np.int64)
        for term, options in enumerate(self.expectations.options):
            rule_of[term] = rule = first.setdefault((options.attempts, options.backoff), len(rules))
            if rule == len(rules):
                rules.append(options)
        return rules, rule_of

    @property
    def rules(self) -> list[JobOptions]:
        """Options of jobs that differ in how often and when a job is retried: few, where each job has options of its
        own."""
        return self._rules[0]

    @property
    def rule_of(self) -> Array:
        """For each of `Expectations.options`, its place among `rules`."""
        return self._rules[1]

    def row(self, numbers: Array) -> Array:
        """Where jobs are among `numbers`; -1: nowhere."""
        return rows_of(self.numbers, np.ascontiguousarray(numbers))

    # -- attempts

    @cached_property
    def by_job(self) -> Array:
        """The attempts' positions, job by job, each job's in the order of their starts."""
        return self.in_order(self.attempts)

    @cached_property
    def rows_by_job(self) -> Columns:
        """The attempts in that order."""
        return self.attempts[self.by_job]

    @cached_property
    def attempts_made(self) -> Array:
        """For each attempt in that order: how many of its job counted by then, this one included. Those that the queue
        forgot do not count."""
        rows = self.rows_by_job
        counted = np.isin(rows["ending"], COUNTED) & (self.undone_by[self.by_job] < 0)
        total = np.cumsum(counted)
        begins = np.concatenate(([True], rows["number"][1:] != rows["number"][:-1])) if len(rows) else np.zeros(0, bool)
        before = np.where(begins, total - counted, 0)
        made: Array = total - np.maximum.accumulate(before) if len(rows) else total
        return made

    def in_order(self, attempts: Columns) -> Array:
        """The positions of these attempts, job by job, each job's in the order of their starts. What started within
        the resolution of the clocks goes by its number: a repeated exchange brings whole milliseconds from Redis."""
        if self.late_spans and not self.rollbacks:
            # the queue numbers the starts, and a worker may have asked long before it got the job
            return np.lexsort((attempts["started"], attempts["attempt"], attempts["number"]))
        started = self.given_out(attempts)
        tick = np.floor(started / self.expectations.resolution + 1e-3)
        return np.lexsort((started, attempts["attempt"], tick, attempts["number"]))

    def given_out(self, attempts: Columns) -> Array:
        """When the queue gave out these jobs, at the soonest: a start bears the time at which its worker asked,
        and where commands are late the job may have become ready after that."""
        started: Array = attempts["started"]
        return np.fmax(started, attempts["ready"]) if self.late_spans else started

    # -- events

    @cached_property
    def transitions(self) -> Array:
        """Positions of the events that record a transition of a job, job by job, each job's in order."""
        return transitions(self.events)

    @cached_property
    def lasting_transitions(self) -> Array:
        """The same of the events that the queue has not forgotten; it must be known which they are."""
        assert self.lasting is not None
        return self.transitions if self.lasting is self.events else transitions(self.lasting)

    @cached_property
    def ends_of_runs(self) -> Array:
        """For each event, whether by it a job is active no longer."""
        places = self.transitions
        number, kind = self.events["number"][places], self.events["kind"][places]
        after = (number[1:] == number[:-1]) & (kind[:-1] == EventKind.ACTIVE.code)
        found = np.zeros(len(self.events), dtype=bool)
        found[places[1:][after]] = True
        return found

    @cached_property
    def started_twice(self) -> set[int]:
        """Jobs of which the queue recorded two starts without an end between them."""
        places = self.transitions
        number, kind = self.events["number"][places], self.events["kind"][places]
        active = kind == EventKind.ACTIVE.code
        return set(number[1:][active[1:] & active[:-1] & (number[1:] == number[:-1])].tolist())

    # -- faults

    @cached_property
    def faults(self) -> list[FaultRow]:
        return self.recording.faults

    @cached_property
    def rollbacks(self) -> Rollbacks:
        """The faults by which the queue forgot something."""
        return Rollbacks(self.faults, self.late_spans, self.expectations.resolution)

    @cached_property
    def holds(self) -> Array:
        """(since, until) for each time that a handler limited the queue, in order: from when its job was back on."""
        held = np.array(self.final_state.holds, dtype=np.float64).reshape(-1, 3)
        number, ended, seconds = held[:, 0].astype(np.uint32), held[:, 1], held[:, 2]
        back = self.events[self.ends_of_runs & (self.events["kind"] == EventKind.WAITING.code)]
        known = following(back, number, ended - 0.001)
        since = np.where(np.isnan(known), ended, known)
        spans = np.stack((since, since + seconds), axis=1)
        in_order: Array = spans[np.argsort(since, kind="stable")]
        return in_order

    @cached_property
    def recorded_ends(self) -> Array:
        """For each attempt, when the queue recorded its end; NaN: never."""
        # where an end was forgotten, a start may follow a start, or a promotion
        again = (self.events["kind"] == EventKind.ACTIVE.code) | (self.events["previous"] == JobState.DELAYED.code)
        ends = self.events[self.ends_of_runs & ~again]
        # several attempts of a job may start at one moment, where it puts itself off for no time at all
        slack = 0.001 + self.expectations.slack
        # an event of that moment may bear the whole millisecond before it
        soonest = self.attempts["started"] - self.expectations.resolution
        return following(ends, self.attempts["number"], np.fmax(soonest, self.attempts["ended"] - slack))

    @cached_property
    def undone_by(self) -> Array:
        """For each attempt, the first rollback by which the queue forgot its start or its end; -1: none."""
        if not self.rollbacks:
            return np.full(len(self.attempts), -1)
        start, end = self.rollbacks.forgot(self.attempts["started"]), self.rollbacks.forgot(self.recorded_ends)
        # a failover may forget the end only, and an empty restart long after it the start as well
        first: Array = np.where((start >= 0) & (end >= 0), np.minimum(start, end), np.maximum(start, end))
        return first

    @cached_property
    def doubtful(self) -> set[int]:
        """Jobs of whose attempts nobody can say which the queue had forgotten when: it was recorded late, at the very
        moment to which it went back, or forgot them only for a while."""
        if not self.rollbacks:
            return set()
        unclear = (self.undone_by >= 0) & self.late
        for times in (self.attempts["started"], self.recorded_ends):
            unclear |= self.rollbacks.on_edge(times) | self.rollbacks.came_back(times)
        return set(self.attempts["number"][unclear].tolist())

    @cached_property
    def lasting(self) -> Columns | None:
        """The events that the queue has not forgotten; None: nobody can say which they are."""
        if not self.rollbacks:
            return self.events
        times = self.events["time"]
        if self.late or self.rollbacks.on_edge(times).any():
            return None
        return self.events[self.rollbacks.lasts(times)]

    @cached_property
    def ended(self) -> Array:
        """The numbers of the jobs that completed or failed for good, by their workers or by the queue's events."""
        events = self.events if self.lasting is None else self.lasting
        over = np.isin(events["kind"], (EventKind.COMPLETED.code, EventKind.FAILED.code))
        attempts = self.attempts[np.isin(self.attempts["ending"], (Ending.OK, Ending.FAILED))]
        # a worker may have died before it heard that its outcome had arrived
        return distinct(np.concatenate((attempts["number"], events["number"][over])))

    @cached_property
    def late_spans(self) -> list[tuple[float, float]]:
        """From when until when commands may have taken effect later than they were sent."""
        return [(fault.began, settled(fault)) for fault in self.faults if Effect.LATE_COMMANDS in fault.effects]

    @property
    def late(self) -> bool:
        """Whether commands took effect later than they were sent."""
        return bool(self.late_spans)

    def late_at(self, time: float) -> bool:
        """Whether commands sent at that time may have taken effect later."""
        return any(since <= time <= until for since, until in self.late_spans)

    @cached_property
    def skewed_spans(self) -> list[tuple[float, float]]:
        """From when until when some worker's clock was wrong."""
        return [
            (fault.began, math.inf if math.isnan(fault.ended) else fault.ended)
            for fault in self.faults
            if Effect.WRONG_CLOCK in fault.effects
        ]

    @property
    def skewed(self) -> bool:
        """Whether some worker's clock was wrong."""
        return bool(self.skewed_spans)

    def had(self, effects: Effect) -> bool:
        """Whether faults struck that have one of these effects."""
        return any(fault.effects & effects for fault in self.faults)

    @cached_property
    def stalls(self) -> dict[int, list[float]]:
        """When each job was found stalled."""
        events = self.events[self.events["kind"] == EventKind.STALLED.code]
        found: dict[int, list[float]] = {}
        for number, time in zip(events["number"].tolist(), events["time"].tolist(), strict=True):
            found.setdefault(number, []).append(time)
        return found

    def stalled_since(self, attempt: Any) -> bool:
        """Whether an attempt's job was found stalled after it had begun."""
        return any(time >= attempt["started"] for time in self.stalls.get(int(attempt["number"]), ()))

    @cached_property
    def unsure(self) -> set[int]:
        """Jobs of which a worker may know less than the queue, or the queue less than a worker."""
        return self.interrupted | self.unheard | self.doubtful

    @cached_property
    def unheard(self) -> set[int]:
        """Jobs of which an attempt seems to go on although a later one was started: when the run ended, the worker had
        not heard yet what the queue made of it."""
        rows = self.rows_by_job
        followed = np.zeros(len(rows), dtype=bool)
        followed[:-1] = rows["number"][1:] == rows["number"][:-1]
        return set(rows["number"][followed & (rows["ending"] == Ending.UNFINISHED)].tolist())

    @cached_property
    def interrupted(self) -> set[int]:
        """Jobs of which an attempt was lost."""
        return set(self.attempts["number"][self.attempts["ending"] == Ending.LOST].tolist())


def settled(fault: FaultRow) -> float:
    """When the last command was over that a fault of latency delayed."""
    if fault.settled is not None:
        return fault.settled
    return math.inf if math.isnan(fault.ended) else fault.ended + FLIGHT


def transitions(events: Columns) -> Array:
    """Positions of the events that record a transition of a job, job by job, each job's in order."""
    found = np.flatnonzero((events["number"] > 0) & TRANSITIONS[events["kind"]])
    ordered: Array = found[np.argsort(events["number"][found], kind="stable")]
    return ordered


DENSE = 8
"""Numbers of jobs are marked in a table where they are not spread more thinly than one in so many."""


def counts_of(numbers: Array) -> Array | None:
    """How often each number from 0 on is among these; None if they are spread too thinly to count them so."""
    if not len(numbers) or int(numbers.max()) > DENSE * len(numbers) + 1000:
        return None
    counts: Array = np.bincount(numbers)
    return counts


def distinct(numbers: Array) -> Array:
    """The different numbers of jobs, ascending. To mark them in a table takes a tenth of sorting them."""
    counts = counts_of(numbers)
    if counts is None:
        return np.unique(numbers)
    found: Array = np.flatnonzero(counts).astype(numbers.dtype)
    return found


def repeated(numbers: Array) -> Array:
    """The numbers of jobs that are there more than once, ascending."""
    counts = counts_of(numbers)
    if counts is None:
        each, often = np.unique(numbers, return_counts=True)
        return each[often > 1]
    found: Array = np.flatnonzero(counts > 1).astype(numbers.dtype)
    return found


def groups(*columns: Array) -> tuple[Array, Array]:
    """The different rows of some columns of integers, in order, and for each row which of them it is."""
    rows = np.stack(columns, axis=1).astype(np.int64)
    order = np.lexsort(tuple(reversed(columns)))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    which = np.empty(len(rows), dtype=np.intp)
    which[order] = np.cumsum(new) - 1
    return rows[order[new]], which


def following(events: Columns, numbers: Array, times: Array) -> Array:
    """The time of the first of the events, of the same job each, at or after the given times; NaN: there is none."""
    number = np.concatenate((numbers, events["number"]))
    time = np.concatenate((times, events["time"]))
    is_event = np.concatenate((np.zeros(len(numbers), dtype=bool), np.ones(len(events), dtype=bool)))
    order = np.lexsort((is_event, time, number))
    places = np.where(is_event[order], np.arange(len(order)), len(order))
    following = np.minimum.accumulate(places[::-1])[::-1]
    known = following < len(order)
    target = order[following[known]]
    source = order[known]
    same = number[target] == number[source]
    values = np.full(len(order), np.nan)
    values[source[same]] = time[target[same]]
    found: Array = values[: len(numbers)]
    return found


def check_row(
    name: str, violations: Sequence[str] | Iterable[str], note: str = "", count: int | None = None, judged: float = 1.0
) -> CheckRow:
    """The row of an oracle: how many violations, and the first of them.

    Args:
        note: what is worth knowing but is no violation.
        count: number of violations, where not all are described.
        judged: share of the run that it judged.
    """
    described = list(violations)
    number = len(described) if count is None else count
    shown = "; ".join(described[:WITNESSES])
    if number > min(len(described), WITNESSES):
        shown += "; ..."
    detail = "; ".join(part for part in (shown, note) if part)
    return CheckRow(name, number == 0, float(number), "== 0", None, detail, "oracle", unit="violations", judged=judged)


def unjudged(name: str, why: str) -> CheckRow:
    """The row of an oracle that could not judge this run, and why."""
    return CheckRow(name, True, math.nan, "== 0", None, f"not judged: {why}", "oracle", judged=0.0)


def share_outside(spans: Sequence[tuple[float, float]] | Array, end: float) -> float:
    """Share of a run of so many seconds that is in none of the spans."""
    if not end > 0:
        return 1.0
    covered, until = 0.0, 0.0
    for since, to in sorted((max(since, 0.0), min(to, end)) for since, to in spans):
        covered += max(to - max(since, until), 0.0)
        until = max(until, to)
    return min(max(1.0 - covered / end, 0.0), 1.0)


def first(numbers: Array, format: str) -> list[str]:
    """Each job in words. Only the first are ever shown, so only those are made."""
    shown = [format.format(number) for number in numbers[: WITNESSES + 1].tolist()]
    return shown + [""] * (len(numbers) - len(shown))
