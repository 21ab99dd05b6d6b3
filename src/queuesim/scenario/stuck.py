"""Whether a run still gets on, and which jobs keep it from ending.

A job gets further when it ends, or when an attempt of it fails and counts. It does not when its handler puts it off
(DelayedError, RateLimitError), when its lock is lost, or when it fails for the thousandth time. A run gets on no more
when all jobs that are left only go round and round, or when nothing at all happens and nothing is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import queuesim
from queuesim.broker.base import Broker
from queuesim.job import Job, JobState
from queuesim.metrics.recorder import Recorder
from queuesim.metrics.recording import Stop, StopReason, StuckJob
from queuesim.simulation.waiters import awaited, sleeps
from queuesim.worker import Worker

UNFINISHED = (JobState.ACTIVE, JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED)
MOST_JOBS = 100
"""Stuck jobs that a result lists."""
FEW_ROUNDS = 10
"""At the end of a drain that is limited in time, a job that was put off so often is on its way nowhere."""

PACKAGE = str(Path(queuesim.__file__).parent)
OWN_CODE = tuple(
    f"{PACKAGE}/{name}" for name in ("worker.py", "attempt.py", "processor.py", "exchange.py", "pipeline.py", "broker/")
)
"""What runs between a worker's slot and a handler."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long jobs may be put off before that counts as no progress."""

    rounds: int
    """Each must have been put off so often, and ..."""
    seconds: float
    """... for so many seconds, or ..."""
    total: int
    """... all together so often."""


NumberOf = Callable[[Job], int]


def number(job: Job) -> int:
    """A job's number, where the queue itself counts them."""
    return job.number


async def goes_round(
    broker: Broker,
    recorder: Recorder,
    workers: Sequence[Worker],
    now: float,
    patience: Patience,
    number_of: NumberOf = number,
) -> bool:
    """Whether jobs that are put off again and again are all that happens, or all that is left."""
    if not recorder.put_off:
        return False
    quiet = now - max(recorder.last_progress, recorder.last_added)
    long = quiet >= patience.seconds and recorder.fruitless >= patience.rounds
    if long or recorder.fruitless >= patience.total:
        return await stands_still(broker, recorder, workers, now, number_of)
    return await _only_rounds_left(broker, recorder, now, patience, number_of)


async def _only_rounds_left(
    broker: Broker, recorder: Recorder, now: float, patience: Patience, number_of: NumberOf
) -> bool:
    """Whether each job that is left was put off again and again, whatever was added and ended meanwhile."""
    put_off = recorder.put_off
    counts = await broker.counts()
    left = sum(counts[state] for state in UNFINISHED)
    if not left or len(put_off) < left:
        return False
    records = [put_off.get(each) for each in await _left(broker, number_of)]
    known = [record for record in records if record is not None and record.times >= patience.rounds]
    if not records or len(known) < len(records):
        return False
    long = all(now - record.since >= patience.seconds for record in known)
    return long or sum(record.times for record in known) >= patience.total


async def _left(broker: Broker, number_of: NumberOf) -> list[int]:
    return [number_of(job) for state in UNFINISHED for job in await broker.jobs(state, 0, -1, True)]


async def stands_still(
    broker: Broker, recorder: Recorder, workers: Iterable[Worker], now: float, number_of: NumberOf = number
) -> bool:
    """Whether the jobs that are left would be left however long one waited: nothing is due, and no handler sleeps.

    Workers in other processes have no tasks here: what their handlers wait for is unknown, and taken for work.
    """
    tasks = slot_tasks(workers)
    states = {state: await broker.jobs(state, 0, -1, True) for state in UNFINISHED}
    if await broker.rate_limit_ttl(None, now) > 0 and not recorder.put_off:
        return False
    for job in states[JobState.ACTIVE]:
        task = tasks.get(job.id)
        if not _rounds(recorder, number_of(job)) and (task is None or sleeps(task)):
            return False
    return all(_rounds(recorder, number_of(job)) for job in states[JobState.DELAYED])


def _rounds(recorder: Recorder, number: int) -> bool:
    record = recorder.put_off.get(number)
    return record is not None and record.times >= FEW_ROUNDS


def slot_tasks(workers: Iterable[Worker]) -> dict[str, asyncio.Task[Any]]:
    """The task that runs each job's handler, by the job's id."""
    return {
        job.id: task
        for worker in workers
        for slot, job in worker.running.items()
        if (task := worker.slot_task(slot)) is not None
    }


async def all_since(broker: Broker, since: float) -> bool:
    """Whether every job that is left was added after a moment; False if none is."""
    added = [job.timestamp for state in UNFINISHED for job in await broker.jobs(state, 0, -1, True)]
    return bool(added) and min(added) > since


async def no_progress(
    broker: Broker, recorder: Recorder, workers: Sequence[Worker], since: float, number_of: NumberOf = number
) -> Stop:
    """The verdict, with the jobs that are left: those in a handler first."""
    tasks = slot_tasks(workers)
    jobs: list[StuckJob] = []
    for state in UNFINISHED:
        for job in await broker.jobs(state, 0, MOST_JOBS - 1, True):
            hangs = awaited(tasks[job.id], OWN_CODE) if job.id in tasks else None
            record = recorder.put_off.get(number_of(job))
            jobs.append(
                StuckJob(
                    number_of(job),
                    job.name,
                    state.value,
                    worker=(job.processed_by or "") if state is JobState.ACTIVE else "",
                    awaits="" if hangs is None else hangs.code,
                    place="" if hangs is None else hangs.place,
                    put_off=0 if record is None else record.times,
                )
            )
    detail = "the queue is paused" if await broker.is_paused() else ""
    return Stop(StopReason.NO_PROGRESS, since, detail, tuple(jobs[:MOST_JOBS]))
