"""The overdue tasks themselves: what is in their store, who is told of them, and what became of the scans."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import func, select

from queuesim.broker.base import Broker
from queuesim.events import EventKind
from queuesim.job import Job
from queuesim.metrics.recording import Recording, ScanRow
from queuesim.processor import JobType, Processor, call
from queuesim.scenario.overdue_schema import OverdueSettings, schedules_of
from queuesim.scenario.scanner import SCAN, tick_of
from queuesim.schedule import Cron, Every
from queuesim.tasks import TaskStore
from queuesim.tasks.filling import fill
from queuesim.tasks.handlers import add_handlers
from queuesim.tasks.overdue import ScanReport, reports, scan_of
from queuesim.tasks.payloads import OVERDUE
from queuesim.tasks.queries import told
from queuesim.tasks.tables import outbox, scans, tasks
from queuesim.testing.oracles.overdue_evidence import UNFINISHED, OverdueEvidence, Scan, Ticks

YEAR = 365 * 24 * 3600.0
"""A backlog's due dates are drawn from the year before the run."""
EVERY_SCAN = 10**9
ENDS = (EventKind.COMPLETED.code, EventKind.FAILED.code)


class OverdueStore:
    """A task store, as a scenario fills and uses it."""

    def __init__(self, settings: OverdueSettings, store: TaskStore) -> None:
        self.settings = settings
        self.store = store

    def prepare(self, duration: float, draw: Callable[[], float]) -> None:
        """Make the tables, with their tasks. `draw` gives numbers from 0 to 1."""
        self.store.prepare()
        settings = self.settings
        due = sorted(-YEAR * draw() for _ in range(settings.backlog))
        due += sorted(duration * draw() for _ in range(settings.tasks))
        self.store.run_now(lambda connection: fill(connection, due))

    def serve(self, processor: Processor) -> None:
        """Have the processor's notification jobs tell the assignees, after what else they do."""
        real = Processor(processor.queue)
        add_handlers(real, self.store, self.settings.window)
        tell = real.types[OVERDUE]
        first = processor.types.get(OVERDUE)

        async def handle(job: Job) -> Any:
            assert tell.parse is not None
            given, payload = job.data, tell.parse(job.data)
            if first is not None:
                if first.parse is not None:
                    job.data = first.parse(given)
                await call(first.handler, job)
            job.data = payload
            return await call(tell.handler, job)

        timeout = None if first is None else first.timeout
        processor.add(JobType(OVERDUE, handle, timeout=timeout))

    def evidence(self, ticks: Ticks | None, crashed: bool, origin: float = 0.0) -> OverdueEvidence:
        """What oracles ask of the scans and of whoever was told by them.

        Args:
            origin: calendar time of the run's second 0, where ticks are told in that.
            ticks: their job scheduler; None: timers begin the scans.
            crashed: whether processes that scan were killed.
        """
        return self.store.run_now(
            lambda connection: OverdueEvidence(
                scans=[_scan(*row, origin=origin) for row in connection.execute(_SCANS)],
                per_page=self.settings.per == "page",
                window=self.settings.window,
                told=[(task, sent_at) for task, kind, sent_at in told(connection) if kind == "overdue"],
                untold=[(task, since) for task, since in connection.execute(_UNTOLD)],
                staged=connection.execute(select(func.count()).select_from(outbox)).scalar_one(),
                ticks=ticks,
                crashed=crashed,
            )
        )

    def scans(self, recording: Recording) -> list[ScanRow]:
        """What became of every scan so far, by the store and by what was recorded of its notifications."""
        found = self.store.run_now(lambda connection: reports(connection, EVERY_SCAN))
        last = _last_ends(recording)
        return [_drained(_row(report), *last.get(report.id, (0, math.nan))) for report in reversed(found)]


_SCANS = select(
    scans.c.id, scans.c.trigger, scans.c.tick, scans.c.cutoff, scans.c.began_at, scans.c.ended_at, scans.c.pages,
    scans.c.found, scans.c.enqueued, scans.c.duplicates, scans.c.leased_until,
).order_by(scans.c.id)  # fmt: skip
_UNTOLD = select(tasks.c.id, tasks.c.notify_at).where(tasks.c.notify_at.is_not(None)).order_by(tasks.c.id)


def _scan(number: int, trigger: str, tick: float | None, *rest: Any, origin: float) -> Scan:
    return Scan(number, trigger, None if tick is None else tick - origin, *rest)


async def ask_scheduler(broker: Broker, schedule: Cron | Every, settings: OverdueSettings, time: float) -> Ticks:
    """What the queue says of the job scheduler whose ticks begin scans.

    Args:
        broker: of the queue that the notifications are in.
    """
    queue = broker.sibling(schedules_of(broker.queue))
    unfinished = [job for state in UNFINISHED for job in await queue.jobs(state, 0, -1, True)]
    under_way = [(tick_of(job.id) - getattr(broker, "origin", 0.0), job.processed_on) for job in unfinished]
    dead = [(crash.at, crash.at + crash.length) for crash in settings.crashes]
    found = await queue.scheduler(SCAN)
    if found is None:
        return Ticks(schedule, settings.policy, time, stored=False, under_way=under_way, dead=dead)
    state = None if found.pending is None else await queue.state(found.pending)
    return Ticks(schedule, settings.policy, time, True, found.due, found.pending, state, under_way, dead)


def _row(report: ScanReport) -> ScanRow:
    return ScanRow(
        scan=report.id,
        trigger=report.trigger,
        began=report.began_at,
        ended=math.nan if report.ended_at is None else report.ended_at,
        pages=report.pages,
        found=report.found,
        enqueued=report.enqueued,
        duplicates=report.duplicates,
        drained=math.nan,
    )


def _drained(row: ScanRow, ended: int, last: float) -> ScanRow:
    """When the last of its notifications ended; one that made none was drained as it ended."""
    if math.isnan(row.ended) or ended < row.enqueued:
        return row
    return replace(row, drained=last if ended else row.ended)


def _last_ends(recording: Recording) -> dict[int, tuple[int, float]]:
    """For each scan how many of its notifications have ended, and when the last one did."""
    scan_by_number = {number: scan for number, job_id in recording.ids.items() if (scan := scan_of(job_id)) is not None}
    events = recording.events[np.isin(recording.events["kind"], ENDS)]
    # of a job that ended more than once, the last time
    ends = dict(zip(events["number"].tolist(), events["time"].tolist(), strict=True))
    found: dict[int, tuple[int, float]] = {}
    for number, time in ends.items():
        if (scan := scan_by_number.get(number)) is not None:
            count, last = found.get(scan, (0, time))
            found[scan] = (count + 1, max(last, time))
    return found
