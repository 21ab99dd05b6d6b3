"""Jobs: what is asked for (NewJob, JobOptions), what is stored and handed to a handler (Job), and their states."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from queuesim.core.clock import Clock, time_at
from queuesim.text import well_formed

MAX_PRIORITY = 2**21 - 1
"""The largest priority that fits the score of a prioritized job (BullMQ 6.7)."""
LONGEST_NUMBER = 16
"""Digits of the largest counts that are exact in Lua and in JavaScript."""
_INTEGER = re.compile("0|-?[1-9][0-9]*")
RESERVED_IDS = frozenset(
    (
        *("id", "meta", "wait", "paused", "active", "prioritized", "pc", "delayed", "waiting-children", "completed"),
        *("failed", "marker", "stalled", "stalled-check", "limiter", "events", "repeat"),
    )
)
"""Names of a queue's own keys in Redis: a job's hash has its id in the same place (BullMQ 6.7)."""
RESERVED_BEGINNINGS = frozenset(("repeat", "de", "dn", "metrics"))
"""The part before the first colon of such keys: job schedulers, deduplication ids, metrics."""
RESERVED_ENDINGS = frozenset(("lock", "logs", "dependencies", "processed", "failed", "unsuccessful"))
"""The part behind the last colon of the other keys of a job."""
BackoffStrategy = Callable[[int, BaseException], float | None]
"""Custom backoff: (attempts made, this one included; the error) -> seconds. 0 retries at once; None or a negative
number (BullMQ: -1) fails the job."""


# -- options: how a job is to be run


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A fixed-window limiter: at most `max` starts in a window of `duration` seconds.

    The window opens at the first start after the last one expired. It is neither aligned to the clock nor sliding,
    so up to ``2 * max - 1`` starts can fall into one instant around a boundary, and unused allowance is lost.
    Retries and runs after a stall count like first runs (BullMQ 6.7).
    """

    max: int
    """Starts per window, 1 or more."""
    duration: float
    """Length of a window in seconds."""

    def __post_init__(self) -> None:
        if self.max < 1:
            raise ValueError(f"a rate limit needs max >= 1, not {self.max}")
        if not (self.duration > 0 and math.isfinite(self.duration)):
            raise ValueError(f"a rate limit needs a duration above 0 s, not {self.duration}")


@dataclass(frozen=True, slots=True)
class Keep:
    """How many finished jobs stay in the store, and for how long.

    Jobs are only evicted when another job finishes in the same state; there is no timer (BullMQ 6.7).
    """

    count: int | None = None
    """The newest `count` jobs stay; None keeps all, 0 keeps none."""
    age: float | None = None
    """Jobs that finished more than `age` seconds ago go; None sets no limit."""
    limit: int = 1000
    """At most this many jobs are evicted by age at one time."""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 0:
            raise ValueError(f"keep needs a count of 0 or more, not {self.count}")
        if self.age is not None and not self.age >= 0:
            raise ValueError(f"keep needs an age of 0 s or more, not {self.age}")
        if self.limit < 1:
            raise ValueError(f"keep needs a limit of 1 or more, not {self.limit}")


KEEP_ALL = Keep()
"""BullMQ's default: finished jobs stay for ever."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay before each retry.

    Source: BullMQ 6.7: fixed is `delay`; exponential is `delay` * 2**(n-1) with n the attempts made so far. Jitter j
    draws uniformly from [M (1 - j), M) where M is the delay without jitter; j = 1 is "full jitter". BullMQ has no cap;
    `cap` is ours, applied before jitter.
    """

    type: Literal["fixed", "exponential"] = "fixed"
    delay: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """From 0, none, to 1, full."""
    cap: float | None = None
    """Longest delay in seconds, before jitter; None sets no limit."""

    def __post_init__(self) -> None:
        if self.type not in ("fixed", "exponential"):
            raise ValueError(f"backoff type must be 'fixed' or 'exponential', not {self.type!r}")
        if not (self.delay >= 0 and math.isfinite(self.delay)):
            raise ValueError(f"backoff delay must be 0 s or more, not {self.delay}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"backoff jitter must be from 0 to 1, not {self.jitter}")
        if self.cap is not None and not self.cap >= 0:
            raise ValueError(f"backoff cap must be 0 s or more, not {self.cap}")

    def base(self, attempts_made: int) -> float:
        """Seconds before jitter, after `attempts_made` attempts (1 or more)."""
        seconds = self.delay
        if self.type == "exponential" and seconds > 0:
            # 2.0 ** 1024 overflows; no clock reaches that far anyway
            seconds *= 2.0 ** min(attempts_made - 1, 1000)
        return seconds if self.cap is None else min(seconds, self.cap)

    def seconds(self, attempts_made: int, rng: random.Random) -> float:
        """Seconds until the next attempt; draws from `rng` only if there is jitter."""
        base = self.base(attempts_made)
        if not self.jitter:
            return base
        # whole milliseconds, rounded down, as BullMQ has them
        return math.floor((base * (1 - self.jitter) + rng.random() * base * self.jitter) * 1000) / 1000

    def bounds(self, attempts_made: int) -> tuple[float, float]:
        """Shortest and longest delay that `seconds` can return, for checks."""
        base = self.base(attempts_made)
        return math.floor(base * (1 - self.jitter) * 1000) / 1000 if self.jitter else base, base


@dataclass(frozen=True, slots=True)
class Deduplication:
    """Which jobs count as the same job, and what happens to a second one.

    ``id`` alone (simple mode) holds until the owner finishes or is removed; with ``ttl`` (throttle) it holds for that
    many seconds, whatever the owner does; ``ttl``, ``extend`` and ``replace`` with a delay make a debounce.
    """

    id: str
    ttl: float | None = None
    """Seconds for which the id is held; None: until the owner finishes."""
    extend: bool = False
    """A duplicate starts the time-to-live again."""
    replace: bool = False
    """A duplicate replaces an owner that is still delayed."""
    reschedule: bool = False
    """A duplicate gives an owner that is still delayed its own delay."""
    keep_last_if_active: bool = False
    """While the owner is active, the last duplicate is kept and runs after it. The id is then held until the owner
    finishes, time-to-live or not."""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a deduplication needs an id")
        check_text(self.id, "a deduplication id")
        if self.ttl is not None and not 0 <= self.ttl < math.inf:
            raise ValueError(f"ttl must be 0 s or more, not {self.ttl}")


LONGEST_DELAY = 1e9
"""Seconds, 31 years: due times beyond the year 2100 lose their milliseconds in the scores of delayed jobs."""
LATEST = 9e12
"""Seconds; in milliseconds, no larger number is exact."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How one job is to be run. One object can serve any number of jobs.

    Raises:
        ValueError: a number out of its range, an option of the wrong type, or a custom id that BullMQ would not accept.
    """

    attempts: int = 0
    """Runs at most; 0 and 1 both mean a single run."""
    backoff: Backoff | None = None
    delay: float = 0.0
    """Seconds before the job may start."""
    priority: int = 0
    """1 is the most urgent, larger is later; 0 is not prioritized and goes before all that are."""
    lifo: bool = False
    job_id: str | None = None
    keep_completed: Keep | None = None
    """What to do with the job when it completed; None leaves it to the worker."""
    keep_failed: Keep | None = None
    deduplication: Deduplication | None = None
    timestamp: float | None = None
    """When the job counts as added, in seconds on the queue's clock; None means now."""
    keep_logs: int | None = None
    """Keep only the newest rows of the job's log."""
    stack_trace_limit: int | None = None
    """Keep only the newest stack traces."""
    size_limit: int | None = None
    """Refuse data of more than this many bytes of UTF-8 JSON."""

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 0:
            raise ValueError(f"attempts must be a whole number of 0 or more, not {self.attempts!r}")
        if not _is_between(0, self.delay, LONGEST_DELAY):
            raise ValueError(f"delay must be {_range_of(self.delay)}, not {self.delay!r}")
        if self.timestamp is not None and not _is_between(-LATEST, self.timestamp, LATEST):
            raise ValueError(f"timestamp must be a time in seconds, not {self.timestamp!r}")
        check_priority(self.priority)
        # written out: options are made for each job that has an id of its own
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise _wrong_type("backoff", 'Backoff("exponential", 1.0)', self.backoff)
        if self.keep_completed is not None and not isinstance(self.keep_completed, Keep):
            raise _wrong_type("keep_completed", "Keep(count=100)", self.keep_completed)
        if self.keep_failed is not None and not isinstance(self.keep_failed, Keep):
            raise _wrong_type("keep_failed", "Keep(count=100)", self.keep_failed)
        if self.deduplication is not None and not isinstance(self.deduplication, Deduplication):
            raise _wrong_type("deduplication", 'Deduplication("an id")', self.deduplication)
        if self.keep_logs is not None:
            _check_limit("keep_logs", self.keep_logs)
        if self.stack_trace_limit is not None:
            _check_limit("stack_trace_limit", self.stack_trace_limit)
        if self.size_limit is not None:
            _check_limit("size_limit", self.size_limit)
        if self.job_id is not None:
            check_job_id(self.job_id)

    def named(self, job_id: str, deduplication: Deduplication | None = None) -> JobOptions:
        """These options, for the one job of that id. `dataclasses.replace` takes twice as long.

        Raises ValueError for an id that BullMQ would not accept.
        """
        return JobOptions(
            self.attempts,
            self.backoff,
            self.delay,
            self.priority,
            self.lifo,
            job_id,
            self.keep_completed,
            self.keep_failed,
            deduplication,
            self.timestamp,
            self.keep_logs,
            self.stack_trace_limit,
            self.size_limit,
        )


def _is_between(least: float, value: Any, most: float) -> bool:
    try:
        return bool(least <= value <= most)
    except TypeError:
        return False


def _range_of(delay: Any) -> str:
    return f"{LONGEST_DELAY:g} s or less" if _is_between(0, delay, sys.float_info.max) else "0 s or more"


def _wrong_type(name: str, example: str, value: object) -> ValueError:
    return ValueError(f"{name} must be written as {example}, not {value!r}")


def _check_limit(name: str, limit: int) -> None:
    if not _is_between(0, limit, math.inf):
        raise ValueError(f"{name} must be 0 or more, not {limit!r}")


def check_priority(priority: int) -> None:
    """Raise ValueError for a priority that BullMQ 6.7 would refuse."""
    if not isinstance(priority, int) or not 0 <= priority <= MAX_PRIORITY:
        raise ValueError(f"priority must be a whole number from 0 to {MAX_PRIORITY}, not {priority}")


DEFAULT_OPTIONS = JobOptions()
PARTS = {"backoff": Backoff, "keep_completed": Keep, "keep_failed": Keep, "deduplication": Deduplication}
"""Options with several fields."""


def to_plain(options: JobOptions) -> dict[str, Any]:
    """The options that differ from their default."""
    default = asdict(JobOptions())
    return {key: value for key, value in asdict(options).items() if value != default[key]}


def from_plain(plain: Mapping[str, Any]) -> JobOptions:
    """The options that `to_plain` wrote."""
    return JobOptions(**{key: PARTS[key](**value) if key in PARTS and value else value for key, value in plain.items()})


# -- ids


def check_text(text: object, what: str) -> None:
    """Raise ValueError, with `what` it was meant for, unless it is text that every broker can store."""
    if not isinstance(text, str):
        raise ValueError(f"{what} must be text, not {text!r}")
    if not text.isascii() and well_formed(text)[1]:
        raise ValueError(f"{what} can't be {text!r}: half of a surrogate pair, as of a cut emoji, can't be stored")


def check_queue_name(queue: str) -> None:
    """Raise ValueError for a name that can't be a part of Redis keys."""
    check_text(queue, "a queue's name")
    if not queue:
        raise ValueError("a queue's name can't be empty")
    if ":" in queue:
        raise ValueError(f"a queue's name can't contain ':' ({queue!r}): it separates the parts of a Redis key")


def check_job_id(job_id: str) -> None:
    """Raise ValueError where BullMQ 6.7 would refuse a custom id, for another program may share the queue."""
    check_text(job_id, "a custom job id")
    if not job_id:
        raise ValueError("a custom job id can't be empty")
    if _INTEGER.fullmatch(job_id):
        raise ValueError(f"a custom job id can't be an integer: {job_id!r} would collide with automatic ids")
    if ":" in job_id:
        _check_colons(job_id)
    elif job_id in RESERVED_IDS:
        raise _reserved(job_id, f"job-{job_id}")


def _check_colons(job_id: str) -> None:
    """BullMQ takes ids of exactly three parts."""
    parts = job_id.split(":")
    if len(parts) != 3 or parts[0] == "0":
        raise ValueError(f"a custom job id can't contain ':' ({job_id!r}): it separates the parts of a Redis key")
    if parts[0] in RESERVED_BEGINNINGS or parts[-1] in RESERVED_ENDINGS:
        raise _reserved(job_id, "-".join(parts))


def _reserved(job_id: str, instead: str) -> ValueError:
    return ValueError(
        f"a custom job id can't be {job_id!r}: in Redis the queue has a key of its own of that name. Write {instead!r}"
    )


def number_of(job_id: str) -> int:
    """The number that an id is if the queue gave it; 0 for a custom id, such as "007" or one with digits of another
    script."""
    if job_id.isdecimal() and job_id.isascii() and job_id[0] != "0" and len(job_id) <= LONGEST_NUMBER:
        return int(job_id)
    return 0


class JobId(str):
    """The id that an add returns: a string with the attribute `added`."""

    __slots__ = ()
    added: ClassVar[bool] = True
    """False: nothing was added. It is the id of the job that was there already, and stands for the one that was given:
    of the same custom id, in whatever state, or the one that holds its deduplication id."""


class ExistingId(JobId):
    """The id of a job that was there already."""

    __slots__ = ()
    added = False


@dataclass(frozen=True, slots=True)
class JobRef:
    """Names a job of any queue of one place."""

    queue: str
    id: str

    def __str__(self) -> str:
        return f"{self.queue}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> JobRef:
        """The job of a text ``queue:id``; a queue's name has no colon."""
        queue, _, job_id = text.partition(":")
        return cls(queue, job_id)


# -- JSON text


MAX_NESTING = 500
"""Levels of lists and objects in data, results and other JSON of a job. Python 3.11 can do fewer than 1,000."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def to_json(value: Any) -> str:
    """JSON text of `value`, compact, as JSON.stringify writes it.

    A lone surrogate, half of a character pair, is written as an escape, since UTF-8 has no bytes for it.

    Raises:
        TypeError, ValueError: it holds something that has no JSON (an object, a NaN, an infinity, a cycle), or is
            nested too deeply.
        RecursionError: it is nested much too deeply.
    """
    text = encode_json(value)
    return text if text.isascii() else _SURROGATE.sub(_escaped, text)


def encode_json(value: Any) -> str:
    """Like `to_json`, but lone surrogates stay as they are: for texts that are mended later."""
    text = _encoded(value)
    _check_nesting(text)
    return text


def _encoded(value: Any) -> str:
    if _encode is None:
        return _ENCODER.encode(value)
    try:
        return "".join(_encode(value, 0))
    except RecursionError:
        # a cycle, or too deep: the encoder that looks for cycles says which
        return _ENCODER.encode(value)


def _check_nesting(text: str) -> None:
    """Raise ValueError for a JSON text that is nested too deeply.

    How deep Python's own limit is depends on its version, and on how deep the caller is: without this one, data that
    one worker takes would be unreadable for another.
    """
    if len(text) <= MAX_NESTING or text.count("[") + text.count("{") <= MAX_NESTING:
        return
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_NESTING:
            raise ValueError(f"nested too deeply: more than {MAX_NESTING} levels")


def parse_json(text: str) -> Any:
    """The value of a JSON text from any program.

    Raises:
        ValueError: it is not valid JSON, nested too deeply, or holds a number that is too long. The message says which.
    """
    _check_nesting(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error})") from None
    except ValueError as error:
        # Python reads no number of more than some thousand digits
        raise ValueError(f"not readable ({error})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json_or_text(text: str) -> Any:
    """The value of a JSON text; the text itself if it is not valid JSON: for fields that are only shown."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _escaped(surrogate: re.Match[str]) -> str:
    return f"\\u{ord(surrogate[0]):04x}"


# made once: json.dumps and json.loads make one at each call
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _encoder_in_c() -> Callable[[Any, int], Iterable[str]] | None:
    """The encoder that `_ENCODER` makes again for each value, which takes longer than to encode a short one; None if
    Python has none in C. It does not look for cycles, which takes a table for each call."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return None
    encoder: Callable[[Any, int], Iterable[str]] = make(
        None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return encoder


_encode = _encoder_in_c()


# -- jobs


class JobState(StrEnum):
    """Where a job is. A job is in exactly one state at any time."""

    code: int
    """Position in this list, from 1, as packed in recordings; 0 stands for none."""

    WAITING = "waiting"
    PRIORITIZED = "prioritized"
    DELAYED = "delayed"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    WAITING_CHILDREN = "waiting-children"


for _code, _state in enumerate(JobState, start=1):
    _state.code = _code


class OriginKind(StrEnum):
    """Who makes jobs."""

    LOAD = "load"
    """A load entry of a scenario; its name is the id."""
    SCHEDULER = "scheduler"
    """A job scheduler."""
    SCAN = "overdue scan"
    """A scan for overdue tasks; its number is the id."""


class Origin(NamedTuple):
    """Where a job comes from."""

    kind: OriginKind
    id: str | int

    def __str__(self) -> str:
        """As frames have it: a load by its name alone."""
        return str(self.id) if self.kind is OriginKind.LOAD else f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is to be added: its name, its data as JSON text, its options."""

    name: str
    data: str = "{}"
    options: JobOptions = DEFAULT_OPTIONS
    origin: Origin | None = None
    """Where it comes from, for observers; not stored."""
    scheduled: float | None = None
    """When it was meant to arrive, where that is not when it is added; for observers, too."""
    history: Sequence[dict[str, Any]] = ()
    """What happened to it in an earlier life, for a job that is redriven from its dead letter: `Job.history` of the
    new one begins with it."""

    @property
    def job_id(self) -> str | None:
        """The id that its options give it."""
        return self.options.job_id

    @property
    def deduplication(self) -> Deduplication | None:
        """Which jobs its options count as the same job."""
        return self.options.deduplication


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One field of a stored job that can't be read, so that the job can't run."""

    field: str
    """Its name in the job's hash."""
    reason: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.field} is {self.reason}"


@dataclass(frozen=True, slots=True)
class Children:
    """The outcomes of a job's children so far, each by its queue and id, as ``queue:id``, in the order of these texts.
    Those that were removed, and those whose failure was to remove them (on_failure="remove"), are not among them."""

    values: Mapping[str, Any]
    """What those returned that completed."""
    ignored: Mapping[str, str]
    """Why those failed whose parent runs all the same (on_failure="continue" or "ignore")."""
    failed: Sequence[str]
    """Those that failed and fail their parent with them (on_failure="fail")."""
    pending: Sequence[str]
    """Those for which the parent waits: they have not ended, or failed and keep it waiting (on_failure="wait")."""


class JobHandle(Protocol):
    """What a job's own methods ask of the queue that it is in."""

    queue: str
    clock: Clock | None
    """The clock of the queue's users: the calendar for a queue on a real server; None: the running loop's time. See
    `queuesim.core.clock.time_at`."""

    async def children(self, job_id: str) -> Children:
        """The outcomes of a job's children so far. A job that does not exist has none."""
        ...

    async def update_progress(self, job_id: str, progress: str, now: float) -> None:
        """Store and publish progress, as JSON text."""
        ...

    async def update_data(self, job_id: str, data: str, now: float) -> None:
        """Replace the data, as JSON text."""
        ...

    async def log(self, job_id: str, row: str, keep: int | None, now: float) -> int:
        """Append a row to the log, of which the newest `keep` rows stay. Returns the length of the log."""
        ...

    async def renew(self, locks: Sequence[tuple[str, str]], duration: float, now: float) -> list[str]:
        """Extend locks, given as (job id, token). Returns the ids of those that were lost."""
        ...


class Job:
    """A job as its broker knew it at one moment. Handlers get one, and so do callers of `Queue.get_job`.

    Times are seconds on the queue's clock. Changing an attribute changes nothing in the queue; the methods do.
    """

    # what most jobs never have stays a class attribute, so that a job is cheap to make
    stalled_count: int = 0
    finished_on: float | None = None
    return_value: Any = None
    failed_reason: str | None = None
    """The message of the last error."""
    deferred_failure: str | None = None
    """Why the worker that takes this job must fail it at once."""
    stacktrace: Sequence[str] = ()
    history: Sequence[dict[str, Any]] = ()
    """A row an attempt that failed, kept where the queue has dead letters."""
    progress: Any = 0
    scheduler_id: str | None = None
    """The job scheduler that it comes from."""
    parent: JobRef | None = None
    """The job of a flow that waits for this one."""
    unreadable: Sequence[Unreadable] = ()
    """What could not be read of it. A worker fails such a job at once, for good."""

    def __init__(
        self,
        id: str,
        name: str,
        data: Any,
        options: JobOptions = DEFAULT_OPTIONS,
        number: int = 0,
        timestamp: float = 0.0,
        delay: float = 0.0,
        priority: int = 0,
        attempts_made: int = 0,
        attempts_started: int = 0,
        processed_on: float | None = None,
        processed_by: str | None = None,
        ready_at: float | None = None,
        raw_data: str | None = None,
        token: str = "",
        broker: JobHandle | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.data = data
        """What the handler sees: JSON, or what the processor's schema made of it."""
        self.options = options
        self.number = number
        """The value of the queue's id counter when this job was added: unique in its queue, in order of adding."""
        self.timestamp = timestamp
        self.delay = delay
        self.priority = priority
        self.attempts_made = attempts_made
        """Attempts that ended and counted."""
        self.attempts_started = attempts_started
        """Attempts that began, this one included: it also counts runs that were rate-limited, delayed or stalled."""
        self.processed_on = processed_on
        self.processed_by = processed_by
        self.ready_at = ready_at
        """When this attempt could have started at the earliest, where the broker knows it."""
        self.raw_data = raw_data
        """The data as they were added: JSON text."""
        self.token = token
        self.broker: Any = broker
        """The `Broker` of its queue, for ``Queue(job.broker)``; None for a job that was made by hand."""

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} attempts_made={self.attempts_made}>"

    def _handle(self) -> JobHandle:
        handle: JobHandle | None = self.broker
        if handle is None:
            raise RuntimeError(f"job {self.id} belongs to no queue: it was made by hand")
        return handle

    @property
    def queue(self) -> str:
        """The name of the queue that it is in. Raises RuntimeError for a job that was made by hand."""
        return self._handle().queue

    async def children(self) -> Children:
        """The outcomes of this job's children so far, if it is the parent of a flow."""
        return await self._handle().children(self.id)

    async def children_values(self) -> Mapping[str, Any]:
        """What those children returned that completed, by ``queue:id``."""
        return (await self.children()).values

    async def ignored_failures(self) -> Mapping[str, str]:
        """Why those children failed whose failure this job ignores (on_failure="continue" or "ignore")."""
        return (await self.children()).ignored

    async def failed_children(self) -> Sequence[str]:
        """The children, as ``queue:id``, that failed and fail this job with them (on_failure="fail")."""
        return (await self.children()).failed

    async def pending_children(self) -> Sequence[str]:
        """The children, as ``queue:id``, without whose end this job can't complete."""
        return (await self.children()).pending

    async def update_progress(self, progress: Any) -> None:
        """Publish how far the job is: any JSON value. Raises JobError if the job is gone."""
        await self._handle().update_progress(self.id, to_json(progress), self._now())
        self.progress = progress

    async def update_data(self, data: Any) -> None:
        """Replace the job's data: what the next attempt will see. Raises JobError if the job is gone."""
        await self._handle().update_data(self.id, to_json(data), self._now())
        self.data = data

    async def log(self, row: str) -> int:
        """Append a row to the job's log and return the log's length. Lone surrogates are replaced by U+FFFD.

        Raises:
            JobError: the job is gone.
        """
        return await self._handle().log(self.id, well_formed(row)[0], self.options.keep_logs, self._now())

    def _now(self) -> float:
        return time_at(self._handle())

    async def extend_lock(self, duration: float) -> bool:
        """Hold the lock for `duration` seconds from now. False if it was lost: another worker may run this job."""
        return not await self._handle().renew([(self.id, self.token)], duration, self._now())


RUNNING_JOB: ContextVar[Job | None] = ContextVar("queuesim_running_job", default=None)
"""The job that the running code works on: its handler, and the tasks that this starts."""
