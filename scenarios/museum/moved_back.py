"""A processor that learns now and then from the service behind it that it calls too often, and moves the job back."""

from __future__ import annotations

import asyncio

from queuesim import Job, Processor, RateLimit
from queuesim.core.errors import RateLimitError

processor = Processor("requests", limiter=RateLimit(max=50, duration=10.0))


@processor.job("request")
async def request(job: Job) -> None:
    """Every tenth call is one too many, the first time."""
    await asyncio.sleep(0.2)
    if job.number % 10 == 0 and job.attempts_started == 1:
        raise RateLimitError(2.0)
