"""Delays: a backoff is as long as it should be, to the millisecond, and no job starts before its time."""

from __future__ import annotations

import numpy as np

from queuesim.core.events import EventKind
from queuesim.oracles.columns import Array, Columns
from queuesim.oracles.run_view import RunView, check_row, following, groups
from queuesim.results.recording import CheckRow, Ending

MILLISECOND = 0.001


def backoff(view: RunView) -> CheckRow:
    """Each delay is the one that the rules give, and the next attempt could start when it was over, not before."""
    rows, made = view.rows_by_job, view.attempts_made
    violations = _drawn(view, rows, made) + _kept(view, rows)
    return check_row("backoff to the millisecond", violations)


def _drawn(view: RunView, rows: Columns, made: Array) -> list[str]:
    """Delays that the rules do not give."""
    terms = view.terms[view.row(rows["number"])] if len(view.numbers) else np.full(len(rows), -1)
    # of attempts that the queue has forgotten it does not count those before
    known = view.undone_by[view.by_job] < 0
    retried = np.flatnonzero((rows["ending"] == Ending.RETRIED) & (terms >= 0) & known)
    if not len(retried):
        return []
    kinds, kind = groups(view.rule_of[terms[retried]], rows["error"][retried].astype(np.int64), made[retried])
    bounds = np.array(
        [
            view.expectations.backoff(view.rules[rule], view.recording.errors[error][1], count)
            for rule, error, count in kinds.tolist()
        ]
    )
    delay = rows["backoff"][retried]
    wrong = (delay < bounds[kind, 0] - MILLISECOND / 2) | (delay > bounds[kind, 1] + MILLISECOND / 2)
    return [
        f"job {rows['number'][i]} waited {rows['backoff'][i]:g} s after attempt {made[i]}, not "
        f"{bounds[k, 0]:g} to {bounds[k, 1]:g} s"
        for i, k in zip(retried[wrong].tolist(), kind[wrong].tolist(), strict=True)
        # an attempt that the queue counted and its worker did not hear of makes the next delay longer
        if int(rows["number"][i]) not in view.unsure
    ]


def _kept(view: RunView, rows: Columns) -> list[str]:
    """Attempts that could start at another time than when the delay before them was over."""
    events = view.events
    begun = events[(events["kind"] == EventKind.DELAYED.code) & view.ends_of_runs]
    put_off = np.isin(rows["ending"], (Ending.RETRIED, Ending.DELAYED)) & (rows["backoff"] > 0)
    put_off &= view.undone_by[view.by_job] < 0
    earlier = np.flatnonzero(put_off[:-1] & (rows["number"][1:] == rows["number"][:-1]))
    if not len(earlier) or not len(begun):
        return []
    # whole milliseconds, where Redis keeps the time
    since = following(begun, rows["number"][earlier], rows["ended"][earlier] - MILLISECOND)
    due = since + rows["backoff"][earlier]
    ready, started = rows["ready"][earlier + 1], rows["started"][earlier + 1]
    # it is reckoned from a moment at which its worker told the queue: after its end, and before the queue knew
    soonest = np.minimum(due, rows["ended"][earlier] + rows["backoff"][earlier]) if view.expectations.slack else due
    sure = ~np.isnan(due) & ~_by_a_wrong_clock(view, rows, earlier)
    wrong = (ready > due + MILLISECOND) | (ready < soonest - MILLISECOND)
    if not view.late:
        # a start bears the time at which its worker asked
        wrong |= started < np.minimum(due, ready) - np.maximum(MILLISECOND, view.expectations.resolution)
    return [
        f"job {rows['number'][earlier[i]]} was due at {due[i]:.3f} s, ready at {ready[i]:.3f} s and started at "
        f"{started[i]:.3f} s"
        for i in np.flatnonzero(wrong & sure).tolist()
        if not view.stalls.get(int(rows["number"][earlier[i]])) and int(rows["number"][earlier[i]]) not in view.doubtful
    ]


def _by_a_wrong_clock(view: RunView, rows: Columns, earlier: Array) -> Array:
    """Whether the delay after an attempt was reckoned by a wrong clock, or ended while one was about: whoever believes
    that it is over lets all workers have the job."""
    skewed = np.zeros(len(view.attempts), dtype=bool)
    skewed[[place for place in view.recording.skews if place < len(skewed)]] = True
    found: Array = skewed[view.by_job][earlier]
    for since, until in view.skewed_spans:
        found |= (rows["ended"][earlier] <= until) & (rows["started"][earlier + 1] >= since)
    return found
