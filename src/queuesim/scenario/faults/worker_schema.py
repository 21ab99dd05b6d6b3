"""What can happen to workers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from queuesim.scenario.faults.timing_schema import ALL, ANY, Lasting, Timing
from queuesim.scenario.service_schema import ServiceTime
from queuesim.scenario.unit_schema import CountFromZero, Probability, Seconds, Word, refuse, seconds
from queuesim.units import DURATION_PATTERN, format_duration

Who = Word
"""A worker's name, the name of a kind of workers, `any` for one that is drawn, or `all`."""


class Crash(Timing):
    """A worker dies as by SIGKILL: nothing in it runs again, no `finally`. Another one takes its place."""

    by_chance = True

    probability: Probability | None = None
    """How likely a worker dies of an attempt that it starts."""
    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""
    restart: ServiceTime | Literal["never"] = ServiceTime(constant=1.0)
    """How long until its successor runs, or never."""


class Freeze(Lasting):
    """A worker stops as by SIGSTOP, and goes on later. Its locks expire meanwhile."""

    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class Block(Lasting):
    """A worker's event loop is held: by a handler that computes, or waits without `await`."""

    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class SlowStart(Lasting):
    """Workers that start take their time before they take jobs."""

    by_chance = True

    probability: Probability | None = None
    """How likely a start is slow; 1 if left out."""
    delay: ServiceTime
    """How long they take."""
    worker: Who = ALL
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class Deploy(Timing):
    """A rolling deploy: one worker after the other finishes what it runs, ends, and is replaced."""

    grace: Seconds = 30.0
    """How long a worker may take to finish what it runs; then it is killed."""
    down: Seconds = 1.0
    """From the end of a worker to the start of its successor."""
    pause: Seconds = 0.0
    """From the start of a successor to the end of the next worker."""
    worker: Who = ALL
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class Scale(Timing):
    """The number of workers of one kind changes; those that go finish what they run."""

    to: CountFromZero
    """How many there are from then on."""
    for_: ServiceTime | None = Field(None, alias="for")
    """After so long there are as many as before."""
    grace: Seconds = 30.0
    """How long a worker that goes may take to finish what it runs; then it is killed."""
    worker: Word | None = None
    """Which kind of workers; needed if there are several."""


def _signed(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, str) and value.strip().startswith("-"):
        return -seconds(value.strip()[1:], info)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return -seconds(-value, info)
    return seconds(value, info)


def _format_signed(value: float) -> str:
    return f"-{format_duration(-value)}" if value < 0 else format_duration(value)


class ClockSkew(Lasting):
    """A worker's clock is wrong."""

    skew: Annotated[
        float,
        PlainValidator(_signed),
        PlainSerializer(_format_signed, return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "pattern": f"^-?{DURATION_PATTERN.removeprefix('^')}", "examples": ["-5s"]}),
    ]
    """How much it is ahead; below 0, how much it is behind."""
    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""

    @model_validator(mode="after")
    def _some(self) -> Any:
        if self.skew == 0:
            raise refuse("a skew of 0 is none")
        return self
