"""What follows a failed attempt: another one, after what delay, or the end."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from queuesim.core.clock import sleep
from queuesim.core.errors import BrokerUnavailableError, ErrorInfo
from queuesim.core.job import Backoff, BackoffStrategy, Job, JobOptions


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How errors of one category are retried. What is None is left to the job and to the error itself."""

    retry: bool | None = None
    """Whether they are retried at all."""
    attempts: int | None = None
    """Runs at most, in place of the job's own number."""
    backoff: Backoff | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """A processor's rules for retries.

    A job is retried if its error may be, and while attempts made, this one included, are fewer than its attempts
    (BullMQ 6.7: ``attempts=3`` is three runs and two delays). `max_started` also counts runs that were rate-limited,
    delayed or stalled.
    """

    policies: Mapping[str, RetryPolicy] = field(default_factory=dict)
    """By category."""
    strategy: BackoffStrategy | None = None
    """Custom backoff, before any other."""
    max_started: int | None = None

    def started_too_often(self, job: Job) -> str:
        """Why this attempt is not to run at all, in BullMQ's words; "" if it may."""
        if self.max_started is None or job.attempts_started <= self.max_started:
            return ""
        return "job started more than allowable limit"

    def delay(self, job: Job, error: BaseException, info: ErrorInfo, rng: random.Random) -> float | None:
        """Seconds until the job's next attempt; None if there is none."""
        made = job.attempts_made + 1
        if made >= self.attempts(job.options, info):
            return None
        if self.max_started is not None and job.attempts_started >= self.max_started:
            return None
        if self.strategy is not None:
            seconds = self.strategy(made, error)
            return seconds if seconds is not None and 0 <= seconds < math.inf else None
        backoff = self.backoff(job.options, info)
        return 0.0 if backoff is None else backoff.seconds(made, rng)

    def attempts(self, options: JobOptions, info: ErrorInfo) -> int:
        """Runs at most of a job whose errors are all like this one; 1 if they are not retried."""
        policy = self.policies.get(info.category, _NO_POLICY)
        if not (info.retryable if policy.retry is None else policy.retry):
            return 1
        return max(options.attempts if policy.attempts is None else policy.attempts, 1)

    def backoff(self, options: JobOptions, info: ErrorInfo) -> Backoff | None:
        """What a job waits for after such an error, unless there is a strategy; None: nothing."""
        return self.policies.get(info.category, _NO_POLICY).backoff or options.backoff


_NO_POLICY = RetryPolicy()


T = TypeVar("T")
FIRST_PAUSE = 0.1
"""Maximum pause before the second try, in seconds. Pauses double with each try; jitter takes off up to half of each."""
LONGEST_PAUSE = 3.0
"""Maximum pause between two tries, in seconds, so that work goes on soon after the broker is back."""
DOUBLINGS = 10
"""Number of doublings after which the longest pause is reached for certain."""


async def retry_forever(
    operation: Callable[[], Awaitable[T]],
    rng: random.Random,
    *,
    failed: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] = BrokerUnavailableError,
) -> T:
    """Retry an operation, with exponential backoff, until it succeeds or raises another error.

    Args:
        operation: makes one try.
        rng: source of the jitter that keeps the workers of a queue from coming back in step.
        failed: number of tries that failed before; unless it is 0, a pause comes first.
        retry_on: the errors after which it is tried again.
    """
    while True:
        if failed:
            pause = min(FIRST_PAUSE * 2 ** min(failed - 1, DOUBLINGS), LONGEST_PAUSE)
            await sleep(rng.uniform(pause / 2, pause))
        try:
            return await operation()
        except retry_on:
            failed += 1
