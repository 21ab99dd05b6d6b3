"""Evidence: what the oracles hold a run against, and what the queue itself says at its end."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from queuesim.broker.base import Broker
from queuesim.job import Job, JobState
from queuesim.limits import KEEP_ALL, RateLimit
from queuesim.metrics.recorder import Recorder
from queuesim.processor import Processor
from queuesim.scenario.fleet import Fleet
from queuesim.scenario.schema import Scenario
from queuesim.testing.oracles import Evidence, Promises

MOST_LETTERS = 100_000
"""With more dead letters than that nobody reads them all."""


def promises(scenario: Scenario, processor: Processor, fleet: Fleet, recorder: Recorder) -> Promises:
    """What a run has promised."""
    shared = scenario.queue.rate_limit
    workers = fleet.workers
    own = dict.fromkeys(worker.terms.limiter for worker in workers if worker.terms.limiter is not None)
    limiters = [limiter if shared is None else RateLimit(shared.max, limiter.duration) for limiter in own] or (
        [] if shared is None else [shared.model()]
    )
    unlimited = any(worker.terms.limiter is None for worker in workers) and shared is None
    overhead = scenario.overhead
    return Promises(
        options=recorder.options,
        policies=processor.retries.policies,
        custom_backoff=processor.retries.strategy is not None,
        max_started=processor.retries.max_started,
        concurrency={worker.name: worker.concurrency for worker in workers},
        starts={member.name: member.joined or member.settings.start for member in fleet.members},
        shared_concurrency=scenario.queue.concurrency,
        # a worker without a limiter starts what it likes
        limiters=() if unlimited else limiters,
        keep_completed=processor.keep_completed or KEEP_ALL,
        keep_failed=processor.keep_failed or KEEP_ALL,
        dead_letters=processor.dead_letters is not None,
        drained=scenario.drain is True,
        pickup=overhead.pickup + overhead.tick,
        blocking=any(job.blocking is not None for job in scenario.jobs.values()),
    )


async def gather(broker: Any, recorder: Recorder, dead_letters: str | None) -> Evidence:
    """What the queue says of its jobs now."""
    return Evidence(
        census=await _census(broker),
        known=broker.stored() if hasattr(broker, "stored") else (),
        letters=None if dead_letters is None else await _letters(broker.sibling(dead_letters)),
        terms=recorder.terms,
        deduplications=recorder.deduplications,
    )


async def _census(broker: Any) -> dict[str, list[int]]:
    if hasattr(broker, "census"):
        counted: dict[str, list[int]] = broker.census()
        return counted
    return {
        state.value: [job.number for job in await broker.jobs(state, 0, -1, True)]
        for state in JobState
        if state is not JobState.WAITING_CHILDREN
    }


async def _letters(queue: Broker) -> dict[str, int] | None:
    counts = await queue.counts()
    if sum(counts.values()) > MOST_LETTERS:
        return None
    letters: list[Job] = []
    for state, count in counts.items():
        if count:
            letters += await queue.jobs(state, 0, -1, True)
    return Counter(json.loads(letter.raw_data or "{}").get("id", "") for letter in letters)
