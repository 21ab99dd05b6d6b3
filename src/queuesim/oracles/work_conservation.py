"""Work conservation: no job waits while there is a slot for it and nothing that keeps it from starting."""

from __future__ import annotations

import math

import numpy as np

from queuesim.core.events import EventKind
from queuesim.core.job import JobState
from queuesim.oracles.columns import Array
from queuesim.oracles.run_view import RunView, check_row, settled, share_outside, unjudged
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import CheckRow, FaultRow

SLACK = 0.001
"""Seconds that any start may be late."""
Span = tuple[float, float]

AFTERMATH = 5.0
"""Seconds after a fault of Redis or of workers in which starts may be late: workers come back with pauses."""


def prompt(view: RunView) -> CheckRow:
    """No job that could start waits while a slot is idle: no wake-up is lost, and no limit holds longer than it may."""
    name = "no job waits beside an idle worker"
    if not view.expectations.concurrency:
        return unjudged(name, "it is not known which workers there were")
    doubts = _doubts(view)
    judged = share_outside(doubts, view.end)
    if not judged:
        return unjudged(name, "faults or handlers that hold the event loop lasted for the whole run")
    waits = _waiting(view)
    if not len(waits):
        return check_row(name, [], judged=judged)
    slots = _slots(view)
    runs = np.stack((view.attempts["started"], _ended(view)), axis=1)
    found = _idle(waits, runs, slots, _spans([*doubts, *_held(view)]), view.end)
    tolerance = SLACK + view.expectations.pickup
    violations = [
        f"from {begin:g} s to {end:g} s a job waited and a slot was idle"
        for begin, end in found
        if end - begin > tolerance
    ]
    return check_row(name, violations, judged=judged)


def _ended(view: RunView) -> Array:
    ended = view.attempts["ended"]
    until: Array = np.where(np.isnan(ended), view.end, ended)
    return until


def _waiting(view: RunView) -> Array:
    """From when until when each attempt could have started and did not; and jobs that never did."""
    attempts = view.attempts
    ready = attempts["ready"]
    known = ~np.isnan(ready)
    if view.rollbacks:
        # that a job waits again since then, for it was forgotten that it ran, was not so before
        last = view.rollbacks.all[-1].until
        known &= (attempts["started"] < view.rollbacks.all[0].until) | (ready > last)
    waits = np.stack((ready[known], attempts["started"][known]), axis=1)
    late: Array = waits[waits[:, 1] - waits[:, 0] > SLACK]
    left = view.recording.left
    never = [number for number, state in left.items() if state in (JobState.WAITING.value, JobState.PRIORITIZED.value)]
    if never and not view.rollbacks:
        late = np.concatenate((late, _since(view, np.array(sorted(never), dtype=np.uint32))))
    return late


def _since(view: RunView, numbers: Array) -> Array:
    """Since when jobs wait that are left: since the last event that put them there."""
    events = view.events[view.events["kind"] == EventKind.WAITING.code]
    chosen = events[np.isin(events["number"], numbers)]
    number, last = np.unique(chosen["number"][::-1], return_index=True)
    since = chosen["time"][::-1][last]
    return np.stack((since, np.full(len(number), view.end)), axis=1)


def _slots(view: RunView) -> Array:
    """(when, how many slots are there from then on, more than before)."""
    concurrency, presence = view.expectations.concurrency, view.expectations.presence
    if presence is None:
        return np.array([(view.expectations.starts.get(worker, 0.0), slots) for worker, slots in concurrency.items()])
    came = [(since, concurrency[worker]) for worker, since, _ in presence]
    left = [(until, -concurrency[worker]) for worker, _, until in presence if until < math.inf]
    return np.array([*came, *left]).reshape(-1, 2)


def _doubts(view: RunView) -> list[Span]:
    """Spans in which starts may be late for a reason that nobody can see: faults and their aftermath, and handlers that
    hold the event loop of their worker."""
    spans = [
        (fault.began, _over(fault))
        for fault in view.faults
        if fault.effects & (Effect.SERVER | Effect.WORKERS | Effect.UNHEARD)
    ]
    # a wrong clock says when the jobs are due that its worker puts off, and whose time has come
    spans += [(since, math.inf) for since, _ in view.skewed_spans]
    limited = bool(view.expectations.limiters) or view.expectations.shared_concurrency is not None
    for rollback in view.rollbacks.all:
        # nothing says how much of a limit is left then
        spans.append((rollback.until, math.inf if limited or view.late else rollback.until + AFTERMATH))
    return spans + _blocked(view)


def _blocked(view: RunView) -> list[Span]:
    """While handlers run that hold the event loop: their worker may have been woken, and can't take the job."""
    names = view.recording.names
    blocking = np.array(
        [place for place, name in enumerate(names) if name in view.expectations.blocking], dtype=np.int64
    )
    if not len(blocking):
        return []
    rows = view.row(view.attempts["number"])
    chosen = (rows >= 0) & np.isin(view.of_jobs("name")[rows], blocking)
    return list(zip(view.attempts["started"][chosen].tolist(), _ended(view)[chosen].tolist(), strict=True))


def _held(view: RunView) -> list[Span]:
    """Spans in which nothing may start: full windows, pauses, a full queue, handlers that limited it."""
    holds = [(float(since), float(until)) for since, until in view.holds]
    return _full_windows(view) + _pauses(view) + _full_queue(view) + holds


def _spans(spans: list[Span]) -> Array:
    found = np.array(spans, dtype=np.float64).reshape(-1, 2)
    # where commands are late, an event may bear an earlier time than the one before it
    return found[found[:, 0] < found[:, 1]]


def _over(fault: FaultRow) -> float:
    """Until when a fault can make starts late."""
    if Effect.LATE_COMMANDS in fault.effects:
        return settled(fault)
    return math.inf if math.isnan(fault.ended) else fault.ended + AFTERMATH


def _full_windows(view: RunView) -> list[Span]:
    """From the start that used a window up until it closed."""
    windows = view.recording.windows
    if not len(windows):
        return []
    starts = np.sort(view.events["time"][view.events["kind"] == EventKind.ACTIVE.code], kind="stable")
    # a worker with a smaller limit than the one that opened the window is held sooner
    most = np.minimum(windows["max"], min((limit.max for limit in view.expectations.limiters), default=2**32))
    place = np.searchsorted(starts, windows["opened"], side="left") + most.astype(np.int64) - 1
    there = place < len(starts)
    used_up = np.where(there, starts[np.minimum(place, max(len(starts) - 1, 0))] if len(starts) else np.inf, np.inf)
    full = there & (used_up < windows["closes"])
    for since, until in view.late_spans:
        # starts bear the time at which their worker asked, which may be before the window opened that they used up
        touched = (windows["opened"] <= until) & (windows["closes"] >= since)
        used_up, full = np.where(touched, windows["opened"], used_up), full | touched
    return list(zip(used_up[full].tolist(), windows["closes"][full].tolist(), strict=True))


def _pauses(view: RunView) -> list[Span]:
    events, spans, since = view.events, [], None
    for kind, time in zip(events["kind"].tolist(), events["time"].tolist(), strict=True) if _paused(view) else ():
        if kind == EventKind.PAUSED.code:
            since = time if since is None else since
        elif kind == EventKind.RESUMED.code and since is not None:
            spans.append((since, time))
            since = None
    return spans if since is None else [*spans, (since, math.inf)]


def _paused(view: RunView) -> bool:
    return bool((view.events["kind"] == EventKind.PAUSED.code).any())


def _full_queue(view: RunView) -> list[Span]:
    """While as many jobs are active as the queue allows."""
    limit = view.expectations.shared_concurrency
    if limit is None:
        return []
    events = view.events
    active = events["kind"] == EventKind.ACTIVE.code
    running = np.cumsum(active.astype(np.int64) - view.ends_of_runs)
    full = running >= limit
    edges = np.flatnonzero(np.diff(np.concatenate(([False], full, [False])).astype(np.int8)))
    times = np.append(events["time"], view.end)
    return [(float(times[a]), float(times[b])) for a, b in edges.reshape(-1, 2).tolist()]


def _idle(waits: Array, runs: Array, slots: Array, excused: Array, end: float) -> list[Span]:
    """Spans in which a job waits, a slot is idle and nothing excuses it, put together where they touch."""
    times = np.concatenate(
        (waits[:, 0], waits[:, 1], runs[:, 0], runs[:, 1], slots[:, 0], excused[:, 0], excused[:, 1], [end])
    )
    n, m, k, x = len(waits), len(runs), len(slots), len(excused)
    steps = np.zeros((3, len(times)), dtype=np.int32)
    for row, begin, length, step in (
        (0, 0, n, 1),
        (0, n, n, -1),
        (1, 2 * n, m, 1),
        (1, 2 * n + m, m, -1),
        (2, 2 * n + 2 * m + k, x, 1),
        (2, 2 * n + 2 * m + k + x, x, -1),
    ):
        steps[row, begin : begin + length] = step
    steps[1, 2 * n + 2 * m : 2 * n + 2 * m + k] = -slots[:, 1]
    # what begins or ends comes nearly in order, which a stable sort makes use of
    order = np.argsort(times, kind="stable")
    times = times[order]
    settled = np.append(times[1:] != times[:-1], True)
    moments = times[settled]
    waiting, busy, held = np.cumsum(steps[:, order], axis=1, dtype=np.int32)[:, settled]
    bad = (waiting > 0) & (busy < 0) & (held == 0) & (moments < end)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False])).astype(np.int8)))
    stops = np.append(moments, end)
    return [(float(moments[a]), float(stops[b])) for a, b in edges.reshape(-1, 2).tolist()]
