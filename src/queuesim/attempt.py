"""One attempt at a job: run its handler and say what becomes of the job. It touches neither broker nor clock."""

from __future__ import annotations

import asyncio
import random
import traceback
from typing import Any

from queuesim.broker.base import Completed, DeadLetter, Failed, Outcome, Postponed, Retried, Returned
from queuesim.errors import (
    UNKNOWN,
    AbandonedError,
    DelayedError,
    ErrorInfo,
    FailedChildrenError,
    HandlerExitError,
    PendingChildrenError,
    RateLimitError,
    ResultError,
    UnreadableJobError,
)
from queuesim.job import RUNNING_JOB, Job, encode_json
from queuesim.processor import Processor
from queuesim.storable import mended, storable

RATE_LIMITED = "bullmq:rateLimitExceeded"
"""BullMQ recognises a rate-limit error by this message."""

INCOMPLETE: dict[int, type[PendingChildrenError | FailedChildrenError]] = {
    -4: PendingChildrenError,
    -9: FailedChildrenError,
}
"""By the code with which a completion is refused: the error that fails the attempt (BullMQ 6.7)."""


async def attempt(processor: Processor, job: Job, rng: random.Random) -> Outcome:
    """Run the job's handler once. Whatever it does is the job's outcome; only cancellation from outside gets through.

    Args:
        rng: where jitter of the backoff is drawn from.
    """
    try:
        RUNNING_JOB.set(job)
        if job.deferred_failure:
            raise AbandonedError(job.deferred_failure)
        if job.unreadable:
            raise UnreadableJobError(job.id, job.unreadable)
        abandoned = processor.retries.started_too_often(job)
        if abandoned:
            raise AbandonedError(abandoned)
        plain = processor.plain_handlers.get(job.name)
        value = await (processor.handle(job) if plain is None else plain(job))
        text = "null" if value is None else _result(value)
        completed = Completed(
            job.id, job.token, text, processor.keep_completed, job.attempts_started, job.attempts_made + 1
        )
        return mended(completed)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit as error:
        return judge(processor, job, _exit(error), rng)
    except asyncio.CancelledError as error:
        if _cancelled_from_outside():
            raise
        return judge(processor, job, error, rng)
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything
        return judge(processor, job, error, rng)


def _exit(error: SystemExit) -> HandlerExitError:
    exited = HandlerExitError(f"the handler called sys.exit({error.code!r})")
    exited.__cause__ = error
    return exited


def judge(processor: Processor, job: Job, error: BaseException, rng: random.Random) -> Outcome:
    """What becomes of the job, even if a user's own rule, backoff strategy or error message is what breaks."""
    try:
        return mended(failure(processor, job, error, rng))
    except Exception as fault:  # noqa: BLE001
        reason = f"{type(error).__name__}, and then {type(fault).__name__} while it was judged: {_message(fault)}"
        info = ErrorInfo(type(error).__name__, UNKNOWN, retryable=False)
        letter = _bury(processor, job, reason, info)
        return storable(_failed(processor, job, reason, _traceback(processor, fault), letter, info))


def _message(error: BaseException) -> str:
    """The error's message, even if the error can't tell it."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001
        return f"(no message: {type(fault).__name__})"


def _traceback(processor: Processor, error: BaseException) -> tuple[str, ...]:
    """The formatted traceback as the one row of a stacktrace; nothing if it is not wanted or can't be had."""
    if not processor.stack_traces:
        return ()
    try:
        return ("".join(traceback.format_exception(error)),)
    except Exception:  # noqa: BLE001 - the error's own code runs here, and its message says what broke
        return ()


def failure(processor: Processor, job: Job, error: BaseException, rng: random.Random) -> Outcome:
    """What becomes of a job whose handler raised `error`."""
    if isinstance(error, DelayedError):
        return Postponed(job.id, job.token, error.delay, job.attempts_started, job.attempts_made)
    if isinstance(error, RateLimitError) or str(error) == RATE_LIMITED:
        hold = getattr(error, "duration", None)
        return Returned(job.id, job.token, hold, job.attempts_started, job.attempts_made)
    info = processor.errors.describe(error)
    reason = str(error) or info.type
    stacktrace = _traceback(processor, error)
    delay = processor.retries.delay(job, error, info, rng)
    if delay is not None:
        entry = _history(job, info, reason) if processor.dead_letters else None
        counts = (job.attempts_started, job.attempts_made + 1)
        return Retried(job.id, job.token, delay, reason, stacktrace, entry, info, *counts)
    return _failed(processor, job, reason, stacktrace, _bury(processor, job, reason, info), info)


def _failed(
    processor: Processor,
    job: Job,
    reason: str,
    stacktrace: tuple[str, ...],
    letter: DeadLetter | None,
    info: ErrorInfo,
) -> Failed:
    counts = (job.attempts_started, job.attempts_made + 1)
    return Failed(job.id, job.token, reason, stacktrace, processor.keep_failed, letter, info, *counts)


def _result(value: Any) -> str:
    try:
        return encode_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"the handler returned something that is no JSON: {error}") from None


def _cancelled_from_outside() -> bool:
    """True if the worker cancels this task; a handler that was merely unlucky in its own tasks is a failure."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _history(job: Job, info: ErrorInfo, reason: str) -> dict[str, Any]:
    return {
        "attempt": job.attempts_made + 1,
        "started": job.processed_on,
        "worker": job.processed_by,
        "type": info.type,
        "category": info.category,
        "retryable": info.retryable,
        "message": reason,
    }


def _bury(processor: Processor, job: Job, reason: str, info: ErrorInfo) -> DeadLetter | None:
    """The dead letter, where there are any: the job as it was added, and all that happened to it."""
    if not processor.dead_letters:
        return None
    from queuesim.deadletters import describe

    last = _history(job, info, reason)
    try:
        letter = describe(processor.queue, job, reason, [*job.history, last])
    except (TypeError, ValueError, AttributeError, RecursionError):
        # another program wrote into the history what no letter can hold
        letter = describe(processor.queue, job, reason, [last])
    return DeadLetter(processor.dead_letters, letter)
