"""A processor whose service reports now and then that it is called too often. The job is then moved back."""

from __future__ import annotations

import asyncio

from queuesim import Job, Processor, RateLimit
from queuesim.core.errors import RateLimitError

processor = Processor("requests", limiter=RateLimit(max=50, duration=10.0))


@processor.job("request")
async def request(job: Job) -> None:
    """The first attempt of every tenth job meets the limit of the service."""
    await asyncio.sleep(0.2)
    if job.number % 10 == 0 and job.attempts_started == 1:
        raise RateLimitError(2.0)
