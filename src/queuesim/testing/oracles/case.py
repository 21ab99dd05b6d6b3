"""The case: what was recorded of a run, laid out so that oracles can look at all of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.events import EventKind
from queuesim.metrics.recording import CheckRow, Ending, FaultRow, Recording
from queuesim.metrics.rows import rows_of
from queuesim.testing.oracles.promises import Evidence, Promises
from queuesim.units import parse_duration

Array = npt.NDArray[Any]

WITNESSES = 3
"""So many violations are told."""
ROLLBACKS = ("redis.failover", "redis.restart", "redis.kill")
"""Faults after which the queue may have forgotten something."""
_FORGOT = re.compile(r"the last (\S+) are lost|its memory is lost")
"""What the detail of such a fault says then."""


FLIGHT = 30.0
"""With latency, a command may be under way for so many seconds."""

TELLING = np.isin(
    np.arange(len(EventKind)),
    [
        kind.code
        for kind in (
            EventKind.ADDED,
            EventKind.WAITING,
            EventKind.DELAYED,
            EventKind.ACTIVE,
            EventKind.COMPLETED,
            EventKind.FAILED,
            EventKind.REMOVED,
        )
    ],
)
"""Which kinds of events tell of a job's transition, by their codes."""


class Case:
    """One run before its judges.

    Args:
        promises: what it has to be held against.
        evidence: what the queue said at its end.
    """

    def __init__(self, recording: Recording, promises: Promises, evidence: Evidence) -> None:
        self.recording = recording
        self.promises = promises
        self.evidence = evidence
        self.attempts = recording.attempts
        self.events = recording.events
        self.end = recording.facts.duration

    # -- jobs

    @cached_property
    def numbers(self) -> Array:
        """The jobs' numbers, ascending."""
        numbers = self.recording.jobs["number"]
        ordered: Array = np.sort(numbers, kind="stable")
        return ordered

    @cached_property
    def _order(self) -> Array:
        return np.argsort(self.recording.jobs["number"], kind="stable")

    def of_jobs(self, column: str) -> Array:
        """A column of the jobs, in the order of `numbers`."""
        values: Array = self.recording.jobs[column][self._order]
        return values

    @cached_property
    def terms(self) -> Array:
        """Which of the promises' options each job has; -1: unknown."""
        terms = np.asarray(self.evidence.terms, dtype=np.int64)
        if len(terms) != len(self.numbers):
            return np.full(len(self.numbers), -1, dtype=np.int64)
        return terms[self._order]

    def row(self, numbers: Array) -> Array:
        """Where jobs are among `numbers`; -1: nowhere."""
        return rows_of(self.numbers, np.ascontiguousarray(numbers))

    # -- attempts

    @cached_property
    def by_job(self) -> Array:
        """The attempts' positions, job by job, each job's in the order of their starts."""
        return np.lexsort((self.attempts["attempt"], self.attempts["started"], self.attempts["number"]))

    # -- events

    @cached_property
    def transitions(self) -> Array:
        """Positions of the events that tell of a job's transition, job by job, each job's in order."""
        events = self.events
        telling = np.flatnonzero((events["number"] > 0) & TELLING[events["kind"]])
        order = np.argsort(events["number"][telling], kind="stable")
        ordered: Array = telling[order]
        return ordered

    @cached_property
    def ends_of_runs(self) -> Array:
        """For each event, whether by it a job is active no longer."""
        places = self.transitions
        number, kind = self.events["number"][places], self.events["kind"][places]
        after = (number[1:] == number[:-1]) & (kind[:-1] == EventKind.ACTIVE.code)
        found = np.zeros(len(self.events), dtype=bool)
        found[places[1:][after]] = True
        return found

    # -- faults

    @cached_property
    def faults(self) -> list[FaultRow]:
        return self.recording.faults

    @cached_property
    def rollbacks(self) -> list[tuple[float, float]]:
        """From when until when the queue forgot what it was told."""
        found = []
        for fault in self.faults:
            lost = _FORGOT.search(fault.detail) if fault.kind in ROLLBACKS else None
            if lost is not None:
                found.append((fault.began - parse_duration(lost[1]) if lost[1] else 0.0, fault.began))
        return found

    def rolled_back(self, since: float, until: float) -> bool:
        """Whether the queue went back to an earlier state between two moments."""
        return any(since <= end <= until for _, end in self.rollbacks)

    def forgot(self, time: float) -> bool:
        """Whether the queue forgot what it was told at that moment."""
        # what was told bears the time at which it was sent
        early = FLIGHT if self.had("redis.latency") else 1e-6
        return any(begin - early <= time <= end for begin, end in self.rollbacks)

    @property
    def skewed(self) -> bool:
        """Whether some worker's clock was wrong."""
        return any(fault.kind == "worker.clock" for fault in self.faults)

    def had(self, *kinds: str) -> bool:
        """Whether faults of these kinds struck, each named in full or by its part, as ``redis.``."""
        return any(fault.kind.startswith(kinds) for fault in self.faults)

    @cached_property
    def stalls(self) -> dict[int, list[float]]:
        """When each job was found stalled."""
        events = self.events[self.events["kind"] == EventKind.STALLED.code]
        found: dict[int, list[float]] = {}
        for number, time in zip(events["number"].tolist(), events["time"].tolist(), strict=True):
            found.setdefault(number, []).append(time)
        return found

    @cached_property
    def interrupted(self) -> set[int]:
        """Jobs of which an attempt was lost."""
        return set(self.attempts["number"][self.attempts["ending"] == Ending.LOST].tolist())


def verdict(name: str, violations: Sequence[str] | Iterable[str], note: str = "", count: int | None = None) -> CheckRow:
    """The row of an oracle: how many violations, and the first of them.

    Args:
        note: what is worth knowing though it is no violation.
        count: where not all violations are told.
    """
    told = list(violations)
    number = len(told) if count is None else count
    shown = "; ".join(told[:WITNESSES])
    if number > min(len(told), WITNESSES):
        shown += "; ..."
    detail = "; ".join(part for part in (shown, note) if part)
    return CheckRow(name, number == 0, float(number), "== 0", None, detail, "oracle")


def first(numbers: Array, format: str) -> list[str]:
    """Each job in words. Only the first are ever shown, so only those are made."""
    shown = [format.format(number) for number in numbers[: WITNESSES + 1].tolist()]
    return shown + [""] * (len(numbers) - len(shown))
