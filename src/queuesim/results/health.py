"""Health checks: whether a run did what was asked of it. Each is one function that registers itself by name.

Names, schema, validation and documentation read the registry. A check looks at packed rows in whole columns and makes
no frames, so that it costs next to nothing per job.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.core.errors import PROGRAMMING_ERRORS
from queuesim.core.events import EventKind
from queuesim.results.recording import ENDINGS, CheckRow, Ending, Recording
from queuesim.results.top_errors import TopError, describe, errors_of_recording
from queuesim.text import counted, readable

Array = npt.NDArray[Any]

SLIGHT = 0.001
"""What happens by chance less often than this is not put down to chance."""
LATE = 0.1
"""What came in this last part of a run had too little time for a verdict."""
MOST_FINDINGS = 5
"""Findings that a check names; it counts the others."""
FEW = 10
"""With fewer finished jobs than this, injected faults can have failed all of them."""


@dataclass(frozen=True, slots=True)
class TraceAsked:
    """What a trace asks for. Times are seconds from the start of its load entry."""

    rows: int
    outside: int
    """Rows that the run has no time for."""
    earliest: float
    latest: float
    cut: bool
    """Whether the load entry says itself for how long it lasts."""
    column: str
    """What the file calls its times."""


@dataclass(frozen=True, slots=True)
class LoadAsked:
    """What one load entry asks for, until the end of the run's load."""

    name: str
    text: str
    """The entry in words: ``poisson, 2/s``."""
    jobs: float
    """How many jobs; of a random load, on average."""
    random: bool = False
    """Whether the number of jobs is drawn (Poisson)."""
    none: str = ""
    """Why it adds no job at all, though it has some: its times are after the run's end."""
    types: Mapping[str, float] = field(default_factory=dict)
    """Share of each job type."""
    trace: TraceAsked | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a scenario asks of a run: what the health checks compare the run with."""

    loads: Sequence[LoadAsked] = ()
    overdue: str = ""
    """The type of the jobs that scans for overdue tasks make; "" without such scans."""
    failing: Mapping[str, float] = field(default_factory=dict)
    """By job type: the probability of a failed attempt that the scenario itself asks for."""
    recorded_failures: Mapping[str, int] = field(default_factory=dict)
    """By job type: jobs of traces that failed when they were recorded, and so do again."""
    real_io: bool = False
    """Whether handlers may use the network: in real time they may."""
    expect: Collection[str] = ()
    """Names of the health checks that the scenario expects to fail."""


@dataclass(slots=True)
class HealthFinding:
    """What a health check found."""

    findings: list[str] = field(default_factory=list)
    """What is unhealthy, a sentence each."""
    count: int | None = None
    """The number of unhealthy things, if there are more than findings."""
    unjudged: str = ""
    """Why nothing can be said, if nothing can."""
    note: str = ""
    """What is worth knowing though it is not unhealthy."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A registered health check."""

    name: str
    meaning: str
    """What a failure means, in a sentence."""
    unit: str
    """What its value counts."""
    look: Callable[[RunHealth], HealthFinding]


HEALTH_CHECKS: dict[str, HealthCheck] = {}
"""Every health check by its name."""

Look = Callable[["RunHealth"], HealthFinding]


def health_check(name: str, unit: str) -> Callable[[Look], Look]:
    """Register a health check. The first paragraph of the function's docstring is its meaning."""

    def register(look: Look) -> Look:
        meaning = " ".join((look.__doc__ or "").partition("\n\n")[0].split())
        HEALTH_CHECKS[name] = HealthCheck(name, meaning, unit, look)
        return look

    return register


class RunHealth:
    """A run as health checks look at it: what was asked for, and what was recorded, by job type."""

    def __init__(self, recording: Recording, asked: Asked) -> None:
        self.recording = recording
        self.asked = asked
        self.end = recording.facts.duration

    @cached_property
    def _size(self) -> int:
        numbers = [rows["number"] for rows in (self.recording.jobs, self.recording.attempts, self.recording.events)]
        return 1 + max((int(each.max()) for each in numbers if len(each)), default=0)

    def marked(self, numbers: Array) -> Array:
        """For each job number, whether it is among `numbers`."""
        marks = np.zeros(self._size, dtype=bool)
        marks[numbers] = True
        return marks

    @cached_property
    def removed(self) -> Array:
        """Which job numbers were removed before they ended."""
        return self._left(lambda state: state == "removed")

    @cached_property
    def lost(self) -> Array:
        """Which job numbers never ended and are in no state: the server lost them."""
        return ~(self._left(lambda state: True) | self.completed | self.failed)

    def _left(self, wanted: Callable[[str], bool]) -> Array:
        """Which job numbers the run left unfinished in such a state."""
        numbers = [number for number, state in self.recording.left.items() if wanted(state) and number < self._size]
        return self.marked(np.array(numbers, dtype=np.int64))

    @cached_property
    def started(self) -> Array:
        """Which job numbers ever started."""
        return self.marked(self.recording.attempts["number"])

    @cached_property
    def completed(self) -> Array:
        """Which job numbers completed, by a worker or by the queue's own events."""
        return self._ended(Ending.OK, EventKind.COMPLETED)

    @cached_property
    def failed(self) -> Array:
        """Which job numbers failed for good and did not complete after all."""
        return self._ended(Ending.FAILED, EventKind.FAILED) & ~self.completed

    def _ended(self, ending: Ending, kind: EventKind) -> Array:
        attempts, events = self.recording.attempts, self.recording.events
        marks = self.marked(attempts["number"][attempts["ending"] == ending])
        marks[events["number"][events["kind"] == kind.code]] = True
        return marks

    def count(self, marks: Array | None = None) -> Array:
        """Jobs of each type, by its place among the names; only marked ones, if there are marks."""
        jobs = self.recording.jobs
        names = jobs["name"] if marks is None else jobs["name"][marks[jobs["number"]]]
        return np.bincount(names, minlength=len(self.recording.names))

    @cached_property
    def type_of(self) -> Array:
        """The type of each job number, as its place among the names; -1: unknown."""
        types = np.full(self._size, -1, dtype=np.int64)
        types[self.recording.jobs["number"]] = self.recording.jobs["name"]
        return types

    def earliest(self, values: Array, types: Array) -> Array:
        """The least value of each type, infinity where there is none."""
        least = np.full(len(self.recording.names), np.inf)
        known = types >= 0
        np.minimum.at(least, types[known], values[known])
        return least

    @cached_property
    def first_starts(self) -> Array:
        """When the first job of each type started; infinity: never."""
        attempts = self.recording.attempts
        return self.earliest(attempts["started"], self.type_of[attempts["number"]])

    @cached_property
    def errors(self) -> list[TopError]:
        """The errors of the run, the most frequent first."""
        return errors_of_recording(self.recording)

    def top_error(self, name: str | None = None) -> str:
        """The most frequent error, of a job type or of all, in a few words with its count; "" without one."""
        errors = [error for error in self.errors if name is None or error.name == name]
        if not errors:
            return ""
        # what jobs failed of for good says more than what they outlived
        top = max(errors, key=lambda error: error.failed)
        category = f" ({top.category})" if top.category else ""
        others = f"; {counted(len(errors) - 1, 'other error')} beside it" if len(errors) > 1 else ""
        return f"{describe(top)}{category}, {counted(top.count, 'time')}, first at {readable(top.first)}{others}"

    @property
    def faults(self) -> list[str]:
        """The kinds of faults that struck."""
        return list(dict.fromkeys(fault.kind for fault in self.recording.faults))

    def because_of_faults(self) -> str:
        """The faults that struck, as the end of a sentence; "" without any."""
        return f" (faults that struck: {', '.join(self.faults)})" if self.faults else ""


def judge_health(recording: Recording, asked: Asked) -> list[CheckRow]:
    """How each health check came out: a row each, kind "health", whose value is the number of findings.

    A check that the scenario expects to fail passes if it fails, and the other way round: its limit is "> 0".
    """
    health = RunHealth(recording, asked)
    return [_row(check, check.look(health), check.name in asked.expect) for check in HEALTH_CHECKS.values()]


def _row(check: HealthCheck, found: HealthFinding, expected: bool) -> CheckRow:
    if found.unjudged and not found.findings:
        row = CheckRow(check.name, True, math.nan, "> 0" if expected else "== 0", None, found.unjudged, "health")
        row.judged, row.unit = 0.0, check.unit
        return row
    number = len(found.findings) if found.count is None else found.count
    shown = found.findings[:MOST_FINDINGS]
    more = len(found.findings) - len(shown)
    detail = "; ".join([*shown, *([f"and {more} more"] if more else []), *([found.note] if found.note else [])])
    ok = number > 0 if expected else number == 0
    if expected:
        detail = f"as expected: {detail}" if number else "the scenario expects this check to fail, but it passed"
    return CheckRow(
        check.name, ok, float(number), "> 0" if expected else "== 0", None, detail, "health", unit=check.unit
    )


@health_check("no-jobs-added", "loads")
def no_jobs_added(health: RunHealth) -> HealthFinding:
    """A load entry, or the scans for overdue tasks, added no job although jobs were asked for.

    By chance a Poisson load of few expected jobs may add none: that is not judged.
    """
    recording = health.recording
    by_load = np.bincount(recording.jobs["load"], minlength=len(recording.loads))
    added = {name: int(count) for name, count in zip(recording.loads, by_load, strict=False)}
    found = HealthFinding()
    doubts = []
    for load in health.asked.loads:
        if added.get(load.name):
            continue
        if load.none:
            found.findings.append(f"load {load.name} ({load.text}) added no job: {load.none}")
        elif _expected_none(load):
            if load.jobs:
                doubts.append(
                    f"load {load.name} ({load.text}) added no job: it asks for {load.jobs:.3g} jobs in the run"
                    f"{' on average' if load.random else ''}, so that it may add none"
                )
        else:
            about = "about " if load.random else ""
            found.findings.append(
                f"load {load.name} ({load.text}) added no job, though it asks for {about}{load.jobs:,.0f}"
                f"{health.because_of_faults()}"
            )
    found.findings += _overdue_without_jobs(health)
    if not doubts and not len(recording.jobs):
        doubts.append("the load asks for no job, so that the run shows nothing")
    found.unjudged = "; ".join(doubts)
    return found


def _expected_none(load: LoadAsked) -> bool:
    """Whether it can be that a load adds no job."""
    return math.exp(-load.jobs) >= SLIGHT if load.random else load.jobs < 1


def _overdue_without_jobs(health: RunHealth) -> Iterator[str]:
    if not health.asked.overdue:
        return
    scans = health.recording.scans
    if not scans:
        yield f"no scan for overdue tasks began in the {readable(health.end)} of the run{health.because_of_faults()}"
        return
    found = sum(scan.found for scan in scans)
    if found and not any(scan.enqueued or scan.duplicates for scan in scans):
        yield (
            f"{counted(len(scans), 'scan')} found {counted(found, 'overdue task')} and added no notification"
            f"{health.because_of_faults()}"
        )


@health_check("trace-outside-run", "rows")
def trace_outside_run(health: RunHealth) -> HealthFinding:
    """Rows of a trace lie outside of the run, so that they are not replayed.

    A load entry that gives a `duration` cuts its trace on purpose, unless no row at all is left.
    """
    found = HealthFinding(count=0)
    for load in health.asked.loads:
        trace = load.trace
        if trace is None or not trace.outside or (trace.cut and trace.outside < trace.rows):
            continue
        assert found.count is not None
        found.count += trace.outside
        found.findings.append(
            f"load {load.name}: {trace.outside:,} of {counted(trace.rows, 'row')} of the trace lie outside of the run. "
            f"The earliest is at {readable(trace.earliest)}, the latest at {readable(trace.latest)}; "
            f"{_trace_advice(trace)}"
        )
    return found


EPOCHS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
"""Units in which programs write times since 1970."""
EPOCH_FROM, EPOCH_UNTIL = 946_684_800.0, 4_102_444_800.0
"""Seconds from 1970 until 2000 and until 2100."""


def epoch_unit(milliseconds: float) -> str | None:
    """The unit in which a number, meant as milliseconds, is a time of this century; None if it is none in any."""
    return next((unit for unit, size in EPOCHS.items() if EPOCH_FROM <= milliseconds / size < EPOCH_UNTIL), None)


def _trace_advice(trace: TraceAsked) -> str:
    written = trace.earliest * 1000
    unit = epoch_unit(written)
    if unit is None:
        return (
            "make the run's duration longer, or write a duration into the load entry to replay only the beginning "
            f"({trace.column} counts milliseconds from the beginning of the trace)"
        )
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(written / EPOCHS[unit], UTC)
    factor = EPOCHS["milliseconds"] / EPOCHS[unit]
    scale = "" if factor == 1 else f", then {'multiply' if factor > 1 else 'divide'} by {max(factor, 1 / factor):,.0f}"
    return (
        f"{trace.column} looks like {unit} since 1970 ({moment:%Y-%m-%dT%H:%M:%SZ}), but it must count milliseconds "
        f"from the beginning of the trace: subtract {written:.0f} from each{scale}"
    )


@health_check("type-never-started", "types")
def type_never_started(health: RunHealth) -> HealthFinding:
    """No job of a type ever started, although jobs of it were added, or should have been."""
    found, doubts = HealthFinding(), []
    recording, started = health.recording, health.count(health.started)
    added, lost = health.count(~health.removed), health.count(health.lost)
    ready = health.earliest(recording.jobs["added"] + recording.jobs["delay"], recording.jobs["name"].astype(np.int64))
    for code, name in enumerate(recording.names):
        if not added[code] or started[code]:
            continue
        waited = health.end - ready[code]
        text = f"{name}: {counted(int(added[code]), 'job')} added, none started"
        if lost[code] == added[code]:
            doubts.append(f"{text}; {_took(health)}")
        elif waited < 0:
            due = f"all are delayed until after the run's end: the first was due at {readable(float(ready[code]))}"
            found.findings.append(f"{text}: {due}")
        elif waited <= max(LATE * health.end, _longest(health, "ready", "started")):
            doubts.append(f"{text}: the first could start only {readable(waited)} before the end")
        else:
            found.findings.append(
                f"{text}, though the first could have {readable(waited)} before the end{_why_not_started(health)}"
            )
    for name, chance, jobs in _never_drawn(health):
        if chance < SLIGHT:
            found.findings.append(f"{name}: no job of it was added, though {counted(jobs, 'job')} were drawn")
        else:
            doubts.append(f"{name}: its weight is so small that none of {counted(jobs, 'job')} was of this type")
    found.unjudged = "; ".join(doubts)
    return found


def _longest(health: RunHealth, since: str, until: str) -> float:
    """The longest time between two moments of one attempt, in seconds; 0 if no attempt has both."""
    attempts = health.recording.attempts
    spent = attempts[until] - attempts[since]
    known = spent[~np.isnan(spent)]
    return float(known.max()) if len(known) else 0.0


def _why_not_started(health: RunHealth) -> str:
    """What may have held jobs back, as far as the recording shows."""
    facts = health.recording.facts
    causes = []
    if not len(health.recording.attempts):
        causes.append("no job of any type started: are there workers from the beginning on?")
    if facts.limiter is not None:
        causes.append(f"the limiter lets {counted(facts.limiter[0], 'job')} start per {readable(facts.limiter[1])}")
    if len(health.recording.attempts) and (health.recording.jobs["priority"] > 0).any():
        causes.append("jobs of higher priority go first")
    causes += [f"faults that struck: {', '.join(health.faults)}"] if health.faults else []
    return f" ({'; '.join(causes)})" if causes else ""


def _never_drawn(health: RunHealth) -> Iterator[tuple[str, float, int]]:
    """Types that loads draw by weight and never drew: each with the chance of that, and the number of jobs drawn."""
    recording = health.recording
    present = {name for name, count in zip(recording.names, health.count(), strict=True) if count}
    by_load = np.bincount(recording.jobs["load"], minlength=len(recording.loads))
    drawn = {name: int(count) for name, count in zip(recording.loads, by_load, strict=False)}
    chances: dict[str, tuple[float, int]] = {}
    for load in health.asked.loads:
        jobs = drawn.get(load.name, 0)
        for name, share in load.types.items():
            if share > 0 and jobs and name not in present and load.trace is None:
                chance, before = chances.get(name, (1.0, 0))
                chances[name] = (chance * (1 - share) ** jobs, before + jobs)
    yield from ((name, chance, jobs) for name, (chance, jobs) in chances.items())


@health_check("nothing-completed", "types")
def nothing_completed(health: RunHealth) -> HealthFinding:
    """Jobs of a type started, and none of them ever finished."""
    found, doubts = HealthFinding(), []
    recording = health.recording
    started, finished = health.count(health.started & ~health.removed), health.count(health.completed | health.failed)
    lost = health.count(health.started & health.lost)
    longest = _longest(health, "started", "ended")
    for code, name in enumerate(recording.names):
        if not started[code] or finished[code]:
            continue
        first = float(health.first_starts[code])
        text = f"{name}: {counted(int(started[code]), 'job')} started, the first at {readable(first)}, none finished"
        if lost[code] == started[code] or _taken_by_faults(health, code, int(started[code])):
            doubts.append(f"{text}; {_took(health)}")
        elif health.end - first <= max(LATE * health.end, longest):
            doubts.append(f"{text} before the run's end")
        else:
            found.findings.append(f"{text}{_instead(health, name, code)}")
    found.unjudged = "; ".join(doubts)
    return found


def _took(health: RunHealth) -> str:
    return f"the faults that struck took all of them: {', '.join(health.faults)}" if health.faults else "all are lost"


def _taken_by_faults(health: RunHealth, code: int, started: int) -> bool:
    """Whether the few jobs of a type lost all of their attempts, in a run in which faults struck."""
    attempts = health.recording.attempts
    endings = attempts["ending"][health.type_of[attempts["number"]] == code]
    return bool(health.faults) and started < FEW and bool((endings == Ending.LOST).all())


def _instead(health: RunHealth, name: str, code: int) -> str:
    """How the attempts of a type ended, and its top error."""
    attempts = health.recording.attempts
    own = attempts["ending"][health.type_of[attempts["number"]] == code]
    tally = Counter(ENDINGS[ending] for ending in own.tolist())
    error = health.top_error(name)
    ends = ", ".join(f"{count:,} {ending}" for ending, count in tally.most_common())
    return f" (attempts: {ends}{f'; {error}' if error else ''}){health.because_of_faults()}"


@health_check("everything-failed", "jobs")
def everything_failed(health: RunHealth) -> HealthFinding:
    """All jobs of a type that finished failed for good."""
    found, doubts = HealthFinding(count=0), []
    failed, completed = health.count(health.failed), health.count(health.completed)
    for code, name in enumerate(health.recording.names):
        number = int(failed[code])
        if not number or completed[code]:
            continue
        error = health.top_error(name)
        text = f"{name}: all {number:,} jobs that finished failed" if number > 1 else f"{name}: its only job failed"
        if doubt := _may_fail(health, name, number):
            doubts.append(f"{text}, {doubt}")
            continue
        assert found.count is not None
        found.count += number
        found.findings.append(f"{text}{f': {error}' if error else ''}")
    found.unjudged = "; ".join(doubts)
    return found


def _may_fail(health: RunHealth, name: str, number: int) -> str:
    """Why it can be that all of so many jobs failed; "" if that is not to be."""
    if number <= health.asked.recorded_failures.get(name, 0):
        return "as they did when the trace was recorded"
    probability = health.asked.failing.get(name, 0.0)
    if probability < 1 and probability**number >= SLIGHT:
        return f"which can be chance: the scenario lets attempts fail with a probability of {probability:.3g}"
    if number < FEW and health.faults:
        return f"which is too few to judge beside the faults that struck: {', '.join(health.faults)}"
    return ""


@health_check("real-io", "calls")
def real_io(health: RunHealth) -> HealthFinding:
    """A handler called for real input or output, which a simulation refuses."""
    if health.asked.real_io:
        return (
            HealthFinding(unjudged="in real time handlers may use the network")
            if "real-io" in health.asked.expect
            else HealthFinding()
        )
    refusals = sorted(health.recording.facts.refusals, key=lambda refusal: (-refusal.count, refusal.first))
    return HealthFinding(
        [
            f"{refusal.job_type or 'no job'}: {refusal.call}({refusal.target}) was refused, "
            f"{counted(refusal.count, 'time')}, first at {readable(refusal.first)}"
            for refusal in refusals
        ],
        count=sum(refusal.count for refusal in refusals),
        note="put a stand-in that waits by `await asyncio.sleep` in its place, or allow it by `allow_io`"
        if refusals
        else "",
    )


@health_check("programming-errors", "attempts")
def programming_errors(health: RunHealth) -> HealthFinding:
    """A handler failed by an error in its own code: NameError, AttributeError, ImportError, SyntaxError or
    NotImplementedError, also if an exception group or another error hides it."""
    found = [(error.name, describe(error), error.count, error.first) for error in health.errors if _is_bug(error)]
    found += _hidden_bugs(health)
    return HealthFinding(
        [
            f"{name}: {error}, {counted(number, 'attempt')}, first at {readable(first)}"
            for name, error, number, first in found
        ],
        count=sum(number for _, _, number, _ in found),
    )


def _is_bug(error: TopError) -> bool:
    return error.error_type in PROGRAMMING_ERRORS


def _hidden_bugs(health: RunHealth) -> list[tuple[str, str, int, float]]:
    """Programming errors inside of other errors: job type, error in words, attempts, and when the first ended."""
    recording, attempts = health.recording, health.recording.attempts
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for code, bug in enumerate(recording.bugs):
        if not bug or recording.errors[code][0] in PROGRAMMING_ERRORS:
            continue
        rows = attempts[attempts["error"] == code]
        types = health.type_of[rows["number"]]
        for place in np.unique(types).tolist():
            name = recording.names[place] if place >= 0 else ""
            key = name, f"{recording.errors[code][0]} hides {bug}"
            ended = rows["ended"][types == place]
            number, first = found.get(key, (0, math.inf))
            found[key] = number + len(ended), min(first, float(ended.min()))
    return [(name, error, number, first) for (name, error), (number, first) in found.items()]
