"""Jobs between the core and BullMQ's hashes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from queuesim.brokers.redis.server import PREFIX, Argument
from queuesim.core.job import (
    DEFAULT_OPTIONS,
    KEEP_ALL,
    MAX_PRIORITY,
    Backoff,
    Deduplication,
    Job,
    JobOptions,
    JobRef,
    Keep,
    NewJob,
    Unreadable,
    check_job_id,
    number_of,
    parse_json,
    parse_json_or_text,
    to_json,
)

if TYPE_CHECKING:
    from queuesim.core.broker import Broker


# -- Job options as BullMQ stores them: JSON with short keys, times in milliseconds


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, the nearest: a time of 1.001 s is no less than 1001 ms."""
    return round(seconds * 1000)


@lru_cache(maxsize=1024)
def encode_options(options: JobOptions, origin: float = 0.0) -> str:
    """The `opts` field of a job's hash. `attempts` is always there, anything else only if it is no default. `origin` is
    second 0 of the queue's clock in seconds since the Unix epoch."""
    opts: dict[str, Any] = {"attempts": options.attempts}
    if options.backoff is not None:
        opts["backoff"] = _encode_backoff(options.backoff)
    if options.delay:
        opts["delay"] = milliseconds(options.delay)
    if options.priority:
        opts["priority"] = options.priority
    if options.lifo:
        opts["lifo"] = True
    if options.job_id is not None:
        opts["jobId"] = options.job_id
    if options.keep_completed is not None:
        opts["removeOnComplete"] = encode_keep(options.keep_completed)
    if options.keep_failed is not None:
        opts["removeOnFail"] = encode_keep(options.keep_failed)
    if options.deduplication is not None:
        opts["de"] = encode_deduplication(options.deduplication)
    if options.timestamp is not None:
        opts["timestamp"] = milliseconds(options.timestamp + origin)
    numbers = {
        "kl": options.keep_logs,
        "stackTraceLimit": options.stack_trace_limit,
        "sizeLimit": options.size_limit,
    }
    opts.update((key, number) for key, number in numbers.items() if number is not None)
    return to_json(opts)


def _encode_backoff(backoff: Backoff) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": backoff.type, "delay": milliseconds(backoff.delay)}
    if backoff.jitter:
        fields["jitter"] = backoff.jitter
    if backoff.cap is not None:
        # ours alone: Node's workers have no cap
        fields["cap"] = milliseconds(backoff.cap)
    return fields


def encode_keep(keep: Keep) -> bool | int | dict[str, Any]:
    """A rule of retention: true removes at once, false keeps all, a number keeps so many, an object has an age too."""
    if keep == KEEP_ALL:
        return False
    if keep.age is None:
        return True if keep.count == 0 else (keep.count if keep.count is not None else False)
    fields: dict[str, Any] = {"age": keep.age, "limit": keep.limit}
    if keep.count is not None:
        fields["count"] = keep.count
    return fields


@lru_cache(maxsize=256)
def worker_keep(keep: Keep | None) -> str:
    """A worker's rule of retention, as our scripts take it: JSON of an object, "" where there is none."""
    if keep is None:
        return ""
    return to_json({name: getattr(keep, name) for name in ("count", "age", "limit") if getattr(keep, name) is not None})


def encode_deduplication(deduplication: Deduplication) -> dict[str, Any]:
    """The `de` option."""
    fields: dict[str, Any] = {"id": deduplication.id}
    if deduplication.ttl is not None:
        fields["ttl"] = milliseconds(deduplication.ttl)
    flags = {
        "extend": deduplication.extend,
        "replace": deduplication.replace,
        "keepLastIfActive": deduplication.keep_last_if_active,
        "reschedule": deduplication.reschedule,
    }
    fields.update((key, True) for key, flag in flags.items() if flag)
    return fields


@lru_cache(maxsize=1024)
def decode_options(text: str, origin: float = 0.0) -> JobOptions:
    """Options from an `opts` field. What another program wrote may hold more than we know: that is left out.

    Raises:
        ValueError: it is not a JSON object, or a value is out of its range.
    """
    opts = parse_json(text)
    if not isinstance(opts, dict):
        raise ValueError(f"not an object: {text[:100]}")
    try:
        return _decode_options(opts, origin)
    except ValueError as error:
        raise ValueError(f"not valid: {error}") from error
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"not valid: {type(error).__name__}: {error}") from error


def _decode_options(opts: dict[str, Any], origin: float) -> JobOptions:
    return JobOptions(
        attempts=int(opts.get("attempts") or 0),
        backoff=_decode_backoff(opts.get("backoff")),
        delay=_seconds(opts.get("delay")) or 0.0,
        priority=int(opts.get("priority") or 0),
        lifo=bool(opts.get("lifo")),
        job_id=_decode_id(opts.get("jobId")),
        keep_completed=_decode_keep(opts.get("removeOnComplete")),
        keep_failed=_decode_keep(opts.get("removeOnFail")),
        deduplication=_decode_deduplication(opts.get("de")),
        timestamp=_start_of(opts.get("timestamp"), origin),
        keep_logs=_whole(opts.get("kl")),
        stack_trace_limit=_whole(opts.get("stackTraceLimit")),
        size_limit=_whole(opts.get("sizeLimit")),
    )


def _start_of(timestamp: Any, origin: float) -> float | None:
    return None if timestamp is None else timestamp / 1000 - origin


def _whole(number: Any) -> int | None:
    return None if number is None else int(number)


def _decode_id(job_id: Any) -> str | None:
    """A custom id, unless another program made one that we would refuse: the job has it all the same."""
    try:
        check_job_id(job_id)
    except (TypeError, ValueError):
        return None
    return str(job_id)


def _seconds(milliseconds: Any) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _decode_backoff(backoff: Any) -> Backoff | None:
    """A type that is not ours, such as a custom one, is the business of the processor's own strategy."""
    if backoff is None:
        return None
    if isinstance(backoff, (int, float)):
        return Backoff("fixed", backoff / 1000)
    if backoff["type"] not in ("fixed", "exponential"):
        return None
    cap = backoff.get("cap")
    return Backoff(backoff["type"], (backoff.get("delay") or 0) / 1000, backoff.get("jitter") or 0.0, _seconds(cap))


def _decode_keep(rule: Any) -> Keep | None:
    if rule is None:
        return None
    if isinstance(rule, bool):
        return Keep(count=0) if rule else KEEP_ALL
    if isinstance(rule, (int, float)):
        return Keep(count=int(rule)) if rule >= 0 else KEEP_ALL
    count = rule.get("count")
    return Keep(None if count is None or count < 0 else int(count), rule.get("age"), rule.get("limit") or 1000)


def _decode_deduplication(fields: Any) -> Deduplication | None:
    if not fields:
        return None
    dedup_id = fields["id"]
    if isinstance(dedup_id, bool) or not isinstance(dedup_id, (str, int, float)):
        raise ValueError(f"a deduplication id must be text, not {type(dedup_id).__name__}")
    return Deduplication(
        str(dedup_id),
        ttl=_seconds(fields.get("ttl")),
        extend=bool(fields.get("extend")),
        replace=bool(fields.get("replace")),
        reschedule=bool(fields.get("reschedule")),
        keep_last_if_active=bool(fields.get("keepLastIfActive")),
    )


LARGEST = 2**53
"""Whole numbers up to this one are exact in Lua and in JavaScript, as counts and as milliseconds."""
DIGITS = 16
"""Of `LARGEST`. A longer text is not one of our numbers, and slow to read."""
PLAIN = re.compile(r"(-?[0-9]+ ?)+")
"""Numbers as BullMQ writes them. Python would take "1_000" and digits of other scripts for numbers, too."""
NUMBER = re.compile(r" *-?[0-9]+(\.[0-9]+)? *")
SHOWN = 60
"""Characters of a value that an error message shows."""


def encode_jobs(jobs: Sequence[NewJob], now: float, origin: float) -> list[Argument]:
    """The arguments of the script `add`. Jobs with the same options share a template: most have."""
    templates: dict[int, int] = {}
    head: list[Argument] = [milliseconds(now + origin), 0]
    rows: list[Argument] = []
    for job in jobs:
        options = job.options
        key = id(job.history or options)
        template = templates.get(key)
        if template is None:
            templates[key] = template = len(templates) + 1
            head += _template(options, job.history, origin)
        rows += (template, options.job_id or "", job.name, job.data)
    head[1] = len(templates)
    return head + rows


def _template(options: JobOptions, history: Sequence[dict[str, Any]], origin: float) -> tuple[Argument, ...]:
    deduplication = options.deduplication
    return (
        encode_options(options, origin if options.timestamp is not None else 0.0),
        "" if options.timestamp is None else milliseconds(options.timestamp + origin),
        milliseconds(options.delay),
        options.priority,
        "1" if options.lifo else "",
        "" if deduplication is None else to_json(encode_deduplication(deduplication)),
        to_json(list(history)) if history else "",
    )


def decode_job(row: Sequence[Any], broker: Broker, origin: float = 0.0, token: str = "") -> Job:
    """A job from what the script `taking` tells of it. This never raises: what can't be read is in `Job.unreadable`,
    for one damaged job must hold up no other."""
    try:
        return _decode(row, broker, origin, token)
    except Exception:  # noqa: BLE001 - the hash may hold anything; the other way looks at each field by itself
        return _decode_damaged(row, broker, origin, token)


def _decode(row: Sequence[Any], broker: Broker, origin: float, token: str) -> Job:
    """The way of jobs in good order. Raises whatever happens on a field that can't be read."""
    name, data, opts, timestamp, delay, priority, made, started, deferred, progress, made_before, parent, *rest = row
    job_id = rest[-1]
    if made is None:
        # BullMQ before version 4 called it so
        made = made_before
    if not PLAIN.fullmatch(f"{timestamp or 0} {delay or 0} {priority or 0} {made or 0} {started or 0}"):
        raise ValueError("not plain numbers")
    job = Job(
        job_id,
        _text(name),
        # no text stands for no data (BullMQ 6.7)
        {} if data in ("{}", "") else parse_json(_text(data)),
        DEFAULT_OPTIONS if opts is None else decode_options(opts, origin),
        number_of(job_id),
        int(timestamp) / 1000 - origin if timestamp else 0.0,
        int(delay) / 1000 if delay else 0.0,
        int(priority) if priority else 0,
        int(made) if made else 0,
        int(started) if started else 0,
        raw_data=data,
        token=token,
        broker=broker,
    )
    if not (
        0 <= job.priority <= MAX_PRIORITY and 0 <= job.attempts_made < LARGEST and 0 <= job.attempts_started < LARGEST
    ):
        raise ValueError("a count is out of its range")
    if not -LARGEST < job.timestamp < LARGEST or not -LARGEST < job.delay < LARGEST:
        raise ValueError("a time is out of its range")
    _add_optional(job, deferred, progress, parent, rest, origin)
    return job


def _decode_damaged(row: Sequence[Any], broker: Broker, origin: float, token: str) -> Job:
    """The way of jobs of which something can't be read: each field by itself."""
    name, data, opts, timestamp, delay, priority, made, started, deferred, progress, made_before, parent, *rest = row
    job_id, faults = rest[-1], []

    def read(field: str, parse: Callable[[Any], Any], value: Any, otherwise: Any) -> Any:
        try:
            return parse(value)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this field alone
            faults.append(Unreadable(field, str(error) or type(error).__name__))
            return otherwise

    job = Job(
        job_id,
        read("name", _text, name, ""),
        read("data", lambda text: {} if text == "" else parse_json(_text(text)), data, None),
        read("opts", lambda text: decode_options(text, origin), opts, DEFAULT_OPTIONS) if opts else DEFAULT_OPTIONS,
        number_of(job_id),
        read("timestamp", _finite, timestamp, origin * 1000) / 1000 - origin,
        read("delay", _finite, delay, 0.0) / 1000,
        read("priority", partial(_count, most=MAX_PRIORITY), priority, 0),
        read("atm", _count, made or made_before, 0),
        # the script marks what it could not count on from
        read("ats", _count, started and started.removeprefix("?"), 1),
        raw_data=data,
        token=token,
        broker=broker,
    )
    _add_optional(job, deferred, progress, parent, rest, origin)
    job.unreadable = tuple(faults)
    return job


def _add_optional(
    job: Job, deferred: str | None, progress: str | None, parent: str | None, rest: Sequence[Any], origin: float
) -> None:
    """What a job need not have, and what is only shown. What can't be read of it is left out, or shown as it is."""
    if job.id.startswith("repeat:"):
        # "repeat:<scheduler's id>:<ms>", and that of a scheduler of Node's may have colons
        job.scheduler_id = job.id.removeprefix("repeat:").rpartition(":")[0] or None
    if deferred:
        job.deferred_failure = deferred
    if progress:
        job.progress = parse_json_or_text(progress)
    if parent is not None:
        job.parent = _parent(parent, job.broker)
    if len(rest) > 1:
        _add_rest(job, rest, origin)


def _parent(key: str, broker: Any) -> JobRef | None:
    """The job that a key names, "<prefix>:<queue>:<id>"; None where it is no such key."""
    prefix = f"{getattr(broker, 'prefix', PREFIX)}:"
    queue, _, job_id = key.removeprefix(prefix).partition(":")
    return JobRef(queue, job_id) if key.startswith(prefix) and queue and job_id else None


def _add_rest(job: Job, rest: Sequence[Any], origin: float) -> None:
    """What a job can only have that was started before."""
    processed_on, job.processed_by, stalls, finished_on, value, reason, stacktrace, history, _ = rest
    job.processed_on = _time(processed_on, origin)
    if stalls is not None:
        job.stalled_count = int(_finite_or_none(stalls) or 0)
    if finished_on is not None:
        job.finished_on = _time(finished_on, origin)
    if value:
        job.return_value = parse_json_or_text(value)
    if reason is not None:
        job.failed_reason = reason
    if stacktrace:
        traces = parse_json_or_text(stacktrace)
        job.stacktrace = tuple(map(str, traces)) if isinstance(traces, list) else (stacktrace,)
    if history is not None:
        attempts = parse_json_or_text(history)
        job.history = tuple(row for row in attempts if isinstance(row, dict)) if isinstance(attempts, list) else ()


def _text(value: str | None) -> str:
    if value is None:
        raise ValueError("missing")
    return value


def _finite(value: str | None) -> float:
    """A whole number of milliseconds; 0 where there is none. Of 1.5 this takes 1, as JavaScript does (BullMQ 6.7)."""
    if not value:
        return 0.0
    # not -0.0
    number = float(value.partition(".")[0]) + 0.0 if NUMBER.fullmatch(value) else math.nan
    if not -LARGEST < number < LARGEST:
        raise ValueError(f"not a time in milliseconds: {_shortened(value)}")
    return number


def _count(value: str | None, most: int = LARGEST) -> int:
    """A whole number from 0 on; 0 where there is none."""
    if not value:
        return 0
    value = value.strip(" ")
    if not value.isdecimal() or not value.isascii() or len(value) > DIGITS or int(value) > most:
        raise ValueError(f"not a whole number from 0 to {most}: {_shortened(value)}")
    return int(value)


def _finite_or_none(value: str) -> float | None:
    try:
        return _finite(value)
    except ValueError:
        return None


def _time(milliseconds: str | None, origin: float) -> float | None:
    """A point in time, on the queue's clock; None where there is none, or nothing that can be read."""
    found = None if milliseconds is None else _finite_or_none(milliseconds)
    return None if found is None else found / 1000 - origin


def _shortened(value: str) -> str:
    return repr(value if len(value) <= SHOWN else value[:SHOWN] + "...")
