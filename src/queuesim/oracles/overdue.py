"""Overdue scans: their job scheduler goes on, and everybody who is to be told is told once."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from queuesim.core.job import JobState
from queuesim.core.scheduler import Missed
from queuesim.oracles.run_view import (
    FORGETFUL,
    UNFINISHED,
    WITNESSES,
    OverdueState,
    RunView,
    Scan,
    Ticks,
    check_row,
    unjudged,
)
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import CheckRow

MILLISECOND = 0.001
"""Ticks are whole milliseconds."""
PATIENCE = 90.0
"""Seconds that a tick may be late though nothing is known to hold it: a lock of 30 s, two looks for stalled jobs."""

SCHEDULERS = "schedulers go on"
SCANS = "overdue scans complete"


def overdue_state(view: RunView) -> OverdueState:
    """What is known of the scans; only asked for where there are some."""
    assert view.final_state.overdue is not None
    return view.final_state.overdue


# -- job schedulers


def has_scheduler(view: RunView) -> bool:
    """Whether a job scheduler begins the scans: not where timers do."""
    return overdue_state(view).ticks is not None


def schedulers(view: RunView) -> CheckRow:
    """A job scheduler that is not finished has a pending job; every tick ran, or something accounts for it; and the
    ticks that ran are ticks of the schedule, none before its time."""
    ticks = overdue_state(view).ticks
    assert ticks is not None
    if view.rollbacks:
        return unjudged(SCHEDULERS, FORGETFUL)
    ran = sorted(
        (scan for scan in overdue_state(view).scans if scan.trigger == "cron" and scan.tick is not None),
        key=lambda scan: scan.tick or 0.0,
    )
    # one that has stopped accounts for all ticks that did not run
    stopped = _pending(view, ticks, ran)
    return check_row(SCHEDULERS, (stopped or _missing(view, ticks, ran)) + _untimely(ticks, ran))


def _pending(view: RunView, ticks: Ticks, ran: list[Scan]) -> list[str]:
    if not ticks.stored:
        # whoever makes it may not have reached the queue
        expected = ran or not (view.had(Effect.SERVER) or ticks.dead)
        return ["the job scheduler is gone"] if expected and ticks.asked_at > 0 else []
    if ticks.state not in UNFINISHED:
        where = "nowhere" if ticks.state is None else ticks.state.value
        return [f"the job scheduler stands still since {_last(ran):g} s: its pending job {ticks.pending} is {where}"]
    return []


def _last(ran: list[Scan]) -> float:
    return max((scan.began for scan in ran), default=0.0)


def _untimely(ticks: Ticks, ran: list[Scan]) -> list[str]:
    violations = []
    for scan in ran:
        tick = scan.tick or 0.0
        nearest = ticks.schedule.until(tick + MILLISECOND / 2)
        if nearest is None or tick - nearest > MILLISECOND:
            violations.append(f"scan {scan.number} is for {tick:.3f} s, which is no tick")
        if scan.began < tick - MILLISECOND:
            violations.append(f"scan {scan.number} began at {scan.began:.3f} s, before its tick at {tick:.3f} s")
    return violations


def _missing(view: RunView, ticks: Ticks, ran: list[Scan]) -> list[str]:
    """Ticks that should have run by now: those before the pending one, and that one itself if it is long overdue."""
    until = min(ticks.due if ticks.due is not None else math.inf, ticks.asked_at) - MILLISECOND
    strikes = sorted(fault.began for fault in view.faults if Effect.SKIPS_TICKS in fault.effects)
    # each tick that was begun, and when
    begun = [(scan.tick or 0.0, scan.began) for scan in ran]
    begun = sorted(begun + [(tick, tick if started is None else started) for tick, started in ticks.under_way])
    known = {round(tick / MILLISECOND) for tick, _ in begun}
    violations: list[str] = []
    busy_until, place = 0.0, 0
    tick = ticks.schedule.after(0.0)
    while tick is not None and tick < until and len(violations) <= WITNESSES:
        while place < len(begun) and begun[place][0] < tick - MILLISECOND / 2:
            busy_until = max(busy_until, begun[place][1])
            place += 1
        late = ticks.missed is not Missed.ALL and tick <= busy_until + MILLISECOND
        if round(tick / MILLISECOND) not in known and not late:
            following = begun[place][1] if place < len(begun) else ticks.asked_at
            if not _struck(tick, following, strikes) and not _away(view, ticks, tick):
                violations.append(f"the tick at {tick:.3f} s never ran")
        tick = ticks.schedule.after(tick)
    return violations + _overdue(view, ticks)


def _struck(tick: float, following: float, strikes: list[float]) -> bool:
    """Whether a fault dropped a tick, or the one that was run in its place."""
    return any(tick - MILLISECOND <= struck <= following + MILLISECOND for struck in strikes)


def _away(view: RunView, ticks: Ticks, tick: float) -> bool:
    """Whether at this tick nobody could make a scheduler, or run its job and write so; or whoever ran it may have died,
    so late that its job need not have been found stalled yet."""
    spans = list(ticks.dead)
    spans += [(fault.began, fault.ended) for fault in view.faults if Effect.SERVER in fault.effects]
    for began, ended in spans:
        over = (math.inf if math.isnan(ended) else ended) + PATIENCE
        if tick <= over and (began - MILLISECOND <= tick or over >= ticks.asked_at):
            return True
    return False


def _overdue(view: RunView, ticks: Ticks) -> list[str]:
    """The pending job waits though it was due long ago, and nobody runs a scan."""
    due, now = ticks.due, ticks.asked_at
    if due is None or ticks.state not in UNFINISHED or ticks.state is JobState.ACTIVE or due > now - PATIENCE:
        return []
    busy = any(scan.ended is None or scan.ended > due for scan in overdue_state(view).scans)
    if busy or any(_away(view, ticks, moment) for moment in (due, now - PATIENCE, now)):
        return []
    return [f"the tick at {due:.3f} s has not begun by {now:.3f} s"]


# -- scans


def scans(view: RunView) -> CheckRow:
    """A scan leaves nobody out who is overdue, and nobody is notified twice; a scan that was left unfinished is taken
    over; and its counts agree with each other and with the jobs."""
    state = overdue_state(view)
    violations = _twice(state) + _abandoned(state) + _counts(state)
    notes = []
    if view.rollbacks:
        notes.append(f"counts and left out: not judged, {FORGETFUL}")
    else:
        violations += _left_out(view, state) + _against_jobs(view, state)
    return check_row(SCANS, violations, ", ".join(notes))


def _twice(state: OverdueState) -> list[str]:
    violations = []
    for (task, first), (other, second) in pairwise(sorted(state.notified)):
        if task == other and second - first < state.window - MILLISECOND:
            violations.append(f"the assignee of task {task} was notified at {first:g} s and again at {second:g} s")
    return violations


def _abandoned(state: OverdueState) -> list[str]:
    """Scans that nobody took over, though somebody came by who should have."""
    latest = max((scan.began for scan in state.scans), default=0.0)
    return [
        f"scan {scan.number} was left unfinished, and the scan that began at {latest:g} s did not take it over"
        for scan in state.scans
        if scan.ended is None and scan.leased_until < latest - MILLISECOND
    ]


def _counts(state: OverdueState) -> list[str]:
    violations = []
    for scan in state.scans:
        if scan.ended is None:
            continue
        made = scan.pages if state.per_page else scan.found
        counted = scan.enqueued + scan.duplicates
        if counted > made or (counted < made and not state.staged):
            violations.append(f"scan {scan.number} made {made} jobs, and counted {counted}")
    return violations


def _left_out(view: RunView, state: OverdueState) -> list[str]:
    """Tasks that a scan went by, whose assignee was not notified, and of which no job is left, or failed."""
    ended = [scan for scan in state.scans if scan.ended is not None]
    if not ended or state.staged:
        return []
    passed = max(scan.cutoff for scan in ended)
    missed = {task: mark for task, since, mark in state.not_notified if since <= passed - MILLISECOND}
    if not missed:
        return []
    pending = _pending_notifications(view)
    if state.per_page:
        return [] if pending else [f"task {task} was left out" for task in missed]
    marks = {rule.id for number, rule in view.final_state.deduplications.items() if number in pending}
    return [f"task {task} was left out" for task, mark in missed.items() if mark not in marks]


def _pending_notifications(view: RunView) -> set[int]:
    """The numbers of the notification jobs that have not completed."""
    from queuesim.core.events import EventKind

    events = view.events
    completed = set(events["number"][events["kind"] == EventKind.COMPLETED.code].tolist())
    return view.recording.ids.keys() - completed


def _against_jobs(view: RunView, state: OverdueState) -> list[str]:
    """Scans that count other than the jobs that came into the queue by them."""
    if state.crashed or state.staged or view.had(Effect.SERVER | Effect.REPEATS_PAGES):
        # a page may have been delivered twice, or not counted yet
        return []
    jobs = Counter(view.recording.scans_of_jobs().values())
    return [
        f"scan {scan.number} counted {scan.enqueued} new jobs, and {jobs[scan.number]} came into the queue"
        for scan in state.scans
        if scan.ended is not None and jobs[scan.number] != scan.enqueued
    ]
