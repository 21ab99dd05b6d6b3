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
    ended = np.isin(case.attempts["ending"], (Ending.OK, Ending.FAILED))
    there = np.zeros(len(case.numbers), dtype=bool)
    for numbers in (
        np.ascontiguousarray(case.attempts["number"][ended]),
        np.fromiter(case.recording.left, dtype=np.uint32, count=len(case.recording.left)),
    ):
        rows = case.row(numbers)
        there[rows[rows >= 0]] = True
    missing = np.flatnonzero(~there)
    told = _last_told(case) if len(missing) else {}
    excused = np.array([case.forgot(told.get(number, 0.0)) for number in case.numbers[missing].tolist()], dtype=bool)
    note = f"{int(excused.sum())} jobs were lost with the server's memory" if excused.any() else ""
    violating = case.numbers[missing[~excused]] if len(missing) else missing
    return verdict("no job lost", first(violating, "job {} is nowhere"), note)


def _last_told(case: Case) -> dict[int, float]:
    """When the queue was last told of each job."""
    events = case.events
    return dict(zip(events["number"].tolist(), events["time"].tolist(), strict=True))


def duplicated(case: Case) -> CheckRow:
    """A job completes once. That it was run again after a stall can't be promised away: it is counted."""
    completed = case.attempts[case.attempts["ending"] == Ending.OK]
    numbers, counts = np.unique(completed["number"], return_counts=True)
    twice = numbers[counts > 1]
    violating = [number for number in twice.tolist() if not _forgotten(case, number, completed)]
    again = len(case.interrupted.intersection(case.attempts["number"][case.attempts["attempt"] > 1].tolist()))
    notes = []
    if again:
        notes.append(f"{again} jobs ran again after an attempt whose end the queue did not hear of")
    if len(twice) > len(violating):
        notes.append(f"{len(twice) - len(violating)} completed again after the server had forgotten it")
    return verdict(
        "no job completed twice", [f"job {number} completed twice" for number in violating], ", ".join(notes)
    )


def _forgotten(case: Case, number: int, completed: Array) -> bool:
    ended = np.sort(completed["ended"][completed["number"] == number])
    return case.rolled_back(float(ended[0]), float(ended[-1]))


def unexpected(case: Case) -> CheckRow:
    """Nothing runs that was not added."""
    ran = np.unique(case.attempts["number"])
    strangers = ran[case.row(ran) < 0]
    return verdict("nothing unexpected", first(strangers, "job {} ran and was never added"))


def recovered(case: Case) -> CheckRow:
    """Jobs whose attempt was lost run again, or are still in the queue."""
    ended = np.isin(case.attempts["ending"], (Ending.OK, Ending.FAILED))
    done = set(case.attempts["number"][ended].tolist())
    unknown = sorted(case.interrupted)
    missing = [number for number in unknown if number not in done and number not in case.recording.left]
    violating = [
        number
        for number in missing
        if not case.rolled_back(float(case.attempts["started"][case.attempts["number"] == number].min()), case.end)
    ]
    came_back = sum(number in done for number in unknown)
    note = f"{came_back} jobs recovered" if came_back else ""
    told = [f"job {number} never came back" for number in violating]
    return verdict("interrupted jobs recovered", told, note)
