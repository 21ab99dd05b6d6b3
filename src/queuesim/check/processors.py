"""What will go wrong with a processor, by arithmetic, whatever load comes to it."""

from __future__ import annotations

from collections.abc import Iterator

from queuesim.check.finding import Finding, rate, time
from queuesim.processor import Processor

HOUR = 3600.0
"""Seconds: ids that are free again before that keep no two runs of an hourly task apart."""


def examine_processor(processor: Processor) -> list[Finding]:
    """All findings, the most harmful kinds first."""
    return [
        *_retention(processor),
        *_concurrency(processor),
    ]


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
