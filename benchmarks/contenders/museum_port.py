"""A worker of BullMQ's Python port for the museum, until it is killed; see museum_node.mjs."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


async def main(url: str, queue: str, concurrency: int, limiter: list[float] | None, stalled: float) -> None:
    from bullmq import Worker

    async def process(job: Any, token: str) -> None:
        await asyncio.sleep(job.data.get("ms", 0) / 1000)

    options: dict[str, Any] = {"connection": url, "concurrency": concurrency, "stalledInterval": int(stalled * 1000)}
    if limiter:
        options["limiter"] = {"max": int(limiter[0]), "duration": int(limiter[1] * 1000)}
    worker = Worker(queue, process, options)  # noqa: F841 - it works as long as it lives
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
