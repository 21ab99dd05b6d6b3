"""Handlers that a soak plays beside those that scenarios describe: they put off, limit, and add jobs with one id."""

from __future__ import annotations

import asyncio
from zlib import crc32

from queuesim.core.errors import DelayedError, RateLimitError
from queuesim.core.job import Deduplication, Job, JobOptions
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue

processor = Processor("soak")
"""Plays jobs of the types limited, postponed, unique and once."""


def _part(job: Job, steps: int) -> int:
    """A whole number from 0 to `steps` - 1 that depends on the job's id alone: a handler has no stream of its own."""
    return crc32(job.id.encode()) % steps


@processor.job("limited")
async def limited(job: Job) -> None:
    """At its first start it limits the queue for up to a second, if it has a limiter."""
    if job.attempts_started == 1:
        raise RateLimitError(0.1 * (1 + _part(job, 10)))
    await asyncio.sleep(0.1)


@processor.job("postponed")
async def postponed(job: Job) -> None:
    """At its first two starts it puts itself off by 0 to 3 seconds."""
    if job.attempts_started <= 2:
        raise DelayedError(float(_part(job, 4)))
    await asyncio.sleep(0.2)


@processor.job("unique")
async def unique(job: Job) -> None:
    """Adds a job under one of four deduplication ids, of which two are held for a time only."""
    which = _part(job, 4)
    assert job.broker is not None
    rule = Deduplication(f"id-{which}", ttl=2.0 if which < 2 else None)
    await Queue(job.broker).add("once", options=JobOptions(deduplication=rule))


@processor.job("once")
async def once(job: Job) -> None:
    """Takes half a second to three seconds."""
    await asyncio.sleep(0.5 * (1 + _part(job, 6)))
