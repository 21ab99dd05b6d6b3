"""Jobs between the core and BullMQ's hashes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuesim.broker.redis.options import decode_options, encode_deduplication, encode_options, milliseconds
from queuesim.broker.redis.place import Argument
from queuesim.job import DEFAULT_OPTIONS, Job, JobOptions, NewJob, to_json

if TYPE_CHECKING:
    from queuesim.broker.base import Broker


def encode_jobs(jobs: Sequence[NewJob], now: float, origin: float) -> list[Argument]:
    """The arguments of the script `add`. Jobs with the same options share a template: most have."""
    templates: dict[int, int] = {}
    head: list[Argument] = [milliseconds(now + origin), 0]
    rows: list[Argument] = []
    for job in jobs:
        options = job.options
        template = templates.get(id(options))
        if template is None:
            templates[id(options)] = template = len(templates) + 1
            head += _template(options, origin)
        rows += (template, options.job_id or "", job.name, job.data)
    head[1] = len(templates)
    return head + rows


def _template(options: JobOptions, origin: float) -> tuple[Argument, ...]:
    deduplication = options.deduplication
    return (
        encode_options(options, origin if options.timestamp is not None else 0.0),
        "" if options.timestamp is None else milliseconds(options.timestamp + origin),
        milliseconds(options.delay),
        options.priority,
        "1" if options.lifo else "",
        "" if deduplication is None else to_json(encode_deduplication(deduplication)),
    )


def decode_job(row: Sequence[Any], broker: Broker, origin: float = 0.0, token: str = "") -> Job:
    """A job from what the script `taking` tells of it. A hash that can't be read makes a job that is to fail at once,
    with what is wrong with it: it must hold up no other."""
    name, data, opts, timestamp, delay, priority, made, started, deferred, progress, made_before, *rest = row
    job_id = rest[-1]
    faults = []
    options, value = DEFAULT_OPTIONS, None
    try:
        options = DEFAULT_OPTIONS if opts is None else decode_options(opts, origin)
    except ValueError as error:
        faults.append(str(error))
    if name is None or data is None:
        faults.append(f"its hash has no field {'name' if name is None else 'data'}")
    else:
        try:
            value = {} if data == "{}" else json.loads(data)
        except ValueError as error:
            faults.append(f"its data is no JSON ({error})")
    job = Job(
        job_id,
        name or "",
        value,
        options,
        int(job_id) if job_id.isdecimal() else 0,
        _time(timestamp, origin) or 0.0,
        float(delay or 0) / 1000,
        int(priority or 0),
        int(made or 0),
        int(started or 0),
        raw_data=data,
        token=token,
        broker=broker,
    )
    if job_id.startswith("repeat:"):
        job.scheduler_id = job_id.split(":")[1]
    if deferred is not None:
        job.deferred_failure = deferred
    if progress is not None:
        job.progress = _lenient(progress)
    if made is None and made_before is not None:
        # BullMQ before version 4 called it so
        job.attempts_made = int(made_before)
    if len(rest) > 1:
        _add_rest(job, rest, origin)
    if faults:
        job.deferred_failure = f"job {job_id} can't be read: {'; '.join(faults)}. Mend its hash and retry it."
    return job


def _add_rest(job: Job, rest: Sequence[Any], origin: float) -> None:
    """What a job can only have that was started before."""
    processed_on, job.processed_by, stalls, finished_on, value, reason, stacktrace, history, _ = rest
    job.processed_on = _time(processed_on, origin)
    if stalls is not None:
        job.stalled_count = int(stalls)
    if finished_on is not None:
        job.finished_on = _time(finished_on, origin)
    if value is not None:
        job.return_value = _lenient(value)
    if reason is not None:
        job.failed_reason = reason
    if stacktrace is not None:
        job.stacktrace = tuple(_lenient(stacktrace) or ())
    if history is not None:
        job.history = tuple(json.loads(history))


def _lenient(text: str) -> Any:
    """JSON, or the text itself where another program wrote something else."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _time(milliseconds: str | None, origin: float) -> float | None:
    """A point in time, on the queue's clock."""
    return None if milliseconds is None else float(milliseconds) / 1000 - origin
