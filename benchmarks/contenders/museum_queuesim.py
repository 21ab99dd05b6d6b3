"""A worker of queuesim for the museum, until it is killed; see museum_node.mjs."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from queuesim import Job, Processor, RateLimit, Worker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import connect
from queuesim.core.clock import set_clock
from queuesim.core.errors import RateLimitError
from queuesim.core.worker import WorkerOptions


async def main(url: str, queue: str, concurrency: int, limiter: list[float] | None, stalled: float) -> None:
    set_clock(time.time)
    limit = RateLimit(int(limiter[0]), limiter[1]) if limiter else None
    processor = Processor(queue, concurrency=concurrency, limiter=limit)

    @processor.job("j")
    async def process(job: Job) -> None:
        await asyncio.sleep(job.data.get("ms", 0) / 1000)
        if job.data.get("limited") and job.attempts_started == 1:
            raise RateLimitError(0.5)

    broker = RedisBroker(queue, await connect(url))
    options = WorkerOptions(stalled_interval=stalled)
    await Worker(processor, broker, name=f"w{time.time_ns()}", clock=time.time, options=options).run()  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
