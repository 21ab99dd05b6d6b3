"""arq, SAQ and the official Python port of BullMQ: add and process. Prints one line of JSON.

Each runs in an environment of its own, for they need different versions of redis-py: see benchmarks/live.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time


async def arq(url: str, count: int, concurrency: int) -> dict[str, float]:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings.from_dsn(url)
    pool = await create_pool(settings)

    async def j(ctx: object, i: int) -> None:
        pass

    before = time.perf_counter()
    for first in range(0, count, 500):
        await asyncio.gather(*[pool.enqueue_job("j", first + i) for i in range(500)])
    added = time.perf_counter()
    worker = Worker([func(j, name="j")], redis_settings=settings, max_jobs=concurrency, burst=True, poll_delay=0.01,
                    handle_signals=False, queue_read_limit=5 * concurrency)  # fmt: skip
    await worker.async_run()
    return {"add": count / (added - before), "process": count / (time.perf_counter() - added)}


async def saq(url: str, count: int, concurrency: int) -> dict[str, float]:
    from saq import Queue, Worker

    queue = Queue.from_url(url)
    await queue.connect()
    left, done = count, asyncio.Event()

    async def j(ctx: object, *, i: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    before = time.perf_counter()
    for first in range(0, count, 500):
        await asyncio.gather(*[queue.enqueue("j", i=first + i) for i in range(500)])
    added = time.perf_counter()
    worker = Worker(queue, functions=[("j", j)], concurrency=concurrency)
    running = asyncio.create_task(worker.start())
    await done.wait()
    took = time.perf_counter() - added
    running.cancel()
    return {"add": count / (added - before), "process": count / took}


async def bullmq(url: str, count: int, concurrency: int) -> dict[str, float]:
    from bullmq import Queue, Worker

    options = {"connection": url}
    queue = Queue("port", options)
    before = time.perf_counter()
    for first in range(0, count, 1000):
        await queue.addBulk(
            [{"name": "j", "data": {"i": first + i}, "opts": {"removeOnComplete": 100}} for i in range(1000)]
        )
    added = time.perf_counter()
    left, done = count, asyncio.Event()

    async def process(job: object, token: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    worker = Worker("port", process, {**options, "concurrency": concurrency})
    await done.wait()
    took = time.perf_counter() - added
    await worker.close(force=True)
    return {"add": count / (added - before), "process": count / took}


if __name__ == "__main__":
    import uvloop

    contender = {"arq": arq, "saq": saq, "bullmq": bullmq}[sys.argv[1]]
    print(json.dumps(uvloop.run(contender(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))), flush=True)
    sys.exit(0)
