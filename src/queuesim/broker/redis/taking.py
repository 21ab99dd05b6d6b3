"""The workers' side of the Redis broker: the exchange, locks, stalled jobs, waiting for work."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from queuesim.broker.base import Completed, Failed, Observer, Outcome, Postponed, Reply, Retried, Returned, Terms
from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.jobs import decode_job
from queuesim.broker.redis.options import milliseconds, worker_keep
from queuesim.broker.redis.place import Argument
from queuesim.containment import log
from queuesim.job import to_json
from queuesim.storable import storable, unstorable

LOG = logging.getLogger("queuesim.broker")

LONGEST_WAIT = 5.0
"""An idle worker looks for work after so many seconds at the latest, as BullMQ's workers do (drainDelay): whoever knew
when the next delayed job is due may have died with that."""


class Taking(RedisQueue):
    """Taking jobs, and keeping them."""

    _observer: Observer | None = None

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every limiter window that an exchange of this broker opens."""
        self._observer = observer

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        """Hand in outcomes and take jobs; see Broker.exchange."""
        limiter = terms.limiter
        arguments: list[Argument] = [
            self._stamp(now),
            token,
            milliseconds(terms.lock_duration),
            "" if limiter is None else limiter.max,
            "" if limiter is None else milliseconds(limiter.duration),
            terms.worker or "",
            take,
            "1" if again else "",
        ]
        for outcome in outcomes:
            arguments += self._encoded(storable(outcome))
        limited, due, window, most, refused, rows, fault = await self._run("exchange", arguments)
        if fault:
            message = "an exchange of queue %s went on after an error of the server: %s"
            log(LOG, logging.ERROR, message, self.queue, fault)
        reply = Reply()
        reply.jobs = [decode_job(row, self, self.origin, token) for row in rows]  # type: ignore[arg-type]
        for job in reply.jobs:
            if not again or job.processed_on is None:
                # to more than the millisecond that is stored
                job.processed_on = now
                job.processed_by = terms.worker
        if limited >= 0:
            reply.limited_until = now + limited / 1000
        if due >= 0:
            reply.next_due = self._time(due)
        for i in range(0, len(refused), 2):
            reply.refuse(outcomes[refused[i]], refused[i + 1])
        if window >= 0 and self._observer is not None:
            opened = now if self.server_now is None else self.server_now
            try:
                self._observer.window(opened, opened + window / 1000, most)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)
        return reply

    def _encoded(self, outcome: Outcome) -> tuple[Argument, ...]:
        """An outcome as arguments of the script `exchange`; one that can't be encoded fails its job."""
        try:
            return self._outcome(outcome)
        except Exception as error:  # noqa: BLE001 - it concerns this job alone: its neighbours are handed in
            reason = unstorable(outcome, error)
            return self._outcome(
                Failed(
                    outcome.job_id, outcome.token, reason, attempt=outcome.attempt, attempts_made=outcome.attempts_made
                )
            )

    def _outcome(self, outcome: Outcome) -> tuple[Argument, ...]:
        """An outcome as ten arguments of the script `exchange`."""
        note = outcome.note
        head = (outcome.job_id, outcome.token, outcome.attempt, outcome.attempts_made)
        if type(outcome) is Completed:
            return ("C", *head, outcome.value, worker_keep(outcome.keep), "", "", note)
        if isinstance(outcome, Retried):
            history = "" if outcome.history is None else to_json(outcome.history)
            return ("R", *head, milliseconds(outcome.delay), outcome.reason, _rows(outcome.stacktrace), history, note)
        if isinstance(outcome, Failed):
            letter = outcome.dead_letter
            buried = "" if letter is None else to_json({"base": self._base_of(letter.queue), "data": letter.data})
            return ("F", *head, outcome.reason, worker_keep(outcome.keep), _rows(outcome.stacktrace), buried, note)
        if isinstance(outcome, Postponed):
            return ("P", *head, milliseconds(outcome.delay), "", "", "", note)
        assert isinstance(outcome, Returned)
        return ("B", *head, "" if outcome.hold is None else milliseconds(outcome.hold), "", "", "", note)

    async def wait(self, until: float | None, now: float) -> None:
        """Return when there may be work, or at `until`; see Broker.wait."""
        if until is not None and until <= now:
            return
        latest = now + LONGEST_WAIT
        await self._place.block(self._base + "marker", latest if until is None else min(until, latest), now)

    async def renew(self, locks: Sequence[tuple[str, str]], duration: float, now: float) -> list[str]:
        """Extend locks; see Broker.renew."""
        words: list[Argument] = [milliseconds(duration)]
        for lock in locks:
            words += lock
        lost: list[str] = await self._run("renew", words)
        return lost

    async def recover_stalled(self, interval: float, max_stalled: int, now: float) -> list[str]:
        """The stalled check; see Broker.recover_stalled."""
        recovered: list[str] = await self._run("recover", (self._stamp(now), milliseconds(interval), max_stalled))
        return recovered


def _rows(stacktrace: Sequence[str]) -> str:
    return json.dumps(list(stacktrace), ensure_ascii=False) if stacktrace else ""
