"""Frames: a recording turned into pandas, one table for each kind of row, in whole columns.

The frames are small in memory and made without a loop over rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from queuesim.core.events import EventKind
from queuesim.core.job import JobState
from queuesim.results.levels import Array, active, backlog
from queuesim.results.recording import (
    ENDINGS,
    STATUSES,
    CheckRow,
    Ending,
    FaultRow,
    Recording,
    Rows,
    RunFrames,
    ScanRow,
    rows_of,
)
from queuesim.results.timeline import timeline
from queuesim.text import measured

AT_ARRIVAL = ("backlog_at_arrival", "utilisation_at_arrival")
"""The columns that `with_arrivals` adds."""
CHECK_KINDS = ("threshold", "invariant", "health", "oracle")
"""What sorts of checks there are."""
EVENT_KINDS = tuple(kind.value for kind in EventKind)
BEFORE = ("", *(state.value for state in JobState))
"""What `previous` of an event row points into."""
LOST = "lost"
"""The state of a job that is in no state at all: it was added, never finished, and the queue doesn't have it."""
STATES = (*(state.value for state in JobState), "removed", LOST)
"""What a job's `state` can be."""
FRAMES = ("jobs", "attempts", "events", "limiter", "overdue", "faults", "checks")
"""The names of a result's frames."""
MOMENTS = frozenset(
    {
        *("scheduled", "added", "ready", "started", "finished", "ended", "time", "opened", "closes", "last_start"),
        *("began", "drained", "at"),
    }
)
"""Columns that are points in time, in whichever frame they are."""


def build_frames(recording: Recording, name: str) -> dict[str, pd.DataFrame]:
    """Build the frame `name` of FRAMES, and those that come with it: three are made of the attempts."""
    if name == "events":
        return {"events": events_frame(recording)}
    if name == "checks":
        return {"checks": checks_frame(recording.checks)}
    if name == "faults":
        return {"faults": faults_frame(recording.faults)}
    if name == "overdue":
        return {"overdue": overdue_frame(recording.scans)}
    starts = link(recording)
    return {
        "jobs": jobs_frame(recording, starts),
        "attempts": attempts_frame(recording, starts),
        "limiter": limiter_frame(recording),
    }


def with_arrivals(frames: RunFrames) -> pd.DataFrame:
    """A result's jobs with what each found just before it was added: the jobs that could start and did not, and the
    share of the workers' slots that was busy (NaN without any slot). Jobs added at one moment all find the same."""
    jobs, slots = frames.jobs, frames.facts.concurrency
    added = jobs["added"].to_numpy()
    busy = active(frames).before(added)
    columns = (
        backlog(frames).before(added).astype(np.uint32),
        busy / slots if slots else np.full(len(jobs), np.nan),
    )
    return jobs.assign(**dict(zip(AT_ARRIVAL, columns, strict=True)))


def jobs_frame(recording: Recording, starts: Starts) -> pd.DataFrame:
    """Columns, times in seconds since the run began and NaN for what did not happen:

    job (its number), id (only if some job has an id of its own), name, load (the load entry that made it), scheduled
    (when it was meant to arrive), added, ready (when its first attempt could start: when its delay was over, or its
    children had let it go), started (its first start), finished, state (STATES), attempts (number started), priority,
    delay, waiting (started - ready), latency (finished - (scheduled + delay)), service (time in attempts that ended),
    warmup (scheduled before the end of the warm-up).
    """
    rows = starts.jobs
    scheduled, delay = seconds(rows, "scheduled"), seconds(rows, "delay")
    started, ready = _first_start(starts)
    state, finished = _ends(recording, starts)
    return frame(
        {
            "job": np.ascontiguousarray(rows["number"]),
            **_ids(recording, rows["number"]),
            "name": labels(rows["name"], recording.names),
            "load": labels(rows["load"], recording.loads),
            "scheduled": scheduled,
            "added": seconds(rows, "added"),
            "ready": ready,
            "started": started,
            "finished": finished,
            "state": pd.Categorical.from_codes(state, categories=categories(STATES)),
            "attempts": np.bincount(_known(starts), minlength=len(rows)).astype(np.uint32),
            "priority": np.ascontiguousarray(rows["priority"]),
            "delay": delay,
            "waiting": started - ready,
            "latency": finished - (scheduled + delay),
            "service": _service(starts),
            "warmup": scheduled < recording.facts.warmup,
        }
    )


def _known(starts: Starts) -> Array:
    return starts.job[starts.job >= 0]


def _ids(recording: Recording, numbers: Array) -> dict[str, Any]:
    """Every job's id as text, where any job has one that isn't its number."""
    if not recording.ids:
        return {}
    ids = pd.Series(numbers).astype(str).astype(object)
    own = rows_of(numbers, np.fromiter(recording.ids, dtype=np.uint32, count=len(recording.ids)))
    ids.iloc[own[own >= 0]] = np.array(list(recording.ids.values()), dtype=object)[own >= 0]
    return {"id": ids.astype(str)}


def _first_start(starts: Starts) -> tuple[Array, Array]:
    """First start of each job, and since when it could have started."""
    started = np.full(len(starts.jobs), np.nan)
    ready = starts.due.copy()
    known = starts.job >= 0
    # numpy keeps the last value assigned to a repeated index, so backwards the first start stays
    job = starts.job[known][::-1]
    started[job] = starts.take("started")[known][::-1]
    recorded = starts.ready[known][::-1]
    ready[job] = np.where(np.isnan(recorded), ready[job], recorded)
    return started, ready


def _service(starts: Starts) -> Array:
    spent = starts.take("ended") - starts.take("started")
    counted = (starts.job >= 0) & ~np.isnan(spent)
    job = starts.job[counted]
    # without any attempt numpy counts in integers, whatever the weights
    service = np.bincount(job, weights=spent[counted], minlength=len(starts.jobs)).astype(np.float64)
    service[np.bincount(job, minlength=len(starts.jobs)) == 0] = np.nan
    return service


def _ends(recording: Recording, starts: Starts) -> tuple[Array, Array]:
    """The state of each job at the end, as a code of STATES, and when it finished.

    The queue's own word on what is left in it goes first: a failed job may have been put back by hand. Else the
    attempt that started last decides. An attempt that lost its lock decides nothing: another one took its place. Where
    neither knows, because a worker died before the queue confirmed its outcome, the queue's events decide.
    """
    ending, ended = starts.take("ending"), starts.take("ended")
    state = np.full(len(starts.jobs), STATES.index(LOST), dtype=np.int8)
    finished = np.full(len(starts.jobs), np.nan)
    counts = (starts.job >= 0) & (ending != Ending.LOST)
    verdict = np.full(len(Ending), STATES.index(LOST), dtype=np.int8)
    verdict[Ending.OK] = STATES.index(JobState.COMPLETED)
    verdict[Ending.FAILED] = STATES.index(JobState.FAILED)
    job = starts.job[counts]
    state[job] = verdict[ending[counts]]
    finished[job] = ended[counts]
    if recording.left:
        left = np.fromiter(recording.left, dtype=np.uint32, count=len(recording.left))
        codes = np.array([STATES.index(name) for name in recording.left.values()], dtype=np.int8)
        rows = rows_of(np.ascontiguousarray(starts.jobs["number"]), left)
        state[rows[rows >= 0]] = codes[rows >= 0]
    _fill_unknown_ends(recording, starts, state, finished, verdict)
    finished[~np.isin(state, verdict[[Ending.OK, Ending.FAILED]])] = np.nan
    return state, finished


def _fill_unknown_ends(recording: Recording, starts: Starts, state: Array, finished: Array, verdict: Array) -> None:
    """Fill in, from the events, how jobs ended of which no attempt and no queue knows."""
    unknown = state == STATES.index(LOST)
    if not unknown.any():
        return
    events, numbers = recording.events, np.ascontiguousarray(starts.jobs["number"])
    for kind, ending in ((EventKind.FAILED, Ending.FAILED), (EventKind.COMPLETED, Ending.OK)):
        ends = events[events["kind"] == kind.code]
        row = rows_of(numbers, np.ascontiguousarray(ends["number"]))
        mine = (row >= 0) & unknown[row]
        state[row[mine]] = verdict[ending]
        finished[row[mine]] = ends["time"][mine]


def attempts_frame(recording: Recording, starts: Starts) -> pd.DataFrame:
    """Columns, times in seconds since the run began:

    job, name, attempt (1 is the first start), worker, slot, ready, started, ended (NaN: unfinished),
    waiting (started - ready), service (ended - started), outcome (ENDINGS), error_type, category, retryable and
    message (missing without an error), backoff (seconds until the next attempt; NaN: there is none), clock_error
    (seconds that the worker's clock was ahead when it started; all other times are by the run's own clock).
    """
    started, ended = starts.take("started"), starts.take("ended")
    names = np.append(starts.jobs["name"].astype(np.int32), np.int32(-1))
    return frame(
        {
            "job": starts.take("number"),
            "name": labels(names[starts.job], recording.names),
            "attempt": starts.take("attempt"),
            "worker": labels(starts.take("worker"), recording.workers),
            "slot": starts.take("slot"),
            "ready": starts.ready,
            "started": started,
            "ended": ended,
            "waiting": started - starts.ready,
            "service": ended - started,
            "outcome": labels(starts.take("ending"), ENDINGS),
            **_errors(recording, starts),
            "message": labels(starts.take("message"), recording.messages, missing=""),
            "backoff": starts.take("backoff"),
            "clock_error": _clock_error(recording, starts),
        }
    )


def _clock_error(recording: Recording, starts: Starts) -> Array:
    skew = np.zeros(len(starts.attempts))
    if recording.skews:
        skew[list(recording.skews)] = list(recording.skews.values())
    return skew[starts.order]


def _errors(recording: Recording, starts: Starts) -> dict[str, object]:
    error = starts.take("error")
    retryable = np.array([retryable for _, _, retryable in recording.errors], dtype=bool)
    return {
        "error_type": labels(error, [kind for kind, _, _ in recording.errors], missing=""),
        "category": labels(error, [category for _, category, _ in recording.errors], missing=""),
        "retryable": pd.arrays.BooleanArray(retryable[error], error == 0),
    }


def events_frame(recording: Recording) -> pd.DataFrame:
    """Columns: time (seconds since the run began), job (its number; 0: an event of the queue), kind (EventKind),
    previous (the JobState that the job came from; missing where the event has none)."""
    rows = recording.events
    return frame(
        {
            "time": seconds(rows, "time"),
            "job": np.ascontiguousarray(rows["number"]),
            "kind": labels(rows["kind"], EVENT_KINDS),
            "previous": labels(rows["previous"], BEFORE, missing=""),
        }
    )


def limiter_frame(recording: Recording) -> pd.DataFrame:
    """Columns, times in seconds since the run began:

    opened, closes, max, starts (attempts that started in [opened, closes)), used (starts / max), last_start (NaN: there
    was none), time_limited (seconds from the start that used up the window to its close, or to the end of the run).
    Windows of a queue don't overlap, and come in order.
    """
    # workers in several processes report theirs when they can
    rows = recording.windows[np.argsort(recording.windows["opened"], kind="stable")]
    opened, closes = seconds(rows, "opened"), seconds(rows, "closes")
    # one that was cleared by hand, or by a server that counts whole milliseconds, closed when the next one opened
    closes[:-1] = np.minimum(closes[:-1], opened[1:])
    allowed = np.ascontiguousarray(rows["max"])
    started = np.sort(seconds(recording.attempts, "started"))
    first, after = np.searchsorted(started, opened), np.searchsorted(started, closes)
    starts = (after - first).astype(np.uint32)
    # a NaN at the end stands for "no such start", for windows that had none
    started = np.append(started, np.nan)
    last = np.where(starts > 0, started[np.where(starts > 0, after - 1, -1)], np.nan)
    full = (starts >= allowed) & (allowed > 0)
    used_up = started[np.where(full, first + allowed.astype(np.int64) - 1, -1)]
    shut = np.where(full, np.minimum(closes, recording.facts.duration) - used_up, 0.0)
    return frame(
        {
            "opened": opened,
            "closes": closes,
            "max": allowed,
            "starts": starts,
            "used": starts / np.maximum(allowed, 1),
            "last_start": last,
            "time_limited": np.maximum(shut, 0.0),
        }
    )


def overdue_frame(scans: Sequence[ScanRow]) -> pd.DataFrame:
    """Columns, times in seconds since the run began:

    scan (its number), trigger (cron, manual, ...), began, ended (NaN: it never did), pages, found, enqueued, duplicates
    (notifications that were there already), drained (when the last notification ended; NaN: not all did), duration
    (ended - began).
    """
    made = _columns(
        scans, scan=np.uint32, trigger=(), began=float, ended=float,
        pages=np.uint32, found=np.uint32, enqueued=np.uint32, duplicates=np.uint32, drained=float,
    )  # fmt: skip
    return frame({**made, "duration": made["ended"] - made["began"]})


def _columns(rows: Sequence[Any], **kinds: Any) -> dict[str, Any]:
    """Columns of records, by the names of their fields and what these hold: text (str), labels (a tuple of those that
    are known beforehand), or numbers, NaN for None."""
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        values = [getattr(row, name) for row in rows]
        if isinstance(kind, tuple):
            columns[name] = known_labels(values, kind)
        elif kind is str:
            columns[name] = pd.Series(values, dtype=str)
        else:
            columns[name] = np.array([math.nan if value is None else value for value in values], dtype=kind)
    return columns


def faults_frame(faults: Sequence[FaultRow]) -> pd.DataFrame:
    """Columns: fault (its kind), target (what it happened to), began, ended (seconds since the run began; NaN: still on
    at the end), detail, lost (seconds of the server's memory that it lost; inf: all of it; NaN: none)."""
    made = _columns(faults, kind=(), target=(), began=float, ended=float, detail=str, lost=float)
    return frame({"fault": made.pop("kind"), **made})


def checks_frame(checks: Sequence[CheckRow]) -> pd.DataFrame:
    """Columns: check (its name), kind (one of KINDS), status (one of STATUSES), ok (False if it failed), value (what
    was measured; of an oracle: the number of violations; NaN: there was nothing to measure), unit (of the value), limit
    (what was asked for), at (in seconds: the end of the worst sliding window, or when an extreme was reached or a count
    went beyond its limit; NaN: no such moment), judged (share of the run that the check could judge, 0 to 1), detail
    (the cause; of an oracle: the first witnesses)."""
    made = _columns(
        checks, name=str, kind=CHECK_KINDS, status=STATUSES, ok=bool, value=float, unit=str, limit=str, at=float,
        judged=float, detail=str,
    )  # fmt: skip
    return frame({"check": made.pop("name"), **made})


class Checks(pd.DataFrame):
    """The checks, shown in a notebook with a mark each, what failed first. What is taken out of it is plain pandas."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        from markupsafe import Markup

        from queuesim.results.markup import MARKS, html_table

        mark = Markup('<span style="color: {}">{}</span>')
        shown = self.sort_values("status", kind="stable")
        signs = [mark.format(MARKS[status][2], MARKS[status][0]) for status in shown["status"]]
        values = [measured(value, unit) for value, unit in zip(shown["value"].tolist(), shown["unit"], strict=True)]
        rows = zip(signs, shown["check"], shown["kind"], values, shown["limit"], shown["detail"], strict=True)
        return html_table(("", "check", "kind", "value", "limit", "detail"), rows)


class CalendarFrames:
    """The frames of a result on the virtual calendar: its second 0 is the scenario's `epoch`.

    Points in time are pandas times in UTC, to the microsecond, and NaT for what did not happen. Durations stay numbers
    of seconds, but of the nullable type Float64, with <NA> for what did not happen. Each frame is made anew.
    """

    def __init__(self, frames: RunFrames) -> None:
        self._frames = frames

    @property
    def epoch(self) -> pd.Timestamp:
        """The run's second 0."""
        return pd.Timestamp(moments(np.zeros(1), self._frames.facts.epoch)[0])

    def __getattr__(self, name: str) -> pd.DataFrame:
        """One of FRAMES: see the property of `Result` with that name."""
        if name not in FRAMES:
            raise AttributeError(f"no frame is called {name!r}; there are {', '.join(FRAMES)}")
        return self._placed(getattr(self._frames, name))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *FRAMES]

    def timeline(self, every: str | float = "10s") -> pd.DataFrame:
        """See `Result.timeline`: the index is the time of day at which each bin begins."""
        bins = timeline(self._frames, every)
        return bins.set_axis(moments(bins.index.to_numpy(), self._frames.facts.epoch).rename("time"), axis=0)

    def _placed(self, frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({str(name): self._column(str(name), column) for name, column in frame.items()}, copy=False)

    def _column(self, name: str, column: pd.Series[Any]) -> Any:
        if name in MOMENTS:
            return moments(column.to_numpy(), self._frames.facts.epoch)
        if column.dtype == np.float64:
            values = column.to_numpy()
            return pd.arrays.FloatingArray(values, np.isnan(values))
        return column


def moments(seconds: Array, epoch: float) -> pd.DatetimeIndex:
    """Times in UTC, to the microsecond, from seconds since an epoch that is in seconds since 1970; NaT for NaN."""
    known = ~np.isnan(seconds)
    whole = np.full(len(seconds), np.iinfo(np.int64).min, dtype=np.int64)  # as numpy writes NaT
    # rounded apart: together they would have too many digits for a float
    whole[known] = np.round(seconds[known] * 1e6).astype(np.int64) + round(epoch * 1e6)
    return pd.DatetimeIndex(whole.view("datetime64[us]")).tz_localize("UTC")


@dataclass(slots=True)
class Starts:
    """Attempts in the order of their starts."""

    jobs: Rows
    """The job rows, by number."""
    attempts: Rows
    """The attempt rows as recorded."""
    order: Array
    """Positions in `attempts`, in the order of their starts."""
    job: Array
    """The row in `jobs` of each attempt, in the order of their starts; -1: a job that the recording doesn't know."""
    ready: npt.NDArray[np.float64]
    """When each attempt could have started at the earliest, in seconds, in the order of their starts."""
    due: Array
    """When the first attempt of each job could start, in seconds, in the order of `jobs`; NaN: not yet."""

    def take(self, name: str) -> Array:
        """A column of the attempts, in the order of their starts."""
        return np.ascontiguousarray(self.attempts[name])[self.order]


def link(recording: Recording) -> Starts:
    """Order the attempts and find their jobs."""
    jobs = _by_number(recording.jobs)
    attempts = recording.attempts
    order = np.argsort(seconds(attempts, "started"), kind="stable")
    job = rows_of(np.ascontiguousarray(jobs["number"]), np.ascontiguousarray(attempts["number"])[order])
    starts = Starts(jobs, attempts, order, job, seconds(attempts, "ready")[order], _released(recording, jobs))
    _fill_ready(starts)
    return starts


def _released(recording: Recording, jobs: Rows) -> Array:
    """For each job, when it could start: when its delay was over, or, of a parent of a flow, when its children had let
    it go; NaN: they have not yet."""
    due: Array = jobs["added"] + jobs["delay"]
    events = recording.events
    parents = np.unique(events["number"][events["kind"] == EventKind.WAITING_CHILDREN.code])
    if not len(parents):
        return due
    numbers = np.ascontiguousarray(jobs["number"])
    rows = rows_of(numbers, parents)
    due[rows[rows >= 0]] = np.nan
    waiting = events[(events["kind"] == EventKind.WAITING.code) & np.isin(events["number"], parents)][::-1]
    rows = rows_of(numbers, np.ascontiguousarray(waiting["number"]))
    # numpy keeps the last value assigned to a repeated index, so backwards the first event stays
    due[rows[rows >= 0]] = waiting["time"][rows >= 0]
    return due


def _by_number(jobs: Rows) -> Rows:
    numbers = jobs["number"]
    if len(jobs) > 1 and not bool(np.all(numbers[1:] > numbers[:-1])):
        return jobs[np.argsort(numbers, kind="stable")]
    return jobs


def _fill_ready(starts: Starts) -> None:
    """Where a broker could not say since when a job was ready: the job's due time, or the end of its last backoff."""
    unknown = np.isnan(starts.ready) & (starts.job >= 0)
    if not unknown.any():
        return
    previous = _previous(starts.job)
    ended, backoff = starts.take("ended"), starts.take("backoff")
    again = ended[previous] + np.nan_to_num(backoff[previous])
    again[(previous < 0) | (starts.take("ending")[previous] == Ending.UNFINISHED)] = np.nan
    guess = np.where(previous < 0, starts.due[starts.job], again)
    starts.ready[unknown] = np.minimum(guess, starts.take("started"))[unknown]


def _previous(job: Array) -> Array:
    """The position of the attempt before, of the same job; -1: it is the first."""
    grouped = np.argsort(job, kind="stable")
    same = job[grouped[1:]] == job[grouped[:-1]]
    previous = np.full(len(job), -1, dtype=np.intp)
    previous[grouped[1:][same]] = grouped[:-1][same]
    return previous


def labels(codes: Array, table: Sequence[str], missing: str | None = None) -> pd.Categorical:
    """A categorical from pointers into a table of names, which may name a thing twice.

    A code of -1 and a name equal to `missing` have no label (NaN). Codes take one byte a row up to 127 names.
    """
    names = [name for name in dict.fromkeys(table) if name != missing]
    place = {name: code for code, name in enumerate(names)}
    small = np.int8 if len(names) <= 127 else np.int32
    lookup: npt.NDArray[np.integer[Any]] = np.array([*(place.get(name, -1) for name in table), -1], dtype=small)
    return pd.Categorical.from_codes(lookup[codes], categories=categories(names))


def categories(names: Sequence[str]) -> pd.Index:
    """Category labels with one dtype, whether there are any or not."""
    return pd.Index(list(names), dtype=str)


def known_labels(values: Sequence[str], known: Sequence[str] = ()) -> pd.Categorical:
    """A categorical of the labels that are known and those that occur beside them."""
    table = list(dict.fromkeys((*known, *values)))
    return labels(np.array([table.index(value) for value in values], dtype=np.intp), table)


def seconds(rows: Array, name: str) -> npt.NDArray[np.float64]:
    """A column of packed rows as an array of its own."""
    return np.ascontiguousarray(rows[name], dtype=np.float64)


def frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A frame that takes the columns over without copying them."""
    return pd.DataFrame(dict(columns), copy=False)
