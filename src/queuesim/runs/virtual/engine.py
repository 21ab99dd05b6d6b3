"""The engine in virtual time: the queue, the workers and the producers are coroutines on one simulated loop."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from contextvars import Context
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import LONGEST_WAIT, Broker, Outcome, Reply, Terms
from queuesim.core.clock import sleep, wake
from queuesim.core.job import RUNNING_JOB, Job, JobId, JobState, NewJob
from queuesim.core.processor import Processor
from queuesim.core.worker import Worker, WorkerObserver
from queuesim.faults.network import Server
from queuesim.faults.registry import Injector
from queuesim.faults.workers import WorkerClockSkew, WorkerWallClock
from queuesim.oracles import judge
from queuesim.results.recording import CheckRow, Facts, Recording, Refusal, Stop, StopReason
from queuesim.runs.engine import LOOKS, Engine, Progress, interruptible
from queuesim.runs.handlers import OVERDUE, build_processor, build_worker
from queuesim.runs.invariants import InvariantMonitor
from queuesim.runs.judging import Abort, Patience, all_since, promises, slot_tasks, starved_since
from queuesim.runs.lives import Lives
from queuesim.runs.virtual.fleet import Fleet, Member, VirtualFaultContext
from queuesim.runs.worker_clock import RunClockRecorder, SkewedBroker
from queuesim.scenario.model import Scenario, make_broker
from queuesim.simulation.diagnosis import Deadlock, Livelock
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.order import make_order
from queuesim.simulation.process import CURRENT, is_buried
from queuesim.simulation.random import Streams
from queuesim.simulation.runner import Calendar
from queuesim.simulation.runner import run as run_in_virtual_time
from queuesim.simulation.timers import Handle
from queuesim.simulation.watchdog import Watchdog

if TYPE_CHECKING:
    from queuesim.runs.overdue import OverdueTasks

T = TypeVar("T")

PATIENCE = 24 * 3600.0
"""A run without a limit on its drain ends when for this many seconds no job was added, due, started or ended."""
ENDLESS = Patience(rounds=1000, seconds=PATIENCE, total=200_000)
"""When jobs that are put off again and again make no progress."""
REPEATED = "the drain never ends: scans notify of the same overdue tasks again and again, faster than workers do"
GRACE = 60.0
"""Seconds that cancelled handlers have to clean up when the run is over; what is left then is killed."""

MAX_REFUSALS = 1000
"""Different refusals kept; the targets of further ones become OTHER_TARGET."""
OTHER_TARGET = "(other)"
MAX_GENERATIONS = 1_000_000
"""Maximum number of callback generations at one timestamp: about a second of real time."""
MILLISECOND = 0.001


class Simulation(Engine):
    """Plays a scenario on a loop of its own and records it.

    Args:
        backend: "sim", a queue in memory, or "fakeredis".
        own: the user's processor, if there is one: the prototype of `lives`, if these are given.
        lives: make the processor of each life of each worker.
        monitor: asks the user's invariants.
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
        lives: Lives | None = None,
        monitor: InvariantMonitor | None = None,
    ) -> None:
        streams = Streams(seed)
        processor = build_processor(scenario, own, streams, loop.sleep)
        super().__init__(scenario, seed, streams, processor, own, progress, abort)
        self.loop = loop
        self.backend = backend
        self.epoch = scenario.epoch.timestamp()
        self.progress_interval = self.look_interval = scenario.duration / LOOKS
        self.broker = make_broker(backend, processor.queue, loop, self.epoch)
        self.broker.observe(self.recorder)
        self.broker.observer_errors.when_first = self._fail
        if isinstance(self.broker, MemoryBroker):
            loop.on_hold = IdlePolls(loop, self.broker).begin
        self._over = loop.create_future()
        self._refusals: dict[tuple[str, str, str], Refusal] = {}
        self._refusing = threading.Lock()
        loop.guard.on_refusal = self._note_refusal
        self._lives = lives
        self._monitor = monitor
        if monitor is not None:
            monitor.on_violation = self._note_violation
        self._server = self._with_overhead()
        self.fleet = Fleet(scenario.workers, self._make_worker, self._start, self.broker, self.recorder)
        self._overdue = self._with_overdue()
        self.wall_ahead: dict[str, float] = {}
        """By the names of workers, how many seconds the wall clock of their handlers is ahead."""
        self._injector = self._with_faults()
        self._idle = asyncio.Event()
        """A job ended, and no other was left."""
        self._waited_for: set[tuple[int, int]] = set()
        """Attempts whose long sleep was waited for: the jobs' numbers, and the attempts'."""
        self._rngs: dict[str, Random] = {}
        """Each worker's, handed on from life to life."""
        self._closed = False

    @property
    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self.loop.time()

    @property
    def workers(self) -> Sequence[Worker]:
        """The present worker of every place in the fleet, or its last one."""
        return self.fleet.workers

    def _note_violation(self, time: float, name: str) -> None:
        self._end(StopReason.INVARIANT, name, time)

    def _note_refusal(self, call: str, target: str, context: Context) -> None:
        """Record that real input or output was refused, maybe in a thread that a handler started."""
        job = context.get(RUNNING_JOB)
        number, job_type = (None, "") if job is None else (job.number, job.name)
        if len(self._refusals) >= MAX_REFUSALS:
            target = OTHER_TARGET
        refusal = Refusal(call, target, number, job_type, self.time)
        with self._refusing:
            self._refusals.setdefault((call, target, job_type), refusal).count += 1

    def _with_overhead(self) -> Broker:
        """The queue as producers and workers see it: behind what a real server takes, if the scenario says so."""
        overhead = self.scenario.overhead
        if not (overhead.pickup or overhead.tick):
            return cast(Broker, self.broker)
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
            origin=self.epoch,
            options=self._options[OVERDUE],
            round_trip=scenario.overhead.add,
            streams=self._streams,
        )
        overdue.serve(self._processor)
        return overdue

    def _with_faults(self) -> Injector | None:
        if not self.scenario.faults:
            return None
        context = VirtualFaultContext(
            self.broker, self.fleet, Server(), self._producers, self.recorder.faults, self._streams
        )
        self.wall_ahead = context.wall_ahead
        injector = Injector(self.scenario.faults, context)
        injector.disturb(self._processor)
        if self._overdue is not None:
            injector.disturb_overdue(self._overdue, OVERDUE)
        return injector

    # -- playing

    def interrupt(self) -> None:
        """End the run now. A signal handler may call this."""
        self.loop.ready.appendleft(Handle(self._end, (StopReason.INTERRUPTED,), Context()))

    async def _prepare(self) -> None:
        if self._overdue is not None:
            draw = self._streams.python("overdue/due").random
            await _unwatched(self.loop, partial(self._overdue.prepare, self.scenario.duration, draw))
        self.fleet.prepare()
        await super()._prepare()

    async def _start_parts(self) -> None:
        if self._injector is not None:
            self._injector.start(self._start)
        self.fleet.start()
        if self._overdue is not None:
            self._overdue.start(self.broker, self._start, self._connected)

    async def _end_faults(self) -> None:
        if self._injector is not None:
            await self._injector.end()

    def _connected(self, client: str) -> Broker:
        """The queue as a client of that name reaches it."""
        return self._server if self._injector is None else cast(Broker, self._injector.connect(self._server, client))

    def _load_broker(self, load: str) -> Broker:
        return self._server if self._injector is None else cast(Broker, self._injector.outbox(self._server, load))

    def _make_worker(self, member: Member) -> Worker:
        name = member.name
        server: Broker = self._server
        observer: WorkerObserver = self.recorder
        processor = self._processor if self._lives is None else self._lives.begin(member.process, self._processor)
        clock = None
        if any(isinstance(entry.settings, WorkerClockSkew) for entry in self.scenario.faults):
            clock = member.clock
            member.records = observer = RunClockRecorder(self.recorder, clock)
            server = cast(Broker, SkewedBroker(server, clock, observer, self.broker))
        if self._injector is not None:
            server = cast(Broker, self._injector.connect(server, name))
        if self._monitor is not None:
            observer = self._monitor.observe(observer, self.loop.time)
        worker = build_worker(
            processor,
            server,
            member.settings,
            name=name,
            token=member.token,
            clock=clock,
            rng=self._rngs.setdefault(name, self._streams.python(f"backoff/{name}")),
            observer=observer,
        )
        worker.observer_errors.when_first = self._fail
        return worker

    # -- the end

    async def _starved(self) -> Stop | None:
        if self._injector is None:
            return None
        since = await starved_since(self.broker, self.fleet, self.recorder, self.scenario.duration, self.time)
        return None if since is None else await self._no_progress(since)

    async def _drain(self) -> None:
        self.recorder.when_ended = self._note_ended
        self.recorder.when_put_off = self._idle.set
        began, asleep = self.time, 0.0
        deadline = began + self.scenario.drain_time
        patience = PATIENCE if math.isinf(deadline) else math.inf
        # all that scans add after this they have added before: their tasks stay overdue
        again = math.inf if self.scenario.overdue is None else began + 2 * self.scenario.overdue.window
        look = again
        while not (self.broker.idle or self._over.done()):
            now, moved = self.time, await self._last_moved()
            if await self._goes_round(ENDLESS):
                self._over.set_result(await self._no_progress(self.recorder.last_progress))
            elif now >= max(moved, asleep) + patience:
                asleep = self._asleep_until()
                if asleep <= now:
                    self._over.set_result(await self._no_progress(moved))
            elif now >= look and await all_since(self.broker, again):
                self._over.set_result(Stop(StopReason.NO_PROGRESS, began, REPEATED))
            elif now >= deadline:
                await self._judge_standstill(began, now)
                break
            else:
                # the more jobs are left, the longer it takes to look at them
                look = now + (now - began) / 4 if now >= look else look
                await self._wait_for_change(min(deadline, max(moved, asleep) + patience, look) - now)

    async def _wait_for_change(self, timeout: float) -> None:
        self._idle.clear()
        # a new task each time: one that is done would have the drain go round without letting time move
        idle = self.loop.create_task(self._idle.wait())
        either: list[asyncio.Future[Any]] = [idle, self._over]
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()

    async def _judge_standstill(self, began: float, now: float) -> None:
        """The time to drain is up. If no job got further in it, and none ever will, say so."""
        since = self.recorder.last_progress
        if now - since >= (now - began) / 2 and await self._stands_still():
            self._over.set_result(await self._no_progress(since))

    def _asleep_until(self) -> float:
        """When the last handler wakes up that sleeps; 0: none does. Each attempt's sleep is waited for once: a handler
        that polls sleeps for ever."""
        until = 0.0
        tasks = slot_tasks(self.workers)
        for job in [job for worker in self.workers for job in worker.running.values()]:
            attempt = (job.number, job.attempts_started)
            if job.id in tasks and attempt not in self._waited_for:
                self._waited_for.add(attempt)
                until = max(until, self.loop.wakes_at(tasks[job.id]))
        return until

    async def _last_moved(self) -> float:
        """When a job was last added, started or ended; in the future, if that is when the next delayed job is due."""
        moments = [self.recorder.last_moved]
        moments += [job.processed_on or 0.0 for worker in self.workers for job in worker.running.values()]
        moments += [job.ready_at or 0.0 for job in await self.broker.jobs(JobState.DELAYED, 0, 0, True)]
        if (held := await self.broker.rate_limit_ttl(None, self.time)) > 0:
            moments.append(self.time + held)
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

    # -- the record

    async def _so_far(self) -> Recording:
        self.broker.flush()
        return self.recorder.so_far(self.facts(), await self._where_left(), self._running())

    def _running(self) -> list[tuple[str, int, Job]]:
        """The attempts that are under way: worker, slot and job, with the run's times."""
        return [
            (member.name, slot, member.recorded(job)[0])
            for member in self.fleet.members
            if member.worker is not None
            for slot, job in sorted(member.worker.running.items())
        ]

    async def _close_books(self) -> None:
        """Record what is unfinished, before anything that still runs is cancelled."""
        self.ended = self.time
        self.broker.flush()
        for member in self.fleet.members:
            if member.worker is not None:
                for slot, job in sorted(member.worker.running.items()):
                    await self._note_unfinished(member, slot, job)
        self._left = await self._where_left()
        if self._overdue is not None:
            so_far = self.recorder.so_far(self.facts(), {})
            self.recorder.scans = await _unwatched(self.loop, partial(self._overdue.scans, so_far))
        self._evidence = await self._final_state()
        if self._overdue is not None:
            gather = await self._overdue.final_state(self.broker, self.ended)
            self._evidence.overdue = await _unwatched(self.loop, gather)
            self._overdue.store.close()
        self.recorder.close()
        self._closed = True

    async def _note_unfinished(self, member: Member, slot: int, job: Job) -> None:
        fate = None if self._injector is None else await self.fleet.fate(job)
        recorded, skew = member.recorded(job)
        if fate is None:
            self.recorder.unfinished(member.name, slot, recorded, skew)
        else:
            self.recorder.interrupted(member.name, slot, recorded, self.time, fate, skew)

    async def _numbers(self, state: JobState) -> list[int]:
        # a queue in memory has them without making a Job of each
        return (
            list(self.broker.numbers(state)) if isinstance(self.broker, MemoryBroker) else await super()._numbers(state)
        )

    def facts(self) -> Facts:
        """What was run, as far as it is known now."""
        return replace(
            super().facts(), allow_io=self.loop.guard.allowed.entries, refusals=list(self._refusals.values())
        )

    def judge(self, recording: Recording) -> list[CheckRow]:
        """What the oracles say of the run: nothing if it got stuck, so that nobody could ask the queue at its end."""
        if not self._closed:
            return []
        promised = promises(self.scenario, self._processor, self.fleet.members, self.recorder.options)
        promised = replace(promised, presence=self.fleet.presence)
        if self.backend != "sim":
            # keys have whole milliseconds, which is all that the second answer to one exchange can tell
            promised = replace(promised, resolution=MILLISECOND)
        return judge(recording, promised, self._evidence)


class SlowPickup:
    """Another broker, except that who waits for work is late.

    A worker that waits for a delayed job blocks until the job is due, and Redis answers a time-out only when something
    wakes it: the next command of anybody, or its own timer, `hz` times a second (10 by default). So an idle worker
    starts a delayed job up to 100 ms late on a quiet server, and on time on a busy one.

    Args:
        broker: whom all else is left to.
        pickup: seconds from when a worker is told of work until it asks for it.
        tick: seconds between two looks of the server at its time-outs; 0: it is always on time.
        phase: when the first look is, from 0 to `tick`.
    """

    def __init__(self, broker: Broker, pickup: float, tick: float = 0.0, phase: float = 0.0) -> None:
        self._broker = broker
        self._pickup = pickup
        self._tick = tick
        self._phase = phase
        self._blocked: dict[asyncio.Future[None], float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        ids = await self._broker.add(jobs, now)
        self._look_at_timeouts(now)
        return ids

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        reply = await self._broker.exchange(outcomes, take, terms, token, now, again)
        self._look_at_timeouts(now)
        return reply

    async def wait(self, until: float | None, now: float) -> None:
        if until is None or not self._tick:
            await self._broker.wait(until, now)
        elif until > now:
            await self._block(until, now)
        await sleep(self._pickup)

    async def _block(self, until: float, now: float) -> None:
        """Wait for work, or for the server to notice that it is past `until`."""
        loop = asyncio.get_running_loop()
        noticed: asyncio.Future[None] = loop.create_future()
        work = loop.create_task(self._broker.wait(self._next_look(until), now))
        self._blocked[noticed] = until
        try:
            await asyncio.wait([work, noticed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._blocked[noticed]
            work.cancel()

    def _next_look(self, until: float) -> float:
        return self._phase + math.ceil((until - self._phase) / self._tick) * self._tick

    def _look_at_timeouts(self, now: float) -> None:
        for noticed, until in self._blocked.items():
            if until <= now:
                wake(noticed)


class IdlePolls:
    """An idle worker on Redis asks for jobs every LONGEST_WAIT seconds. On a queue in memory it waits until it is
    woken, which takes no timers. That differs only when a wake-up is lost: the worker that got it stood still, or was
    killed. So idle workers ask again while a process stands still, and once after it was killed.
    """

    def __init__(self, loop: VirtualLoop, broker: MemoryBroker) -> None:
        self._loop = loop
        self._broker = broker
        self._planned = False
        """A poll is going to happen."""
        self._stopped = False
        """A process stopped running since the last poll."""

    def begin(self) -> None:
        """A process stopped running."""
        self._stopped = True
        if not self._planned:
            self._plan()

    def _plan(self) -> None:
        self._planned = True
        # each worker polls in its own rhythm: on average one does after half of the time
        self._loop.call_later(LONGEST_WAIT / 2, self._poll, context=Context())

    def _poll(self) -> None:
        self._broker.wake_idle()
        self._planned = False
        if self._stopped or self._loop.any_frozen:
            self._plan()
        self._stopped = False


async def _unwatched(loop: VirtualLoop, work: Callable[[], T]) -> T:
    """Do something that takes long outside of any task: the watchdog interrupts tasks, for it looks after handlers."""
    done: asyncio.Future[T] = loop.create_future()

    def do() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  (it reaches whoever awaits)
            done.set_exception(error)
        else:
            done.set_result(result)

    loop.call_soon(do)
    return await done


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    """Cancel tasks. False if some of them still run GRACE seconds later."""
    for task in tasks:
        task.cancel()
    return not tasks or not (await asyncio.wait(tasks, timeout=GRACE))[1]


def record(
    scenario: Scenario,
    seed: int,
    own: Processor | None = None,
    progress: Progress | None = None,
    *,
    backend: str = "sim",
    shuffle: bool = False,
    handler_limit: float = 10.0,
    allow_io: Sequence[str] = (),
    abort: Abort | None = None,
    lives: Lives | None = None,
    monitor: InvariantMonitor | None = None,
) -> Recording:
    """Play a scenario in virtual time and return the bare recording: the oracles have judged, thresholds not yet."""
    from queuesim import __version__

    order = make_order("random" if shuffle else scenario.order, Streams(seed).python("order of tasks"))
    stopped = None
    with closing(VirtualLoop(order=order, allow_io=[*scenario.allow_io, *allow_io])) as loop:
        loop.most_generations = MAX_GENERATIONS
        # a task that a handler started does not end the program, maybe with the exit code of a run that is ok
        loop.contains_exits = True
        simulation = Simulation(
            scenario,
            loop,
            seed=seed,
            backend=backend,
            own=own,
            progress=progress,
            abort=abort,
            lives=lives,
            monitor=monitor,
        )
        began = time.perf_counter()
        recorder = simulation.recorder
        # a job that puts itself off at once, again and again, is one that holds the loop
        watchdog = Watchdog(loop, handler_limit, lambda: recorder.attempt_count - recorder.put_off_count)
        with watchdog, interruptible(simulation.interrupt), seldom_collected(), _calendar(simulation):
            try:
                run_in_virtual_time(simulation.play(), loop=loop)
            except (Deadlock, Livelock) as error:
                reason = StopReason.DEADLOCK if isinstance(error, Deadlock) else StopReason.LIVELOCK
                stopped = Stop(reason, error.time, error.detail)
        wall = time.perf_counter() - began
    recording = simulation.recording(stopped=stopped, wall=wall, version=__version__)
    recording.checks.extend(simulation.judge(recording))
    return recording


def _calendar(simulation: Simulation) -> AbstractContextManager[None]:
    """What handlers read on the wall clock: the virtual calendar, if the scenario says so or a fault needs it."""
    scenario = simulation.scenario
    if not (scenario.calendar or any(isinstance(entry.settings, WorkerWallClock) for entry in scenario.faults)):
        return nullcontext()

    def ahead() -> float:
        process = CURRENT.get(None)
        return 0.0 if process is None else simulation.wall_ahead.get(process.name, 0.0)

    return Calendar(scenario.epoch).installed(simulation.loop, ahead)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """A run makes few cycles and many short-lived objects: look for garbage less often."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
