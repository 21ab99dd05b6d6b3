"""The overdue scan: finds the tasks that are overdue, page by page, and has their assignees notified.

A scan *begins* (a row in `scans`), *takes page after page*, and *ends*. How far it is stands in its row, so that after
a crash the next scanner *takes it over* from there. Nobody is notified twice, whatever scans overlap: the queue drops
the notification of a task that has one pending, and the handler asks the task itself whether it was notified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any, Literal
from zlib import crc32

from sqlalchemy import Connection, bindparam, func, select, update

from queuesim.core.clock import sleep
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import NewJob, Origin, OriginKind
from queuesim.core.queue import Queue
from queuesim.tasks import queries
from queuesim.tasks.model import OVERDUE
from queuesim.tasks.outbox import Delivery
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import Prepared, scans

Per = Literal["task", "page"]
"""What one notification job is about."""

PAGE_SIZE = 100
LEASE = 60.0
"""Seconds without progress after which a scan counts as abandoned."""
LOOK = 1.0
"""Seconds between two polls of a scan that somebody else makes."""
ID = "overdue-"
"""What the id of a notification begins with; the scan's number and key follow, and what it is about."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """A scan, as far as it is. Times are seconds on the queue's clock."""

    id: int
    trigger: str
    cutoff: float
    """Tasks whose assignee was to be notified by then."""
    began_at: float
    ended_at: float | None
    pages: int
    found: int
    enqueued: int
    """Jobs that came into the queue by it."""
    duplicates: int
    """Jobs that were dropped because one for the same tasks was pending."""


class OverdueScan:
    """Scans for overdue tasks.

    Args:
        store: the tasks.
        queue: makes the notification jobs, with its default options.
        delivery: brings them into the queue.
        page_size: tasks that are read at a time.
        per: one job per task, or one per page of tasks, which takes a hundredth of the limiter's starts.
        owner: the scanner, recorded with each scan.
        new_key: a name for a scan that no other has, in the ids of its jobs; a simulation draws it from its seed. The
            number of the scan would not do: a database that was restored gives the same numbers again.

    Raises:
        ValueError: a page size below 1.
    """

    def __init__(
        self,
        store: TaskStore,
        queue: Queue,
        delivery: Delivery,
        *,
        page_size: int = PAGE_SIZE,
        per: Per = "task",
        lease: float = LEASE,
        owner: str = "scanner",
        new_key: Callable[[], str] = lambda: token_hex(8),
    ) -> None:
        if page_size < 1:
            raise ValueError(f"a page has 1 task or more, not {page_size}")
        if not lease > 0:
            raise ValueError(f"a lease must be above 0 s, not {lease}")
        self.store = store
        self.queue = queue
        self.delivery = delivery
        self.page_size = page_size
        self.per = per
        self.lease = lease
        self.owner = owner
        self.new_key = new_key

    async def run(self, trigger: str = "manual", tick: float | None = None) -> list[ScanReport]:
        """Take over what was left unfinished, then scan.

        Args:
            trigger: why, for the record.
            tick: which tick of a schedule it is for: of all who scan for one tick, the first does.

        Returns:
            A report of each scan that this call brought to its end.
        """
        return await self.resume() + await self.scan(trigger, tick)

    async def resume(self) -> list[ScanReport]:
        """Take over, one after another, the scans that were left unfinished: their scanners died, or gave up."""
        reports: list[ScanReport] = []
        while True:
            time = self.queue.now()
            abandoned = await self.store.run(partial(self._take_over, time))
            if abandoned is None:
                return reports
            reports.append(await self._walk(abandoned, time + self.lease))

    async def scan(self, trigger: str = "manual", tick: float | None = None) -> list[ScanReport]:
        """As `run`, but what was left unfinished is only taken over if the scan for this tick is among it.

        Raises:
            BrokerUnavailableError: the queue can't be reached; anybody may `resume` the scan at once.
        """
        time = self.queue.now()
        scan_id = await self.store.run(partial(self._begin, time, trigger, tick))
        if scan_id is not None:
            return [await self._walk(scan_id, time + self.lease)]
        if await self.store.run(lambda connection: _is_done(connection, tick)):
            return []
        # its scanner may have died: it is over when it has ended, or can be taken over
        await sleep(min(self.lease, LOOK))
        return await self.run(trigger, tick)

    async def _walk(self, scan_id: int, until: float) -> ScanReport:
        """Page after page, from where the scan's row says, to its end. `until`: when the lease ends."""
        delivered: Delivered | None = None
        while True:
            time = self.queue.now()
            page = await self.store.run(partial(self._turn, time, scan_id, until, delivered))
            if page is None:
                return await self.store.run(lambda connection: report(connection, scan_id))
            if delivered is not None or self.delivery.atomic:
                # what saves the cursor renews the lease
                until = time + self.lease
            try:
                ids = await self.delivery.deliver(page.jobs)
            except BrokerUnavailableError:
                await self.store.run(partial(self._put_down, self.queue.now(), scan_id, until))
                raise
            delivered = None if ids is None else Delivered(page, ids)

    # -- transactions

    def _begin(self, time: float, trigger: str, tick: float | None, connection: Connection) -> int | None:
        row = {
            "trigger": trigger, "tick": tick, "cutoff": time, "began_at": time, "pages": 0, "found": 0,
            "enqueued": 0, "duplicates": 0, "owner": self.owner, "leased_until": time + self.lease,
            "key": self.new_key(),
        }  # fmt: skip
        scan_id: int | None = queries.insert_unless_there(connection, scans, row, scans.c.id)
        return scan_id

    def _take_over(self, time: float, connection: Connection) -> int | None:
        abandoned = (scans.c.ended_at.is_(None)) & (scans.c.leased_until <= time)
        oldest = select(func.min(scans.c.id)).where(abandoned).scalar_subquery()
        taken = update(scans).where(scans.c.id == oldest, abandoned).returning(scans.c.id)
        scan_id: int | None = connection.execute(
            taken.values(owner=self.owner, leased_until=time + self.lease)
        ).scalar_one_or_none()
        return scan_id

    def _put_down(self, time: float, scan_id: int, until: float, connection: Connection) -> None:
        # another scanner that took it over has it for longer than that, even under the same name
        ours = (scans.c.id == scan_id) & (scans.c.owner == self.owner) & (scans.c.leased_until <= until)
        connection.execute(update(scans).where(ours).values(leased_until=time))

    def _turn(
        self, time: float, scan_id: int, until: float, delivered: Delivered | None, connection: Connection
    ) -> Page | None:
        ((owner, leased_until, cutoff, cursor_at, cursor_id, key),) = _WHERE.rows(connection, scan=scan_id)
        if delivered is not None:
            # whichever scanner has the scan, these jobs are in the queue
            _count(connection, {scan_id: delivered.counts()})
        if owner != self.owner or leased_until > until:
            return None  # it took us longer than the lease, and somebody else goes on from its own cursor
        after = None if cursor_at is None else (cursor_at, cursor_id)
        if delivered is not None:
            after = delivered.page.cursor
            _save(connection, scan_id, delivered.page, time + self.lease)
        found = queries.read_page(connection, cutoff, after, self.page_size)
        if not found:
            connection.execute(update(scans).where(scans.c.id == scan_id).values(ended_at=time))
            return None
        ids = [task_id for task_id, _ in found]
        last_id, last_notify_at = found[-1]
        page = Page(ids, (last_notify_at, last_id), self._jobs(scan_id, key, ids))
        if self.delivery.atomic:
            self.delivery.stage(connection, page.jobs, time)
            _save(connection, scan_id, page, time + self.lease)
        return page

    def _jobs(self, scan_id: int, key: str | None, task_ids: list[int]) -> list[NewJob]:
        """The notification jobs of a page. Their ids say which scan made them, and what they are about is
        their deduplication id: while such a job is pending, another one is dropped."""

        def data(about: int | list[int]) -> dict[str, Any]:
            return {"task_ids": about if isinstance(about, list) else [about], "scan": scan_id}

        # a scan that an earlier version began has no key
        scan = f"{ID}{scan_id}" if key is None else f"{ID}{scan_id}-{key}"
        # scans that find a backlog again make thousands of jobs that are dropped
        draft = self.queue.drafts(OVERDUE, data, origin=Origin(OriginKind.SCAN, scan_id)).draft
        if self.per == "page":
            page = page_name(task_ids)
            return [draft(task_ids, f"{scan}-page-{page}", mark_of(f"page-{page}"))]
        return [draft(task, f"{scan}-{task}", mark_of(task)) for task in task_ids]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a scan, read."""

    task_ids: list[int]
    cursor: tuple[float, int]
    """(notify_at, id) of its last task."""
    jobs: list[NewJob]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A page whose jobs are in the queue, and the ids that they got there."""

    page: Page
    ids: Sequence[str]

    def counts(self) -> tuple[int, int]:
        """How many came into the queue, and how many were dropped: those got the id of another one."""
        dropped = sum(job.job_id != job_id for job, job_id in zip(self.page.jobs, self.ids, strict=True))
        return len(self.ids) - dropped, dropped


def _is_done(connection: Connection, tick: float | None) -> bool:
    """Whether the scan for a tick has ended."""
    return connection.execute(select(scans.c.ended_at).where(scans.c.tick == tick)).scalar_one() is not None


def _save(connection: Connection, scan_id: int, page: Page, leased_until: float) -> None:
    """The scan is past this page."""
    at, task = page.cursor
    values = {"scan": scan_id, "at": at, "task": task, "more": len(page.task_ids), "until": leased_until}
    _PAST.run(connection, [values])


# made once: to build a statement takes longer than to run it
_OF_SCAN = scans.c.id == bindparam("scan")
_WHERE = Prepared(
    select(
        scans.c.owner, scans.c.leased_until, scans.c.cutoff, scans.c.cursor_at, scans.c.cursor_id, scans.c.key
    ).where(_OF_SCAN)
    # nobody takes the scan over between this and what follows in the transaction
    .with_for_update()
)  # fmt: skip
_PAST = Prepared(
    update(scans)
    .where(_OF_SCAN)
    .values(
        cursor_at=bindparam("at"),
        cursor_id=bindparam("task"),
        pages=scans.c.pages + 1,
        found=scans.c.found + bindparam("more"),
        leased_until=bindparam("until"),
    )
)
_COUNT = Prepared(
    update(scans)
    .where(_OF_SCAN)
    .values(enqueued=scans.c.enqueued + bindparam("in_queue"), duplicates=scans.c.duplicates + bindparam("dropped"))
)


def count_delivered(connection: Connection, jobs: Sequence[NewJob], ids: Sequence[str]) -> None:
    """Count, for their scans, the jobs that came into the queue and those that were dropped: they got another's id."""
    counts: dict[int, list[int]] = {}
    for job, job_id in zip(jobs, ids, strict=True):
        if job.origin is not None and job.origin.kind is OriginKind.SCAN:
            counts.setdefault(int(job.origin.id), [0, 0])[job.job_id != job_id] += 1
    _count(connection, counts)


def _count(connection: Connection, counts: Mapping[int, Sequence[int]]) -> None:
    """By scan, the jobs that came into the queue and those that were dropped."""
    if counts:
        rows = [
            {"scan": scan, "in_queue": enqueued, "dropped": dropped} for scan, (enqueued, dropped) in counts.items()
        ]
        _COUNT.run(connection, rows)


def page_name(task_ids: list[int]) -> str:
    """The name of a page: from its tasks, not from its place in the scan. A scanner that takes a scan over may read
    other tasks at that place, because assignees have been notified meanwhile."""
    return f"{task_ids[0]}-{task_ids[-1]}-{crc32(repr(task_ids).encode()):08x}"


def mark_of(about: int | str) -> str:
    """The deduplication id of a notification about a task or a page."""
    return f"overdue-{about}"


def origin_of(job_id: str) -> Origin | None:
    """Where a job comes from that another process added: a server tells its id alone. None if no scan made it."""
    number, _, rest = job_id.removeprefix(ID).partition("-")
    return Origin(OriginKind.SCAN, int(number)) if job_id.startswith(ID) and number.isdigit() and rest else None


def report(connection: Connection, scan_id: int) -> ScanReport:
    """What a scan's row says."""
    return _report(connection.execute(select(scans).where(scans.c.id == scan_id)).one())


def reports(connection: Connection, limit: int = 100) -> list[ScanReport]:
    """The newest scans, the newest first."""
    return [_report(row) for row in connection.execute(select(scans).order_by(scans.c.id.desc()).limit(limit))]


def _report(row: Any) -> ScanReport:
    return ScanReport(
        row.id, row.trigger, row.cutoff, row.began_at, row.ended_at, row.pages, row.found, row.enqueued, row.duplicates
    )
