"""Translation between the core's objects and BullMQ's fields in Redis: job options, jobs, outcomes, flows and job
schedulers. Times are seconds on the queue's clock in the core, milliseconds since the Unix epoch in Redis; `origin` is
second 0 of the queue's clock in seconds since the Unix epoch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from queuesim.brokers.redis.server import PREFIX, Argument
from queuesim.core.broker import Completed, Failed, FlowRow, OnFailure, Outcome, Postponed, Retried, Returned
from queuesim.core.job import (
    DEFAULT_OPTIONS,
    KEEP_ALL,
    MAX_PRIORITY,
    Backoff,
    Deduplication,
    Job,
    JobHandle,
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
from queuesim.core.scheduler import REPEAT, Cron, Every, Missed, ScheduleError, Scheduler, scheduler_of
from queuesim.text import well_formed

LARGEST = 2**53
"""Whole numbers up to this one are exact in Lua and in JavaScript, as counts and as milliseconds."""
DIGITS = 16
"""Digits of `LARGEST`. A longer text is not one of our numbers, and slow to parse."""
PLAIN = re.compile(r"(-?[0-9]+ ?)+")
"""Numbers as BullMQ writes them. Python would accept "1_000" and digits of other scripts, too."""
NUMBER = re.compile(r" *-?[0-9]+(\.[0-9]+)? *")
SHOWN = 60
"""Maximum number of characters of a value in an error message."""
RULES: Mapping[OnFailure, str] = {"fail": "fpof", "continue": "cpof", "ignore": "idof", "remove": "rdof"}
"""BullMQ's short names of what a child's failure does."""
OF_ONE_JOB = ("jobId", "delay", "timestamp", "repeat", "prevMillis", "repeatJobKey")
"""Keys in the opts of a scheduler's job that are no part of its template."""

# -- job options: JSON with short keys


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, the nearest: a time of 1.001 s is no less than 1001 ms."""
    return round(seconds * 1000)


@lru_cache(maxsize=1024)
def encode_options(options: JobOptions, origin: float = 0.0) -> str:
    """The `opts` field of a job's hash. `attempts` is always there, anything else only if it is not the default."""
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
    """A rule of retention: true removes at once, false keeps all, a number is a count, an object has an age too."""
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
    """Options from an `opts` field. Unknown keys, which another program may write, are ignored.

    Raises:
        ValueError: it is not a JSON object, or a value is out of its range.
    """
    opts = parse_json(text)
    if not isinstance(opts, dict):
        raise ValueError(f"not an object: {text[:100]}")
    try:
        return _decode_options(opts, origin)
    except UNFIT as error:
        raise ValueError(f"not valid: {_wrong_option(opts, origin) or error}") from error


UNFIT = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""What comes of reading an option whose value has another form than it should have."""


def _wrong_option(opts: dict[str, Any], origin: float) -> str:
    """The first option that can't be read by itself, with its value and the reason, if that says more."""
    for key, value in opts.items():
        try:
            _decode_options({key: value}, origin)
        except UNFIT as error:
            text = json.dumps(value)
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            return f"{key} can't be {shown}" + (f" ({error})" if isinstance(error, ValueError) else "")
    return ""


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
    """A custom id; None for one that we would refuse: another program may have made it."""
    try:
        check_job_id(job_id)
    except (TypeError, ValueError):
        return None
    return str(job_id)


def _seconds(milliseconds: Any) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _decode_backoff(backoff: Any) -> Backoff | None:
    """None for a custom type: the processor's own strategy handles it."""
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
        well_formed(str(dedup_id))[0],
        ttl=_seconds(fields.get("ttl")),
        extend=bool(fields.get("extend")),
        replace=bool(fields.get("replace")),
        reschedule=bool(fields.get("reschedule")),
        keep_last_if_active=bool(fields.get("keepLastIfActive")),
    )


# -- jobs


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


def decode_job(
    row: Sequence[Any], handle: JobHandle | None, origin: float = 0.0, token: str = "", prefix: str = PREFIX
) -> Job:
    """A job from a row of the script `taking`. It never raises: what can't be read is in `Job.unreadable`, so that a
    damaged job holds up no other."""
    try:
        return _decode(row, handle, origin, token, prefix)
    except Exception:  # noqa: BLE001 - the hash may hold anything; then each field is read by itself
        return _decode_damaged(row, handle, origin, token, prefix)


def _decode(row: Sequence[Any], handle: JobHandle | None, origin: float, token: str, prefix: str) -> Job:
    """Decode an undamaged job. Raises any error for a field that can't be read."""
    name, data, opts, timestamp, delay, priority, made, started, deferred, progress, made_before, parent, *rest = row
    job_id = rest[-1]
    if made is None:
        # its name before BullMQ 4
        made = made_before
    delayed, urgency, attempts_made, attempts_started = _plain_counts(delay, priority, made, started)
    if timestamp and not (timestamp.isdigit() and timestamp.isascii() and len(timestamp) < DIGITS):
        raise ValueError("not a plain time")
    job = Job(
        job_id,
        _text(name),
        # an empty text means no data (BullMQ 6.7)
        {} if data in ("{}", "") else parse_json(_text(data)),
        DEFAULT_OPTIONS if opts is None else decode_options(opts, origin),
        number_of(job_id),
        int(timestamp) / 1000 - origin if timestamp else 0.0,
        delayed,
        urgency,
        attempts_made,
        attempts_started,
        raw_data=data,
        token=token,
        broker=handle,
    )
    if deferred or progress or parent is not None or len(rest) > 1 or job_id.startswith(REPEAT):
        _add_optional(job, deferred, progress, parent, rest, origin, prefix)
    return job


@lru_cache(1024)
def _plain_counts(
    delay: str | None, priority: str | None, made: str | None, started: str | None
) -> tuple[float, int, int, int]:
    """The delay in seconds and the counts of an undamaged job; most jobs have the same. ValueError: it is damaged."""
    texts = [text or "0" for text in (delay, priority, made, started)]
    if not PLAIN.fullmatch(" ".join(texts)):
        raise ValueError("not plain numbers")
    milliseconds, *counts = map(int, texts)
    if not -LARGEST < milliseconds < LARGEST:
        raise ValueError("a time is out of its range")
    if not all(0 <= count < LARGEST for count in counts) or counts[0] > MAX_PRIORITY:
        raise ValueError("a count is out of its range")
    return milliseconds / 1000, counts[0], counts[1], counts[2]


def _decode_damaged(row: Sequence[Any], handle: JobHandle | None, origin: float, token: str, prefix: str) -> Job:
    """Decode each field by itself, and note those that can't be read."""
    name, data, opts, timestamp, delay, priority, made, started, deferred, progress, made_before, parent, *rest = row
    job_id, faults = rest[-1], []

    def read(field: str, parse: Callable[[Any], Any], value: Any, otherwise: Any) -> Any:
        try:
            return parse(value)
        except Exception as error:  # noqa: BLE001 - it concerns this field alone
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
        # the script marks a count that it could not increment
        read("ats", _count, started and started.removeprefix("?"), 1),
        raw_data=data,
        token=token,
        broker=handle,
    )
    _add_optional(job, deferred, progress, parent, rest, origin, prefix)
    job.unreadable = tuple(faults)
    return job


def _add_optional(
    job: Job,
    deferred: str | None,
    progress: str | None,
    parent: str | None,
    rest: Sequence[Any],
    origin: float,
    prefix: str,
) -> None:
    """Add what a job need not have or what is only shown. What can't be read is left out, or shown as it is."""
    job.scheduler_id = scheduler_of(job.id)
    if deferred:
        job.deferred_failure = deferred
    if progress:
        job.progress = parse_json_or_text(progress)
    if parent is not None:
        job.parent = _parent(parent, f"{prefix}:")
    if len(rest) > 1:
        _add_rest(job, rest, origin)


def _parent(key: str, prefix: str) -> JobRef | None:
    """The job of a key "<prefix>:<queue>:<id>"; None for any other key."""
    ref = JobRef.parse(key.removeprefix(prefix))
    return ref if key.startswith(prefix) and ref.queue and ref.id else None


def _add_rest(job: Job, rest: Sequence[Any], origin: float) -> None:
    """Add what only a job can have that was started before."""
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
    """A whole number of milliseconds; 0 for none. Fractions are cut off, as in JavaScript (BullMQ 6.7)."""
    if not value:
        return 0.0
    # not -0.0
    number = float(value.partition(".")[0]) + 0.0 if NUMBER.fullmatch(value) else math.nan
    if not -LARGEST < number < LARGEST:
        raise ValueError(f"not a time in milliseconds: {_shortened(value)}")
    return number


def _count(value: str | None, most: int = LARGEST) -> int:
    """A whole number of 0 or more; 0 for none."""
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
    """A time on the queue's clock; None if there is none, or it can't be read."""
    found = None if milliseconds is None else _finite_or_none(milliseconds)
    return None if found is None else found / 1000 - origin


def _shortened(value: str) -> str:
    return repr(value if len(value) <= SHOWN else value[:SHOWN] + "...")


# -- outcomes


def encode_outcome(outcome: Outcome, prefix: str) -> tuple[Argument, ...]:
    """An outcome as ten arguments of the script `exchange`."""
    note = outcome.note
    head = (outcome.job_id, outcome.token, outcome.attempt, outcome.attempts_made)
    if type(outcome) is Completed:
        return ("C", *head, outcome.value, worker_keep(outcome.keep), "", "", note)
    if isinstance(outcome, Retried):
        history = "" if outcome.history is None else to_json(outcome.history)
        return ("R", *head, milliseconds(outcome.delay), outcome.reason, _rows(outcome.stacktrace), history, note)
    if isinstance(outcome, Failed):
        letter = outcome.dead_letter
        dead = "" if letter is None else to_json({"base": f"{prefix}:{letter.queue}:", "data": letter.data})
        return ("F", *head, outcome.reason, worker_keep(outcome.keep), _rows(outcome.stacktrace), dead, note)
    if isinstance(outcome, Postponed):
        return ("P", *head, milliseconds(outcome.delay), "", "", "", note)
    assert isinstance(outcome, Returned)
    return ("B", *head, "" if outcome.hold is None else milliseconds(outcome.hold), "", "", "", note)


def _rows(stacktrace: Sequence[str]) -> str:
    return json.dumps(list(stacktrace), ensure_ascii=False) if stacktrace else ""


# -- flows


def encode_flow_row(row: FlowRow, prefix: str, origin: float) -> tuple[Argument, ...]:
    """A job of a flow as twelve arguments of the script `add_flow`."""
    options, rule = row.options, RULES.get(row.on_failure)
    opts = json.loads(encode_options(options, origin if options.timestamp is not None else 0.0))
    parent_key = parent = ""
    if row.parent is not None:
        flag = {} if rule is None else {rule: True}
        queue = f"{prefix}:{row.parent.queue}"
        opts |= {"parent": {"id": row.parent.id, "queue": queue}, **flag}
        parent_key = f"{queue}:{row.parent.id}"
        parent = to_json({"id": row.parent.id, "queueKey": queue, **flag})
    return (
        f"{prefix}:{row.queue}:",
        row.id,
        row.name,
        row.data,
        to_json(opts),
        "" if options.timestamp is None else milliseconds(options.timestamp + origin),
        milliseconds(options.delay),
        options.priority,
        "1" if options.lifo else "",
        parent_key,
        parent,
        "1" if row.has_children else "",
    )


# -- job schedulers: the hash `repeat:<id>`


@dataclass(frozen=True, slots=True)
class StoredScheduler:
    """A scheduler as Redis has it."""

    scheduler: Scheduler
    template: Mapping[str, Any]
    """The opts of its jobs, unknown keys included."""
    rule: Mapping[str, Any]
    """The option `repeat` of its jobs."""


def new_scheduler(scheduler: Scheduler, origin: float) -> StoredScheduler:
    """A scheduler that is to be stored."""
    template = json.loads(encode_options(replace(scheduler.options, timestamp=None, delay=0.0)))
    return StoredScheduler(scheduler, template, _rule(scheduler, origin))


def encode_scheduler(stored: StoredScheduler) -> list[Argument]:
    """A scheduler's hash, in a flat list."""
    scheduler = stored.scheduler
    opts = {key: value for key, value in stored.template.items() if (key, value) != ("attempts", 0)}
    # BullMQ 6.7 writes an offset for cron lines, too
    fields = {"name": scheduler.name, "offset": 0, **stored.rule, "missed": scheduler.missed.value}
    # and leaves out what is empty
    if opts:
        fields["opts"] = to_json(opts)
    if scheduler.data != "{}":
        fields["data"] = scheduler.data
    return [item for pair in fields.items() for item in pair]


def encode_iteration(stored: StoredScheduler, due: float, now: float, count: int, origin: float) -> list[Argument]:
    """The arguments that add a scheduler's job: its `count`-th, due at `due`."""
    scheduler, stamp, added = stored.scheduler, milliseconds(due + origin), milliseconds(now + origin)
    opts = {
        "attempts": 0,
        **stored.template,
        "delay": max(stamp - added, 0),
        "jobId": f"repeat:{scheduler.id}:{stamp}",
        "timestamp": added,
        "repeat": {**stored.rule, "count": count},
        "repeatJobKey": scheduler.id,
    }
    if isinstance(scheduler.schedule, Cron):
        opts["prevMillis"] = stamp
    deduplication = scheduler.options.deduplication
    return [
        stamp,
        scheduler.name,
        scheduler.data,
        to_json(opts),
        scheduler.options.priority,
        "1" if scheduler.options.lifo else "",
        "" if deduplication is None else deduplication.id,
    ]


def decode_scheduler(scheduler_id: str, fields: Mapping[str, str], stamp: int | None, origin: float) -> StoredScheduler:
    """A scheduler from its hash and its score, whichever program wrote it; see `scheduler_errors`."""
    template = _scheduler_template(fields.get("opts", "{}"))
    start, end = (float(fields[name]) / 1000 - origin if name in fields else None for name in ("startDate", "endDate"))
    scheduler = Scheduler(
        scheduler_id,
        _schedule(fields, origin),
        fields.get("name", ""),
        fields.get("data", "{}"),
        _scheduler_options(template),
        Missed(fields.get("missed", Missed.SKIP.value)),
        int(fields["limit"]) if "limit" in fields else None,
        start,
        end,
        int(fields.get("ic", 1)),
        None if stamp is None else stamp / 1000 - origin,
        None if stamp is None else f"repeat:{scheduler_id}:{stamp}",
    )
    rule = _rule(scheduler, origin)
    if "pattern" in fields and "tz" not in fields:
        # Node reads it in the zone of its own machine
        del rule["tz"]
    return StoredScheduler(scheduler, template, rule)


def decode_repeatable(
    key: str, fields: Mapping[str, str], stamp: int, present: Sequence[str | None], origin: float
) -> StoredScheduler:
    """A repeatable job of BullMQ 5, from its hash, its score, and name, data and opts of its present job."""
    name, data, text = present
    opts, template = _object(text or "{}"), _scheduler_template(text or "{}")
    rule = dict(opts.get("repeat") or {})
    scheduler = Scheduler(
        key,
        _schedule(fields, origin),
        name or fields.get("name", ""),
        data or "{}",
        _scheduler_options(template),
        limit=None if rule.get("limit") is None else int(rule["limit"]),
        end=float(fields["endDate"]) / 1000 - origin if "endDate" in fields else None,
        iterations=int(rule.get("count") or 1),
        due=stamp / 1000 - origin,
        pending=f"repeat:{key}:{stamp}",
    )
    return StoredScheduler(scheduler, template, rule)


@contextmanager
def scheduler_errors(scheduler_id: str) -> Iterator[None]:
    """Raise ScheduleError if a scheduler can't be decoded in this block."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ScheduleError(f"scheduler {scheduler_id} can't be read: {reason}") from error


def _rule(scheduler: Scheduler, origin: float) -> dict[str, Any]:
    """The schedule as BullMQ's option `repeat`."""
    schedule = scheduler.schedule
    rule: dict[str, Any]
    if isinstance(schedule, Cron):
        rule = {"pattern": schedule.line, "tz": schedule.zone}
    else:
        rule = {"every": milliseconds(schedule.seconds), "offset": milliseconds(schedule.offset or 0.0)}
    bounds = {"startDate": scheduler.start, "endDate": scheduler.end}
    rule |= {name: milliseconds(time + origin) for name, time in bounds.items() if time is not None}
    return rule if scheduler.limit is None else {**rule, "limit": scheduler.limit}


def _schedule(fields: Mapping[str, str], origin: float) -> Cron | Every:
    if "pattern" in fields:
        return Cron(fields["pattern"], fields.get("tz", "UTC"), origin)
    every, offset = float(fields["every"]), float(fields.get("offset", 0))
    return Every(every / 1000, offset % every / 1000 if every > 0 else 0.0, origin)


def _scheduler_template(text: str) -> dict[str, Any]:
    """The part of the opts of a scheduler's job that all of its jobs share."""
    return {key: value for key, value in _object(text).items() if key not in OF_ONE_JOB}


def _scheduler_options(template: Mapping[str, Any]) -> JobOptions:
    try:
        return decode_options(to_json(template))
    except ValueError as error:
        raise ValueError(f"its opts: {error}") from error


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"opts is not an object: {text[:100]}")
    return value
