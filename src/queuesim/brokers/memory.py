"""The memory broker: BullMQ's rules in plain Python, the reference model for every other broker."""

from __future__ import annotations

import asyncio
import copy
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any, NamedTuple

from queuesim.brokers.memory_store import (
    ACTIVE,
    ACTIVE_EVENT,
    ADDED_EVENT,
    CLEANED_EVENT,
    COMPLETED,
    COMPLETED_EVENT,
    DEDUPLICATED_EVENT,
    DELAYED,
    DELAYED_EVENT,
    DRAINED_EVENT,
    DUPLICATED_EVENT,
    FAILED,
    FAILED_EVENT,
    PAUSED_EVENT,
    PRIORITIZED,
    PROGRESS_EVENT,
    REMOVED_EVENT,
    RESUMED_EVENT,
    RETRIES_EXHAUSTED_EVENT,
    STALLED_EVENT,
    TRIM_AT,
    WAITING,
    WAITING_CHILDREN,
    WAITING_CHILDREN_EVENT,
    WAITING_EVENT,
    Deduplications,
    Entry,
    EventLog,
    Family,
    Finished,
    Holder,
    Record,
    Window,
    expiry,
)
from queuesim.core.broker import (
    Completed,
    DeadLetter,
    Failed,
    FlowRow,
    Observer,
    Outcome,
    Postponed,
    Reply,
    Retried,
    Returned,
    Terms,
)
from queuesim.core.clock import Clock, wake
from queuesim.core.containment import Contained
from queuesim.core.deadletters import is_letter_of
from queuesim.core.errors import JobError, QueueActiveError, QueueNotPausedError
from queuesim.core.events import Event, EventPage
from queuesim.core.job import (
    KEEP_ALL,
    Children,
    Deduplication,
    ExistingId,
    Job,
    JobId,
    JobRef,
    JobState,
    Keep,
    NewJob,
    Origin,
    OriginKind,
    RateLimit,
    check_queue_name,
)
from queuesim.core.scheduler import SLOT_TAKEN, Scheduler
from queuesim.core.storable import storable

PROMOTED_AT_ONCE = 1000
"""Maximum number of delayed jobs that one exchange promotes (BullMQ 6.7)."""
FIRST_OF_ITS_PRIORITY = 0
"""The counter of a job that goes in front of its own priority; all others count from 1."""
STALLED_TOO_OFTEN = "job stalled more than allowable limit"
"""BullMQ's wording of the failure."""
PREFIX = "bull"
"""The beginning of a child's key in the reason of a deferred failure, where BullMQ writes the whole key in Redis."""

JOB_MISSING, LOCK_MISSING, NOT_ACTIVE, LOCK_MISMATCH = -1, -2, -3, -6
PENDING_CHILDREN, FAILED_CHILDREN, OF_SCHEDULER = -4, -9, -8
"""Error codes; see errors.REFUSALS."""
OBLITERATED = (ACTIVE, WAITING, PRIORITIZED, DELAYED, COMPLETED, FAILED, WAITING_CHILDREN)
"""States, in the order in which `obliterate` removes their jobs on Redis."""
CLEANABLE = (COMPLETED, FAILED, WAITING, PRIORITIZED, DELAYED, ACTIVE)
LASTING_COUNTERS = ("_number", "_entries")
"""Counters that are part of no image: they only grow, so that no two jobs of one run get the same number."""

Image = dict[str, dict[str, Any]]
"""The state of each queue of one place, by its name."""


class Home(NamedTuple):
    """Where the parent of a job lives."""

    queue: MemoryBroker
    parent: Record
    family: Family


class MemoryBroker:
    """A queue in this process's memory. Its rules are BullMQ 6.7's; its times are what its callers say.

    `Broker` says what the methods do. `sibling` gives the other queues of the same place; they share nothing else.
    """

    def __init__(self, queue: str = "default", *, siblings: dict[str, MemoryBroker] | None = None) -> None:
        check_queue_name(queue)
        self.queue = queue
        self.clock: Clock | None = None
        self._observer: Observer | None = None
        self.observer_errors = Contained(f"the observer of queue {queue}")
        self._siblings: dict[str, MemoryBroker] = {} if siblings is None else siblings
        self._siblings[queue] = self
        self._log = EventLog()
        self._emit = self._log.append
        self._server_now: float | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._clear()

    def _clear(self) -> None:
        """Set everything that obliterate removes, as in a new queue."""
        self._records: dict[str, Record] = {}
        self._number = 0
        self._wait: deque[Record] = deque()
        self._prioritized: list[tuple[int, int, str, int, Record]] = []
        self._prioritized_count = 0
        self._priority_counter = 0
        self._delayed: list[tuple[float, int, Record]] = []
        self._delayed_count = 0
        self._entries = 0
        self._active: dict[str, Record] = {}
        self._waiting_children: dict[str, tuple[float, Record]] = {}
        """Parents, each with the time since which it waits."""
        self._finished = {COMPLETED: Finished(), FAILED: Finished()}
        self._stalled: set[str] = set()
        self._next_stalled_check = float("-inf")
        self._paused = False
        self._concurrency: int | None = None
        self._rate_limit: RateLimit | None = None
        self._window = Window()
        self._deduplications = Deduplications()
        self._schedulers: dict[str, Scheduler] = {}

    def sibling(self, queue: str) -> MemoryBroker:
        return self._siblings.get(queue) or type(self)(queue, siblings=self._siblings)

    async def close(self) -> None:
        """Nothing to do: the queue lives as long as this object."""

    @property
    def server_now(self) -> float | None:
        """The true time, while an operation comes from a caller whose clock is wrong; None: all clocks agree.

        Locks, limiter windows, stalled checks and events go by it, as Redis times them itself.
        """
        return self._server_now

    @server_now.setter
    def server_now(self, time: float | None) -> None:
        self._server_now = time
        append = self._log.append
        self._emit = append if time is None else lambda entry: append((time, *entry[1:]))

    def _real(self, now: float) -> float:
        """The server's time at the moment that the caller calls `now`."""
        return now if self._server_now is None else self._server_now

    # -- workers: the exchange, locks, stalled jobs, waiting for work

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        reply = Reply()
        finished = False
        for outcome in outcomes:
            code = self._settle(storable(outcome), now)
            if code:
                if not (again and self._applied_before(outcome, token)):
                    reply.refuse(outcome, code)
            else:
                # only the last outcome can leave the queue empty
                kind = type(outcome)
                finished = kind is Completed or kind is Failed
                if kind is Returned:
                    # rate-limited by its handler: that holds even a worker without a limiter
                    reply.limited_until = self._closes_at(1, now)
        if again:
            self._retake(terms, token, now, reply)
        if take and reply.limited_until is None:
            self._take(take, terms, token, now, reply)
        if finished and not (reply.jobs or self._wait or self._active or self._prioritized_count):
            self._drained(take, reply, now)
        if self._waiters and (self._wait or self._prioritized_count):
            self._wake()
        if len(self._log.entries) >= TRIM_AT:
            self._log.trim()
        return reply

    def _retake(self, terms: Terms, token: str, now: float, reply: Reply) -> None:
        """Return again the jobs of the lost answer to the first try, in the order in which they started."""
        for record in self._active.values():
            if record.token == token and self._real(now) < record.locked_until:
                record.locked_until = self._real(now) + terms.lock_duration
                self._stalled.discard(record.id)
                reply.jobs.append(record.snapshot(self))

    def _take(self, take: int, terms: Terms, token: str, now: float, reply: Reply) -> None:
        # the order of these checks is BullMQ's: promote, limiter, pause
        if self._delayed:
            self._promote_due(now)
        max_jobs, duration = None, 0.0
        if terms.limiter is not None or self._rate_limit is not None:
            max_jobs, duration = self._limits(terms)
        while len(reply.jobs) < take:
            if max_jobs is not None:
                reply.limited_until = self._closes_at(max_jobs, now)
                if reply.limited_until is not None:
                    return
            if self._paused or (self._concurrency is not None and self._maxed()):
                reply.next_due = self._next_due()
                return
            record = self._pop_next()
            if record is None:
                reply.next_due = self._next_due()
                return
            # a job that is to fail at once does not count as a start
            if max_jobs is not None and record.deferred_failure is None:
                self._count_start(max_jobs, duration, now)
            self._start(record, terms, token, now)
            reply.jobs.append(record.snapshot(self))

    def _drained(self, take: int, reply: Reply, now: float) -> None:
        """Report that nothing waits and nothing runs, unless the reply says when to come back for more (BullMQ 6.7)."""
        if not take or (reply.limited_until is None and reply.next_due is None and not self._paused):
            self._emit((now, DRAINED_EVENT, 0, None, None, None))

    def _count_start(self, max_jobs: int, duration: float, now: float) -> None:
        opened = self._real(now)
        if self._window.start(duration, opened) and self._observer is not None:
            self.observer_errors.call(self._observer.window, opened, self._window.expires, max_jobs)

    def _closes_at(self, max_jobs: int, now: float) -> float | None:
        """When the present window closes, by the caller's clock; None if a start is free."""
        if self._server_now is None:
            return self._window.closes_at(max_jobs, now)
        closes = self._window.closes_at(max_jobs, self._server_now)
        if closes is None:
            return None
        # the rest of the window may be lost in rounding, and would seem over to the caller
        return max(closes + (now - self._server_now), math.nextafter(now, math.inf))

    def _limits(self, terms: Terms) -> tuple[int | None, float]:
        """The limiter's max and duration. The queue's own max goes before the worker's, but the worker's duration
        before the queue's (BullMQ 6.7)."""
        own, shared = terms.limiter, self._rate_limit
        if own is None:
            return (None, 0.0) if shared is None else (shared.max, shared.duration)
        return own.max if shared is None else shared.max, own.duration

    def _start(self, record: Record, terms: Terms, token: str, now: float) -> None:
        record.state = ACTIVE
        record.token = token
        record.locked_until = self._real(now) + terms.lock_duration
        record.processed_on = now
        record.processed_by = terms.worker
        record.attempts_started += 1
        self._active[record.id] = record
        self._emit((now, ACTIVE_EVENT, record.number, record.id, WAITING, None))

    async def wait(self, until: float | None, now: float) -> None:
        if self._has_work() or (until is not None and until <= now):
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        timer = None
        if until is not None:
            timer = loop.call_later(until - now, wake, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # it was woken already: another worker shall take the job
                self._wake()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def renew(self, locks: Sequence[tuple[str, str]], duration: float, now: float) -> list[str]:
        lost, now = [], self._real(now)
        for job_id, token in locks:
            record = self._records.get(job_id)
            if record is None or record.token != token or record.locked_until <= now:
                lost.append(job_id)
            else:
                record.locked_until = now + duration
                self._stalled.discard(job_id)
        return lost

    async def recover_stalled(self, interval: float, max_stalled: int, now: float) -> list[str]:
        now = self._real(now)
        if now < self._next_stalled_check:
            return []
        self._next_stalled_check = now + interval
        stalled = []
        # sorted, so that the order does not depend on how strings hash in this process
        for job_id in sorted(self._stalled):
            record = self._active.get(job_id)
            if record is None or self._locked(record, now):
                continue
            del self._active[job_id]
            record.stalled_count += 1
            record.marked = True
            # a scheduler's job never fails for stalling: its scheduler would end with it (BullMQ 6.7)
            if record.stalled_count > max_stalled and record.scheduler_id is None:
                record.deferred_failure = STALLED_TOO_OFTEN
            # a prioritized job goes to the front of `wait` too (BullMQ 6.7)
            record.ready_at = now
            record.state = WAITING
            self._wait.appendleft(record)
            self._emit((now, WAITING_EVENT, record.number, record.id, ACTIVE, None))
            self._emit((now, STALLED_EVENT, record.number, record.id, None, None))
            stalled.append(job_id)
        self._stalled = set(self._active)
        for _ in stalled:
            self._wake()
        return stalled

    # -- the outcome of an attempt: complete, fail, retry, postpone, return

    def _settle(self, outcome: Outcome, now: float) -> int:
        """Apply an outcome. Returns 0, or the error code with which it is refused."""
        record = self._records.get(outcome.job_id)
        if record is None:
            return JOB_MISSING
        if record.family is not None and isinstance(outcome, Completed):
            # a parent is not complete before its children
            if record.family.pending:
                return PENDING_CHILDREN
            if record.family.failed:
                return FAILED_CHILDREN
        if not record.token or self._real(now) >= record.locked_until:
            return LOCK_MISSING
        if record.token != outcome.token:
            return LOCK_MISMATCH
        if self._active.pop(record.id, None) is None:
            return NOT_ACTIVE
        record.token = ""
        self._stalled.discard(record.id)
        if outcome.note:
            self._note(record, outcome.note)
        if isinstance(outcome, Completed):
            self._complete(record, outcome, now)
        elif isinstance(outcome, Retried):
            self._retry(record, outcome, now)
        elif isinstance(outcome, Failed):
            self._fail(record, outcome, now)
        elif isinstance(outcome, Postponed):
            record.delay = outcome.delay
            self._postpone(record, now + outcome.delay, now)
        elif isinstance(outcome, Returned):
            if outcome.hold is not None:
                self._window.hold(outcome.hold, self._real(now))
            self._put_back(record, now)
            self._emit((now, WAITING_EVENT, record.number, record.id, ACTIVE, None))
        return 0

    def _applied_before(self, outcome: Outcome, token: str) -> bool:
        """Whether the first try of a repeated exchange applied an outcome that is refused now; see Broker.exchange."""
        record = self._records.get(outcome.job_id)
        if record is None:
            return True
        if record.state is ACTIVE:
            # retried at once and started anew by that very exchange; or refused, and started by it all the same
            return record.token == token and record.attempts_made == outcome.attempts_made
        return record.attempts_started == outcome.attempt and record.attempts_made == outcome.attempts_made

    @staticmethod
    def _locked(record: Record, now: float) -> bool:
        return bool(record.token) and now < record.locked_until

    def _complete(self, record: Record, outcome: Completed, now: float) -> None:
        record.attempts_made += 1
        if outcome.value != "null":
            record.return_value = outcome.value
        if record.parent is not None:
            self._child_completed(record, outcome.value, now)
        keep = record.options.keep_completed or outcome.keep or KEEP_ALL
        self._finish(record, COMPLETED, keep, now)
        self._emit((now, COMPLETED_EVENT, record.number, record.id, ACTIVE, {"returnvalue": outcome.value}))

    def _fail(self, record: Record, outcome: Failed, now: float) -> None:
        record.attempts_made += 1
        record.failed_reason = outcome.reason
        record.deferred_failure = None
        self._add_stacktrace(record, outcome.stacktrace)
        if record.parent is not None:
            self._child_failed(record, outcome.reason, now)
        keep = record.options.keep_failed or outcome.keep or KEEP_ALL
        self._finish(record, FAILED, keep, now)
        self._emit((now, FAILED_EVENT, record.number, record.id, ACTIVE, {"failedReason": outcome.reason}))
        if record.attempts_made >= record.options.attempts:
            self._emit(
                (now, RETRIES_EXHAUSTED_EVENT, record.number, record.id, None, {"attemptsMade": record.attempts_made})
            )
        if outcome.dead_letter is not None:
            self._dead_letter(record, outcome.dead_letter, now)

    def _retry(self, record: Record, outcome: Retried, now: float) -> None:
        record.attempts_made += 1
        record.failed_reason = outcome.reason
        record.marked = True
        self._add_stacktrace(record, outcome.stacktrace)
        if outcome.history is not None:
            record.history = (*record.history, outcome.history)
        if outcome.delay > 0:
            record.delay = outcome.delay
            self._postpone(record, now + outcome.delay, now)
        else:
            if self._delayed:
                # they were due before (BullMQ 6.7)
                self._promote_due(now)
            record.ready_at = now
            self._enqueue(record, lifo=record.options.lifo)
            self._emit((now, WAITING_EVENT, record.number, record.id, ACTIVE, None))

    @staticmethod
    def _note(record: Record, row: str) -> None:
        """Append to the job's log."""
        limit = record.options.keep_logs
        rows = (*record.logs, row)
        record.logs = rows[-limit:] if limit else rows

    @staticmethod
    def _add_stacktrace(record: Record, rows: Sequence[str]) -> None:
        if rows:
            limit = record.options.stack_trace_limit
            traces = (*record.stacktrace, *rows)
            record.stacktrace = traces if limit is None else traces[max(len(traces) - limit, 0) :]

    def _dead_letter(self, record: Record, letter: DeadLetter, now: float) -> None:
        # in the same step as the failure, so that no crash comes between them
        sibling = self.sibling(letter.queue)
        record.letter = (letter.queue, str(sibling._add(NewJob(record.name, letter.data), now)))
        sibling._log.trim()

    def _finish(self, record: Record, state: JobState, keep: Keep, now: float) -> None:
        """Put a job among the finished, and evict jobs by its rule of retention. An evicted job does not free its
        deduplication id: it did so when it finished."""
        record.state = state
        record.finished_on = now
        record.marked = True
        if keep.count == 0:
            self._evict(record, now)
        else:
            finished = self._finished[state]
            finished.add(record)
            if keep.age is not None:
                for evicted in finished.pop_until(now - keep.age, keep.limit):
                    self._evict(evicted, now)
            if keep.count is not None:
                while len(finished.records) > keep.count:
                    self._evict(finished.pop_first(), now)
        if record.options.deduplication is not None:
            self._run_after(record, now)

    def _evict(self, record: Record, now: float) -> None:
        """Remove a finished job that is not kept. A parent may still wait for one that failed."""
        del self._records[record.id]
        if record.parent is not None:
            self._child_removed(record, now)

    # -- adding jobs: ids, duplicates, deduplication

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        ids = [self._add(job, now) for job in jobs]
        if len(self._log.entries) >= TRIM_AT:
            self._log.trim()
        return ids

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        for place, row in enumerate(rows, 1):
            if row.id in self.sibling(row.queue)._records:
                return place
        for row in rows:
            queue = self.sibling(row.queue)
            queue._add(row.new_job(), now, row.id, row=row)
        for name in dict.fromkeys(row.queue for row in rows):
            self.sibling(name)._trim_and_wake()
        return 0

    def _add(
        self,
        job: NewJob,
        now: float,
        job_id: str | None = None,
        *,
        tick: float | None = None,
        row: FlowRow | None = None,
    ) -> JobId:
        """Add one job.

        Args:
            job_id: the id that it was given before.
            tick: for a scheduler's job: when it is due. Its deduplication id is ignored.
            row: for a job of a flow: its parent, and whether it waits for children.
        """
        # the counter moves on for duplicates too (BullMQ 6.7)
        self._number += 1
        if job_id is None:
            job_id = job.job_id
        if job_id is None:
            job_id = str(self._number)
        elif (existing := self._records.get(job_id)) is not None:
            self._emit((now, DUPLICATED_EVENT, existing.number, existing.id, None, None))
            return ExistingId(job_id)
        deduplication = job.deduplication if tick is None else None
        if deduplication is not None:
            owner = self._deduplicate(job, deduplication, job_id, now)
            if owner is not None:
                return ExistingId(owner)
        # not before: most duplicates are dropped before anybody makes their options
        options = job.options
        timestamp = now if options.timestamp is None else options.timestamp
        record = Record(job_id, self._number, job.name, job.data, options, timestamp, WAITING, timestamp)
        if job.history:
            record.history = job.history
            record.marked = True
        self._records[job_id] = record
        if self._observer is not None:
            added = self._real(now) if timestamp == now else timestamp
            try:
                self._observer.added(record.number, job_id, job, added)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)
        self._emit((now, ADDED_EVENT, record.number, record.id, None, {"name": job.name}))
        if row is not None:
            self._join_family(record, row)
        if row is not None and row.has_children:
            self._await_children(record, now)
        elif options.delay > 0:
            self._postpone(record, timestamp + options.delay if tick is None else tick, now)
        else:
            self._enqueue(record, lifo=options.lifo)
            self._emit((now, WAITING_EVENT, record.number, record.id, None, None))
            if self._waiters:
                self._wake()
        return JobId(job_id)

    def _join_family(self, record: Record, row: FlowRow) -> None:
        # not those that observers see, which hold its id
        record.options = row.options
        record.parent, record.on_failure = row.parent, row.on_failure
        home = self._home(record)
        if home is not None:
            home.family.pending.add(JobRef(self.queue, record.id))

    def _deduplicate(self, job: NewJob, deduplication: Deduplication, job_id: str, now: float) -> str | None:
        """The id of the job that stands for this one, or None if this one is to be added."""
        holder = self._deduplications.holder(deduplication.id, now)
        owner = None if holder is None else self._records.get(holder.job_id)
        if holder is not None and owner is not None and owner.state is DELAYED and deduplication.replace:
            self._replace(owner, holder, deduplication, job_id, now)
            return None
        if holder is None or (owner is None and holder.expires is None):
            # free, or held by a job that is gone and did not free it
            self._deduplications.hold(deduplication, job_id, self._number, now)
            return None
        self._drop(job, job_id, holder, owner, deduplication, now)
        return holder.job_id

    def _drop(
        self,
        job: NewJob,
        job_id: str,
        holder: Holder,
        owner: Record | None,
        deduplication: Deduplication,
        now: float,
    ) -> None:
        """Drop a duplicate. It may still be kept to run after the owner, extend the hold, or move the owner."""
        if deduplication.keep_last_if_active and owner is not None and owner.state is ACTIVE:
            holder.next_job = (job_id, job)
            holder.expires = None
        elif deduplication.replace:
            # too late to replace it: nothing happens, without an event (BullMQ 6.7)
            return
        elif deduplication.extend and deduplication.ttl:
            holder.expires = expiry(deduplication, now)
        fields = {"deduplicationId": deduplication.id, "deduplicatedJobId": job_id}
        self._emit((now, DEDUPLICATED_EVENT, holder.number, holder.job_id, None, fields))
        if deduplication.reschedule and owner is not None and owner.state is DELAYED:
            self._take_out(owner)
            owner.delay = job.options.delay
            timestamp = now if job.options.timestamp is None else job.options.timestamp
            self._postpone(owner, timestamp + job.options.delay, now)

    def _replace(self, owner: Record, holder: Holder, deduplication: Deduplication, job_id: str, now: float) -> None:
        """Replace an owner that is still delayed. The new one gets the rest of its time unless extended."""
        self._delete(owner, now)
        fields = {"deduplicationId": deduplication.id, "deduplicatedJobId": owner.id}
        self._emit((now, DEDUPLICATED_EVENT, self._number, job_id, None, fields))
        heir = self._deduplications.hold(deduplication, job_id, self._number, now)
        if deduplication.ttl and not (deduplication.extend or deduplication.keep_last_if_active):
            heir.expires = holder.expires

    def _run_after(self, owner: Record, now: float) -> None:
        """Free the owner's deduplication id and add the duplicate that was kept to run after it, under its own id."""
        kept = self._deduplications.finished(owner, now)
        if kept is not None:
            job_id, job = kept
            self._add(replace(job, options=replace(job.options, timestamp=None)), now, job_id)

    # -- flows: what the end of a job does to its parent, which may be in another queue

    async def children(self, job_id: str) -> Children:
        record = self._records.get(job_id)
        family = None if record is None else record.family
        return (family or Family()).children()

    def _await_children(self, record: Record, now: float) -> None:
        record.state = WAITING_CHILDREN
        record.family = Family()
        self._waiting_children[record.id] = (now, record)
        self._emit((now, WAITING_CHILDREN_EVENT, record.number, record.id, None, None))

    def _home(self, record: Record) -> Home | None:
        """Where a job's parent lives; None if it has none, or that is gone."""
        if record.parent is None:
            return None
        queue = self.sibling(record.parent.queue)
        parent = queue._records.get(record.parent.id)
        return None if parent is None or parent.family is None else Home(queue, parent, parent.family)

    def _child_completed(self, record: Record, value: str, now: float) -> None:
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is not None and child in home.family.pending:
            home.family.pending.remove(child)
            home.family.values[child] = value
            if not home.family.pending:
                home.queue._release_parent(home.parent, now)

    def _child_failed(self, record: Record, reason: str, now: float) -> None:
        """The child's option `on_failure` decides; by default its parent waits for ever."""
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is None or record.on_failure == "wait" or child not in home.family.pending:
            return
        home.family.pending.remove(child)
        if record.on_failure == "fail":
            home.family.failed.add(child)
            home.queue._fail_parent(home.parent, child, now)
            return
        if record.on_failure != "remove":
            home.family.ignored[child] = reason
        if record.on_failure == "continue" or not home.family.pending:
            home.queue._release_parent(home.parent, now)

    def _release_parent(self, parent: Record, now: float) -> None:
        """Let a parent run if it waits for children."""
        if parent.state is WAITING_CHILDREN:
            self._take_out(parent)
            self._move_parent(parent, now)

    def _move_parent(self, parent: Record, now: float) -> None:
        """Let a parent run, after its own delay from now."""
        if parent.delay > 0:
            self._postpone(parent, now + parent.delay, now)
            self._trim_and_wake()
            return
        parent.ready_at = now
        # to the front of wait (BullMQ 6.7)
        self._enqueue(parent, lifo=True)
        self._emit((now, WAITING_EVENT, parent.number, parent.id, WAITING_CHILDREN, None))
        self._trim_and_wake()

    def _fail_parent(self, parent: Record, child: JobRef, now: float) -> None:
        """A child failed for good and fails its parent: as soon as a worker takes that."""
        waits = parent.state in (WAITING_CHILDREN, DELAYED)
        if waits:
            self._take_out(parent)
        if parent.state is DELAYED:
            parent.delay = 0.0
        if parent.state is not FAILED:
            parent.deferred_failure = f"child {PREFIX}:{child} failed"
            parent.marked = True
        if waits:
            self._move_parent(parent, now)

    def _child_removed(self, record: Record, now: float, *, hard: bool = False) -> None:
        """A child is gone, and its parent does not wait for it any more. A parent that waits for no other child goes to
        `wait`, whatever its priority. But if one operation removes many jobs (`hard`), a parent in their queue is
        removed too, without an event (BullMQ 6.7)."""
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is None or child not in home.family.pending:
            return
        queue, parent, family = home
        family.pending.remove(child)
        if family.pending or parent.state is not WAITING_CHILDREN:
            return
        queue._take_out(parent)
        if hard and queue is self:
            del self._records[parent.id]
            self._child_removed(parent, now, hard=True)
            self._report_removed([parent])
            return
        parent.ready_at = now
        parent.state = WAITING
        queue._wait.appendleft(parent)
        if not hard:
            queue._emit((now, WAITING_EVENT, parent.number, parent.id, WAITING_CHILDREN, None))
        queue._trim_and_wake()

    def _child_restarted(self, record: Record) -> None:
        """A child that ended runs again: its parent's record of its end is dropped. A parent that waits for children
        waits for it again; any other can't complete before it (BullMQ 6.7)."""
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is not None and home.family.forget(child):
            home.family.pending.add(child)

    def _trim_and_wake(self) -> None:
        """The end of an operation on this queue that began in another queue."""
        if len(self._log.entries) >= TRIM_AT:
            self._log.trim()
        self._wake()

    # -- job schedulers, each with one pending job at a time

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        job_id = scheduler.job_id(due)
        if (
            self._records.get(job_id) is not self._pending_of(self._schedulers.get(scheduler.id))
            and job_id in self._records
        ):
            raise JobError(job_id, SLOT_TAKEN, "schedule")
        self._remove_pending(scheduler.id, now)
        self._schedulers[scheduler.id] = replace(scheduler, iterations=1, due=due, pending=job_id)
        self._add_iteration(scheduler, job_id, due, now)
        return job_id

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        scheduler = self._schedulers.get(scheduler_id)
        if scheduler is None or scheduler.pending != job_id:
            return None
        if due is None:
            del self._schedulers[scheduler_id]
            return None
        next_id = scheduler.job_id(due)
        if next_id in self._records:
            raise JobError(next_id, SLOT_TAKEN, "schedule")
        self._schedulers[scheduler_id] = replace(
            scheduler, iterations=scheduler.iterations + 1, due=due, pending=next_id
        )
        self._add_iteration(scheduler, next_id, due, now)
        return next_id

    def _add_iteration(self, scheduler: Scheduler, job_id: str, due: float, now: float) -> None:
        # its age counts from now, also if its tick was missed
        options = replace(scheduler.options, delay=max(due - now, 0.0), timestamp=None)
        new = NewJob(scheduler.name, scheduler.data, options, Origin(OriginKind.SCHEDULER, scheduler.id), due)
        # always added: its deduplication id is stored and not applied (BullMQ 6.7)
        self._add(new, now, job_id, tick=due)
        record = self._records[job_id]
        record.scheduler_id = scheduler.id
        record.marked = True

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        return self._schedulers.get(scheduler_id)

    async def schedulers(self) -> list[Scheduler]:
        return sorted(self._schedulers.values(), key=lambda s: (math.inf if s.due is None else s.due, s.id))

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        self._remove_pending(scheduler_id, now)
        return self._schedulers.pop(scheduler_id, None) is not None

    def _remove_pending(self, scheduler_id: str, now: float) -> None:
        record = self._pending_of(self._schedulers.get(scheduler_id))
        if record is not None:
            self._delete(record, now)

    def _pending_of(self, scheduler: Scheduler | None) -> Record | None:
        """The job of a scheduler that has not started yet."""
        if scheduler is None or scheduler.pending is None:
            return None
        record = self._records.get(scheduler.pending)
        if record is None or record.token or record.state in (COMPLETED, FAILED):
            return None
        return record

    def _is_pending(self, record: Record) -> bool:
        """Whether it is the present job of a scheduler, which would stand still without it."""
        if record.scheduler_id is None:
            return False
        scheduler = self._schedulers.get(record.scheduler_id)
        return scheduler is not None and scheduler.pending == record.id

    # -- the queue: pausing, limits, removing many jobs

    async def pause(self, now: float) -> None:
        """No job starts from now on; active ones go on, delayed ones are still promoted."""
        self._paused = True
        self._emit((now, PAUSED_EVENT, 0, None, None, None))

    async def resume(self, now: float) -> None:
        self._paused = False
        self._emit((now, RESUMED_EVENT, 0, None, None, None))
        self._wake_all()

    async def is_paused(self) -> bool:
        return self._paused

    async def set_concurrency(self, limit: int | None, now: float) -> None:
        self._concurrency = limit
        self._wake_all()

    async def set_rate_limit(self, limit: RateLimit | None, now: float) -> None:
        self._rate_limit = limit
        self._wake_all()

    async def get_rate_limit(self) -> RateLimit | None:
        return self._rate_limit

    async def rate_limit(self, duration: float, now: float) -> None:
        self._window.hold(duration, now)

    async def rate_limit_ttl(self, max_jobs: int | None, now: float) -> float:
        limit = max_jobs or (self._rate_limit.max if self._rate_limit is not None else None)
        closes = self._window.closes_at(1 if limit is None else limit, now)
        return 0.0 if closes is None else closes - now

    async def clear_rate_limit(self, now: float) -> None:
        self._window.clear()
        self._wake_all()

    async def drain(self, delayed: bool, now: float) -> None:
        """Remove waiting jobs, and delayed ones if asked, except the present jobs of schedulers. There is no event
        (BullMQ 6.7)."""
        states = [WAITING, PRIORITIZED] + ([DELAYED] if delayed else [])
        records = [record for state in states for record in self._iterate(state)]
        self._take_away([record for record in records if not self._is_pending(record)], now)

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        if state not in CLEANABLE:
            raise ValueError(f"can't clean {state}: choose from {', '.join(CLEANABLE)}")
        old = [record for record in self._iterate(state) if self._is_old(record, now - grace, now)]
        if limit > 0:
            old = old[:limit]
        self._take_away(old, now)
        self._wake()
        self._emit((now, CLEANED_EVENT, 0, None, None, {"count": len(old)}))
        return [record.id for record in old]

    def _is_old(self, record: Record, before: float, now: float) -> bool:
        if record.state is ACTIVE and self._locked(record, now):
            return False
        return _last_seen(record) <= before and not self._is_pending(record)

    def _take_away(self, records: Sequence[Record], now: float) -> None:
        """Remove jobs, and free their deduplication ids, without events."""
        for record in records:
            self._take_out(record)
            del self._records[record.id]
            self._deduplications.removed(record)
        self._report_removed(records)
        for record in records:
            if record.parent is not None:
                self._child_removed(record, now, hard=True)

    async def obliterate(self, force: bool, now: float) -> None:
        if not self._paused:
            raise QueueNotPausedError(f"pause queue {self.queue} before you obliterate it")
        if self._active and not force:
            raise QueueActiveError(
                f"queue {self.queue} has {len(self._active)} active jobs: wait for them, or use force"
            )
        # parents in other queues wait in the order in which Redis removes their children: state by state
        jobs = [record for state in OBLITERATED for record in self._iterate(state)]
        children = [record for record in jobs if record.parent is not None and record.parent.queue != self.queue]
        self._report_removed(list(self._records.values()))
        self._clear()
        for record in children:
            self._child_removed(record, now, hard=True)
        self._log.clear()

    # -- looking

    async def counts(self) -> dict[JobState, int]:
        return {
            WAITING: len(self._wait),
            PRIORITIZED: self._prioritized_count,
            DELAYED: self._delayed_count,
            ACTIVE: len(self._active),
            COMPLETED: len(self._finished[COMPLETED]),
            FAILED: len(self._finished[FAILED]),
            WAITING_CHILDREN: len(self._waiting_children),
        }

    async def jobs(self, state: JobState, start: int, end: int, ascending: bool) -> list[Job]:
        records = list(self._iterate(state))
        if not ascending:
            records.reverse()
        return [self._snapshot(record) for record in records[start : None if end == -1 else end + 1]]

    async def get(self, job_id: str) -> Job | None:
        record = self._records.get(job_id)
        return None if record is None else self._snapshot(record)

    def _snapshot(self, record: Record) -> Job:
        """The job for a caller that does not hold its lock."""
        job = record.snapshot(self)
        job.token = ""
        return job

    async def state(self, job_id: str) -> JobState | None:
        record = self._records.get(job_id)
        return None if record is None else record.state

    async def logs(self, job_id: str) -> list[str]:
        record = self._records.get(job_id)
        return [] if record is None else list(record.logs)

    def _find(self, job_id: str, doing: str) -> Record:
        record = self._records.get(job_id)
        if record is None:
            raise JobError(job_id, -1, doing)
        return record

    def _iterate(self, state: JobState) -> Iterator[Record]:
        """The jobs of a state: the next to run first, or the first to have finished."""
        if state is WAITING:
            return iter(self._wait)
        if state is PRIORITIZED:
            return (entry[4] for entry in sorted(self._prioritized) if self._is_prioritized(entry))
        if state is DELAYED:
            return (entry[2] for entry in sorted(self._delayed, key=_due) if self._is_delayed(entry))
        if state is ACTIVE:
            return iter(self._active.values())
        if state is WAITING_CHILDREN:
            return (record for _, record in sorted(self._waiting_children.values(), key=_since))
        return iter(self._finished.get(state, ()))

    @staticmethod
    def _is_prioritized(entry: tuple[int, int, str, int, Record]) -> bool:
        return entry[4].entry == entry[3] and entry[4].state is PRIORITIZED

    @staticmethod
    def _is_delayed(entry: tuple[float, int, Record]) -> bool:
        return entry[2].entry == entry[1] and entry[2].state is DELAYED

    # -- single jobs

    async def update_progress(self, job_id: str, progress: str, now: float) -> None:
        record = self._find(job_id, "update the progress of")
        record.progress = progress
        record.marked = True
        self._emit((now, PROGRESS_EVENT, record.number, record.id, None, {"data": progress}))

    async def update_data(self, job_id: str, data: str, now: float) -> None:
        self._find(job_id, "update the data of").data = data

    async def log(self, job_id: str, row: str, keep: int | None, now: float) -> int:
        record = self._find(job_id, "log to")
        rows = [*record.logs, row]
        record.logs = rows if keep is None else rows[-keep:]
        return len(record.logs)

    async def retry(self, job_id: str, state: JobState, reset_attempts: bool, now: float) -> None:
        """Run a finished job again. Its attempts stay used up unless they are reset (BullMQ 6.7)."""
        record = self._find(job_id, "retry")
        if record.state is not state or state not in self._finished:
            raise JobError(job_id, NOT_ACTIVE, "retry")
        self._finished[state].remove(record)
        if reset_attempts:
            record.attempts_made = record.attempts_started = 0
        self._restart(record, now)
        self._enqueue(record, lifo=record.options.lifo)
        self._emit((now, WAITING_EVENT, record.number, record.id, state, None))
        self._wake()

    async def retry_all(self, state: JobState, before: float | None, now: float) -> int:
        """Run all jobs of a finished state again. They go to `wait` whatever their priority (BullMQ 6.7)."""
        finished = self._finished[state]
        moved = [r for r in finished if before is None or (r.finished_on or 0.0) <= before]
        for record in moved:
            finished.remove(record)
            self._restart(record, now)
            self._to_wait(record, state, now)
        self._wake_all()
        return len(moved)

    def _restart(self, record: Record, now: float) -> None:
        if record.state is FAILED:
            record.failed_reason = None
            self._drop_dead_letter(record, now)
        if record.parent is not None:
            self._child_restarted(record)
        record.finished_on = record.processed_on = record.return_value = None
        record.ready_at = now

    def _drop_dead_letter(self, record: Record, now: float) -> None:
        """Remove the dead letter of a job that runs again, if it is still there."""
        if record.letter is None:
            return
        queue, letter_id = record.letter
        record.letter = None
        sibling = self.sibling(queue)
        letter = sibling._records.get(letter_id)
        # the ids of letters start again after their queue was obliterated
        if letter is not None and letter.state is WAITING and is_letter_of(letter.data, self.queue, record.id):
            sibling._take_away([letter], now)

    def _to_wait(self, record: Record, previous: JobState, now: float) -> None:
        record.state = WAITING
        self._wait.append(record)
        self._emit((now, WAITING_EVENT, record.number, record.id, previous, None))

    async def promote(self, job_id: str, now: float) -> None:
        record = self._find(job_id, "promote")
        if record.state is not DELAYED:
            raise JobError(job_id, NOT_ACTIVE, "promote")
        self._take_out(record)
        record.delay = 0.0
        record.ready_at = now
        self._enqueue(record)
        self._emit((now, WAITING_EVENT, record.number, record.id, DELAYED, None))
        self._wake()

    async def promote_all(self, now: float) -> int:
        """Let all delayed jobs run now, whatever their priority; their `delay` stays as it was (BullMQ 6.7)."""
        records = list(self._iterate(DELAYED))
        for record in records:
            self._take_out(record)
            record.ready_at = now
            self._to_wait(record, DELAYED, now)
        self._wake_all()
        return len(records)

    async def remove(self, job_id: str, now: float) -> None:
        record = self._find(job_id, "remove")
        if record.state is ACTIVE and self._locked(record, now):
            raise JobError(job_id, LOCK_MISMATCH, "remove")
        if self._is_pending(record):
            raise JobError(job_id, OF_SCHEDULER, "remove")
        if record.parent is not None:
            self._child_removed(record, now)
        self._delete(record, now)
        self._wake()

    async def change_delay(self, job_id: str, delay: float, now: float) -> None:
        record = self._find(job_id, "change the delay of")
        if record.state is not DELAYED:
            raise JobError(job_id, NOT_ACTIVE, "change the delay of")
        self._take_out(record)
        record.delay = delay
        self._postpone(record, now + delay, now)

    async def change_priority(self, job_id: str, priority: int, lifo: bool, now: float) -> None:
        """Give a job that waits a new priority; any other job only remembers it."""
        record = self._find(job_id, "change the priority of")
        waits = record.state in (WAITING, PRIORITIZED)
        if waits:
            self._take_out(record)
        record.priority = priority
        if waits:
            if priority and lifo:
                self._prioritize(record, FIRST_OF_ITS_PRIORITY)
            else:
                self._enqueue(record, lifo=lifo)
            self._wake()

    async def release_deduplication(self, dedup_id: str, now: float) -> bool:
        return self._deduplications.release(dedup_id, now)

    # -- moves into the lists and out of them

    def _enqueue(self, record: Record, *, lifo: bool = False) -> None:
        """Let a job run: at the end of `wait` (at its front if lifo), or among the prioritized."""
        if record.priority:
            self._priority_counter += 1
            self._prioritize(record, self._priority_counter)
        else:
            record.state = WAITING
            if lifo:
                self._wait.appendleft(record)
            else:
                self._wait.append(record)

    def _put_back(self, record: Record, now: float) -> None:
        """Put a rate-limited job in front of all jobs of its own priority."""
        record.ready_at = now
        if record.priority:
            self._prioritize(record, FIRST_OF_ITS_PRIORITY)
        else:
            self._enqueue(record, lifo=True)

    def _prioritize(self, record: Record, counter: int) -> None:
        record.state = PRIORITIZED
        self._entries += 1
        record.entry = self._entries
        self._prioritized_count += 1
        heappush(self._prioritized, (record.priority, counter, record.id, record.entry, record))

    def _postpone(self, record: Record, due: float, now: float) -> None:
        """Put a job among the delayed. Jobs that are due at the same time keep their order."""
        record.state = DELAYED
        record.ready_at = due
        self._entries += 1
        record.entry = self._entries
        self._delayed_count += 1
        first = not self._delayed or due < self._delayed[0][0]
        heappush(self._delayed, (due, record.entry, record))
        self._emit((now, DELAYED_EVENT, record.number, record.id, None, {"delay": due}))
        if first:
            # workers that sleep until the former first job would sleep too long
            self._wake_all()

    def _next_due(self) -> float | None:
        """When the first delayed job is due."""
        delayed = self._delayed
        while delayed and not self._is_delayed(delayed[0]):
            heappop(delayed)
        return delayed[0][0] if delayed else None

    def _promote_due(self, now: float) -> None:
        """Let the jobs that are due run, the earliest first. `lifo` has no effect here (BullMQ 6.7)."""
        for _ in range(PROMOTED_AT_ONCE):
            due = self._next_due()
            if due is None or due > now:
                return
            record = heappop(self._delayed)[2]
            self._delayed_count -= 1
            record.delay = 0.0
            self._enqueue(record)
            self._emit((now, WAITING_EVENT, record.number, record.id, DELAYED, None))

    def _pop_next(self) -> Record | None:
        """The next job to start. `wait` goes before `prioritized`, always."""
        if self._wait:
            return self._wait.popleft()
        while self._prioritized:
            entry = heappop(self._prioritized)
            if self._is_prioritized(entry):
                self._prioritized_count -= 1
                return entry[4]
        self._priority_counter = 0
        return None

    def _take_out(self, record: Record) -> None:
        """Remove a job from the list of its state."""
        if record.state is WAITING:
            self._wait.remove(record)
        elif record.state is PRIORITIZED:
            self._prioritized_count -= 1
            record.entry = 0
        elif record.state is DELAYED:
            self._delayed_count -= 1
            record.entry = 0
        elif record.state is ACTIVE:
            del self._active[record.id]
            self._stalled.discard(record.id)
        elif record.state is WAITING_CHILDREN:
            del self._waiting_children[record.id]
        else:
            self._finished[record.state].remove(record)

    def _delete(self, record: Record, now: float) -> None:
        """Remove a job from its list, and free its deduplication id."""
        self._take_out(record)
        del self._records[record.id]
        self._deduplications.removed(record)
        self._emit((now, REMOVED_EVENT, record.number, record.id, record.state, None))

    # -- waking idle workers

    def _maxed(self) -> bool:
        return self._paused or (self._concurrency is not None and len(self._active) >= self._concurrency)

    def _has_work(self) -> bool:
        return bool(self._wait or self._prioritized_count) and not self._maxed()

    def _wake(self) -> None:
        """Wake one waiting worker if there is something to take."""
        while self._waiters and self._has_work():
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def wake_idle(self) -> None:
        """Let all waiting workers ask again, if there is work: on Redis each does so after LONGEST_WAIT seconds."""
        if self._has_work():
            self._wake_all()

    def _wake_all(self) -> None:
        while self._waiters:
            wake(self._waiters.popleft())

    # -- events and observers

    def observe(self, observer: Observer) -> None:
        """Report everything that happens from now on to `observer`."""
        self._observer = observer
        self._log.leaving = self._hand_over

    def _hand_over(self, entries: Sequence[Entry]) -> None:
        assert self._observer is not None
        self.observer_errors.call(self._observer.events, entries)

    def flush(self) -> None:
        """Hand the newest events to the observer: it gets them by the thousand."""
        self._log.flush()

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events with an id above `after`, oldest first; the newest 10 000 are kept."""
        return (await self.read_events(after, limit)).events

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        events = self._log.after(after, limit)
        return EventPage(events, not after or self._log.keeps_after(after), events[-1].id if events else after)

    def _report_removed(self, records: Iterable[Record]) -> None:
        if self._observer is not None:
            # finished jobs have ended already
            unfinished = [record.number for record in records if record.state not in (COMPLETED, FAILED)]
            self.observer_errors.call(self._observer.removed, unfinished)

    # -- for oracles: the jobs where they are, not where they say that they are

    @property
    def idle(self) -> bool:
        """No job waits, is delayed or runs."""
        return not (self._wait or self._active or self._prioritized_count or self._delayed_count)

    def census(self) -> dict[str, list[int]]:
        """The numbers of the jobs in each state's list, as often as they are in it."""
        return {state.value: self.numbers(state) for state in JobState}

    def numbers(self, state: JobState) -> list[int]:
        """The numbers of the jobs in a state."""
        return [record.number for record in self._iterate(state)]

    def stored(self) -> list[int]:
        """The numbers of all jobs that are stored."""
        return [record.number for record in self._records.values()]

    def first_due(self) -> float | None:
        """When the first delayed job is due."""
        return self._next_due()

    # -- images: what a replica holds that takes over when the server is gone

    def save(self) -> Image:
        """The state of all queues of this place. Events are not part of it: listeners have heard them. Nor are the
        counters of ids: as on a real server, no id is given twice."""
        return {name: queue._copied_state() for name, queue in self._siblings.items()}

    def restore(self, image: Image) -> None:
        """Undo everything that happened since `save`. An image can be restored once."""
        for name, queue in self._siblings.items():
            queue._become(image.get(name, {}))

    def forget(self) -> None:
        """Lose everything, as a server without persistence does when it restarts."""
        self.restore({})

    def _copied_state(self) -> dict[str, Any]:
        """The attributes that `_clear` sets, copied."""
        blank = type(self).__new__(type(self))
        blank._clear()
        # a record's own values never change in place, except a family's: a shallow copy of each will do
        copies: dict[int, Any] = {id(record): record.copy() for record in self._records.values()}
        return copy.deepcopy({name: self.__dict__[name] for name in blank.__dict__}, copies)

    def _become(self, state: dict[str, Any]) -> None:
        counters = {name: getattr(self, name) for name in LASTING_COUNTERS}
        self._clear()
        self.__dict__.update(state | counters)
        self._wake_all()


def _due(entry: tuple[float, int, Record]) -> tuple[float, int]:
    return entry[0], entry[1]


def _since(entry: tuple[float, Record]) -> tuple[float, str]:
    """Equal times go by id, as text."""
    return entry[0], entry[1].id


def _last_seen(record: Record) -> float:
    """The time from which BullMQ 6.7 counts the age of a job that it cleans."""
    if record.finished_on is not None:
        return record.finished_on
    if record.processed_on is not None and record.state is not PRIORITIZED:
        return record.processed_on
    return record.timestamp
