"""Looking after a queue in memory: pausing, limits, listing, moving and removing jobs by hand."""

from __future__ import annotations

from collections.abc import Sequence

from queuesim.broker.memory.names import (
    ACTIVE,
    CLEANED_EVENT,
    COMPLETED,
    DELAYED,
    FAILED,
    PAUSED_EVENT,
    PRIORITIZED,
    PROGRESS_EVENT,
    RESUMED_EVENT,
    WAITING,
    WAITING_CHILDREN,
    WAITING_EVENT,
)
from queuesim.broker.memory.record import Record
from queuesim.broker.memory.settling import LOCK_MISMATCH, NOT_ACTIVE, Settling
from queuesim.broker.memory.state import FIRST_OF_ITS_PRIORITY
from queuesim.deadletters import is_letter_of
from queuesim.errors import JobError, QueueActiveError, QueueNotPausedError
from queuesim.job import Job, JobState
from queuesim.limits import RateLimit

OF_SCHEDULER = -8
CLEANABLE = (COMPLETED, FAILED, WAITING, PRIORITIZED, DELAYED,
             ACTIVE)  # fmt: skip


class Managing(Settling):
    """What people and programs do to a queue from outside."""

    # -- the queue

    async def pause(self, now: float) -> None:
        """No job starts from now on; active ones go on, delayed ones are still promoted."""
        self._paused = True
        self._emit((now, PAUSED_EVENT, 0, None, None, None))

    async def resume(self, now: float) -> None:
        """Let jobs start again."""
        self._paused = False
        self._emit((now, RESUMED_EVENT, 0, None, None, None))
        self._wake_all()

    async def is_paused(self) -> bool:
        """Whether `pause` holds."""
        return self._paused

    async def set_concurrency(self, limit: int | None, now: float) -> None:
        """Limit the active jobs of all workers together."""
        self._concurrency = limit
        self._wake_all()

    async def set_rate_limit(self, limit: RateLimit | None, now: float) -> None:
        """Limit the starts of all workers together."""
        self._rate_limit = limit
        self._wake_all()

    async def get_rate_limit(self) -> RateLimit | None:
        """The rate limit over all workers, if there is one."""
        return self._rate_limit

    async def rate_limit(self, duration: float, now: float) -> None:
        """Hold all rate-limited workers for `duration` seconds."""
        self._window.hold(duration, now)

    async def rate_limit_ttl(self, max_jobs: int | None, now: float) -> float:
        """Seconds until a start is free; see Broker.rate_limit_ttl."""
        limit = max_jobs or (self._rate_limit.max if self._rate_limit is not None else None)
        closes = self._window.closes_at(1 if limit is None else limit, now)
        return 0.0 if closes is None else closes - now

    async def clear_rate_limit(self, now: float) -> None:
        """Forget the present window."""
        self._window.clear()
        self._wake_all()

    async def drain(self, delayed: bool, now: float) -> None:
        """Remove what waits, and what is delayed if asked, but not the next jobs of schedulers. No event tells of it
        (BullMQ 6.7)."""
        states = [WAITING, PRIORITIZED] + ([DELAYED] if delayed else [])
        records = [record for state in states for record in self._iterate(state)]
        self._take_away([record for record in records if not self._is_pending(record)], now)

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        """Remove old jobs of one state; locked ones stay, and the present jobs of schedulers. See Broker.clean."""
        if state not in CLEANABLE:
            raise ValueError(f"can't clean {state}: choose from {', '.join(CLEANABLE)}")
        old = [record for record in self._iterate(state) if self._is_old(record, now - grace, now)]
        if limit > 0:
            old = old[:limit]
        self._take_away(old, now)
        self._wake()
        self._emit((now, CLEANED_EVENT, 0, None, None, {"count": len(old)}))
        return [record.id for record in old]

    def _take_away(self, records: Sequence[Record], now: float) -> None:
        """Remove jobs, each with its deduplication id, and emit no event."""
        for record in records:
            self._take_out(record)
            del self._records[record.id]
            self._deduplications.removed(record)
        self._tell_removed(records)
        for record in records:
            if record.parent is not None:
                self._child_removed(record, now, hard=True)

    def _is_old(self, record: Record, before: float, now: float) -> bool:
        if record.state is ACTIVE and self._locked(record, now):
            return False
        return _last_seen(record) <= before and not self._is_pending(record)

    async def obliterate(self, force: bool, now: float) -> None:
        """Remove everything; see Broker.obliterate."""
        if not self._paused:
            raise QueueNotPausedError(f"pause queue {self.queue} before you obliterate it")
        if self._active and not force:
            raise QueueActiveError(
                f"queue {self.queue} has {len(self._active)} active jobs: wait for them, or use force"
            )
        records = list(self._records.values())
        self._tell_removed(records)
        self._clear()
        for record in records:
            if record.parent is not None and record.parent.queue != self.queue:
                self._child_removed(record, now, hard=True)
        self._log.clear()

    async def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
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
        """Jobs of a state, `start` to `end` inclusive; see Broker.jobs."""
        records = list(self._iterate(state))
        if not ascending:
            records.reverse()
        return [self._snapshot(record) for record in records[start : None if end == -1 else end + 1]]

    # -- single jobs

    def _snapshot(self, record: Record) -> Job:
        job = record.snapshot(self)  # type: ignore[arg-type]
        # whoever looks at a job does not hold it
        job.token = ""
        return job

    async def get(self, job_id: str) -> Job | None:
        """The job as it is now."""
        record = self._records.get(job_id)
        return None if record is None else self._snapshot(record)

    async def state(self, job_id: str) -> JobState | None:
        """Where the job is; None if there is no such job."""
        record = self._records.get(job_id)
        return None if record is None else record.state

    async def update_progress(self, job_id: str, progress: str, now: float) -> None:
        """Store and publish progress, as JSON text."""
        record = self._find(job_id, "update the progress of")
        record.progress = progress
        record.marked = True
        self._emit((now, PROGRESS_EVENT, record.number, record.id, None, {"data": progress}))

    async def update_data(self, job_id: str, data: str, now: float) -> None:
        """Replace the data, as JSON text."""
        self._find(job_id, "update the data of").data = data

    async def log(self, job_id: str, row: str, keep: int | None, now: float) -> int:
        """Append a row to the log; returns the length of the log."""
        record = self._find(job_id, "log to")
        rows = [*record.logs, row]
        record.logs = rows if keep is None else rows[-keep:]
        return len(record.logs)

    async def logs(self, job_id: str) -> list[str]:
        """The rows of the log, oldest first."""
        record = self._records.get(job_id)
        return [] if record is None else list(record.logs)

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
            self._settle_letter(record, now)
        if record.parent is not None:
            self._child_restarted(record)
        record.finished_on = record.processed_on = record.return_value = None
        record.ready_at = now

    def _settle_letter(self, record: Record, now: float) -> None:
        """A job that runs again needs its dead letter no more, if it is still there."""
        if record.letter is None:
            return
        queue, letter_id = record.letter
        record.letter = None
        sibling = self._open_sibling(queue)
        letter = sibling._records.get(letter_id)
        # after the letters were obliterated their ids come again
        if letter is not None and letter.state is WAITING and is_letter_of(letter.data, self.queue, record.id):
            sibling._take_away([letter], now)

    def _to_wait(self, record: Record, previous: JobState, now: float) -> None:
        record.state = WAITING
        self._wait.append(record)
        self._emit((now, WAITING_EVENT, record.number, record.id, previous, None))

    async def promote(self, job_id: str, now: float) -> None:
        """Let a delayed job run now."""
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
        """Remove a job that no worker holds."""
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
        """Give a delayed job a new delay, from now."""
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
        """Free a deduplication id by hand."""
        return self._deduplications.release(dedup_id, now)


def _last_seen(record: Record) -> float:
    """When a job was last heard of, as BullMQ 6.7 reckons the age of the jobs that it cleans."""
    if record.finished_on is not None:
        return record.finished_on
    if record.processed_on is not None and record.state is not PRIORITIZED:
        return record.processed_on
    return record.timestamp
