"""Running: no job twice at once, no worker and no queue beyond its concurrency, no job beyond its attempts."""

from __future__ import annotations

import math

import numpy as np

from queuesim.core.events import EventKind
from queuesim.oracles.columns import Array, Columns
from queuesim.oracles.rollback import FLIGHT, TICK
from queuesim.oracles.run_view import COUNTED, RunView, check_row, groups, share_outside
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import CheckRow, Ending


def overlaps(attempts: Columns, order: Array, *keys: str, resolution: float = TICK) -> Array:
    """Pairs (earlier, later) of neighbours in `order` with equal keys, of which the later began before the earlier
    had ended, by more than the resolution of the clocks."""
    rows = attempts[order]
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for key in keys:
        same &= rows[key][1:] == rows[key][:-1]
    ended = np.where(np.isnan(rows["ended"]), np.inf, rows["ended"])
    found = np.flatnonzero(same & (rows["started"][1:] < ended[:-1] - resolution))
    return np.stack((order[found], order[found + 1]), axis=1)


def exclusive(view: RunView) -> CheckRow:
    """No two workers run a job at once, except after a stall: the first may not know yet that it lost its lock."""
    violations, stalled, undone = [], 0, []
    undid = view.rollbacks.undid(view.attempts["started"])
    attempts, order = view.attempts, view.by_job
    if view.late_spans:
        attempts = attempts.having(started=view.given_out(attempts))
        order = view.in_order(attempts)
    for earlier, later in overlaps(attempts, order, "number", resolution=view.expectations.resolution).tolist():
        first, second = attempts[earlier], attempts[later]
        number, since, until = int(first["number"]), float(first["started"]), float(second["started"])
        if any(since <= time <= until for time in view.stalls.get(number, ())):
            stalled += 1
        elif (by := int(undid[earlier])) >= 0 and view.rollbacks.all[by].until <= until + TICK:
            undone.append(by)
        elif not (first["ending"] == Ending.LOST and view.had(Effect.SERVER | Effect.WORKERS)) and not _given_out_late(
            view, number, until
        ):
            violations.append(f"job {number} ran twice at once from {until:g} s on")
    notes = [f"{stalled} ran twice at once after a stall"] if stalled else []
    notes += [view.rollbacks.blame(np.array(undone), "ran twice at once")] if undone else []
    return check_row("one worker at a time", violations, ", ".join(notes))


def _given_out_late(view: RunView, number: int, asked: float) -> bool:
    """Whether the queue may have given a job out later than its worker asked: commands were late at that time, and the
    queue recorded an end between any two starts of the job."""
    return number not in view.started_twice and view.late_at(asked)


def concurrency(view: RunView) -> CheckRow:
    """Each slot runs one job at a time, no worker has more slots than it may, nor the queue more active jobs."""
    attempts, workers = view.attempts, view.recording.workers
    # by their ends: starts within the resolution of the clocks may be in any order
    order = np.lexsort((attempts["started"], attempts["ended"], attempts["slot"], attempts["worker"]))
    violations = [
        f"{workers[attempts['worker'][later]]} ran two jobs in slot {attempts['slot'][later]} at "
        f"{attempts['started'][later]:g} s"
        for _, later in overlaps(attempts, order, "worker", "slot", resolution=view.expectations.resolution).tolist()
        # nobody knows in which slots those were that a killed process did not report
        if workers[attempts["worker"][later]] in view.expectations.concurrency
        # a job starts when the queue gives it out; with latency it reaches its slot later, maybe as late as it ended
        and not view.late_at(float(attempts["started"][later]))
    ]
    for i, worker in enumerate(workers):
        slots = view.expectations.concurrency.get(worker)
        if slots is not None:
            beyond = attempts["slot"][(attempts["worker"] == i) & (attempts["slot"] >= slots)]
            violations += [f"{worker} has {slots} slots and ran a job in slot {slot}" for slot in beyond.tolist()]
    violations += _shared(view)
    if view.expectations.shared_concurrency is None or not view.rollbacks:
        return check_row("concurrency never exceeded", violations)
    note = f"that of the queue judged until {view.rollbacks.all[0]}"
    judged = share_outside([(view.rollbacks.all[0].until, math.inf)], view.end)
    return check_row("concurrency never exceeded", violations, note, judged=judged)


def _shared(view: RunView) -> list[str]:
    limit = view.expectations.shared_concurrency
    if limit is None:
        return []
    events = view.events
    active = events["kind"] == EventKind.ACTIVE.code
    running = np.cumsum(active.astype(np.int64) - view.ends_of_runs)
    if view.rollbacks:
        # what the queue counts after it has nothing to do with what was told before
        before = events["time"] < view.rollbacks.all[0].until - (FLIGHT if view.late else view.expectations.resolution)
        active &= np.logical_and.accumulate(before)
    return [
        f"{running[i]} jobs were active at {events['time'][i]:g} s, of {limit} at most"
        for i in np.flatnonzero(active & (running > limit)).tolist()
    ]


def attempts(view: RunView) -> CheckRow:
    """No job has more attempts than it may, and none is given up before: unless its error says so."""
    rows, made = view.rows_by_job, view.attempts_made
    terms = view.terms[view.row(rows["number"])] if len(view.numbers) else np.full(len(rows), -1)
    known = view.undone_by[view.by_job] < 0
    found = _beyond(view, rows, made, terms, known) + _misjudged(view, rows, made, terms, known)
    # those of the options that were used first come first
    return check_row("attempts within the limit", [text for _, text in sorted(found, key=lambda place: place[0])])


Found = list[tuple[tuple[int, ...], str]]
"""Violations, each with its place among the others."""


def _beyond(view: RunView, rows: Columns, made: Array, terms: Array, known: Array) -> Found:
    """Attempts that are more than a job may have."""
    limits = np.array([view.expectations.allowed(options) for options in view.rules], dtype=np.int64)
    counted = np.flatnonzero((terms >= 0) & np.isin(rows["ending"], COUNTED) & known)
    limit = limits[view.rule_of[terms[counted]]]
    beyond = made[counted] > limit
    return [
        ((int(terms[i]), 0, 0, 0, i), f"job {rows['number'][i]} had attempt {made[i]} of {most}")
        for i, most in zip(counted[beyond].tolist(), limit[beyond].tolist(), strict=True)
        if int(rows["number"][i]) not in view.doubtful
    ]


def _misjudged(view: RunView, rows: Columns, made: Array, terms: Array, known: Array) -> Found:
    """Attempts after which there should have been another, and those after which there should not."""
    if view.expectations.custom_backoff or view.expectations.max_started is not None:
        return []
    decided = np.isin(rows["ending"], (Ending.FAILED, Ending.RETRIED))
    chosen = np.flatnonzero((terms >= 0) & decided & (rows["error"] > 0) & known)
    if not len(chosen):
        return []
    ending, error = rows["ending"][chosen].astype(np.int64), rows["error"][chosen].astype(np.int64)
    kinds, kind = groups(view.rule_of[terms[chosen]], ending, error, made[chosen])
    wrong = np.array([_is_misjudged(view, *each) for each in kinds.tolist()])
    found: Found = []
    for i in chosen[wrong[kind]].tolist():
        row, count = rows[i], int(made[i])
        if int(row["number"]) in view.unsure:
            continue
        given_up = row["ending"] == Ending.FAILED
        category = view.recording.errors[row["error"]][1]
        text = f"job {row['number']} was {'given up' if given_up else 'retried'} after attempt {count}, {category}"
        found.append(((int(terms[i]), 1 if given_up else 2, int(row["error"]), count, i), text))
    return found


def _is_misjudged(view: RunView, rule: int, ending: int, error: int, made: int) -> bool:
    """Whether a job of these rules should have been retried and was not, or the other way round."""
    _, category, retryable = view.recording.errors[error]
    return view.expectations.retried(view.rules[rule], category, retryable, made) is (ending == Ending.FAILED)
