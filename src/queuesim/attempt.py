"""One attempt at a job: run its handler and say what becomes of the job. It touches neither broker nor clock."""

from __future__ import annotations

import asyncio
import random
import traceback
from typing import Any

from queuesim.broker.base import Completed, DeadLetter, Failed, Outcome, Postponed, Retried, Returned
from queuesim.errors import DelayedError, ErrorInfo, RateLimitError, ResultError, UnrecoverableError
from queuesim.job import Job, to_json
from queuesim.processor import Processor

RATE_LIMITED = "bullmq:rateLimitExceeded"
"""BullMQ recognises a rate-limit error by this message."""


async def attempt(processor: Processor, job: Job, rng: random.Random) -> Outcome:
    """Run the job's handler once. Whatever it does is the job's outcome; only cancellation from outside gets through.

    Args:
        rng: where jitter of the backoff is drawn from.
    """
    try:
        if job.deferred_failure is not None:
            raise UnrecoverableError(job.deferred_failure)
        value = await processor.handle(job)
        return Completed(job.id, job.token, "null" if value is None else _result(value), processor.keep_completed)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        if _cancelled_from_outside():
            raise
        return failure(processor, job, error, rng)
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything
        return failure(processor, job, error, rng)


def failure(processor: Processor, job: Job, error: BaseException, rng: random.Random) -> Outcome:
    """What becomes of a job whose handler raised `error`."""
    if isinstance(error, DelayedError):
        return Postponed(job.id, job.token, error.delay)
    if isinstance(error, RateLimitError) or str(error) == RATE_LIMITED:
        return Returned(job.id, job.token, getattr(error, "duration", None))
    info = processor.errors.describe(error)
    reason = str(error) or info.type
    stacktrace = ("".join(traceback.format_exception(error)),) if processor.stack_traces else ()
    delay = processor.retries.delay(job, error, info, rng)
    entry = _history(job, info, reason) if processor.dead_letters else None
    if delay is not None:
        return Retried(job.id, job.token, delay, reason, stacktrace, entry, info)
    letter = None
    if processor.dead_letters and entry is not None:
        letter = DeadLetter(processor.dead_letters, _letter(processor, job, reason, entry))
    return Failed(job.id, job.token, reason, stacktrace, processor.keep_failed, letter, info)


def _result(value: Any) -> str:
    try:
        return to_json(value)
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


def _letter(processor: Processor, job: Job, reason: str, entry: dict[str, Any]) -> str:
    """The dead letter, as JSON: the job as it was added, and all that happened to it."""
    from queuesim.deadletters import describe

    return describe(processor.queue, job, reason, [*job.history, entry])
