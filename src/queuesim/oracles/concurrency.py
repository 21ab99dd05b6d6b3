"""Running: no job twice at once, no worker and no queue beyond its concurrency, no job beyond its attempts."""

from __future__ import annotations

import math

import numpy as np

from queuesim.core.events import EventKind
from queuesim.oracles.rollback import FLIGHT, TICK
from queuesim.oracles.run_view import Array, Case, groups, share_outside, verdict
from queuesim.results.recording import CheckRow, Ending

COUNTED = (Ending.OK, Ending.RETRIED, Ending.FAILED)


def overlaps(attempts: Array, order: Array, *keys: str, resolution: float = TICK) -> Array:
    """Pairs (earlier, later) of neighbours in `order` with equal keys, of which the later began before the earlier
    had ended, by more than the resolution of the clocks."""
    rows = attempts[order]
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for key in keys:
        same &= rows[key][1:] == rows[key][:-1]
    ended = np.where(np.isnan(rows["ended"]), np.inf, rows["ended"])
    found = np.flatnonzero(same & (rows["started"][1:] < ended[:-1] - resolution))
    return np.stack((order[found], order[found + 1]), axis=1)


def exclusive(case: Case) -> CheckRow:
    """No two workers run a job at once, except after a stall: the first may not know yet that it lost its lock."""
    told, stalled, undone = [], 0, []
    undid = case.rollbacks.undid(case.attempts["started"])
    attempts, order = case.attempts, case.by_job
    if case.late_spans:
        attempts = attempts.copy()
        attempts["started"] = case.given_out(attempts)
        order = case.in_order(attempts)
    for earlier, later in overlaps(attempts, order, "number", resolution=case.promises.resolution).tolist():
        first, second = attempts[earlier], attempts[later]
        number, since, until = int(first["number"]), float(first["started"]), float(second["started"])
        if any(since <= time <= until for time in case.stalls.get(number, ())):
            stalled += 1
        elif (by := int(undid[earlier])) >= 0 and case.rollbacks.all[by].until <= until + TICK:
            undone.append(by)
        elif not (first["ending"] == Ending.LOST and case.had("redis.", "worker.")) and not _given_out_late(
            case, number, until
        ):
            told.append(f"job {number} ran twice at once from {until:g} s on")
    notes = [f"{stalled} ran twice at once after a stall"] if stalled else []
    notes += [case.rollbacks.blame(np.array(undone), "ran twice at once")] if undone else []
    return verdict("one worker at a time", told, ", ".join(notes))


def _given_out_late(case: Case, number: int, asked: float) -> bool:
    """Whether the queue may have given a job out later than its worker asked: commands were late at that time, and the
    queue recorded an end between any two starts of the job."""
    return number not in case.started_twice and case.late_at(asked)


def concurrency(case: Case) -> CheckRow:
    """Each slot runs one job at a time, no worker has more slots than it may, nor the queue more active jobs."""
    attempts, workers = case.attempts, case.recording.workers
    # by their ends: starts within the resolution of the clocks may be in any order
    order = np.lexsort((attempts["started"], attempts["ended"], attempts["slot"], attempts["worker"]))
    told = [
        f"{workers[attempts['worker'][later]]} ran two jobs in slot {attempts['slot'][later]} at "
        f"{attempts['started'][later]:g} s"
        for _, later in overlaps(attempts, order, "worker", "slot", resolution=case.promises.resolution).tolist()
        # nobody knows in which slots those were that a killed process did not report
        if workers[attempts["worker"][later]] in case.promises.concurrency
        # a job starts when the queue gives it out; with latency it reaches its slot later, maybe as late as it ended
        and not case.late_at(float(attempts["started"][later]))
    ]
    for i, worker in enumerate(workers):
        slots = case.promises.concurrency.get(worker)
        if slots is not None:
            beyond = attempts["slot"][(attempts["worker"] == i) & (attempts["slot"] >= slots)]
            told += [f"{worker} has {slots} slots and ran a job in slot {slot}" for slot in beyond.tolist()]
    told += _shared(case)
    if case.promises.shared_concurrency is None or not case.rollbacks:
        return verdict("concurrency never exceeded", told)
    note = f"that of the queue judged until {case.rollbacks.all[0]}"
    judged = share_outside([(case.rollbacks.all[0].until, math.inf)], case.end)
    return verdict("concurrency never exceeded", told, note, judged=judged)


def _shared(case: Case) -> list[str]:
    limit = case.promises.shared_concurrency
    if limit is None:
        return []
    events = case.events
    active = events["kind"] == EventKind.ACTIVE.code
    running = np.cumsum(active.astype(np.int64) - case.ends_of_runs)
    if case.rollbacks:
        # what the queue counts after it has nothing to do with what was told before
        before = events["time"] < case.rollbacks.all[0].until - (FLIGHT if case.late else case.promises.resolution)
        active &= np.logical_and.accumulate(before)
    return [
        f"{running[i]} jobs were active at {events['time'][i]:g} s, of {limit} at most"
        for i in np.flatnonzero(active & (running > limit)).tolist()
    ]


def attempts_made(case: Case) -> Array:
    """For each attempt in the order of `by_job`: how many of its job counted by then, this one included. Those that
    the queue forgot do not count."""
    rows = case.attempts[case.by_job]
    counted = np.isin(rows["ending"], COUNTED) & (case.undone_by[case.by_job] < 0)
    total = np.cumsum(counted)
    begins = np.concatenate(([True], rows["number"][1:] != rows["number"][:-1])) if len(rows) else np.zeros(0, bool)
    before = np.where(begins, total - counted, 0)
    made: Array = total - np.maximum.accumulate(before) if len(rows) else total
    return made


def attempts(case: Case) -> CheckRow:
    """No job has more attempts than it may, and none is given up before: unless its error says so."""
    rows, made = case.attempts[case.by_job], attempts_made(case)
    terms = case.terms[case.row(rows["number"])] if len(case.numbers) else np.full(len(rows), -1)
    known = case.undone_by[case.by_job] < 0
    found = _beyond(case, rows, made, terms, known) + _misjudged(case, rows, made, terms, known)
    # those of the options that were used first come first
    return verdict("attempts within the limit", [text for _, text in sorted(found, key=lambda place: place[0])])


Found = list[tuple[tuple[int, ...], str]]
"""Violations, each with its place among the others."""


def _beyond(case: Case, rows: Array, made: Array, terms: Array, known: Array) -> Found:
    """Attempts that are more than a job may have."""
    limits = np.array([case.promises.allowed(options) for options in case.rules], dtype=np.int64)
    counted = np.flatnonzero((terms >= 0) & np.isin(rows["ending"], COUNTED) & known)
    limit = limits[case.rule_of[terms[counted]]]
    beyond = made[counted] > limit
    return [
        ((int(terms[i]), 0, 0, 0, i), f"job {rows['number'][i]} had attempt {made[i]} of {most}")
        for i, most in zip(counted[beyond].tolist(), limit[beyond].tolist(), strict=True)
        if int(rows["number"][i]) not in case.doubtful
    ]


def _misjudged(case: Case, rows: Array, made: Array, terms: Array, known: Array) -> Found:
    """Attempts after which there should have been another, and those after which there should not."""
    if case.promises.custom_backoff or case.promises.max_started is not None:
        return []
    decided = np.isin(rows["ending"], (Ending.FAILED, Ending.RETRIED))
    chosen = np.flatnonzero((terms >= 0) & decided & (rows["error"] > 0) & known)
    if not len(chosen):
        return []
    ending, error = rows["ending"][chosen].astype(np.int64), rows["error"][chosen].astype(np.int64)
    kinds, kind = groups(case.rule_of[terms[chosen]], ending, error, made[chosen])
    wrong = np.array([_is_misjudged(case, *each) for each in kinds.tolist()])
    found: Found = []
    for i in chosen[wrong[kind]].tolist():
        row, count = rows[i], int(made[i])
        if int(row["number"]) in case.unsure:
            continue
        given_up = row["ending"] == Ending.FAILED
        category = case.recording.errors[row["error"]][1]
        text = f"job {row['number']} was {'given up' if given_up else 'retried'} after attempt {count}, {category}"
        found.append(((int(terms[i]), 1 if given_up else 2, int(row["error"]), count, i), text))
    return found


def _is_misjudged(case: Case, rule: int, ending: int, error: int, made: int) -> bool:
    """Whether a job of these rules should have been retried and was not, or the other way round."""
    _, category, retryable = case.recording.errors[error]
    return case.promises.retried(case.rules[rule], category, retryable, made) is (ending == Ending.FAILED)
