"""Oracles judge every run. Each one counts the violations of one guarantee and describes the first of them."""

from __future__ import annotations

from collections.abc import Callable

from queuesim.oracles import concurrency, delays, delivery, limiter, order, overdue, work_conservation
from queuesim.oracles.run_view import Expectations, FinalState, RunView, unjudged
from queuesim.results.recording import CheckRow, Recording

ORACLES: tuple[Callable[[RunView], CheckRow], ...] = (
    delivery.lost,
    delivery.duplicated,
    delivery.recovered,
    delivery.unexpected,
    delivery.single,
    delivery.legal,
    concurrency.exclusive,
    concurrency.concurrency,
    concurrency.attempts,
    delays.backoff,
    limiter.limiter,
    order.order,
    work_conservation.prompt,
    delivery.retention,
    delivery.dead_letters,
    delivery.deduplication,
    delivery.drained,
)
"""Those of every run."""

OF_SCANS: tuple[Callable[[RunView], CheckRow], ...] = (overdue.schedulers, overdue.scans)
"""Those of runs with overdue scans."""

IN_REAL_TIME = "the processes that scan in real time are not asked for what it takes"


def judge(recording: Recording, expectations: Expectations, final_state: FinalState) -> list[CheckRow]:
    """The result of each oracle: a row each, kind "oracle", whose value is the number of violations."""
    view = RunView(recording, expectations, final_state)
    rows = [oracle(view) for oracle in ORACLES]
    if final_state.overdue is not None:
        rows += [oracle(view) for oracle in OF_SCANS if oracle is not overdue.schedulers or overdue.has_scheduler(view)]
    elif recording.scans:
        rows += [unjudged(name, IN_REAL_TIME) for name in (overdue.SCHEDULERS, overdue.SCANS)]
    return rows


__all__ = ["ORACLES", "Evidence", "Promises", "judge"]
