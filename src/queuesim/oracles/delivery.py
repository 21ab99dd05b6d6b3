"""Delivery, in Jepsen's words: what was lost, duplicated, recovered, and what was there that should not be.

Jepsen's checkers of sets and queues call an element *lost* if it was acknowledged and is nowhere, *duplicated* if it
came out more than once, *recovered* if its fate was unknown and it came out in the end, and *unexpected* if nobody had
put it in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from queuesim.core.events import EventKind
from queuesim.core.job import Deduplication, JobState, Keep
from queuesim.oracles.columns import Array, Columns
from queuesim.oracles.run_view import FORGETFUL, RunView, check_row, distinct, first, repeated, unjudged
from queuesim.results.recording import CheckRow, Ending, rows_of


def lost(view: RunView) -> CheckRow:
    """Every job that was added ended, or is still in the queue."""
    there = np.zeros(len(view.numbers), dtype=bool)
    for numbers in (
        view.ended,
        np.fromiter(view.recording.left, dtype=np.uint32, count=len(view.recording.left)),
    ):
        rows = view.row(numbers)
        there[rows[rows >= 0]] = True
    missing = np.flatnonzero(~there)
    # a server that forgets that a job was added loses it; whatever else it forgets, the job is there
    by = _lost_by(view, view.numbers[missing])
    violating = view.numbers[missing[by < 0]]
    return check_row("no job lost", first(violating, "job {} is nowhere"), view.rollbacks.blame(by, "lost"))


def duplicated(view: RunView) -> CheckRow:
    """A job completes once. A run again after a stall can't be ruled out: it is counted."""
    completed = np.flatnonzero(view.attempts["ending"] == Ending.OK)
    if not view.rollbacks:
        violating, by = repeated(view.attempts["number"][completed]), np.zeros(0, dtype=np.intp)
    else:
        violating, by = _done_again(view, completed)
    again = len(view.interrupted.intersection(view.attempts["number"][view.attempts["attempt"] > 1].tolist()))
    notes = []
    if again:
        notes.append(f"{again} jobs ran again after an attempt whose end did not reach the queue")
    notes += [blamed] if (blamed := view.rollbacks.blame(by, "duplicated")) else []
    return check_row("no job completed twice", first(violating, "job {} completed twice"), ", ".join(notes))


def _done_again(view: RunView, completed: Array) -> tuple[Array, Array]:
    """Jobs that completed more often than the server forgot it, and the rollbacks that explain the others."""
    done = np.stack((view.attempts["number"][completed].astype(np.int64), view.undone_by[completed]), axis=1)
    # one completion counts, and one more for each time that the server forgot what it knew of it
    each, counts = np.unique(done, axis=0, return_counts=True)
    violating = np.unique(each[counts > 1, 0])
    if len(violating) and view.doubtful:
        violating = violating[~np.isin(violating, _forgiven(view, completed))]
    twice = np.isin(each[:, 0], each[each[:, 1] < 0, 0]) | (counts > 1)
    return violating, each[twice & (each[:, 1] >= 0), 1]


def _forgiven(view: RunView, completed: Array) -> Array:
    """Jobs of which nobody can say which attempt the server forgot by which rollback, and that completed no more often
    than it may have forgotten a completion."""
    attempts = view.attempts[completed]
    forgot = view.rollbacks.may_undo(attempts["started"]) | view.rollbacks.may_undo(view.recorded_ends[completed])
    doubtful = np.isin(attempts["number"], list(view.doubtful))
    found = [
        number
        for number in np.unique(attempts["number"][doubtful]).tolist()
        if int((mine := attempts["number"] == number).sum()) <= 1 + int(forgot[:, mine].any(axis=1).sum())
    ]
    return np.array(found, dtype=np.uint32)


def unexpected(view: RunView) -> CheckRow:
    """Nothing runs that was not added."""
    ran = distinct(view.attempts["number"])
    strangers = ran[view.row(ran) < 0]
    return check_row("nothing unexpected", first(strangers, "job {} ran and was never added"))


def recovered(view: RunView) -> CheckRow:
    """Jobs whose attempt was lost run again, or are still in the queue."""
    done = set(view.ended.tolist())
    unknown = sorted(view.interrupted)
    missing = np.array([n for n in unknown if n not in done and n not in view.recording.left], dtype=np.uint32)
    by = _lost_by(view, missing)
    came_back = sum(number in done for number in unknown)
    notes = [f"{came_back} jobs recovered"] if came_back else []
    notes += [blamed] if (blamed := view.rollbacks.blame(by, "lost")) else []
    return check_row("interrupted jobs recovered", first(missing[by < 0], "job {} never came back"), ", ".join(notes))


def _lost_by(view: RunView, numbers: Array) -> Array:
    """The rollback by which the queue forgot that each job was added; -1: none, or it never was."""
    rows = view.row(numbers)
    by = np.full(len(numbers), -1)
    by[rows >= 0] = view.rollbacks.forgot(view.of_jobs("added")[rows[rows >= 0]])
    return by


# -- States: a job is in one place at a time, and goes from one to the other by the rules

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
"""Which events may follow each event that records a transition."""

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


def legal(view: RunView) -> CheckRow:
    """Events come in a legal order, and no later one has an earlier time."""
    name = "events in a legal order"
    if view.lasting is None:
        return unjudged(name, FORGETFUL)
    events = view.lasting[view.lasting_transitions]
    if not len(events):
        return check_row(name, [])
    number, kind, time = events["number"], events["kind"].astype(np.intp), events["time"]
    same = number[1:] == number[:-1]
    wrong = same & ~_MATRIX[kind[:-1], kind[1:]]
    if not view.late:
        # commands carry the time at which they were sent
        wrong |= same & (time[1:] < time[:-1])
    born = np.concatenate(([True], ~same)) & (kind != EventKind.ADDED.code)
    kinds = list(EventKind)
    violations = [
        f"job {number[i + 1]}: {kinds[kind[i]]} at {time[i]:g} s, then {kinds[kind[i + 1]]} at {time[i + 1]:g} s"
        for i in np.flatnonzero(wrong).tolist()
    ]
    violations += [f"job {number[i]} begins with {kinds[kind[i]]}" for i in np.flatnonzero(born).tolist()]
    return check_row(name, violations)


def single(view: RunView) -> CheckRow:
    """No job is in two states, twice in one, or in none; each is where its last event put it; and no parent waits for
    children that have all completed or are gone."""
    places, numbers = _census(view)
    doubled = set(repeated(numbers).tolist())
    where: dict[int, list[str]] = {}
    for place, number in zip(places.tolist(), numbers.tolist(), strict=True) if doubled else ():
        if number in doubled:
            where.setdefault(number, []).append(STATES[place])
    violations = [f"job {number} is {' and '.join(states)}" for number, states in where.items()]
    known = np.asarray(view.final_state.known, dtype=np.int64)
    order = np.argsort(numbers, kind="stable")
    nowhere = known[rows_of(numbers[order], known) < 0]
    violations += [f"job {number} is stored and in no state" for number in nowhere.tolist()]
    violations += [f"job {number} waits for children and has none left" for number in view.final_state.stranded]
    violations += [f"job {number} is stored twice" for number in repeated(known).tolist()]
    if view.lasting is not None and len(view.lasting):
        # of a job in two states the first counts, as a stable order has it
        violations += _misplaced(view, view.lasting, numbers[order], places[order])
    return check_row("one state at a time", violations)


STATES = tuple(JobState)


def _census(view: RunView) -> tuple[Array, Array]:
    """All jobs that are in a state: the place of the state in STATES, and the number of the job."""
    lists = [(STATES.index(JobState(state)), numbers) for state, numbers in view.final_state.census.items()]
    places = np.repeat([place for place, _ in lists], [len(numbers) for _, numbers in lists]).astype(np.intp)
    parts = [np.asarray(numbers, dtype=np.int64) for _, numbers in lists]
    return places, np.concatenate([*parts, np.zeros(0, dtype=np.int64)])


_ALLOWED = np.ones((len(EventKind), len(STATES)), dtype=bool)
for _event, _states in PLACE.items():
    _ALLOWED[_event.code] = [_state in _states for _state in STATES]


def _misplaced(view: RunView, lasting: Columns, numbers: Array, places: Array) -> list[str]:
    """Jobs that are not where their last event put them. `numbers` is ascending."""
    events = lasting[view.lasting_transitions]
    if not len(events):
        return []
    number = events["number"]
    last = np.flatnonzero(np.concatenate((number[1:] != number[:-1], [True])))
    jobs, kind = number[last].astype(np.int64), events["kind"][last].astype(np.intp)
    row = rows_of(numbers, jobs)
    wrong = np.flatnonzero(row >= 0)
    wrong = wrong[~_ALLOWED[kind[wrong], places[row[wrong]]]]
    kinds = list(EventKind)
    return [
        f"job {jobs[i]} is {STATES[places[row[i]]]}, but its last event is {kinds[kind[i]]}" for i in wrong.tolist()
    ]


# -- Keeping: retention, dead letters, deduplication, and an empty queue at the end


def retention(view: RunView) -> CheckRow:
    """Of the finished jobs those are kept that should be, the newest, and no others."""
    violations: list[str] = []
    # which are the newest; that there are not too many can be judged all the same
    why = FORGETFUL if view.lasting is None else "a worker's clock was wrong" if view.skewed else ""
    for state, kind, keep in (
        (JobState.COMPLETED, EventKind.COMPLETED, view.expectations.keep_completed),
        (JobState.FAILED, EventKind.FAILED, view.expectations.keep_failed),
    ):
        if state.value in view.final_state.census:
            kept = np.asarray(view.final_state.census[state.value], dtype=np.uint32)
            violations += _kept(None if why else _finishes(view, kind), kept, state, keep)
    name = "retention honoured"
    return unjudged(name, why) if why and not violations else check_row(name, violations)


@dataclass(frozen=True, slots=True)
class Finishes:
    """The jobs that finished in one state, in the order of their events. The queue ranks them by the time that the
    worker sent: it was no earlier than the attempt's end and no later than the event."""

    numbers: Array
    earliest: Array
    latest: Array


def _finishes(view: RunView, kind: EventKind) -> Finishes:
    assert view.lasting is not None
    finished = view.lasting[view.lasting["kind"] == kind.code]
    numbers, times = finished["number"], finished["time"]
    if not view.late and not view.expectations.slack:
        return Finishes(numbers, times, times)
    over = view.attempts[np.isin(view.attempts["ending"], (Ending.OK, Ending.FAILED))]
    ends = dict(zip(over["number"].tolist(), over["ended"].tolist(), strict=True))
    # no end is recorded if the run ended before the worker got the answer
    sent = np.array([ends.get(number, -np.inf) for number in numbers.tolist()], dtype=np.float64)
    return Finishes(numbers, np.minimum(sent, times), times + view.expectations.resolution)


def _kept(finished: Finishes | None, kept: Array, state: JobState, keep: Keep) -> list[str]:
    if keep.count is not None and len(kept) > keep.count:
        return [f"{len(kept)} {state} jobs are kept, of {keep.count} at most"]
    if finished is None:
        return []
    numbers, earliest, latest = finished.numbers, finished.earliest, finished.latest
    if not len(numbers):
        return [f"job {number} is {state} and never was" for number in kept.tolist()]
    surely = np.ones(len(numbers), dtype=bool)
    if keep.age is not None:
        old = latest <= earliest[-1] - keep.age
        beyond = np.setdiff1d(np.intersect1d(kept, numbers[old]), numbers[~old])
        if len(beyond) and int(old.sum()) <= keep.limit:
            return [f"job {number} is kept beyond its age" for number in beyond.tolist()]
        surely &= earliest > latest.max() - keep.age
    if keep.count is not None:
        # of those that finished at one instant the id decides, as text: each may be ahead of the others
        ahead = len(numbers) - np.searchsorted(np.sort(latest), earliest) - 1
        surely &= ahead < keep.count
    gone = numbers[surely & ~np.isin(numbers, kept)]
    return first(gone, "job {} should be kept and is gone")


def dead_letters(view: RunView) -> CheckRow:
    """Every job that failed for good has one dead letter, and no other job has any."""
    name = "dead letters complete"
    letters = view.final_state.dead_letters
    if not view.expectations.dead_letters or letters is None:
        return check_row(name, [])
    if view.lasting is None:
        return unjudged(name, FORGETFUL)
    failed = view.lasting["number"][view.lasting["kind"] == EventKind.FAILED.code]
    ids = view.recording.ids
    expected = Counter(ids.get(number, str(number)) for number in failed.tolist())
    violations = [
        f"job {job_id} failed {count} times and has {letters.get(job_id, 0)} dead letters"
        for job_id, count in expected.items()
        if letters.get(job_id, 0) != count
    ]
    violations += [f"job {job_id} has a dead letter and never failed" for job_id in letters if job_id not in expected]
    return check_row(name, violations)


def deduplication(view: RunView) -> CheckRow:
    """While a job holds a deduplication id, no other is added with it."""
    name = "deduplication"
    held: dict[str, list[tuple[float, float, int]]] = {}
    if not view.final_state.deduplications:
        return check_row(name, [])
    begins = _places(view, EventKind.ADDED)
    ends = _places(view, EventKind.COMPLETED, EventKind.FAILED, EventKind.REMOVED)
    added = dict(zip(view.numbers.tolist(), view.of_jobs("added").tolist(), strict=True))
    # a job that the server forgot holds no id any more
    lost = set(view.numbers[view.rollbacks.forgot(view.of_jobs("added")) >= 0].tolist())
    for number, rule in view.final_state.deduplications.items():
        if number in added and number not in lost:
            ended = view.events["time"][ends[number]] if number in ends else np.inf
            until = _held_until(rule, added[number], float(ended))
            held.setdefault(rule.id, []).append((added[number], until, number))
    violations = []
    for id, spans in held.items():
        spans.sort()
        for (_, until, earlier), (since, _, later) in pairwise(spans):
            # with latency times are those of sending, but the order is the queue's own
            in_order = view.late and ends.get(earlier, np.inf) < begins.get(later, -1)
            if since < until - view.expectations.slack and not in_order:
                violations.append(f"job {later} was added at {since:g} s with {id!r}, which job {earlier} held")
    return check_row(name, violations)


def _held_until(rule: Deduplication, added: float, ended: float) -> float:
    if rule.replace or rule.keep_last_if_active or rule.extend:
        # these let another job take over, or hold longer: not before it was added
        return added
    return min(added + rule.ttl, ended) if rule.ttl else ended


def _places(view: RunView, *kinds: EventKind) -> dict[int, int]:
    """The place among all events of each job's last event of these kinds."""
    places = np.flatnonzero(np.isin(view.events["kind"], [kind.code for kind in kinds]))
    return dict(zip(view.events["number"][places].tolist(), places.tolist(), strict=True))


def drained(view: RunView) -> CheckRow:
    """A run that had enough time leaves no job behind."""
    name = "drained at the end"
    if not view.expectations.drained or view.recording.facts.stopped:
        return check_row(name, [])
    ended = ("removed", JobState.WAITING_CHILDREN.value)
    left = np.array(sorted(n for n, state in view.recording.left.items() if state not in ended), dtype=np.uint32)
    unfinished = np.flatnonzero(view.attempts["ending"] == Ending.UNFINISHED)
    running = view.attempts[unfinished]
    # a worker may run on with a job that the queue does not know to be its own, and so nobody waits for it
    others = ~np.isin(running["number"], left)
    undone = np.where(others, view.undone_by[unfinished], -1)
    stalled = others & (undone < 0) & np.array([view.stalled_since(row) for row in running], dtype=bool)
    # the queue has taken its outcome, and the answer is still under way
    unanswered = others & view.late_at(view.end) & ~np.isin(running["number"], sorted(view.started_twice))
    violating = np.union1d(left, running["number"][(undone < 0) & ~stalled & ~unanswered])
    notes = [f"{int(stalled.sum())} still ran though stalled"] if stalled.any() else []
    notes += [f"{int(unanswered.sum())} waited for an answer"] if unanswered.any() else []
    # a child that failed keeps its parent waiting, for ever, unless it has a rule of its own (BullMQ 6.7)
    parents = sum(state == JobState.WAITING_CHILDREN for state in view.recording.left.values())
    notes += [f"{parents} wait for children"] if parents else []
    notes += [blamed] if (blamed := view.rollbacks.blame(undone, "still ran though forgotten")) else []
    return check_row(name, first(violating, "job {} is left"), ", ".join(notes))
