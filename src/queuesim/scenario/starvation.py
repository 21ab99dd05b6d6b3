"""Starvation: whether the faults of a run left nobody able to work."""

from __future__ import annotations

import math
from collections.abc import Sequence

from queuesim.broker.base import Broker
from queuesim.job import JobState
from queuesim.metrics.recorder import Recorder
from queuesim.metrics.recording import FaultRow
from queuesim.scenario.fleet import Fleet

STARVED = 0.5
"""A run without a drain got stuck if for more than this part of it jobs waited and none started or ended."""
READY = (JobState.WAITING, JobState.PRIORITIZED)


async def starved_since(broker: Broker, fleet: Fleet, recorder: Recorder, duration: float, now: float) -> float | None:
    """Since when, at the end of a run with faults and without a drain, jobs wait and none starts or ends.

    Returns:
        Seconds since the run began; None if that is not so for most of the run, if the limiter holds the jobs, or if
        attempts are under way that take their time.
    """
    waiting = [job.ready_at or 0.0 for state in READY for job in await broker.jobs(state, 0, 0, True)]
    # jobs that nobody could add wait too
    waiting += [away] if (away := _away_since(recorder.faults, now)) < now else []
    limited = await broker.rate_limit_ttl(None, now) > 0
    working = any(member.worker is not None and member.worker.running for member in fleet.running)
    hanging = any(fault.kind == "handler.hang" for fault in recorder.faults)
    if not waiting or limited or (working and not hanging):
        return None
    starts = [job.processed_on or 0.0 for worker in fleet.workers for job in worker.running.values()]
    since = max([recorder.last_ended, *starts, min(waiting)])
    return since if now - since > STARVED * duration else None


def _away_since(faults: Sequence[FaultRow], now: float) -> float:
    """Since when Redis is away, by outages that overlap or follow each other at once; now: it is there."""
    since = now
    for fault in sorted(faults, key=lambda fault: fault.began, reverse=True):
        ended = now if math.isnan(fault.ended) else fault.ended
        if fault.kind == "redis.outage" and ended >= since:
            since = min(since, fault.began)
    return since
