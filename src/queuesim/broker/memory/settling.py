"""What becomes of a job when its attempt ends: locks, retention, dead letters."""

from __future__ import annotations

from collections.abc import Sequence

from queuesim.broker.base import Completed, DeadLetter, Failed, Outcome, Postponed, Retried, Returned
from queuesim.broker.memory.adding import Adding
from queuesim.broker.memory.names import (
    ACTIVE,
    COMPLETED,
    COMPLETED_EVENT,
    FAILED,
    FAILED_EVENT,
    RETRIES_EXHAUSTED_EVENT,
    WAITING_EVENT,
)
from queuesim.broker.memory.record import Record
from queuesim.job import JobState, NewJob
from queuesim.limits import KEEP_ALL, Keep

JOB_MISSING, LOCK_MISSING, NOT_ACTIVE, LOCK_MISMATCH = -1, -2, -3, -6
PENDING_CHILDREN, FAILED_CHILDREN = -4, -9


class Settling(Adding):
    """Finish, fail, retry, postpone, return."""

    def _settle(self, outcome: Outcome, now: float) -> int:
        """Do what one outcome asks for. Returns 0, or the error code with which it is refused."""
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
        """Whether the first try of a repeated exchange applied what is refused now; see Broker.exchange."""
        record = self._records.get(outcome.job_id)
        if record is None:
            return True
        if record.state is ACTIVE:
            # retried at once and started anew by that very exchange
            return record.token == token
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
            self._bury(record, outcome.dead_letter, now)

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

    def _bury(self, record: Record, letter: DeadLetter, now: float) -> None:
        # in the same step as the failure, so that no crash comes between them
        sibling = self._open_sibling(letter.queue)
        record.letter = (letter.queue, str(sibling._add(NewJob(record.name, letter.data), now)))
        sibling._log.trim()

    def _finish(self, record: Record, state: JobState, keep: Keep, now: float) -> None:
        """Put a job among the finished and evict what retention no longer keeps.

        An evicted job does not free its deduplication id: it did so when it finished.
        """
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
