"""Oracles: they judge every run, unasked. Each counts the violations of one promise and names the first witnesses."""

from __future__ import annotations

from collections.abc import Callable

from queuesim.metrics.recording import CheckRow, Recording
from queuesim.testing.oracles import delays, delivery, keeping, limiter, order, promptness, running, states
from queuesim.testing.oracles.case import Case
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
"""All of them."""


def judge(recording: Recording, promises: Promises, evidence: Evidence) -> list[CheckRow]:
    """What each oracle says of a run: a row each, kind "oracle", whose value is the number of violations."""
    case = Case(recording, promises, evidence)
    return [oracle(case) for oracle in ORACLES]


__all__ = ["ORACLES", "Evidence", "Promises", "judge"]
