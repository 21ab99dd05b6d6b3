"""States: a job is in one place at a time, and goes from one to the other by the rules."""

from __future__ import annotations

from collections import Counter

import numpy as np

from queuesim.events import EventKind
from queuesim.job import JobState
from queuesim.metrics.recording import CheckRow
from queuesim.testing.oracles.case import FORGETFUL, Array, Case, transitions, unjudged, verdict

LEGAL: dict[EventKind, tuple[EventKind, ...]] = {
    EventKind.ADDED: (EventKind.WAITING, EventKind.DELAYED, EventKind.WAITING_CHILDREN),
    # a parent with a delay of its own is delayed from then on
    EventKind.WAITING_CHILDREN: (EventKind.WAITING, EventKind.DELAYED, EventKind.REMOVED),
    EventKind.WAITING: (EventKind.ACTIVE, EventKind.REMOVED),
    EventKind.DELAYED: (EventKind.WAITING, EventKind.DELAYED, EventKind.REMOVED),
    EventKind.ACTIVE: (
        EventKind.WAITING,
        EventKind.DELAYED,
        EventKind.COMPLETED,
        EventKind.FAILED,
        EventKind.REMOVED,
    ),
    EventKind.COMPLETED: (EventKind.WAITING, EventKind.REMOVED),
    EventKind.FAILED: (EventKind.WAITING, EventKind.REMOVED),
    EventKind.REMOVED: (),
}
"""What may follow what, of the events that tell of a transition."""

PLACE = {
    EventKind.WAITING_CHILDREN: (JobState.WAITING_CHILDREN,),
    EventKind.WAITING: (JobState.WAITING, JobState.PRIORITIZED),
    EventKind.DELAYED: (JobState.DELAYED,),
    EventKind.ACTIVE: (JobState.ACTIVE,),
    EventKind.COMPLETED: (JobState.COMPLETED,),
    EventKind.FAILED: (JobState.FAILED,),
}
"""Where a job is after an event."""

_MATRIX = np.zeros((len(EventKind), len(EventKind)), dtype=bool)
for _before, _after in LEGAL.items():
    for _kind in _after:
        _MATRIX[_before.code, _kind.code] = True


def legal(case: Case) -> CheckRow:
    """Events come in a legal order, and no later one has an earlier time."""
    name = "events in a legal order"
    if case.lasting is None:
        return unjudged(name, FORGETFUL)
    events = case.lasting[transitions(case.lasting)]
    if not len(events):
        return verdict(name, [])
    number, kind, time = events["number"], events["kind"].astype(np.intp), events["time"]
    same = number[1:] == number[:-1]
    wrong = same & ~_MATRIX[kind[:-1], kind[1:]]
    if not case.late:
        # commands carry the time at which they were sent
        wrong |= same & (time[1:] < time[:-1])
    born = np.concatenate(([True], ~same)) & (kind != EventKind.ADDED.code)
    kinds = list(EventKind)
    told = [
        f"job {number[i + 1]}: {kinds[kind[i]]} at {time[i]:g} s, then {kinds[kind[i + 1]]} at {time[i + 1]:g} s"
        for i in np.flatnonzero(wrong).tolist()
    ]
    told += [f"job {number[i]} begins with {kinds[kind[i]]}" for i in np.flatnonzero(born).tolist()]
    return verdict(name, told)


def single(case: Case) -> CheckRow:
    """No job is in two states, twice in one, or in none; each is where its last event put it; and no parent waits for
    children that have all completed or are gone."""
    where: dict[int, list[str]] = {}
    for state, numbers in case.evidence.census.items():
        for number in numbers:
            where.setdefault(number, []).append(state)
    told = [f"job {number} is {' and '.join(states)}" for number, states in where.items() if len(states) > 1]
    told += [f"job {number} is stored and in no state" for number in case.evidence.known if number not in where]
    told += [f"job {number} waits for children and has none left" for number in case.evidence.forsaken]
    twice = [number for number, count in Counter(case.evidence.known).items() if count > 1]
    told += [f"job {number} is stored twice" for number in twice]
    if case.lasting is not None and len(case.lasting):
        told += _misplaced(case.lasting, where)
    return verdict("one state at a time", told)


def _misplaced(lasting: Array, where: dict[int, list[str]]) -> list[str]:
    events = lasting[transitions(lasting)]
    if not len(events):
        return []
    number = events["number"]
    last = np.flatnonzero(np.concatenate((number[1:] != number[:-1], [True])))
    kinds = list(EventKind)
    told = []
    for job, code in zip(number[last].tolist(), events["kind"][last].tolist(), strict=True):
        states = where.get(job)
        if states is not None and states[0] not in PLACE.get(kinds[code], (states[0],)):
            told.append(f"job {job} is {states[0]}, but its last event is {kinds[code]}")
    return told
