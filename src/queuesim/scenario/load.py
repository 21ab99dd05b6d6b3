"""Load as a scenario writes it: where jobs come from and when."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from queuesim.core.job import MAX_PRIORITY
from queuesim.fields import NOT_EMPTY, Count, Number, PerSecond, PositiveSeconds, Seconds, Section, Word, refuse
from queuesim.inputfile import TableError, check_columns, number, only_known, read_header, read_rows, whole
from queuesim.simulation.service_times import DataFile, ServiceTime
from queuesim.text import unknown

# -- Traces: recorded loads, a row a job, to be replayed

COLUMNS = ("name", "added_ms", "at_ms", "priority", "delay_ms", "service_ms")
"""Columns that a trace can have beside fail_1, fail_2, ...; others are ignored."""

FAILURES = ("database", "network", "validation", "unknown")
"""What a failed attempt can end with; an attempt that succeeds is empty or "ok"."""

_FAIL = re.compile(r"fail_([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One recorded job. Times are seconds."""

    name: str
    at: float
    """When it is added, from the trace's beginning."""
    priority: int = 0
    delay: float = 0.0
    service: float | None = None
    """How long each attempt takes; None if the trace has none."""
    failures: tuple[str, ...] = ()
    """What each attempt ends with, "" for success; attempts beyond them succeed."""


def read_trace(path: Path, columns: Mapping[str, str] | None = None) -> list[TraceJob]:
    """The jobs of a trace, in the order in which they are added.

    The CSV has a header. Columns: `name` and `added_ms` (or `at_ms`) are needed; `priority`, `delay_ms`, `service_ms`
    and `fail_1`, `fail_2`, ... (what attempt n ends with: empty or ok, database, network, validation, unknown) are read
    if they are there. Empty cells are 0, or undefined.

    Args:
        columns: what the file calls them, where that differs: ``{"name": "job_type"}``.

    Raises:
        TableError: the file can't be read, it has no job, a column is missing, or a cell is not what its column needs.
    """
    called = {column: (columns or {}).get(column, column) for column in COLUMNS}
    header = read_header(path)
    failing = _failing(header, columns or {})
    at = called["at_ms"] if called["at_ms"] in header and called["added_ms"] not in header else called["added_ms"]
    check_columns(path, header, [called["name"], at, *(columns or {}).values()])
    row = _Row(path, called, at, failing)
    jobs = [row.job(line, cells) for line, cells in read_rows(path)]
    if not jobs:
        raise TableError(f"{path}: the trace has no row below its header")
    jobs.sort(key=lambda job: job.at)
    return jobs


@dataclass(frozen=True, slots=True)
class _Row:
    """How to read a row of one trace."""

    path: Path
    called: Mapping[str, str]
    at: str
    failing: list[str]

    def job(self, line: int, cells: dict[str, str]) -> TraceJob:
        name = cells[self.called["name"]]
        if not name:
            raise TableError(f"{self.path}:{line}: {self.called['name']}: it is empty")
        delay = self._milliseconds(line, cells, self.called["delay_ms"])
        return TraceJob(
            name,
            number(self.path, line, self.at, cells[self.at]) / 1000,
            self._priority(line, cells),
            0.0 if delay is None else delay,
            self._milliseconds(line, cells, self.called["service_ms"]),
            self._failures(line, cells),
        )

    def _milliseconds(self, line: int, cells: dict[str, str], column: str) -> float | None:
        text = cells.get(column, "")
        return number(self.path, line, column, text) / 1000 if text else None

    def _priority(self, line: int, cells: dict[str, str]) -> int:
        column = self.called["priority"]
        priority = whole(self.path, line, column, cells.get(column, "") or "0")
        if priority > MAX_PRIORITY:
            raise TableError(f"{self.path}:{line}: {column}: {priority} is above {MAX_PRIORITY}")
        return priority

    def _failures(self, line: int, cells: dict[str, str]) -> tuple[str, ...]:
        failures = []
        for column in self.failing:
            outcome = cells[column].lower()
            if outcome not in ("", "ok", *FAILURES):
                raise TableError(f"{self.path}:{line}: {column}: {unknown('outcome', outcome, ['ok', *FAILURES])}")
            failures.append("" if outcome == "ok" else outcome)
        while failures and not failures[-1]:
            failures.pop()
        return tuple(failures)


def _failing(header: list[str], columns: Mapping[str, str]) -> list[str]:
    """The columns fail_1 ... fail_n, in order, by the file's names."""
    numbered = {int(match[1]): column for column in header if (match := _FAIL.fullmatch(column))}
    numbered.update({int(match[1]): name for column, name in columns.items() if (match := _FAIL.fullmatch(column))})
    return [numbered[attempt] for attempt in sorted(numbered)]


# -- Load entries


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time over which a rate changes linearly. Times are seconds from the start of the load entry."""

    start: float
    duration: float
    rate: float
    """Jobs per second at the start."""
    target: float
    """Jobs per second at the end."""


class Stage(Section):
    """A stretch of load: at a steady `rate`, or changing evenly to a `target`."""

    choices = ("rate", "target")

    duration: PositiveSeconds
    rate: PerSecond | None = None
    """Hold this rate."""
    target: PerSecond | None = None
    """Change evenly from the previous rate to this one."""


class Arrivals(Section):
    """Jobs at a rate: one for all the time, or in stages. After the last stage no more come."""

    short = "rate"
    choices = ("rate", "stages")

    rate: PerSecond | None = None
    stages: Annotated[tuple[Stage, ...], NOT_EMPTY, Field(json_schema_extra={"minItems": 1})] | None = None
    from_rate: PerSecond = Field(default=0.0, alias="from")
    """The rate from which the first stage starts, if it has a target."""

    def segments(self, duration: float = math.inf) -> tuple[Segment, ...]:
        """The course of the rate over at most `duration` seconds, without gaps, from 0 on."""
        if self.rate is not None:
            return (Segment(0.0, duration, self.rate, self.rate),)
        segments: list[Segment] = []
        start, rate = 0.0, self.from_rate
        for stage in self.stages or ():
            first, last = (rate, stage.target) if stage.target is not None else (stage.rate or 0.0,) * 2
            left = duration - start
            if left <= stage.duration:
                end = first + (last - first) * left / stage.duration
                segments.append(Segment(start, left, first, last if left == stage.duration else end))
                break
            segments.append(Segment(start, stage.duration, first, last))
            start, rate = start + stage.duration, last
        return tuple(segment for segment in segments if segment.duration > 0)

    @model_validator(mode="after")
    def _from_a_ramp(self) -> Any:
        if self.from_rate and (self.stages is None or self.stages[0].target is None):
            raise refuse('"from" needs stages, the first with a target')
        return self


class Bulk(Section):
    """Many jobs added in one step: once, or repeatedly."""

    choices = ("at", "every")

    size: Count
    """How many jobs each time."""
    at: Seconds | None = None
    """When, from the start of the load entry."""
    every: PositiveSeconds | None = None
    offset: Seconds = 0.0
    """The first time, from the start of the load entry."""
    until: Seconds | None = None
    """The last time, at the latest."""

    def count(self, duration: float) -> int:
        """How many times jobs are added before `duration` (finite), without making a list of them."""
        if self.at is not None:
            return 1 if self.at < duration else 0
        assert self.every is not None
        last = duration if self.until is None else min(duration, self.until)
        count = math.floor(min(max(0.0, last - self.offset) / self.every, 2.0**1000)) + 1
        # the division is rounded, and the end itself counts for `until`, but not for the duration; beyond whole
        # floats neither can be decided
        while 0 < count < 2**52 and not self._within(self.offset + (count - 1) * self.every, duration):
            count -= 1
        return count

    def _within(self, time: float, duration: float) -> bool:
        return time < duration and (self.until is None or time <= self.until)

    def times(self, duration: float) -> list[float]:
        """When jobs are added, in seconds from the start of the load entry, all before `duration` (finite)."""
        if self.at is not None:
            return [self.at] if self.at < duration else []
        assert self.every is not None
        return [self.offset + i * self.every for i in range(self.count(duration))]

    @model_validator(mode="after")
    def _repeated(self) -> Any:
        if self.at is not None and (self.offset or self.until is not None):
            raise refuse(f'"{"offset" if self.offset else "until"}" goes with "every", not with "at"')
        if self.until is not None and self.until < self.offset:
            raise refuse('"until" is before "offset": no jobs would be added')
        return self


class Trace(Section):
    """A recorded load, from a CSV file with a row a job."""

    short = "file"

    file: DataFile
    """Relative to the scenario's file. Columns: name, added_ms; optional: priority, delay_ms, service_ms, fail_1..."""
    columns: dict[str, Word] = Field(default_factory=dict)
    """The file's names for the columns, where they differ: ``{name: job_type}``."""

    @cached_property
    def jobs(self) -> list[TraceJob]:
        """The recorded jobs in order of arrival. Raises TableError if the file is not what it should be."""
        return read_trace(self.file, self.columns)

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = only_known(value, (*COLUMNS, *(column for column in value if column.startswith("fail_"))))
        if wrong:
            raise refuse(wrong)
        return value


class Closed(Section):
    """A closed model: each producer adds a job, waits until it is finished, pauses, and adds the next."""

    producers: Count
    think: ServiceTime = ServiceTime(constant=0.0)
    """The pause after each job."""


def _or_name(schema: dict[str, Any]) -> None:
    mapping = {**schema, "minProperties": 1}
    schema.clear()
    schema["anyOf"] = [{"type": "string", "minLength": 1}, mapping]


class LoadEntry(Section):
    """One source of jobs."""

    choices = ("constant", "poisson", "bulk", "trace", "backlog", "closed")

    name: Word
    constant: Arrivals | None = None
    """Evenly spaced jobs."""
    poisson: Arrivals | None = None
    """Jobs at random times, independent of each other."""
    bulk: Bulk | None = None
    trace: Trace | None = None
    """Replays a recording."""
    backlog: Count | None = None
    """Number of jobs that wait when the run begins."""
    closed: Closed | None = None
    start: Seconds = 0.0
    """When the source begins; its own times count from here."""
    duration: PositiveSeconds | None = None
    """Duration of the source; until the run's end if left out."""
    jobs: Annotated[dict[str, Number], NOT_EMPTY, Field(json_schema_extra=_or_name)] | None = None
    """A job type, or several with their weights; all of the scenario's if left out."""

    @property
    def kind(self) -> str:
        """Which kind of source it is: the key that is there."""
        return next(key for key in self.choices if getattr(self, key) is not None)

    @field_validator("jobs", mode="before")
    @classmethod
    def _one_job(cls, value: Any) -> Any:
        return {value: 1.0} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sensible(self) -> Any:
        if self.backlog is not None and (self.start or self.duration is not None):
            given = "start" if self.start else "duration"
            raise refuse(f'a backlog exists when the run begins: it can\'t have "{given}"')
        if self.trace is not None and self.jobs is not None:
            raise refuse('a trace has its own job types: it can\'t have "jobs"')
        if self.jobs is not None and not sum(self.jobs.values()) > 0:
            raise refuse("the weights of jobs add up to 0: at least one must be above 0")
        return self


# -- When jobs arrive: evenly spaced or Poisson, at a rate that changes over time


def arrival_times(segments: Iterable[Segment], gap: Callable[[], float]) -> Iterator[float]:
    """Seconds from the start at which jobs arrive.

    The k-th job arrives when the expected number of arrivals, the integral of the rate, reaches the sum of k gaps. Gaps
    of 1 make evenly spaced arrivals; exponential gaps with mean 1 a Poisson process, homogeneous or not (time change by
    the cumulative rate; Çinlar, Introduction to Stochastic Processes, 1975, section 4.7).

    Args:
        segments: the course of the rate, without gaps.
        gap: the next gap, in expected arrivals.
    """
    needed = gap()
    for segment in segments:
        if not (segment.rate or segment.target):
            continue
        expected = (segment.rate + segment.target) / 2 * segment.duration
        passed = 0.0
        start, rate, steady = segment.start, segment.rate, segment.rate == segment.target
        while passed + needed <= expected:
            passed += needed
            yield start + (passed / rate if steady else _time_of(passed, segment))
            needed = gap()
        needed -= expected - passed


def _time_of(passed: float, segment: Segment) -> float:
    """Seconds into the segment at which this many arrivals are expected: solves r t + (r' - r) t**2 / (2 d) for t."""
    if not passed:
        return 0.0
    slope = (segment.target - segment.rate) / segment.duration
    root = math.sqrt(max(segment.rate**2 + 2 * slope * passed, 0.0))
    return min(2 * passed / (segment.rate + root), segment.duration)
