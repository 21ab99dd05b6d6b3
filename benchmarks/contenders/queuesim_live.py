"""queuesim on a server: add in bulk, process, pick up, keep to a limiter. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import median

from queuesim import Job, JobOptions, Processor, RateLimit, Worker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import connect
from queuesim.core.clock import set_clock
from queuesim.core.job import Keep, NewJob

OPTIONS = JobOptions(keep_completed=Keep(count=100), keep_failed=Keep(count=50))
BATCH = 1000


async def main(url: str, what: str, count: int, concurrency: int) -> dict[str, object]:
    set_clock(time.time)
    place = await connect(url)
    broker = RedisBroker("bench", place)
    try:
        return await MEASURES[what](broker, count, concurrency)
    finally:
        await place.close()


async def add(broker: RedisBroker, count: int, concurrency: int) -> dict[str, object]:
    before = time.perf_counter()
    for first in range(0, count, BATCH):
        jobs = [NewJob("j", f'{{"i":{first + i}}}', OPTIONS) for i in range(BATCH)]
        await broker.add(jobs, time.time())
    return {"rate": count / (time.perf_counter() - before)}


async def process(broker: RedisBroker, count: int, concurrency: int) -> dict[str, object]:
    """What waits already. With a count of 0: until the process is killed."""
    done, left = asyncio.Event(), count

    async def noop(job: Job) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    processor = Processor("bench", concurrency=concurrency)
    processor.job("j")(noop)
    worker = Worker(processor, broker, name=f"w{time.time_ns()}", clock=time.time)  # type: ignore[arg-type]
    before = time.perf_counter()
    running = asyncio.create_task(worker.run())
    await done.wait()
    took = time.perf_counter() - before
    await worker.close()
    await running
    return {"rate": count / took}


async def pickup(broker: RedisBroker, count: int, concurrency: int) -> dict[str, object]:
    """Milliseconds from the call that adds one job to an idle queue until its handler runs."""
    started: asyncio.Queue[float] = asyncio.Queue()

    async def note(job: Job) -> None:
        started.put_nowait(time.perf_counter())

    processor = Processor("bench", concurrency=concurrency)
    processor.job("j")(note)
    worker = Worker(processor, broker, clock=time.time)  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    waits = []
    for _ in range(count):
        await asyncio.sleep(0.02)  # idle is the condition: what is measured is what follows it
        before = time.perf_counter()
        await broker.add([NewJob("j", "{}", OPTIONS)], time.time())
        waits.append(1000 * (await started.get() - before))
    await worker.close()
    await running
    return {"median": median(waits), "p99": sorted(waits)[int(0.99 * len(waits))]}


async def limiter(broker: RedisBroker, count: int, concurrency: int) -> dict[str, object]:
    starts: list[float] = []
    done = asyncio.Event()

    async def note(job: Job) -> None:
        starts.append(time.perf_counter())
        if len(starts) == count:
            done.set()

    processor = Processor("bench", concurrency=concurrency, limiter=RateLimit(5, 1.0))
    processor.job("j")(note)
    await broker.add([NewJob("j", "{}", OPTIONS)] * count, time.time())
    worker = Worker(processor, broker, clock=time.time)  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    await done.wait()
    await worker.close()
    await running
    return {"starts": [round(start - starts[0], 3) for start in starts]}


MEASURES = {"add": add, "process": process, "pickup": pickup, "limiter": limiter}

if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))))
