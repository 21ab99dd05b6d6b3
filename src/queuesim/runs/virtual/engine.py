"""One simulated run of a scenario: its queue, workers and producers, from the first job to the last."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, cast

from queuesim.core.broker import Broker
from queuesim.core.job import RUNNING_JOB, Job, JobState, RateLimit
from queuesim.core.processor import Processor
from queuesim.core.worker import Worker, WorkerObserver
from queuesim.faults.base import Plant
from queuesim.faults.network import Server
from queuesim.faults.registry import Injector
from queuesim.oracles import judge
from queuesim.oracles.run_view import Evidence
from queuesim.results.recorder import Recorder
from queuesim.results.recording import CheckRow, Facts, Recording, Refusal, Stop, StopReason
from queuesim.runs.abort import Abort
from queuesim.runs.handlers import OVERDUE, build_processor, job_options
from queuesim.runs.judging import (
    Patience,
    all_since,
    gather,
    goes_round,
    no_progress,
    promises,
    slot_tasks,
    stands_still,
    starved_since,
)
from queuesim.runs.producers import Endings, Producer
from queuesim.runs.virtual.fleet import Fleet, Member, slots_of
from queuesim.runs.virtual.slow_pickup import SlowPickup
from queuesim.runs.worker_clock import RunClockRecorder, SkewedBroker
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.model import Scenario, make_broker
from queuesim.simulation.io_guard import outside
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import is_buried
from queuesim.simulation.random import Streams
from queuesim.simulation.timers import Handle

if TYPE_CHECKING:
    from queuesim.runs.overdue import OverdueTasks


PATIENCE = 24 * 3600.0
"""A run that is to go on until it is drained, however long that takes, ends when for so many seconds no job was added,
due, started or ended."""
ENDLESS = Patience(rounds=1000, seconds=PATIENCE, total=200_000)
"""When jobs that are put off again and again are on their way nowhere."""
TOLD_AGAIN = "the drain never ends: scans tell of the same overdue tasks again and again, faster than workers do"
FLUSH = 10.0
"""When the faults are over, producers have so many seconds to add what they could not add before."""
GRACE = 60.0
"""When the run is over, cancelled handlers have so many seconds to clean up; what is left then is killed."""
LOOKS = 100
"""How often progress is told, and thresholds that can end the run are looked at."""

MOST_REFUSALS = 1000
"""Different refusals kept; the targets of further ones become OTHER_TARGET."""
OTHER_TARGET = "(other)"

MILLISECOND = 0.001

Progress = Callable[[float, int], None]
"""Told now and then: seconds simulated, jobs finished."""
Task = asyncio.Task[None]


class Simulation:
    """Plays a scenario on a loop of its own and records it.

    Args:
        backend: "sim", a queue in memory, or "fakeredis".
        own: the user's processor, if the scenario names one.
        progress: told a hundred times how far the run is.
        abort: the thresholds that can end the run; None: there are none.
    """

    def __init__(
        self,
        scenario: Scenario,
        loop: VirtualLoop,
        *,
        seed: int,
        backend: str = "sim",
        own: Processor | None = None,
        progress: Progress | None = None,
        abort: Abort | None = None,
    ) -> None:
        self.scenario = scenario
        self.loop = loop
        self.recorder = Recorder()
        self._seed = seed
        self._streams = Streams(seed)
        self._processor = build_processor(scenario, own, self._streams, loop.sleep)
        self._options = job_options(scenario, own)
        self.backend = backend
        self.broker = make_broker(backend, self._processor.queue, loop, scenario.epoch.timestamp())
        self.broker.observe(self.recorder)
        self.broker.observer_errors.when_first = self._fail
        self._refusals: dict[tuple[str, str, str], Refusal] = {}
        self._refusing = threading.Lock()
        loop.guard.on_refusal = self._note_refusal
        self._server = self._with_overhead()
        self.fleet = Fleet(scenario.workers, self._make_worker, self._start, self.broker, self.recorder)
        self._producers: dict[str, Producer] = {}
        self._overdue = self._with_overdue()
        self._injector = self._with_faults()
        self.stopped: Stop | None = None
        self.ended: float | None = None
        """When the books were closed, in virtual seconds."""
        self._progress = progress
        self._abort = abort
        self._endings = Endings()
        self._over: asyncio.Future[Stop] = loop.create_future()
        """Why the run ends early."""
        self._idle = asyncio.Event()
        """A job ended, and no other was left."""
        self._waited_for: set[tuple[int, int]] = set()
        """Attempts whose long sleep was waited for: the jobs' numbers, and the attempts'."""
        self._parts: list[Task] = []
        self._rngs: dict[str, Random] = {}
        """Each worker's, handed on from life to life."""
        self._left: dict[int, str] = {}
        self._evidence = Evidence()
        self._closed = False

    def _note_refusal(self, call: str, target: str, context: Context) -> None:
        """Real input or output was refused, maybe in a thread that a handler started."""
        job = context.get(RUNNING_JOB)
        number, job_type = (None, "") if job is None else (job.number, job.name)
        if len(self._refusals) >= MOST_REFUSALS:
            target = OTHER_TARGET
        refusal = Refusal(call, target, number, job_type, self.loop.time())
        with self._refusing:
            self._refusals.setdefault((call, target, job_type), refusal).count += 1

    def _with_overhead(self) -> Broker:
        """The queue as producers and workers see it: behind what a real server takes, if the scenario says so."""
        overhead = self.scenario.overhead
        if not (overhead.pickup or overhead.tick):
            return self.broker
        phase = overhead.phase
        if phase is None:
            phase = self._streams.python("overhead/tick").random() * overhead.tick
        return cast(Broker, SlowPickup(self.broker, overhead.pickup, overhead.tick, phase))

    def _with_overdue(self) -> OverdueTasks | None:
        """The overdue tasks, if the scenario has some. Their database is an extra, so it is loaded only now."""
        scenario = self.scenario
        if scenario.overdue is None:
            return None
        from queuesim.runs.overdue import OverdueTasks

        overdue = OverdueTasks(
            scenario.overdue,
            origin=scenario.epoch.timestamp(),
            options=self._options[OVERDUE],
            round_trip=scenario.overhead.add,
            streams=self._streams,
        )
        overdue.serve(self._processor)
        return overdue

    def _with_faults(self) -> Injector | None:
        if not self.scenario.faults:
            return None
        plant = Plant(self.broker, self.fleet, Server(), self._producers, self.recorder.faults, self._streams)
        injector = Injector(self.scenario.faults, plant)
        injector.disturb(self._processor)
        if self._overdue is not None:
            injector.disturb_overdue(self._overdue, OVERDUE)
        return injector

    # -- playing

    async def play(self) -> None:
        """Run from second 0 to the end. However it ends, what was recorded until then is there."""
        try:
            await self._prepare()
            self._start(self._watch(), "progress")
            if self._injector is not None:
                self._injector.start(self._start)
            self.fleet.start()
            if self._overdue is not None:
                self._overdue.start(self.broker, self._start, self._connected)
            producers = [
                self._start(producer.run(), f"load {name}")
                for name, producer in self._producers.items()
                if producer.entry.backlog is None
            ]
            self._start(self._abort_when_due(), "thresholds")
            await self._until_end(producers)
        finally:
            await self._close_books()
        await self._wind_down()
        if self._over.done():
            self._over.result()

    def interrupt(self) -> None:
        """End the run now. A signal handler may call this."""
        self.loop.ready.appendleft(Handle(self._end, (StopReason.INTERRUPTED,), Context()))

    def _end(self, reason: StopReason, detail: str = "", at: float | None = None) -> None:
        if not self._over.done():
            self._over.set_result(Stop(reason, self.loop.time() if at is None else at, detail))

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context | None = None) -> Task:
        """Start a part of the run. If it fails, so does the run."""
        task = self.loop.create_task(coroutine, name=name, context=context)
        task.add_done_callback(self._note_failure)
        self._parts.append(task)
        return task

    def _note_failure(self, task: Task) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """The run can't go on: a part of it failed, or its recorder did."""
        if not self._over.done():
            self._over.set_exception(error)

    async def _prepare(self) -> None:
        """What is there before the first worker starts: limits and the backlog."""
        queue = self.scenario.queue
        if self._overdue is not None:
            draw = self._streams.python("overdue/due").random
            await _unwatched(self.loop, partial(self._overdue.prepare, self.scenario.duration, draw))
        if any(entry.closed is not None for entry in self.scenario.load):
            self.recorder.when_ended = self._endings
        if queue.concurrency is not None:
            await self.broker.set_concurrency(queue.concurrency, 0.0)
        if queue.rate_limit is not None:
            await self.broker.set_rate_limit(queue.rate_limit.model(), 0.0)
        self.fleet.prepare()
        for entry in self.scenario.load:
            self._producers[entry.name] = producer = self._make_producer(entry)
            if entry.backlog is not None:
                await producer.run()

    def _connected(self, client: str) -> Broker:
        """The queue as a client of that name reaches it."""
        return self._server if self._injector is None else cast(Broker, self._injector.connect(self._server, client))

    def _make_producer(self, entry: LoadEntry) -> Producer:
        broker = self._server
        if self._injector is not None:
            broker = cast(Broker, self._injector.outbox(broker, entry.name))
        return Producer(entry, self.scenario, broker, self._options, self._streams, self._endings)

    def _make_worker(self, member: Member) -> Worker:
        settings, name = member.settings, member.name
        server: Broker = self._server
        observer: WorkerObserver = self.recorder
        clock = None
        if any(entry.kind == "worker.clock" for entry in self.scenario.faults):
            clock = member.clock
            member.records = observer = RunClockRecorder(self.recorder, clock)
            server = cast(Broker, SkewedBroker(server, clock, observer, self.broker))
        if self._injector is not None:
            server = cast(Broker, self._injector.connect(server, name))
        worker = Worker(
            self._processor,
            server,
            name=name,
            token=member.token,
            concurrency=settings.concurrency,
            limiter=None if settings.limiter is None else settings.limiter.model(),
            options=settings.options(),
            clock=clock,
            rng=self._rngs.setdefault(name, self._streams.python(f"backoff/{name}")),
            observer=observer,
        )
        worker.observer_errors.when_first = self._fail
        return worker

    # -- the end

    async def _until_end(self, producers: list[Task]) -> None:
        await asyncio.wait([self._over], timeout=self.scenario.duration)
        if not self._over.done() and self.scenario.drain_time:
            if self._injector is not None:
                await self._injector.end()
                # what they could not add yet, they add now
                if producers:
                    await asyncio.wait(producers, timeout=FLUSH)
            for task in producers:
                task.cancel()
            await self._drain()
        elif not self._over.done() and self._injector is not None:
            now, duration = self.loop.time(), self.scenario.duration
            since = await starved_since(self.broker, self.fleet, self.recorder, duration, now)
            self.stopped = None if since is None else await self._no_progress(since)
        if self._over.done() and self._over.exception() is None:
            self.stopped = self._over.result()

    async def _drain(self) -> None:
        """Go on until every job has ended, the time for it is up, or nothing moves any more."""
        self.recorder.when_ended = self._note_ended
        self.recorder.when_put_off = self._idle.set
        began, asleep = self.loop.time(), 0.0
        deadline = began + self.scenario.drain_time
        patience = PATIENCE if math.isinf(deadline) else math.inf
        # all that scans add after this they have added before: their tasks stay overdue
        again = math.inf if self.scenario.overdue is None else began + 2 * self.scenario.overdue.window
        look = again
        while not (self.broker.idle or self._over.done()):
            now, moved = self.loop.time(), await self._last_moved()
            if await goes_round(self.broker, self.recorder, self.fleet.workers, now, ENDLESS):
                self._over.set_result(await self._no_progress(self.recorder.last_progress))
            elif now >= max(moved, asleep) + patience:
                asleep = self._asleep_until()
                if asleep <= now:
                    self._over.set_result(await self._no_progress(moved))
            elif now >= look and await all_since(self.broker, again):
                self._over.set_result(Stop(StopReason.NO_PROGRESS, began, TOLD_AGAIN))
            elif now >= deadline:
                await self._judge_standstill(began, now)
                break
            else:
                # the more jobs are left, the longer it takes to look at them
                look = now + (now - began) / 4 if now >= look else look
                self._idle.clear()
                until = min(deadline, max(moved, asleep) + patience, look)
                # a new task each time: one that is done would have this loop go round without letting time move
                idle = self.loop.create_task(self._idle.wait())
                either: list[asyncio.Future[Any]] = [idle, self._over]
                await asyncio.wait(either, timeout=until - now, return_when=asyncio.FIRST_COMPLETED)
                idle.cancel()

    async def _judge_standstill(self, began: float, now: float) -> None:
        """The time to drain is up. If no job got further in it, and none ever will, say so."""
        since = self.recorder.last_progress
        if now - since >= (now - began) / 2 and await stands_still(self.broker, self.recorder, self.fleet.workers, now):
            self._over.set_result(await self._no_progress(since))

    def _asleep_until(self) -> float:
        """When the last handler wakes up that sleeps; 0: none does. Each attempt's sleep is waited for once: a handler
        that polls sleeps for ever."""
        until = 0.0
        tasks = slot_tasks(self.fleet.workers)
        for job in [job for worker in self.fleet.workers for job in worker.running.values()]:
            attempt = (job.number, job.attempts_started)
            if job.id in tasks and attempt not in self._waited_for:
                self._waited_for.add(attempt)
                until = max(until, self.loop.wakes_at(tasks[job.id]))
        return until

    async def _no_progress(self, since: float) -> Stop:
        return await no_progress(self.broker, self.recorder, self.fleet.workers, since)

    async def _last_moved(self) -> float:
        """When a job was last added, started or ended; in the future, if that is when the next delayed job is due."""
        moments = [self.recorder.last_moved]
        moments += [job.processed_on or 0.0 for worker in self.fleet.workers for job in worker.running.values()]
        moments += [job.ready_at or 0.0 for job in await self.broker.jobs(JobState.DELAYED, 0, 0, True)]
        if (held := await self.broker.rate_limit_ttl(None, self.loop.time())) > 0:
            moments.append(self.loop.time() + held)
        return max(moments)

    def _note_ended(self, job: Job) -> None:
        self._endings(job)
        if self.broker.idle:
            self._idle.set()

    async def _wind_down(self) -> None:
        """Cancel what still runs and let it clean up. What goes on regardless is killed: the run is over."""
        await _cancel([part for part in self._parts if not is_buried(part)])
        # a worker has cancelled its handlers, but not the tasks that they left behind
        present = asyncio.current_task()
        if not await _cancel([task for task in self.loop.tasks() if task is not present and not is_buried(task)]):
            self.fleet.kill_all()

    async def _watch(self) -> None:
        """Tell how far the run is."""
        step = self.scenario.duration / LOOKS
        while self._progress is not None:
            with outside():
                self._progress(self.loop.time(), self.recorder.ended_count)
            await asyncio.sleep(step)

    async def _abort_when_due(self) -> None:
        """End the run when a threshold that can do so has failed."""
        while self._abort is not None and not self._over.done():
            await asyncio.sleep(self.scenario.duration / LOOKS)
            if not self._abort.due(self.loop.time(), self.recorder.added_count + self.recorder.attempt_count):
                continue
            self.broker.flush()
            so_far = self.recorder.so_far(self.facts(), await self._where_left(), self._running())
            failure = self._abort.look(so_far)
            if failure is not None:
                self._end(StopReason.THRESHOLD, failure.name, failure.at)

    def _running(self) -> list[tuple[str, int, Job]]:
        """The attempts that are under way: worker, slot and job, with the run's times."""
        return [
            (member.name, slot, member.recorded(job)[0])
            for member in self.fleet.members
            if member.worker is not None
            for slot, job in sorted(member.worker.running.items())
        ]

    # -- the record

    async def _close_books(self) -> None:
        """Note what is unfinished, before anything that still runs is cancelled."""
        self.ended = self.loop.time()
        self.broker.flush()
        for member in self.fleet.members:
            if member.worker is not None:
                for slot, job in sorted(member.worker.running.items()):
                    await self._note_unfinished(member, slot, job)
        self._left = await self._where_left()
        if self._overdue is not None:
            self.recorder.scans = self._overdue.scans(self.recorder.so_far(self.facts(), {}))
        self._evidence = await gather(self.broker, self.recorder, self._processor.dead_letters)
        if self._overdue is not None:
            self._evidence.overdue = await self._overdue.gathered(self.broker, self.ended)
            self._overdue.store.close()
        self.recorder.close()
        self._closed = True

    async def _note_unfinished(self, member: Member, slot: int, job: Job) -> None:
        fate = None if self._injector is None else await self.fleet.fate(job)
        told, skew = member.recorded(job)
        if fate is None:
            self.recorder.unfinished(member.name, slot, told, skew)
        else:
            self.recorder.interrupted(member.name, slot, told, self.loop.time(), fate, skew)

    async def _where_left(self) -> dict[int, str]:
        """Where every job is that has not ended, by its number."""
        left = dict.fromkeys(self.recorder.removed_numbers, "removed")
        for state in JobState:
            if state in (JobState.COMPLETED, JobState.FAILED):
                continue
            if hasattr(self.broker, "numbers"):
                left.update(dict.fromkeys(self.broker.numbers(state), state.value))
            else:
                left.update({job.number: state.value for job in await self.broker.jobs(state, 0, -1, True)})
        return left

    def facts(self) -> Facts:
        """What was run, as far as it is known now."""
        scenario = self.scenario
        limiter = self._limiter()
        return Facts(
            scenario=scenario.name,
            backend=self.backend,
            seed=self._seed,
            duration=self.loop.time() if self.ended is None else self.ended,
            asked=scenario.duration,
            warmup=scenario.warmup,
            epoch=scenario.epoch.timestamp(),
            workers=sum(settings.count for settings in scenario.workers),
            concurrency=sum(
                settings.count * (settings.concurrency or self._processor.concurrency) for settings in scenario.workers
            ),
            slots=slots_of(scenario.workers, self._processor.concurrency),
            limiter=None if limiter is None else (limiter.max, limiter.duration),
            stopped=self.stopped,
            allow_io=self.loop.guard.allowed.entries,
            refusals=list(self._refusals.values()),
        )

    def _limiter(self) -> RateLimit | None:
        """The limiter of the workers, as far as they have one. Of a shared one the max goes first (BullMQ 6.7)."""
        own = next((worker.terms.limiter for worker in self.fleet.workers if worker.terms.limiter is not None), None)
        shared = self.scenario.queue.rate_limit
        if shared is None:
            return own
        return RateLimit(shared.max, shared.duration if own is None else own.duration)

    def recording(self, *, stopped: Stop | None = None, wall: float = 0.0, version: str = "") -> Recording:
        """Everything that was recorded, once the run is over."""
        facts = replace(self.facts(), stopped=stopped or self.stopped, wall=wall, version=version)
        return self.recorder.recording(facts, self._left)

    def judge(self, recording: Recording) -> list[CheckRow]:
        """What the oracles say of the run: nothing if it got stuck, so that nobody could ask the queue at its end."""
        if not self._closed:
            return []
        promised = promises(self.scenario, self._processor, self.fleet.members, self.recorder)
        promised = replace(promised, presence=self.fleet.presence)
        if self.backend != "sim":
            # keys have whole milliseconds, which is all that the second answer to one exchange can tell
            promised = replace(promised, resolution=MILLISECOND)
        return judge(recording, promised, self._evidence)


async def _unwatched(loop: VirtualLoop, work: Callable[[], None]) -> None:
    """Do something that takes long outside of any task: the watchdog interrupts tasks, for it looks after handlers."""
    done: asyncio.Future[None] = loop.create_future()

    def do() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (it reaches whoever awaits)
            done.set_exception(error)
        else:
            done.set_result(None)

    loop.call_soon(do)
    await done


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    """Cancel tasks. False if some of them still run GRACE seconds later."""
    for task in tasks:
        task.cancel()
    return not tasks or not (await asyncio.wait(tasks, timeout=GRACE))[1]
