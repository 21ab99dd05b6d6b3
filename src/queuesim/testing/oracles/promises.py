"""What a run has promised to keep: the rules that its oracles hold it against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from queuesim.backoff import Backoff
from queuesim.job import Deduplication, JobOptions
from queuesim.limits import KEEP_ALL, Keep, RateLimit
from queuesim.retry import RetryPolicy
from queuesim.testing.oracles.overdue_evidence import OverdueEvidence


@dataclass(frozen=True, slots=True)
class Promises:
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
    """Seconds for which a command may be under way: what is told of it bears the time before or after."""
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
class Evidence:
    """What the queue itself says when a run is over, beside what was recorded."""

    census: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The jobs of each state, by their numbers, as often as they are there."""
    known: Sequence[int] = ()
    """All jobs that are stored."""
    forsaken: Sequence[int] = ()
    """Parents that wait for children although all of them have completed or are gone, by their numbers."""
    letters: Mapping[str, int] | None = None
    """How many dead letters there are of each job, by its id; None: nobody looked."""
    terms: Sequence[int] = ()
    """For each job, in the order of adding, which of the promises' options it has."""
    deduplications: Mapping[int, Deduplication] = field(default_factory=dict)
    """By the numbers of the jobs that have one."""
    holds: Sequence[tuple[int, float, float]] = ()
    """(number of the job, when, for how many seconds) for each attempt whose handler limited the queue."""
    overdue: OverdueEvidence | None = None
    """Of overdue scans; None: there are none."""
