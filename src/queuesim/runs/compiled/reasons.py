"""Why the compiled loop does not play a scenario: found before the run in the scenario, or by the loop itself."""

from __future__ import annotations

from collections.abc import Iterator

from queuesim.error import QueuesimError
from queuesim.results.engines import NotCompiled
from queuesim.scenario.model import Scenario


class UnplayableError(QueuesimError):
    """The compiled loop can't play this scenario, or gave it up."""

    def __init__(self, reason: NotCompiled) -> None:
        self.reason = reason
        super().__init__(f"the compiled engine can't play this scenario: {reason.text}")


def reasons(scenario: Scenario) -> Iterator[NotCompiled]:
    """Everything in a scenario that the compiled loop does not play."""
    if scenario.processor is not None or not all(job.synthetic for job in scenario.jobs.values()):
        yield NotCompiled.PROCESSOR
    if scenario.invariants:
        yield NotCompiled.INVARIANTS
    if scenario.faults:
        yield NotCompiled.FAULTS
    if scenario.overdue is not None:
        yield NotCompiled.OVERDUE
    if scenario.order != "fifo":
        yield NotCompiled.ORDER
    if scenario.calendar:
        yield NotCompiled.CALENDAR
    if any(threshold.abort for threshold in scenario.thresholds):
        yield NotCompiled.ABORT
    yield from _in_parts(scenario)


def _in_parts(scenario: Scenario) -> Iterator[NotCompiled]:
    jobs, keep, overhead = scenario.jobs.values(), scenario.queue.keep, scenario.overhead
    if any(entry.trace is not None for entry in scenario.load):
        yield NotCompiled.TRACE
    if any(job.blocking is not None for job in jobs):
        yield NotCompiled.BLOCKING
    if overhead.tick:
        yield NotCompiled.TICK
    if overhead.attempt and any(job.timeout is not None for job in jobs):
        yield NotCompiled.SLOW_TIMEOUT
    if any(each is not None and each.age is not None for each in (keep.completed, keep.failed)):
        yield NotCompiled.RETENTION_BY_AGE
    for workers in scenario.workers:
        # a lock is renewed when it is older than half of this, and looked at as often: see Worker._renew_locks
        renew = workers.lock_renew or workers.lock_duration / 2
        if renew > RENEWED_IN_TIME * workers.lock_duration:
            yield NotCompiled.LOCKS
            return


RENEWED_IN_TIME = 0.9
"""A lock that is renewed when so much of its time is over never expires, whatever is lost in rounding."""
