"""What will go wrong with a processor, by arithmetic, whatever load comes to it."""

from __future__ import annotations

from collections.abc import Iterator

from queuesim.check.finding import Finding, rate, time
from queuesim.processor import Processor
from queuesim.worker import WorkerOptions

HOUR = 3600.0
"""Seconds: ids that are free again before that keep no two runs of an hourly task apart."""


def examine_processor(processor: Processor) -> list[Finding]:
    """All findings, the most harmful kinds first."""
    return [
        *_blocking(processor),
        *_retention(processor),
        *_concurrency(processor),
    ]


def _blocking(processor: Processor) -> Iterator[Finding]:
    """An ordinary function holds the event loop: no other job runs, and no lock is renewed, until it returns."""
    for job_type in processor.types.values():
        if job_type.is_async or processor.concurrency == 1:
            continue
        options = WorkerOptions()
        bears = options.lock_duration - (options.lock_renew_time or options.lock_duration / 2)
        in_vain = "" if job_type.timeout is None else f" Its timeout of {time(job_type.timeout)} can't end it."
        yield Finding(
            "lock shorter than a blocking job",
            job_type.name,
            f"its handler is an ordinary function, which holds the event loop until it returns: none of the "
            f"{processor.concurrency - 1} other slots goes on, and if it takes longer than {time(bears)} the locks of "
            f"jobs beside it may end, so that they run twice. Await asyncio.to_thread in it.{in_vain}",
        )


def _retention(processor: Processor) -> Iterator[Finding]:
    """A custom id only keeps a second job away while the first one is kept."""
    keep, limit = processor.keep_completed, processor.limiter
    if keep is None or keep.count is None or limit is None:
        return
    pace = limit.max / limit.duration
    if keep.count / pace < HOUR:
        yield Finding(
            "retention undoes deduplication",
            "keep_completed",
            f"{keep.count} completed jobs are kept, which at the limiter's {rate(pace)} is {time(keep.count / pace)}; "
            "after that their ids are free, and a job of the same id is added again.",
        )


def _concurrency(processor: Processor) -> Iterator[Finding]:
    """By Little's law the limiter never lets so many jobs run at once, however long they may take."""
    limit, types = processor.limiter, processor.types.values()
    timeouts = [job_type.timeout for job_type in types if job_type.timeout is not None]
    if limit is None or not timeouts or len(timeouts) < len(types):
        return
    busy = limit.max / limit.duration * max(timeouts)
    if processor.concurrency > max(4 * busy, 1):
        yield Finding(
            "concurrency that the limiter makes useless",
            "concurrency",
            f"at the limiter's {rate(limit.max / limit.duration)} and {time(max(timeouts))} an attempt, which is the "
            f"longest timeout, {busy:.2g} jobs run at once on average (Little's law), and there are "
            f"{processor.concurrency} slots.",
        )
