"""Delivery, in Jepsen's words: what was lost, duplicated, recovered, and what was there that should not be.

Jepsen's checkers of sets and queues call an element *lost* if it was acknowledged and is nowhere, *duplicated* if it
came out more than once, *recovered* if its fate was unknown and it came out in the end, and *unexpected* if nobody had
put it in.
"""

from __future__ import annotations

import numpy as np

from queuesim.metrics.recording import CheckRow, Ending
from queuesim.testing.oracles.case import Array, Case, first, verdict


def lost(case: Case) -> CheckRow:
    """Every job that was added ended, or is still in the queue."""
    there = np.zeros(len(case.numbers), dtype=bool)
    for numbers in (
        case.ended,
        np.fromiter(case.recording.left, dtype=np.uint32, count=len(case.recording.left)),
    ):
        rows = case.row(numbers)
        there[rows[rows >= 0]] = True
    missing = np.flatnonzero(~there)
    # a server that forgets that a job was added loses it; whatever else it forgets, the job is there
    by = _lost_by(case, case.numbers[missing])
    violating = case.numbers[missing[by < 0]]
    return verdict("no job lost", first(violating, "job {} is nowhere"), case.rollbacks.blame(by, "lost"))


def duplicated(case: Case) -> CheckRow:
    """A job completes once. That it was run again after a stall can't be promised away: it is counted."""
    completed = np.flatnonzero(case.attempts["ending"] == Ending.OK)
    done = np.stack((case.attempts["number"][completed].astype(np.int64), case.undone_by[completed]), axis=1)
    # one completion counts, and one more for each time that the server forgot what it knew of it
    each, counts = np.unique(done, axis=0, return_counts=True)
    violating = np.unique(each[counts > 1, 0])
    if len(violating) and case.doubtful:
        violating = violating[~np.isin(violating, _forgiven(case, completed))]
    twice = np.isin(each[:, 0], each[each[:, 1] < 0, 0]) | (counts > 1)
    by = each[twice & (each[:, 1] >= 0), 1]
    again = len(case.interrupted.intersection(case.attempts["number"][case.attempts["attempt"] > 1].tolist()))
    notes = []
    if again:
        notes.append(f"{again} jobs ran again after an attempt whose end the queue did not hear of")
    notes += [blamed] if (blamed := case.rollbacks.blame(by, "duplicated")) else []
    return verdict("no job completed twice", first(violating, "job {} completed twice"), ", ".join(notes))


def _forgiven(case: Case, completed: Array) -> Array:
    """Jobs of which nobody can say which attempt the server forgot by which rollback, and that completed no more often
    than it may have forgotten a completion."""
    attempts = case.attempts[completed]
    forgot = case.rollbacks.may_undo(attempts["started"]) | case.rollbacks.may_undo(case.told_ends[completed])
    doubtful = np.isin(attempts["number"], list(case.doubtful))
    found = [
        number
        for number in np.unique(attempts["number"][doubtful]).tolist()
        if int((mine := attempts["number"] == number).sum()) <= 1 + int(forgot[:, mine].any(axis=1).sum())
    ]
    return np.array(found, dtype=np.uint32)


def unexpected(case: Case) -> CheckRow:
    """Nothing runs that was not added."""
    ran = np.unique(case.attempts["number"])
    strangers = ran[case.row(ran) < 0]
    return verdict("nothing unexpected", first(strangers, "job {} ran and was never added"))


def recovered(case: Case) -> CheckRow:
    """Jobs whose attempt was lost run again, or are still in the queue."""
    done = set(case.ended.tolist())
    unknown = sorted(case.interrupted)
    missing = np.array([n for n in unknown if n not in done and n not in case.recording.left], dtype=np.uint32)
    by = _lost_by(case, missing)
    came_back = sum(number in done for number in unknown)
    notes = [f"{came_back} jobs recovered"] if came_back else []
    notes += [blamed] if (blamed := case.rollbacks.blame(by, "lost")) else []
    return verdict("interrupted jobs recovered", first(missing[by < 0], "job {} never came back"), ", ".join(notes))


def _lost_by(case: Case, numbers: Array) -> Array:
    """The rollback by which the queue forgot that each job was added; -1: none, or it never was."""
    rows = case.row(numbers)
    by = np.full(len(numbers), -1)
    by[rows >= 0] = case.rollbacks.forgot(case.of_jobs("added")[rows[rows >= 0]])
    return by
