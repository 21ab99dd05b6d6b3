"""Keeping: retention, dead letters, deduplication, and an empty queue at the end."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np

from queuesim.events import EventKind
from queuesim.job import Deduplication, JobState
from queuesim.limits import Keep
from queuesim.metrics.recording import CheckRow, Ending
from queuesim.testing.oracles.case import FORGETFUL, Array, Case, first, unjudged, verdict


def retention(case: Case) -> CheckRow:
    """Of the finished jobs those are kept that should be, the newest, and no others."""
    told: list[str] = []
    # which are the newest; that there are not too many can be judged all the same
    why = FORGETFUL if case.lasting is None else "a worker's clock was wrong" if case.skewed else ""
    for state, kind, keep in (
        (JobState.COMPLETED, EventKind.COMPLETED, case.promises.keep_completed),
        (JobState.FAILED, EventKind.FAILED, case.promises.keep_failed),
    ):
        if state.value in case.evidence.census:
            told += _kept(None if why else case.lasting, set(case.evidence.census[state.value]), state, kind, keep)
    name = "retention honoured"
    return unjudged(name, why) if why and not told else verdict(name, told)


def _kept(events: Array | None, kept: set[int], state: JobState, kind: EventKind, keep: Keep) -> list[str]:
    if keep.count is not None and len(kept) > keep.count:
        return [f"{len(kept)} {state} jobs are kept, of {keep.count} at most"]
    if events is None:
        return []
    finished = events[events["kind"] == kind.code]
    if not len(finished):
        return [f"job {number} is {state} and never was" for number in kept]
    numbers, times = finished["number"], finished["time"]
    young = np.ones(len(numbers), dtype=bool) if keep.age is None else times > float(times[-1]) - keep.age
    if int((~young).sum()) <= keep.limit and (old := kept.difference(numbers[young].tolist())):
        return [f"job {number} is kept beyond its age" for number in sorted(old)]
    wanted = numbers[young] if keep.count is None else numbers[young][max(int(young.sum()) - keep.count, 0) :]
    if not len(wanted):
        return []
    # of those that finished at one instant the id decides, as text
    surely = wanted[np.isin(wanted, numbers[times > times[numbers == wanted[0]][-1]])]
    gone = surely[~np.isin(surely, list(kept))]
    return first(gone, "job {} should be kept and is gone")


def dead_letters(case: Case) -> CheckRow:
    """Every job that failed for good has one dead letter, and no other job has any."""
    name = "dead letters complete"
    letters = case.evidence.letters
    if not case.promises.dead_letters or letters is None:
        return verdict(name, [])
    if case.lasting is None:
        return unjudged(name, FORGETFUL)
    failed = case.lasting["number"][case.lasting["kind"] == EventKind.FAILED.code]
    ids = case.recording.ids
    expected = Counter(ids.get(number, str(number)) for number in failed.tolist())
    told = [
        f"job {job_id} failed {count} times and has {letters.get(job_id, 0)} dead letters"
        for job_id, count in expected.items()
        if letters.get(job_id, 0) != count
    ]
    told += [f"job {job_id} has a dead letter and never failed" for job_id in letters if job_id not in expected]
    return verdict(name, told)


def deduplication(case: Case) -> CheckRow:
    """While a job holds a deduplication id, no other is added with it."""
    name = "deduplication"
    held: dict[str, list[tuple[float, float, int]]] = {}
    if not case.evidence.deduplications:
        return verdict(name, [])
    begins = _places(case, EventKind.ADDED)
    ends = _places(case, EventKind.COMPLETED, EventKind.FAILED, EventKind.REMOVED)
    added = dict(zip(case.numbers.tolist(), case.of_jobs("added").tolist(), strict=True))
    # a job that the server forgot holds no id any more
    lost = set(case.numbers[case.rollbacks.forgot(case.of_jobs("added")) >= 0].tolist())
    for number, rule in case.evidence.deduplications.items():
        if number in added and number not in lost:
            ended = case.events["time"][ends[number]] if number in ends else np.inf
            until = _held_until(rule, added[number], float(ended))
            held.setdefault(rule.id, []).append((added[number], until, number))
    told = []
    for id, spans in held.items():
        spans.sort()
        for (_, until, earlier), (since, _, later) in pairwise(spans):
            # with latency times are those of sending, but the order is the queue's own
            in_order = case.late and ends.get(earlier, np.inf) < begins.get(later, -1)
            if since < until - case.promises.slack and not in_order:
                told.append(f"job {later} was added at {since:g} s with {id!r}, which job {earlier} held")
    return verdict(name, told)


def _held_until(rule: Deduplication, added: float, ended: float) -> float:
    if rule.replace or rule.keep_last_if_active or rule.extend:
        # these let another job take over, or hold longer: not before it was added
        return added
    return min(added + rule.ttl, ended) if rule.ttl else ended


def _places(case: Case, *kinds: EventKind) -> dict[int, int]:
    """The place among all events of each job's last event of these kinds."""
    places = np.flatnonzero(np.isin(case.events["kind"], [kind.code for kind in kinds]))
    return dict(zip(case.events["number"][places].tolist(), places.tolist(), strict=True))


def drained(case: Case) -> CheckRow:
    """A run that had all the time it needed leaves nothing behind."""
    name = "drained at the end"
    if not case.promises.drained or case.recording.facts.stopped:
        return verdict(name, [])
    ended = ("removed", JobState.WAITING_CHILDREN.value)
    left = np.array(sorted(n for n, state in case.recording.left.items() if state not in ended), dtype=np.uint32)
    unfinished = np.flatnonzero(case.attempts["ending"] == Ending.UNFINISHED)
    running = case.attempts[unfinished]
    # a worker may run on with a job that the queue does not know to be its own, and so nobody waits for it
    others = ~np.isin(running["number"], left)
    undone = np.where(others, case.undone_by[unfinished], -1)
    stalled = others & (undone < 0) & np.array([case.stalled_since(row) for row in running], dtype=bool)
    # the queue has taken its outcome, and the answer is still under way
    unanswered = others & case.late_at(case.end) & ~np.isin(running["number"], sorted(case.started_twice))
    violating = np.union1d(left, running["number"][(undone < 0) & ~stalled & ~unanswered])
    notes = [f"{int(stalled.sum())} still ran though stalled"] if stalled.any() else []
    notes += [f"{int(unanswered.sum())} waited for an answer"] if unanswered.any() else []
    # a child that failed keeps its parent waiting, for ever, unless it has a rule of its own (BullMQ 6.7)
    parents = sum(state == JobState.WAITING_CHILDREN for state in case.recording.left.values())
    notes += [f"{parents} wait for children"] if parents else []
    notes += [blamed] if (blamed := case.rollbacks.blame(undone, "still ran though forgotten")) else []
    return verdict(name, first(violating, "job {} is left"), ", ".join(notes))
