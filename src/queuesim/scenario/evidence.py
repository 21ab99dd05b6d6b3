"""Evidence: what the oracles hold a run against, and what the queue itself says at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from queuesim.broker.base import Broker
from queuesim.job import Job, JobState
from queuesim.limits import KEEP_ALL, RateLimit
from queuesim.metrics.recorder import Recorder
from queuesim.processor import Processor
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.schema import Scenario
from queuesim.testing.oracles import Evidence, Promises

MOST_LETTERS = 100_000
"""With more dead letters than that nobody reads them all."""


class Place(Protocol):
    """A worker's place, in whatever kind of run."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> WorkerSettings: ...

    @property
    def joined(self) -> float:
        """When it came into the run, in seconds; 0: it was there from the beginning."""
        ...


def promises(scenario: Scenario, processor: Processor, places: Sequence[Place], recorder: Recorder) -> Promises:
    """What a run has promised, with workers in these places."""
    shared = scenario.queue.rate_limit
    terms = [
        processor.limiter if place.settings.limiter is None else place.settings.limiter.model() for place in places
    ]
    own = dict.fromkeys(limiter for limiter in terms if limiter is not None)
    limiters = [limiter if shared is None else RateLimit(shared.max, limiter.duration) for limiter in own]
    if shared is not None and (None in terms or not own):
        # what holds for workers that have none
        limiters.append(shared.model())
    unlimited = None in terms and shared is None
    overhead = scenario.overhead
    return Promises(
        options=recorder.options,
        policies=processor.retries.policies,
        custom_backoff=processor.retries.strategy is not None,
        max_started=processor.retries.max_started,
        concurrency={place.name: place.settings.concurrency or processor.concurrency for place in places},
        starts={place.name: place.joined or place.settings.start for place in places},
        shared_concurrency=scenario.queue.concurrency,
        # a worker without a limiter starts what it likes
        limiters=() if unlimited else limiters,
        keep_completed=processor.keep_completed or KEEP_ALL,
        keep_failed=processor.keep_failed or KEEP_ALL,
        dead_letters=processor.dead_letters is not None,
        drained=scenario.drain is True,
        pickup=overhead.pickup + overhead.tick,
        blocking=frozenset(name for name, job in scenario.jobs.items() if job.blocking is not None),
    )


async def gather(
    broker: Any,
    recorder: Recorder,
    dead_letters: str | None,
    number_of: Callable[[Job], int] = lambda job: job.number,
) -> Evidence:
    """What the queue says of its jobs now."""
    return Evidence(
        census=await _census(broker, number_of),
        known=broker.stored() if hasattr(broker, "stored") else (),
        forsaken=[
            number_of(job)
            for job in await broker.jobs(JobState.WAITING_CHILDREN, 0, -1, True)
            if not await _has_child(broker, job)
        ],
        letters=None if dead_letters is None else await _letters(broker.sibling(dead_letters)),
        terms=recorder.terms,
        deduplications=recorder.deduplications,
        holds=recorder.holds,
    )


async def _census(broker: Any, number_of: Callable[[Job], int]) -> dict[str, list[int]]:
    if hasattr(broker, "census"):
        counted: dict[str, list[int]] = broker.census()
        return counted
    return {state.value: [number_of(job) for job in await broker.jobs(state, 0, -1, True)] for state in JobState}


async def _has_child(broker: Any, parent: Job) -> bool:
    """Whether a parent has a child for which it waits rightly: one that has not completed, or failed and keeps it."""
    for child in (await broker.children(parent.id)).pending:
        queue, _, job_id = child.partition(":")
        if await broker.sibling(queue).state(job_id) not in (None, JobState.COMPLETED):
            return True
    return False


async def _letters(queue: Broker) -> dict[str, int] | None:
    counts = await queue.counts()
    if sum(counts.values()) > MOST_LETTERS:
        return None
    letters: list[Job] = []
    for state, count in counts.items():
        if count:
            letters += await queue.jobs(state, 0, -1, True)
    return Counter(json.loads(letter.raw_data or "{}").get("id", "") for letter in letters)
