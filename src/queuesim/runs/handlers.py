"""Handlers that a scenario describes: they take the time and raise the errors that it asks for."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import accumulate
from random import Random
from typing import Any

from queuesim.core.broker import Broker
from queuesim.core.clock import Clock, sleep
from queuesim.core.errors import ValidationError, simulated
from queuesim.core.job import Job, JobOptions
from queuesim.core.processor import Handler, JobType, Processor, call
from queuesim.core.worker import Worker, WorkerObserver
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import TraceJob
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import WorkerSettings
from queuesim.simulation.process import CURRENT
from queuesim.simulation.random import Streams, mixed

# -- Replays: how the jobs of a trace run, each as its row says

TRACE_ROW = "trace_row"
"""Key in the data of a replayed job: its row in the trace, from 0. Beside it are its `load` and its own `data`."""


def is_told(job: TraceJob) -> bool:
    """Whether the trace says how the job runs, so that its handler must know its row."""
    return job.service is not None or bool(job.failures)


def add_replays(processor: Processor, scenario: Scenario) -> None:
    """Handlers for the jobs of traces: each takes the time, and fails the way, that its row says."""
    traces = {entry.name: entry.trace.jobs for entry in scenario.load if entry.trace is not None}
    for name in dict.fromkeys(job.name for jobs in traces.values() for job in jobs if is_told(job)):
        otherwise = processor.types.get(name)
        timeout = None if otherwise is None else otherwise.timeout
        processor.add(JobType(name, _replaying(traces, otherwise), timeout=timeout))


def _replaying(traces: dict[str, list[TraceJob]], otherwise: JobType | None) -> Callable[[Job], Awaitable[Any]]:
    async def handle(job: Job) -> Any:
        row = job.data.get(TRACE_ROW) if isinstance(job.data, dict) else None
        recorded = None if row is None else traces[job.data["load"]][row]
        if recorded is not None:
            job.data = job.data["data"]
        value = None
        if recorded is not None and recorded.service is not None:
            await sleep(recorded.service)
        elif otherwise is None:
            raise ValidationError(f"the trace has no service time for this job, and the scenario no job {job.name!r}")
        else:
            if otherwise.parse is not None:
                job.data = otherwise.parse(job.data)
            value = await call(otherwise.handler, job)
        if recorded is not None and job.attempts_made < len(recorded.failures):
            category = recorded.failures[job.attempts_made]
            if category:
                raise simulated(category)
        return value

    return handle


# -- Failures that a scenario asks for: errors by category and attempt, poison jobs, and time that blocks the worker


def failures(name: str, settings: JobSettings, streams: Streams) -> Callable[[Job], str] | None:
    """A function that draws what an attempt fails with, "" for success; None if none ever fails."""
    by_attempt = [
        list(zip(accumulate(rates.values()), rates, strict=True))
        for rates in (settings.errors.at(attempt) for attempt in range(1, settings.errors.attempts + 1))
    ]
    poison = _poison(name, settings, streams)
    if not any(by_attempt):
        return poison
    draw = streams.python(f"errors/{name}").random

    def failure(job: Job) -> str:
        if poison is not None and (category := poison(job)):
            return category
        drawn = draw()
        bounds = by_attempt[min(job.attempts_made, len(by_attempt) - 1)]
        return next((category for bound, category in bounds if drawn < bound), "")

    return failure


def poison_salt(name: str, streams: Streams) -> int:
    """What is added to the number of a job of this type, so that its mixed number says whether it is poisoned."""
    return streams.python(f"poison/{name}").getrandbits(64)


def _poison(name: str, settings: JobSettings, streams: Streams) -> Callable[[Job], str] | None:
    """Whether a job is one of those that can never succeed: decided by its number, so that each attempt agrees."""
    poison = settings.poison
    if poison is None or not poison.probability:
        return None
    salt = poison_salt(name, streams)
    bound = poison.probability * 2**64

    def poisoned(job: Job) -> str:
        return poison.category if mixed(salt + job.number) < bound else ""

    return poisoned


def blocking(name: str, settings: JobSettings, streams: Streams) -> Callable[[], Awaitable[None]] | None:
    """A function that holds the worker's event loop for as long as a handler computes; None if none does."""
    if settings.blocking is None:
        return None
    seconds = settings.blocking.model().sampler(streams.named(f"blocking/{name}"))

    async def block() -> None:
        process = CURRENT.get(None)
        if process is None:
            await sleep(seconds())
        else:
            await process.block(seconds())

    return block


OVERDUE = "overdue-tasks-notification"
"""The type of the jobs that scans for overdue tasks make."""

OPTIONS = ("attempts", "backoff", "delay", "priority", "lifo")
"""What a scenario can say of a job's options."""

Draw = Callable[[], float]
Sleeper = Callable[[float], Awaitable[object]]
AsyncHandler = Callable[[Job], Awaitable[Any]]


def build_processor(scenario: Scenario, own: Processor | None, streams: Streams, sleep: Sleeper = sleep) -> Processor:
    """The processor that a scenario runs: the user's `own`, or one made of its job types.

    Args:
        sleep: waits so many seconds; a loop's own way is faster than one that has to find the loop first.
    """
    processor = _described(scenario) if own is None else _adapted(own, scenario)
    for name, settings in scenario.jobs.items():
        if settings.synthetic:
            processor.add(JobType(name, _synthetic(name, settings, streams, sleep), timeout=settings.timeout))
        elif name in processor.types:
            processor.add(_disturbed(processor.types[name], settings, streams))
    add_replays(processor, scenario)
    if scenario.overhead.attempt:
        for job_type in list(processor.types.values()):
            slower = _slower(job_type.handler, scenario.overhead.attempt)
            processor.add(replace(job_type, handler=slower, is_async=True))
    return processor


def build_worker(
    processor: Processor,
    broker: Broker,
    settings: WorkerSettings,
    *,
    name: str,
    token: str,
    clock: Clock | None,
    rng: Random,
    observer: WorkerObserver,
) -> Worker:
    """A worker of the kind that a scenario describes."""
    return Worker(
        processor,
        broker,
        name=name,
        token=token,
        concurrency=settings.concurrency,
        limiter=None if settings.limiter is None else settings.limiter.model(),
        options=settings.options(),
        clock=clock,
        rng=rng,
        observer=observer,
    )


def _described(scenario: Scenario) -> Processor:
    """A processor by the scenario's own rules, without handlers."""
    queue = scenario.queue
    processor = Processor(
        queue.name,
        keep_completed=None if queue.keep.completed is None else queue.keep.completed.model(),
        keep_failed=None if queue.keep.failed is None else queue.keep.failed.model(),
        dead_letters=scenario.dead_letters,
        retries=queue.retry.policies(),
    )
    # a simulated failure has no story to tell
    processor.stack_traces = False
    return processor


def _adapted(own: Processor, scenario: Scenario) -> Processor:
    """The user's processor, with what the scenario says of its queue in place of what it says itself."""
    queue = scenario.queue
    processor = copy.copy(own)
    processor.types, processor.plain_handlers = {}, {}
    for job_type in own.types.values():
        processor.add(job_type)
    given = queue.model_fields_set
    if "name" in given:
        processor.queue = queue.name
    if queue.keep.completed is not None:
        processor.keep_completed = queue.keep.completed.model()
    if queue.keep.failed is not None:
        processor.keep_failed = queue.keep.failed.model()
    if "dead_letter" in given:
        processor.dead_letters = scenario.dead_letters
    policies = {**own.retries.policies, **queue.retry.policies()}
    processor.retries = replace(own.retries, policies=policies)
    return processor


def job_options(scenario: Scenario, own: Processor | None) -> dict[str, JobOptions]:
    """What jobs of each type are added with. A user's own processor says what the scenario leaves out."""
    names = dict.fromkeys(scenario.jobs)
    for entry in scenario.load:
        if entry.trace is not None:
            names |= dict.fromkeys(job.name for job in entry.trace.jobs)
        elif entry.jobs is not None:
            names |= dict.fromkeys(entry.jobs)
    if scenario.overdue is not None:
        names[OVERDUE] = None
    return {name: _options(scenario.job(name), scenario, own) for name in names}


def _options(settings: JobSettings, scenario: Scenario, own: Processor | None) -> JobOptions:
    options = settings.options(scenario.queue)
    if own is None:
        return options
    given = settings.model_fields_set | (scenario.queue.model_fields_set & {"attempts", "backoff"})
    chosen = {name: getattr(options, name) for name in OPTIONS if name in given}
    return replace(own.defaults, **chosen)


def _synthetic(name: str, settings: JobSettings, streams: Streams, sleep: Sleeper) -> AsyncHandler:
    assert settings.service is not None
    service = settings.service.model().sampler(streams.named(f"service/{name}"))
    failure = failures(name, settings, streams)
    block = blocking(name, settings, streams)

    async def handle(job: Job) -> None:
        if block is not None:
            await block()
        await sleep(service())
        if failure is not None:
            category = failure(job)
            if category:
                raise simulated(category)

    return handle


def _disturbed(job_type: JobType, settings: JobSettings, streams: Streams) -> JobType:
    """A user's job type with what the scenario adds: a part that blocks before the handler, errors after it."""
    name, handler = job_type.name, job_type.handler
    failure = failures(name, settings, streams)
    block = blocking(name, settings, streams)
    timeout = job_type.timeout if settings.timeout is None else settings.timeout
    if block is None and failure is None:
        return replace(job_type, timeout=timeout)

    async def handle(job: Job) -> Any:
        if block is not None:
            await block()
        value = await call(handler, job)
        if failure is not None and (category := failure(job)):
            raise simulated(category)
        return value

    return replace(job_type, handler=handle, is_async=True, timeout=timeout)


def _slower(handler: Handler, seconds: float) -> AsyncHandler:
    """A handler that holds its slot for longer: what the backend takes to hand jobs out and in."""

    async def handle(job: Job) -> Any:
        try:
            return await call(handler, job)
        finally:
            await sleep(seconds)

    return handle
