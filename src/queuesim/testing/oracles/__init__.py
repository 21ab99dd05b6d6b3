"""Oracles: they judge every run, unasked. Each counts the violations of one promise and names the first witnesses."""

from __future__ import annotations

from collections.abc import Callable

from queuesim.metrics.recording import CheckRow, Recording
from queuesim.testing.oracles import delays, delivery, keeping, limiter, order, overdue, promptness, running, states
from queuesim.testing.oracles.case import Case, unjudged
from queuesim.testing.oracles.promises import Evidence, Promises

ORACLES: tuple[Callable[[Case], CheckRow], ...] = (
    delivery.lost,
    delivery.duplicated,
    delivery.recovered,
    delivery.unexpected,
    states.single,
    states.legal,
    running.exclusive,
    running.concurrency,
    running.attempts,
    delays.backoff,
    limiter.limiter,
    order.order,
    promptness.prompt,
    keeping.retention,
    keeping.dead_letters,
    keeping.deduplication,
    keeping.drained,
)
"""Those of every run."""

OF_SCANS: tuple[Callable[[Case], CheckRow], ...] = (overdue.schedulers, overdue.scans)
"""Those of runs with overdue scans."""

IN_REAL_TIME = "the processes that scan in real time are not asked for what it takes"


def judge(recording: Recording, promises: Promises, evidence: Evidence) -> list[CheckRow]:
    """What each oracle says of a run: a row each, kind "oracle", whose value is the number of violations."""
    case = Case(recording, promises, evidence)
    rows = [oracle(case) for oracle in ORACLES]
    if evidence.overdue is not None:
        rows += [oracle(case) for oracle in OF_SCANS if oracle is not overdue.schedulers or overdue.has_scheduler(case)]
    elif recording.scans:
        rows += [unjudged(name, IN_REAL_TIME) for name in (overdue.SCHEDULERS, overdue.SCANS)]
    return rows


__all__ = ["ORACLES", "Evidence", "Promises", "judge"]
