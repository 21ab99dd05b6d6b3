"""The queue and its workers as a scenario writes them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, field_validator, model_validator

from queuesim.core.errors import DATABASE, NETWORK, UNKNOWN, VALIDATION
from queuesim.core.job import Backoff, Keep, RateLimit
from queuesim.core.retry import RetryPolicy
from queuesim.core.worker import WorkerOptions
from queuesim.fields import Count, CountFromZero, PositiveSeconds, Probability, Seconds, Section, Word, refuse
from queuesim.text import show

CATEGORIES = {"database": DATABASE, "validation": VALIDATION, "network": NETWORK, "unknown": UNKNOWN}
"""Categories of errors as files write them, and their names in `queuesim.core.errors`."""


class BackoffSettings(Section):
    """How long a job waits before its next attempt. A duration alone is a fixed delay."""

    short = "delay"

    type: Literal["fixed", "exponential"] = "fixed"
    """Exponential doubles the delay with each attempt."""
    delay: Seconds
    """Delay before the first retry."""
    jitter: Probability = 0.0
    """Share of the delay that is random: 0 none, 1 all of it."""
    cap: PositiveSeconds | None = None
    """The longest delay, before jitter."""

    def model(self) -> Backoff:
        return Backoff(self.type, self.delay, self.jitter, self.cap)


class RateLimitSettings(Section):
    """A maximum number of starts per window; a window opens at the first start after the last one closed."""

    max: Count
    """Starts per window."""
    duration: PositiveSeconds
    """Length of a window."""

    def model(self) -> RateLimit:
        return RateLimit(self.max, self.duration)


class KeepSettings(Section):
    """How many finished jobs stay in the queue: a number, `all`, or a count and an age."""

    short = "count"
    words = ("all",)

    count: CountFromZero | None = None
    """Number of the newest jobs to keep."""
    age: PositiveSeconds | None = None
    """Maximum age; older jobs go when another job finishes."""

    @model_validator(mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        # before the short form is expanded: validators of a subclass run first
        if isinstance(value, str):
            if value != "all":
                raise refuse(f'{show(value)} is neither a number of jobs nor "all"')
            return {}
        return value

    def model(self) -> Keep:
        return Keep(self.count, self.age)


class KeepBoth(Section):
    """Retention of finished jobs; if left out, all are kept."""

    completed: KeepSettings | None = None
    failed: KeepSettings | None = None


class RetrySettings(Section):
    """How errors of one category are retried; keys that are left out are as for other errors."""

    retry: Annotated[bool, Field(strict=True)] | None = None
    """Whether they are retried at all."""
    attempts: Count | None = None
    """Maximum number of attempts, the first included."""
    backoff: BackoffSettings | None = None

    def model(self) -> RetryPolicy:
        return RetryPolicy(self.retry, self.attempts, None if self.backoff is None else self.backoff.model())


class RetryByCategory(Section):
    """Retry rules by category of error."""

    database: RetrySettings | None = None
    validation: RetrySettings | None = None
    network: RetrySettings | None = None
    unknown: RetrySettings | None = None

    def policies(self) -> dict[str, RetryPolicy]:
        """By the name of the category, as `queuesim.core.errors` has it."""
        given = {category: getattr(self, name) for name, category in CATEGORIES.items()}
        return {category: settings.model() for category, settings in given.items() if settings is not None}


def _dead_letter(value: Any) -> str | bool | None:
    if value is None or value is False or (isinstance(value, str) and value):
        return value
    raise refuse(f"{show(value)} is neither a queue's name nor false")


class QueueSettings(Section):
    """The queue of the jobs, and settings for all of its jobs."""

    name: Word = "default"
    attempts: Count = 1
    """Maximum number of attempts of a job, the first included."""
    backoff: BackoffSettings | None = None
    """Delay before each retry; if left out, jobs are retried at once."""
    keep: KeepBoth = KeepBoth()
    dead_letter: Annotated[
        str | bool | None,
        PlainValidator(_dead_letter),
        WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"const": False}]}),
    ] = None
    """The queue for jobs that failed for good, false for none; "<name>-dead" if left out."""
    concurrency: Count | None = None
    """Maximum number of active jobs, over all workers."""
    rate_limit: RateLimitSettings | None = None
    """A limiter for all workers; its max replaces that of a worker's own limiter."""
    retry: RetryByCategory = RetryByCategory()

    @property
    def dead_letters(self) -> str | None:
        """The name of the dead-letter queue; None if there is none."""
        if self.dead_letter is None:
            return f"{self.name}-dead"
        return self.dead_letter if isinstance(self.dead_letter, str) else None

    @field_validator("name", "dead_letter")
    @classmethod
    def _no_colon(cls, value: Any) -> Any:
        if isinstance(value, str) and ":" in value:
            raise refuse(f"a queue's name can't contain \":\" ({show(value)}): it separates the parts of a Redis key")
        return value


class WorkerSettings(Section):
    """Workers of one kind."""

    count: Count = 1
    """Number of workers of this kind."""
    name: Word = "worker"
    """If there are several workers, a number is appended to it."""
    concurrency: Count | None = None
    """Jobs that each worker runs at a time; if left out, that of the scenario's own processor, or 1."""
    limiter: RateLimitSettings | None = None
    """Starts per window, shared by all workers of the queue."""
    lock_duration: PositiveSeconds = 30.0
    """Time after which the lock of a job expires, unless it is renewed."""
    lock_renew: PositiveSeconds | None = None
    """A lock is renewed when it is older than half of this; half of lock_duration if left out."""
    stalled_interval: PositiveSeconds = 30.0
    """Time between two checks for stalled jobs."""
    max_stalled: CountFromZero = 1
    """A job that stalls more often fails."""
    start: Seconds = 0.0
    """When the workers start."""

    def options(self) -> WorkerOptions:
        """How such a worker keeps its locks."""
        return WorkerOptions(self.lock_duration, self.lock_renew, self.stalled_interval, self.max_stalled)


# -- The names of workers: no two workers of a run share one


def name_workers(kinds: Iterable[WorkerSettings]) -> list[tuple[str, WorkerSettings]]:
    """Every worker that a scenario starts with, by its name: ``worker``, or ``worker-1`` to ``worker-n``."""
    named: dict[str, WorkerSettings] = {}
    for settings in kinds:
        for i in range(settings.count):
            name = settings.name if settings.count == 1 else f"{settings.name}-{i + 1}"
            named[unused(name, named)] = settings
    return list(named.items())


def slots_of(kinds: Iterable[WorkerSettings], default: int) -> dict[str, int]:
    """How many slots each worker of a scenario has; `default` is for those that don't say."""
    return {name: settings.concurrency or default for name, settings in name_workers(kinds)}


def shared_limiter(
    kinds: Iterable[WorkerSettings], shared: RateLimitSettings | None, own: RateLimit | None
) -> RateLimit | None:
    """The limiter that holds for the whole queue. The `max` of the queue beats that of workers (BullMQ 6.7).

    Args:
        shared: the queue's own limit.
        own: that of the processor, for workers which don't say.
    """
    limiters = (own if kind.limiter is None else kind.limiter.model() for kind in kinds)
    first = next((limiter for limiter in limiters if limiter is not None), None)
    if shared is None:
        return first
    return RateLimit(shared.max, shared.duration if first is None else first.duration)


def unused(name: str, taken: Container[str]) -> str:
    """The name, with a number appended if another worker has it."""
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = f"{name}-{i}", i + 1
    return candidate
