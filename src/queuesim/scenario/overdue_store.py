"""The overdue tasks themselves: what is in their store, who is told of them, and what became of the scans."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from queuesim.events import EventKind
from queuesim.job import Job
from queuesim.metrics.recording import Recording, ScanRow
from queuesim.processor import JobType, Processor, call
from queuesim.scenario.overdue_schema import OverdueSettings
from queuesim.tasks import TaskStore
from queuesim.tasks.filling import fill
from queuesim.tasks.handlers import add_handlers
from queuesim.tasks.overdue import ScanReport, reports, scan_of
from queuesim.tasks.payloads import OVERDUE

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

    def scans(self, recording: Recording) -> list[ScanRow]:
        """What became of every scan so far, by the store and by what was recorded of its notifications."""
        found = self.store.run_now(lambda connection: reports(connection, EVERY_SCAN))
        last = _last_ends(recording)
        return [_drained(_row(report), *last.get(report.id, (0, math.nan))) for report in reversed(found)]


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
