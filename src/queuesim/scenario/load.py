"""Load as a scenario writes it: where jobs come from and when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from queuesim.fields import NOT_EMPTY, Count, Number, PerSecond, PositiveSeconds, Seconds, Section, Word, refuse
from queuesim.inputfile import only_known
from queuesim.scenario.trace import COLUMNS, TraceJob, read_trace
from queuesim.simulation.service_times import DataFile, ServiceTime


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
    """Go from the rate before to this one."""


class Arrivals(Section):
    """Jobs at a rate: one for all the time, or in stages. After the last stage no more come."""

    short = "rate"
    choices = ("rate", "stages")

    rate: PerSecond | None = None
    stages: Annotated[tuple[Stage, ...], NOT_EMPTY, Field(json_schema_extra={"minItems": 1})] | None = None
    from_rate: PerSecond = Field(default=0.0, alias="from")
    """The rate from which the first stage sets out, if it has a target."""

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
            raise refuse('"from" needs stages of which the first has a target')
        return self


class Bulk(Section):
    """Many jobs added in one step: once, or again and again."""

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
        # the division is rounded, and the end itself counts for `until`, but not for the duration; beyond whole floats
        # neither can be told
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
    """What the file calls its columns, where it differs: ``{name: job_type}``."""

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
    """A closed model: so many producers, each adds a job, waits until it is finished, thinks, and adds the next."""

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
    """Jobs at random, independent of each other."""
    bulk: Bulk | None = None
    trace: Trace | None = None
    """Replays a recording."""
    backlog: Count | None = None
    """So many jobs wait when the run begins."""
    closed: Closed | None = None
    start: Seconds = 0.0
    """When the source begins; its own times count from here."""
    duration: PositiveSeconds | None = None
    """For how long it lasts; until the run's end if left out."""
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
            raise refuse(f'a backlog is there when the run begins: it can have no "{given}"')
        if self.trace is not None and self.jobs is not None:
            raise refuse('a trace has its own job types: it can have no "jobs"')
        if self.jobs is not None and not sum(self.jobs.values()) > 0:
            raise refuse("the weights of jobs add up to 0: at least one must be above")
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
    """Seconds into the segment at which so many arrivals are expected: solves r t + (r' - r) t**2 / (2 d) for t."""
    if not passed:
        return 0.0
    slope = (segment.target - segment.rate) / segment.duration
    root = math.sqrt(max(segment.rate**2 + 2 * slope * passed, 0.0))
    return min(2 * passed / (segment.rate + root), segment.duration)
