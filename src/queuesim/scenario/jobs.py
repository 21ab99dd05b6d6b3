"""Job types as a scenario writes them: how often they come, how long they take, how they fail."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from queuesim.core.job import LONGEST_DELAY, MAX_PRIORITY, JobOptions, to_json
from queuesim.fields import NOT_EMPTY, Count, Number, PositiveSeconds, Probability, Seconds, Section, or_single, refuse
from queuesim.scenario.queue_settings import CATEGORIES, BackoffSettings, QueueSettings
from queuesim.simulation.service_times import ServiceTime
from queuesim.units import format_duration

Rates = Annotated[tuple[Probability, ...], NOT_EMPTY, Field(json_schema_extra=or_single)]
"""A probability for each attempt."""


class ErrorRates(Section):
    """The probability that an attempt fails, by category: one for every attempt, or a list.

    A list has one entry an attempt; its last entry holds for all further attempts.
    """

    database: Rates = (0.0,)
    validation: Rates = (0.0,)
    """Not retried, unless the queue's retry rules say so."""
    network: Rates = (0.0,)
    unknown: Rates = (0.0,)

    @field_validator("*", mode="before")
    @classmethod
    def _every_attempt(cls, value: Any) -> Any:
        return value if isinstance(value, (list, tuple)) else [value]

    def at(self, attempt: int) -> dict[str, float]:
        """The probabilities of the `attempt`-th attempt (from 1), by category as files write it; 0 is left out."""
        rates = {category: getattr(self, category) for category in CATEGORIES}
        now = {category: each[min(attempt, len(each)) - 1] for category, each in rates.items()}
        return {category: rate for category, rate in now.items() if rate}

    @property
    def attempts(self) -> int:
        """From this attempt on the probabilities stay the same."""
        return max(len(getattr(self, category)) for category in CATEGORIES)

    @model_validator(mode="after")
    def _at_most_one(self) -> Any:
        for attempt in range(1, self.attempts + 1):
            total = sum(self.at(attempt).values())
            if total > 1 + 1e-9:
                raise refuse(f"the probabilities of attempt {attempt} add up to {total:.4g}: the maximum is 1")
        return self


class Poison(Section):
    """Jobs that fail at every attempt. A probability alone means errors of category unknown."""

    short = "probability"

    probability: Probability
    category: Literal["database", "validation", "network", "unknown"] = "unknown"


def _json(value: Any) -> Any:
    try:
        to_json(value)
    except (TypeError, ValueError) as error:
        raise refuse(f"it is not valid JSON: {error}") from None
    return value


def _delay(seconds: float) -> float:
    if seconds > LONGEST_DELAY:
        raise refuse(f"a job can be delayed by {format_duration(LONGEST_DELAY)} at most")
    return seconds


class JobSettings(Section):
    """One type of job."""

    weight: Number = 1.0
    """Its share of the jobs, relative to the weights of the other types."""
    service: ServiceTime | None = None
    """How long an attempt takes. Left out if the scenario's own processor has a handler."""
    blocking: ServiceTime | None = None
    """A part of each attempt, before the service time, that blocks the worker's event loop, like CPU-bound code."""
    errors: ErrorRates = ErrorRates()
    """Probabilities with which its attempts fail."""
    poison: Poison | None = None
    """The share of its jobs that can never succeed."""
    timeout: PositiveSeconds | None = None
    """An attempt that takes longer is cancelled and fails."""
    priority: Annotated[int, Field(strict=True, ge=0, le=MAX_PRIORITY)] = 0
    """1 is the most urgent. Jobs with 0 have no priority, and go before all that have one."""
    delay: Annotated[Seconds, AfterValidator(_delay)] = 0.0
    """Time before a new job may start."""
    attempts: Count | None = None
    """Replaces the queue's value."""
    backoff: BackoffSettings | None = None
    """Replaces the queue's value."""
    lifo: Annotated[bool, Field(strict=True)] = False
    """New jobs go to the front of the queue."""
    data: Annotated[Any, AfterValidator(_json), WithJsonSchema({})] = None
    """What the handler gets: any JSON."""

    def options(self, queue: QueueSettings) -> JobOptions:
        """The options that such a job is added with: its own, else the queue's."""
        backoff = self.backoff or queue.backoff
        return JobOptions(
            attempts=queue.attempts if self.attempts is None else self.attempts,
            backoff=None if backoff is None else backoff.model(),
            delay=self.delay,
            priority=self.priority,
            lifo=self.lifo,
        )

    @property
    def synthetic(self) -> bool:
        """Whether the scenario itself says how the job runs."""
        return self.service is not None
