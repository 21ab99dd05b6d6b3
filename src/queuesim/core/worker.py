"""The worker: takes jobs from a broker, runs them in its slots, renews their locks, hands in their outcomes."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from queuesim.core.broker import Broker, Outcome, Postponed, Returned, Terms
from queuesim.core.clock import Clock, clock_of, set_clock, wake
from queuesim.core.containment import Contained, log
from queuesim.core.errors import BrokerUnavailableError, JobError, NoRateLimitError
from queuesim.core.exchange import Exchanges, PipelinedExchanges
from queuesim.core.job import Job, RateLimit
from queuesim.core.processor import INCOMPLETE, Processor, attempt, judge
from queuesim.core.retry import retry_forever
from queuesim.core.scheduler import ScheduleError, advance

logger = logging.getLogger("queuesim.core.worker")

UNREADABLE = 60.0
"""Seconds by which a job is postponed if its scheduler can't be read."""
ROWS = 10
"""Rows of such a job's log that are kept."""
LONGEST_HOLD = 30.0
"""A rate-limited worker looks again after this many seconds at the latest, for delayed jobs (BullMQ 6.7)."""

SHORTEST_HOLD = 1e-6
"""Seconds. A shorter wait may be lost in rounding, and the worker would look again at the same instant, for ever."""


class WorkerObserver(Protocol):
    """Gets every attempt that ended."""

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        """An attempt ended at `ended`; `lost`: its lock was gone, so the outcome was dropped."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker keeps its jobs. The defaults are BullMQ's."""

    lock_duration: float = 30.0
    """Seconds for which a job is locked; renewed while it runs."""
    lock_renew_time: float | None = None
    """A lock is renewed when it is older than half of this; None means half of the lock's duration."""
    stalled_interval: float = 30.0
    """Seconds between checks for stalled jobs, over all workers of the queue."""
    max_stalled: int = 1
    """A job that stalled more often than this fails."""
    cancel_grace: float = 5.0
    """Seconds that handlers have to end after they are cancelled. Those that go on then are abandoned."""

    def __post_init__(self) -> None:
        for name in ("lock_duration", "lock_renew_time", "stalled_interval", "cancel_grace"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be above 0 s, not {seconds}")
        if self.max_stalled < 0:
            raise ValueError(f"max_stalled must be 0 or more, not {self.max_stalled}")


class Worker:
    """Runs a processor's jobs, up to its concurrency at a time.

    A worker speaks to its broker through exchanges: outcomes in, jobs out. A slot that finished its job takes the next
    in the same exchange. While one exchange is under way outcomes collect, and the next one carries them all. Slots
    that found nothing are filled by the worker itself, which waits for work at the broker.

    It outlives outages of its broker: whatever raises BrokerUnavailableError is tried again, for ever, with pauses that
    grow to a few seconds.

    Args:
        processor: the handlers and their rules.
        broker: the queue.
        name: written into each job that it takes: unique among a queue's workers.
        token: first part of its lock tokens, unlike that of any other worker that the queue ever had; the name if None.
        concurrency: in place of the processor's.
        limiter: the same.
        clock: seconds on the queue's clock. If None: the one of `queuesim.core.clock.set_clock`, or else the calendar
            for a queue on a real server and the running loop's time for any other.
        rng: where jitter is drawn from.
    """

    def __init__(
        self,
        processor: Processor,
        broker: Broker,
        *,
        name: str = "worker",
        token: str | None = None,
        concurrency: int | None = None,
        limiter: RateLimit | None = None,
        options: WorkerOptions | None = None,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
        observer: WorkerObserver | None = None,
    ) -> None:
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
        self.processor = processor
        self.broker = broker
        self.name = name
        self.concurrency = concurrency or processor.concurrency
        self.options = options or WorkerOptions()
        self.terms = Terms(self.options.lock_duration, limiter or processor.limiter, name)
        self.running: dict[int, Job] = {}
        """The job in each busy slot."""
        self.stalled = 0
        """Jobs of any worker that this one found stalled and put back."""
        self.abandoned: dict[int, Job] = {}
        """By slot, the jobs whose handlers went on after they were cancelled, when the worker ended. They keep running
        until the program ends, without a lock."""
        self._token = token or name
        self._clock = clock
        self._rng = rng or random.Random(name)
        self._observer = observer
        self.observer_errors = Contained(f"the observer of worker {name!r}")
        self._vacant = list(range(self.concurrency))
        self._vacancy = asyncio.Event()
        self._vacancy.set()
        self._closing = False
        self._taking = False
        self._upkeep: list[asyncio.Task[None]] = []
        self._slot_names = [f"{name}: slot {slot}" for slot in range(self.concurrency)]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """The task of each slot that ever had a job."""
        self._parked: dict[int, asyncio.Future[Job | None]] = {}
        """Where the task of each vacant slot waits for its next job; None lets it end."""
        self._renewed: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<Worker {self.name!r} on {self.broker.queue!r} running {len(self.running)} of {self.concurrency}>"

    # -- life

    async def run(self) -> None:
        """Work until `close`. Cancelling it cancels the running handlers too: their jobs stall and are recovered.

        A handler that goes on after it was cancelled, for `WorkerOptions.cancel_grace`, is abandoned: see `abandoned`.
        """
        self._set_clock()
        self._exchanges = self._make_exchanges()
        if self._closing:
            return
        try:
            async with asyncio.TaskGroup() as upkeep:
                self._filling = upkeep.create_task(self._fill_slots(), name=f"{self.name}: fill slots")
                self._upkeep = [
                    self._filling,
                    upkeep.create_task(self._renew_locks(), name=f"{self.name}: renew locks"),
                    upkeep.create_task(self._check_stalled(), name=f"{self.name}: check stalled"),
                ]
                if self._own_clock:
                    self._upkeep.append(upkeep.create_task(self._compare_clock(), name=f"{self.name}: compare clocks"))
        finally:
            # a handler that outlives its cancellation is not given another job
            self._closing = True
            self._exchanges.stop()
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=self.options.cancel_grace)
                self._abandon()

    def _set_clock(self) -> None:
        default: Clock | None = getattr(self.broker, "clock", None)
        clock = self._clock or clock_of(self.broker)
        self._loop_time = clock is None
        self._now = clock or asyncio.get_running_loop().time
        self._own_clock = default is not None and clock != default
        """On a real server, but not by the calendar of the place."""
        if default is not None and clock == default:
            # handlers go by it too
            set_clock(clock)

    async def _compare_clock(self) -> None:
        compare = getattr(self.broker, "compare_clock", None)
        if compare is not None:
            # a server that refuses TIME is no reason to end
            with suppress(BrokerUnavailableError):
                await compare(self._now)

    def _abandon(self) -> None:
        """The handlers that still run swallow their cancellation. Nobody waits for them."""
        self.abandoned = {slot: self.running[slot] for slot in self._tasks if slot in self.running}
        if self.abandoned:
            message = "worker %s abandons %s: after %g s their handlers still run, though they were cancelled"
            jobs = ", ".join(f"job {job.id} ({job.name})" for job in self.abandoned.values())
            log(logger, logging.ERROR, message, self.name, jobs, self.options.cancel_grace)

    def _make_exchanges(self) -> Exchanges:
        arguments = self.broker, self.terms, self._token, self._now, self._rng
        # while a server works at one exchange, the worker can prepare another
        most = min(getattr(self.broker, "max_in_flight", 1), self.concurrency)
        if most == 1:
            return Exchanges(*arguments)
        return PipelinedExchanges(*arguments, max_in_flight=most, concurrency=self.concurrency)

    async def close(self, timeout: float | None = None) -> bool:
        """Take no more jobs and wait for those that run; after `timeout` seconds, cancel them.

        Returns:
            True if all running jobs ended by themselves.
        """
        self._closing = True
        if not self._upkeep:
            return True
        if not self._taking:
            self._filling.cancel()
        try:
            async with asyncio.timeout(timeout):
                # an exchange that is under way may still bring jobs
                await asyncio.wait([self._filling])
                self._end_vacant_slots()
                if self._tasks:
                    await asyncio.wait(self._tasks.values())
            return True
        except TimeoutError:
            return False
        finally:
            for task in self._upkeep:
                task.cancel()

    # -- slots

    def slot_task(self, slot: int) -> asyncio.Task[None] | None:
        """The task in which a busy slot's handler runs, for diagnosis."""
        return self._tasks.get(slot)

    async def _fill_slots(self) -> None:
        """Put jobs into vacant slots whenever there may be some."""
        exchanges = self._exchanges
        while True:
            await self._vacancy.wait()
            now = self._now()
            held = exchanges.resumes()
            if held is not None and held > now:
                await self._hold(held, now)
            elif exchanges.empty:
                await retry_forever(lambda: self.broker.wait(exchanges.next_due, self._now()), self._rng)
            if self._closing or not await self._take():
                return

    async def _take(self) -> bool:
        """Fill the vacant slots, as far as there are jobs. False if that was the last time."""
        if self._vacant:
            self._taking = True
            for job in await self._exchanges.exchange([], len(self._vacant)):
                self._start(job)
            self._taking = False
        return not self._closing

    def _start(self, job: Job) -> None:
        slot = heappop(self._vacant)
        if not self._vacant:
            self._vacancy.clear()
        parked = self._parked.pop(slot, None)
        if parked is not None:
            parked.set_result(job)
            return
        self._tasks[slot] = asyncio.get_running_loop().create_task(self._work(slot, job), name=self._slot_names[slot])

    def _park(self, slot: int) -> asyncio.Future[Job | None]:
        """The slot is vacant: wait here for its next job. To wake a task takes half as long as to start one."""
        del self.running[slot]
        self._vacate(slot)
        self._parked[slot] = parked = asyncio.get_running_loop().create_future()
        return parked

    def _vacate(self, slot: int) -> None:
        self._renewed.pop(slot, None)
        heappush(self._vacant, slot)
        self._vacancy.set()

    def _end_vacant_slots(self) -> None:
        for parked in self._parked.values():
            wake(parked)
        self._parked.clear()

    async def _work(self, slot: int, job: Job | None) -> None:
        """One slot: job after job, until the worker closes."""
        observer, exchanges = self._observer, self._exchanges
        try:
            while job is not None:
                self.running[slot] = job
                postponed = None if job.scheduler_id is None else await self._advance(job)
                outcome = postponed or await attempt(self.processor, job, self._rng)
                if type(outcome) is Returned and outcome.hold is None:
                    outcome = await self._unless_unlimited(job, outcome)
                ended = self._now()
                jobs = await exchanges.exchange([outcome], 0 if self._closing else 1)
                refusal = exchanges.refusal(outcome)
                if refusal in INCOMPLETE:
                    outcome = judge(self.processor, job, INCOMPLETE[refusal](job.id), self._rng)
                    # the slot may have got its next job in the exchange before
                    jobs += await exchanges.exchange([outcome], 0 if jobs or self._closing else 1)
                    refusal = exchanges.refusal(outcome)
                if observer is not None:
                    try:
                        observer.attempt(self.name, slot, job, ended, outcome, refusal != 0)
                    except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                        self.observer_errors.raised(error)
                if jobs:
                    job = jobs[0]
                elif self._closing:
                    break
                else:
                    job = await self._park(slot)
        finally:
            del self._tasks[slot]
            if self._parked.pop(slot, None) is None and self.running.pop(slot, None) is not None:
                # the handler cancelled its own task: that is the end of this attempt, not of the slot
                self._vacate(slot)

    async def _advance(self, job: Job) -> Postponed | None:
        """Add the job that follows this one of a scheduler. If what is stored of the scheduler can't be read, this job
        is put off: to run it would end the scheduler, with all that is known of it."""
        try:
            await retry_forever(lambda: advance(self.broker, job, self._now()), self._rng)
        except ScheduleError as error:
            message = f"put off by {UNREADABLE:g} s: {error}. Mend the scheduler, or upsert it"
            log(logger, logging.ERROR, "queue %s: job %s is %s", self.broker.queue, job.id, message)
            with suppress(JobError):
                await retry_forever(lambda: self.broker.log(job.id, message, ROWS, self._now()), self._rng)
            started, made = job.attempts_started, job.attempts_made
            return Postponed(job.id, job.token, UNREADABLE, attempt=started, attempts_made=made)
        return None

    async def _unless_unlimited(self, job: Job, outcome: Returned) -> Outcome:
        """The outcome of a job whose handler raised RateLimitError without a duration. Without any rate limit the job
        would start again at once, for ever: then the attempt fails."""
        if self.terms.limiter is not None or await retry_forever(self.broker.get_rate_limit, self._rng) is not None:
            return outcome
        # the handler may have called Queue.rate_limit
        if await retry_forever(lambda: self.broker.rate_limit_ttl(None, self._now()), self._rng) > 0:
            return outcome
        return judge(self.processor, job, NoRateLimitError(), self._rng)

    # -- upkeep

    async def _renew_locks(self) -> None:
        """Renew every lock that is older than half of the renew time (BullMQ 6.7)."""
        every = (self.options.lock_renew_time or self.options.lock_duration / 2) / 2
        while True:
            await self._sleep(every)
            await retry_forever(lambda: self._renew_old(every), self._rng)

    async def _renew_old(self, age: float) -> None:
        now = self._now()
        old = {
            slot: job
            for slot, job in self.running.items()
            if max(job.processed_on or 0.0, self._renewed.get(slot, 0.0)) <= now - age
        }
        if old:
            locks = [(job.id, job.token) for job in old.values()]
            await self.broker.renew(locks, self.options.lock_duration, now)
            self._renewed.update(dict.fromkeys(old, now))

    async def _check_stalled(self) -> None:
        interval, most = self.options.stalled_interval, self.options.max_stalled
        while True:
            found = await retry_forever(lambda: self.broker.recover_stalled(interval, most, self._now()), self._rng)
            self.stalled += len(found)
            await self._sleep(interval)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _hold(self, until: float, now: float) -> None:
        """Wait until a start is free, or for so long that it is time to look at the delayed jobs again."""
        if not self._loop_time or until - now > LONGEST_HOLD:
            await self._sleep(max(min(until - now, LONGEST_HOLD), SHORTEST_HOLD))
            return
        # asyncio.sleep(until - now) may end a rounding error earlier, and the worker would then be late
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(until, wake, over)
        try:
            await over
        finally:
            timer.cancel()
