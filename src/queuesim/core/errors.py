"""Errors: those a handler raises to steer its job, those the queue raises, and how any error is categorised."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from queuesim.error import QueuesimError


class JobError(QueuesimError):
    """An operation on a job was refused. `code` is BullMQ's: -1 missing, -2 lock missing, -3 not in the expected state,
    -6 locked by another worker, -8 belongs to a scheduler, -10 and -11 ticks are taken; see REFUSALS."""

    def __init__(self, job_id: str, code: int, doing: str) -> None:
        self.job_id = job_id
        self.code = code
        self.doing = doing
        super().__init__(f"can't {doing} job {job_id}: {REFUSALS.get(code, f'code {code}')}")


REFUSALS = {
    -1: "there is no such job",
    -2: "its lock is gone (it expired, so another worker may have the job)",
    -3: "it is not in the state that this needs",
    -4: "it has unfinished children",
    -5: "its parent does not exist",
    -6: "another worker holds its lock",
    -7: "its parent can't be replaced",
    -8: "it belongs to a job scheduler",
    -9: "one of its children failed",
    -10: "there is a job of that id already",
    -11: "there are jobs at all of its next ticks already",
    -12: "one of its keys is not what a queue writes, and so it failed",
}
"""What BullMQ's error codes mean; -12 is ours."""


class QueueNotPausedError(QueuesimError):
    """obliterate was asked of a queue that still runs: pause it first."""


class QueueActiveError(QueuesimError):
    """obliterate was asked while jobs are active: wait, or use force."""


class BrokerUnavailableError(QueuesimError, ConnectionError):
    """The place where jobs live can't be reached, or answers that it can't serve now (read-only, loading, out of
    memory). Whether the operation took effect is unknown. Workers outlive it; producers have to decide."""


# -- what a handler raises to steer its job


class UnrecoverableError(QueuesimError):
    """Raised by a handler: the job fails at once, whatever attempts it has left."""


class AbandonedError(UnrecoverableError):
    """The queue itself gave a job up: it stalled, or was started, more often than it may. No handler saw it."""


class UnreadableJobError(UnrecoverableError):
    """The stored job can't be read: a field of its hash is not what a queue writes there. No handler saw it."""

    def __init__(self, job_id: str, faults: Sequence[object]) -> None:
        self.job_id = job_id
        self.faults = faults
        """What could not be read; see job.Unreadable."""
        reasons = "; ".join(map(str, faults))
        super().__init__(f"job {job_id} can't be read: {reasons}. Correct its hash and retry it.")


class PendingChildrenError(QueuesimError):
    """A parent's handler returned while some of its children had not ended: it can't complete before they have. The
    attempt counts as failed, and is retried if the job has attempts left (BullMQ 6.7)."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"Job {job_id} has pending dependencies: it can't complete before its children have ended")


class FailedChildrenError(UnrecoverableError):
    """A parent's handler returned after a child had failed that fails its parent with it (BullMQ 6.7)."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"Cannot complete job {job_id} because it has at least one failed child")


class RateLimitError(QueuesimError):
    """Raised by a handler: the job goes back to the front of the queue and no attempt is counted.

    With `duration` (seconds) the whole queue is rate-limited first, as by `Queue.rate_limit`. That binds all workers
    that have a limiter, and all workers if the queue has a global rate limit (BullMQ 6.7). Without either, the worker
    of this job holds all of its slots for so long, and the queue's other workers go on.

    Without a duration it needs a rate limit in force: the worker's own, the queue's, or one that `Queue.rate_limit`
    has just set. If there is none, the attempt fails with NoRateLimitError.
    """

    def __init__(self, duration: float | None = None) -> None:
        if duration is not None and not 0 <= duration < math.inf:
            raise ValueError(f"duration must be 0 s or more, not {duration}")
        self.duration = duration
        super().__init__("bullmq:rateLimitExceeded")


class NoRateLimitError(QueuesimError):
    """A handler raised RateLimitError without a duration, and no rate limit is in force, so that there is no
    time to wait. The attempt fails."""

    def __init__(self) -> None:
        super().__init__(
            "the handler raised RateLimitError without a duration, but neither this worker nor its queue has a rate "
            "limit: raise RateLimitError(seconds), or give the processor a limiter"
        )


class DelayedError(QueuesimError):
    """Raised by a handler: the job runs again in `delay` seconds and no attempt is counted."""

    def __init__(self, delay: float) -> None:
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay must be 0 s or more, not {delay}")
        self.delay = delay
        super().__init__(f"delayed by {delay:g} s")


class ValidationError(QueuesimError):
    """The data of a job does not fit its type's schema, or no handler has its name. Never retried."""


class ResultError(QueuesimError):
    """A handler returned something that is not JSON. Never retried: the work itself was done."""


class HandlerBlockedError(BaseException):
    """A handler held the event loop for so long in real time that the simulation's watchdog interrupted it.

    Not an Exception, so that a handler's own ``except Exception`` does not swallow it.
    """


class HandlerExitError(QueuesimError):
    """A handler called sys.exit. That is the failure of its attempt, and does not end the worker."""


# -- categories


class DatabaseError(QueuesimError):
    """A failure of the database. Also what a scenario raises for the category `database`."""


class NetworkError(QueuesimError):
    """A failure of the network. Also what a scenario raises for the category `network`."""


class UnknownError(QueuesimError):
    """A failure of no known category. Also what a scenario raises for the category `unknown`."""


DATABASE = "Database"
VALIDATION = "Validation"
NETWORK = "Network"
UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The three facts of an error."""

    type: str
    """The class name."""
    category: str
    """Database, Validation, Network, Unknown, or what a user's rule says."""
    retryable: bool
    bug: str = field(default="", repr=False)
    """The type of a programming error that it hides in its group or chain, as NameError; "": none."""
    bug_message: str = field(default="", repr=False)


PROGRAMMING_ERRORS = frozenset(
    {
        "NameError",
        "UnboundLocalError",
        "AttributeError",
        "ImportError",
        "ModuleNotFoundError",
        "SyntaxError",
        "IndentationError",
        "TabError",
        "NotImplementedError",
    }
)
"""Error types by which a handler's own code is wrong, whatever its data. One is enough: no load, fault or retry
explains it. TypeError, KeyError, IndexError and ValueError are not among them, because data that does not fit raises
them too: if all jobs fail by one of them, everything-failed says so."""
CAUGHT_ON_PURPOSE = frozenset({"AttributeError", "ImportError", "ModuleNotFoundError"})
"""Of these, those by which code asks whether something is there. While one of them is handled another error may come
up that has nothing to do with it, so that they count as the cause of an error, but not as its mere context."""
MOST_LOOKED_AT = 100
"""Errors of a group or chain that are looked at."""
MOST_CHARACTERS = 120
"""Of a hidden error's message."""


def hidden_bug(error: BaseException) -> BaseException | None:
    """The first programming error inside an exception group, or among the causes and contexts of an error.

    An error that was raised `from None` hides nothing: its author has dealt with the one before.
    """
    seen: set[int] = {id(error)}
    waiting = [*((each, False) for each in _inside(error)), *_before(error)]
    while waiting and len(seen) < MOST_LOOKED_AT:
        (inner, context), *waiting = waiting
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        name = type(inner).__name__
        if name in PROGRAMMING_ERRORS and not (context and name in CAUGHT_ON_PURPOSE):
            return inner
        waiting += [(each, context) for each in _inside(inner)]
        waiting += _before(inner)
    return None


def _inside(error: BaseException) -> Sequence[BaseException]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _before(error: BaseException) -> list[tuple[BaseException, bool]]:
    """What led to an error, and whether that is its mere context."""
    if error.__cause__ is not None:
        return [(error.__cause__, False)]
    if error.__context__ is not None and not error.__suppress_context__:
        return [(error.__context__, True)]
    return []


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """Errors that `matches` accepts have this category. A class, or a tuple of them, matches its instances."""

    matches: type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
    category: str
    retryable: bool = True

    def applies(self, error: BaseException) -> bool:
        """Whether this rule is about such an error. Raises what a user's own function raises."""
        if isinstance(self.matches, (type, tuple)):
            return isinstance(error, self.matches)
        return self.matches(error)


def _from_module(*prefixes: str) -> Callable[[BaseException], bool]:
    """Matches errors whose class, or a base of it, comes from one of these packages: nothing need be imported."""

    def matches(error: BaseException) -> bool:
        return any(base.__module__.partition(".")[0] in prefixes for base in type(error).__mro__)

    return matches


DEFAULT_RULES: tuple[ErrorRule, ...] = (
    ErrorRule((HandlerBlockedError, AbandonedError, FailedChildrenError), UNKNOWN, retryable=False),
    ErrorRule((ValidationError, ResultError), VALIDATION, retryable=False),
    ErrorRule((DatabaseError, sqlite3.OperationalError), DATABASE),
    ErrorRule((sqlite3.IntegrityError, sqlite3.DataError), VALIDATION, retryable=False),
    ErrorRule(sqlite3.Error, DATABASE),
    ErrorRule(NetworkError, NETWORK),
    ErrorRule((ConnectionError, TimeoutError, asyncio.TimeoutError), NETWORK),
    ErrorRule(_from_module("sqlalchemy", "psycopg", "psycopg2", "asyncpg", "pymongo", "redis"), DATABASE),
    ErrorRule(_from_module("aiohttp", "httpx", "requests", "urllib3", "socket", "ssl"), NETWORK),
    ErrorRule(_from_module("pydantic", "pydantic_core", "jsonschema"), VALIDATION, retryable=False),
    ErrorRule((ValueError, TypeError, KeyError), VALIDATION, retryable=False),
    ErrorRule(OSError, NETWORK),
)
"""Tried in order, after a user's own; the first that applies decides. What none matches is Unknown, retryable."""


class ErrorRules:
    """Says of any error its type, category and whether a retry may help. Users' rules go before the default ones."""

    def __init__(self, rules: Sequence[ErrorRule] = ()) -> None:
        self.rules: tuple[ErrorRule, ...] = (*rules, *DEFAULT_RULES)

    def describe(self, error: BaseException) -> ErrorInfo:
        """The first rule that applies decides; an UnrecoverableError keeps its cause's category, if it has one."""
        info = self._described(error)
        bug = hidden_bug(error)
        return info if bug is None else replace(info, bug=type(bug).__name__, bug_message=str(bug)[:MOST_CHARACTERS])

    def _described(self, error: BaseException) -> ErrorInfo:
        name = type(error).__name__
        if is_unrecoverable(error):
            cause = error.__cause__
            category = self.describe(cause).category if cause is not None else self._category(error, VALIDATION)
            return ErrorInfo(name, category, retryable=False)
        for rule in self.rules:
            if rule.applies(error):
                return ErrorInfo(name, rule.category, rule.retryable)
        return ErrorInfo(name, UNKNOWN, retryable=True)

    def _category(self, error: BaseException, otherwise: str) -> str:
        return next((rule.category for rule in self.rules if rule.applies(error)), otherwise)


def is_unrecoverable(error: BaseException) -> bool:
    """BullMQ recognises the class by its name too, so that an error from another copy of it counts."""
    return isinstance(error, UnrecoverableError) or type(error).__name__ == "UnrecoverableError"


SIMULATED = {
    "database": DatabaseError,
    "network": NetworkError,
    "validation": ValidationError,
    "unknown": UnknownError,
}
"""What a handler raises, by category as scenario files write it."""


def simulated(category: str) -> QueuesimError:
    """The error that stands for a category, as scenario files write it."""
    return SIMULATED[category](f"simulated {category} failure")
