"""The workers' side of the memory broker: the exchange, locks, stalled jobs, waiting for work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from queuesim.broker.base import Completed, Failed, Outcome, Reply, Returned, Terms
from queuesim.broker.memory.log import TRIM_AT
from queuesim.broker.memory.names import ACTIVE, ACTIVE_EVENT, DRAINED_EVENT, STALLED_EVENT, WAITING, WAITING_EVENT
from queuesim.broker.memory.record import Record
from queuesim.broker.memory.settling import Settling
from queuesim.storable import storable

STALLED_TOO_OFTEN = "job stalled more than allowable limit"
"""BullMQ's wording of the failure."""


class Taking(Settling):
    """Taking jobs, and keeping them."""

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        """Hand in outcomes and take jobs; see Broker.exchange."""
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
                    # whoever is rate-limited by its handler holds, even without a limiter of its own
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
        """The jobs that the lost answer to the first try carried, in the order in which they started."""
        for record in self._active.values():
            if record.token == token and self._real(now) < record.locked_until:
                record.locked_until = self._real(now) + terms.lock_duration
                self._stalled.discard(record.id)
                reply.jobs.append(record.snapshot(self))  # type: ignore[arg-type]

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
            reply.jobs.append(record.snapshot(self))  # type: ignore[arg-type]

    def _drained(self, take: int, reply: Reply, now: float) -> None:
        """Nothing waits and nothing runs. Whoever asked for more and is told to come back later is not told so
        (BullMQ 6.7)."""
        if not take or (reply.limited_until is None and reply.next_due is None and not self._paused):
            self._emit((now, DRAINED_EVENT, 0, None, None, None))

    def _count_start(self, max_jobs: int, duration: float, now: float) -> None:
        opened = self._real(now)
        if self._window.start(duration, opened) and self._observer is not None:
            try:
                self._observer.window(opened, self._window.expires, max_jobs)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)

    def _closes_at(self, max_jobs: int, now: float) -> float | None:
        """When the present window closes, by the caller's clock; None if a start is free."""
        if self._server_now is None:
            return self._window.closes_at(max_jobs, now)
        closes = self._window.closes_at(max_jobs, self._server_now)
        if closes is None:
            return None
        # what is left of the window may be lost in rounding, and the caller would believe that it is over
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
        """Return when there may be work, or at `until`; see Broker.wait."""
        if self._has_work() or (until is not None and until <= now):
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        timer = None
        if until is not None:
            timer = loop.call_later(until - now, _release, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # it had been woken already: the job is for someone else now
                self._wake()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def renew(self, locks: Sequence[tuple[str, str]], duration: float, now: float) -> list[str]:
        """Extend locks; see Broker.renew."""
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
        """The stalled check; see Broker.recover_stalled."""
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
            # a scheduler's job is never given up for stalling, or else the scheduler would be (BullMQ 6.7)
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


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
