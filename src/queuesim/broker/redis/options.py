"""Job options as BullMQ stores them: JSON with short keys, times in milliseconds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from queuesim.backoff import Backoff
from queuesim.job import Deduplication, JobOptions, check_job_id, parse_json, to_json
from queuesim.limits import KEEP_ALL, Keep


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
        return _decode(opts, origin)
    except ValueError as error:
        raise ValueError(f"not valid: {error}") from error
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"not valid: {type(error).__name__}: {error}") from error


def _decode(opts: dict[str, Any], origin: float) -> JobOptions:
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
