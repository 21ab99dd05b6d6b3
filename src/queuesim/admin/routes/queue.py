"""The queue as a whole: its metrics, and whether jobs start."""

from __future__ import annotations

from fastapi import APIRouter

from queuesim.admin.bodies import Done
from queuesim.admin.metering import Meter, Metrics
from queuesim.queue import Queue


def routes(queue: Queue, meter: Meter) -> APIRouter:
    """What administrators may see of a queue, and do to it."""
    router = APIRouter()

    @router.get("/queue-metrics")
    async def queue_metrics() -> Metrics:
        """What became of jobs since the last reset, and where they are now."""
        return await meter.read()

    @router.post("/reset-queue-metrics")
    async def reset_queue_metrics() -> Done:
        """Count from zero again."""
        await meter.follow()
        meter.reset()
        return Done(done="reset")

    @router.post("/pause")
    async def pause() -> Done:
        """No job starts any more."""
        await queue.pause()
        return Done(done="paused")

    @router.post("/resume")
    async def resume() -> Done:
        """Jobs start again."""
        await queue.resume()
        return Done(done="resumed")

    return router
