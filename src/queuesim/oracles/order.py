"""Order: first come, first served within a priority, and the more urgent first."""

from __future__ import annotations

import math

import numpy as np

from queuesim.core.events import EventKind
from queuesim.core.job import JobState
from queuesim.oracles.columns import Array, Columns
from queuesim.oracles.rollback import FLIGHT
from queuesim.oracles.run_view import RunView, check_row, share_outside
from queuesim.results.recording import CheckRow

MOST_PRIORITIES = 50
"""With more different priorities than this, only the order within each is judged."""


def order(view: RunView) -> CheckRow:
    """Jobs start in the order in which they came to wait, those of each priority among themselves; and none starts
    while a more urgent one waits. Jobs that came back (put back, stalled, retried at once), and parents that waited for
    their children, have places of their own."""
    name = "order within a priority"
    events = view.events
    if not len(events):
        return check_row(name, [])
    judged = 1.0
    if view.rollbacks:
        judged = share_outside([(view.rollbacks.all[0].until, math.inf)], view.end)
        # in the order in which things happened, whatever time they bear
        after = events["time"] >= view.rollbacks.all[0].until - (FLIGHT if view.late else 0.0)
        events = events[: int(np.argmax(after)) if after.any() else len(events)]
    moves = _moves(view, events)
    violations = _overtaken(events, *moves)
    violations += _less_urgent(view, events, *moves)
    return check_row(name, violations, f"judged until {view.rollbacks.all[0]}" if view.rollbacks else "", judged=judged)


def _moves(view: RunView, events: Columns) -> tuple[Array, Array, Array]:
    """The starts (positions of events, in order), when each came to wait (positions, -1: it came back), and each job's
    priority."""
    moving = np.flatnonzero(
        (events["number"] > 0) & np.isin(events["kind"], (EventKind.WAITING.code, EventKind.ACTIVE.code))
    )
    by_job = moving[np.argsort(events["number"][moving], kind="stable")]
    number, kind = events["number"][by_job], events["kind"][by_job]
    paired = np.flatnonzero(
        (number[1:] == number[:-1]) & (kind[1:] == EventKind.ACTIVE.code) & (kind[:-1] == EventKind.WAITING.code)
    )
    starts, entered = by_job[paired + 1], by_job[paired]
    came_back = np.isin(events["previous"][entered], (JobState.ACTIVE.code, JobState.WAITING_CHILDREN.code))
    rows = view.row(events["number"][starts])
    known = rows >= 0
    priorities = view.of_jobs("priority")
    priority = np.zeros(len(starts), dtype=np.int64)
    priority[known] = priorities[rows[known]]
    lifo = np.array([options.lifo for options in view.expectations.options], dtype=bool)
    at_front = np.zeros(len(starts), dtype=bool)
    if lifo.any():
        terms = view.terms[rows]
        at_front = known & (terms >= 0) & lifo[np.maximum(terms, 0)]
    entered = np.where(came_back | at_front, -1, entered)
    in_order = np.argsort(starts, kind="stable")
    return starts[in_order], entered[in_order], priority[in_order]


def _overtaken(events: Columns, starts: Array, entered: Array, priority: Array) -> list[str]:
    violations = []
    for level in np.unique(priority).tolist():
        chosen = np.flatnonzero((priority == level) & (entered >= 0))
        came = entered[chosen]
        latest = np.maximum.accumulate(came) if len(came) else came
        for i in np.flatnonzero(came < latest).tolist():
            start = starts[chosen[i]]
            violations.append(
                f"job {events['number'][start]} was overtaken, and started only at {events['time'][start]:g} s"
            )
    return violations


def _less_urgent(view: RunView, events: Columns, starts: Array, entered: Array, priority: Array) -> list[str]:
    """Starts of jobs while a more urgent one waited."""
    levels = np.unique(priority)
    if len(levels) < 2 or len(levels) > MOST_PRIORITIES:
        return []
    rows = view.row(events["number"])
    priorities = np.where(rows >= 0, view.of_jobs("priority")[rows], 0)
    waiting, leaving = (JobState.WAITING.code, JobState.PRIORITIZED.code), np.zeros(len(events), dtype=np.int64)
    leaving[starts] = -1
    leaving[(events["kind"] == EventKind.REMOVED.code) & np.isin(events["previous"], waiting)] = -1
    steps = leaving + (events["kind"] == EventKind.WAITING.code) * (events["number"] > 0)
    # what stalled goes to the front of all
    stalled = np.flatnonzero(events["kind"] == EventKind.STALLED.code)
    special = np.unique(events["number"][stalled])
    more_urgent, violations = np.zeros(len(events), dtype=np.int64), []
    for level in levels.tolist():
        mine = starts[(priority == level) & (entered >= 0)]
        violations += [
            f"job {events['number'][i]} of priority {level} started at {events['time'][i]:g} s before a more urgent one"
            for i in mine[more_urgent[mine] > 0].tolist()
        ]
        ours = (priorities == level) & ~np.isin(events["number"], special)
        more_urgent = more_urgent + np.cumsum(np.where(ours, steps, 0))
    return violations
