"""The engine in real time: the queue on a real server, the producers here, the workers in processes."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import Address, RealServer, connect, find_address
from queuesim.core.broker import Broker
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import redrives_of
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Job, JobState, number_of
from queuesim.core.processor import Processor
from queuesim.core.retry import retry_forever
from queuesim.core.worker import Worker
from queuesim.faults.base import Need
from queuesim.faults.registry import FaultEntry
from queuesim.results.recording import CheckRow, Recording, Stop, StopReason
from queuesim.runs.engine import LOOKS, Engine, Progress
from queuesim.runs.handlers import build_processor
from queuesim.runs.judging import UNFINISHED, Abort, Patience, promises
from queuesim.runs.live.faults import LiveFaults, check_faults, needs_of, spares
from queuesim.runs.live.messages import FollowedBroker, Reports, StreamFollower
from queuesim.runs.live.processes import LiveFleet, ProcessPool
from queuesim.runs.live.reconciliation import account_for, judge_live
from queuesim.runs.live.worker_process import OwnSlot, WorkerLaunch, make_worker
from queuesim.runs.live.worker_process import connect as connect_early
from queuesim.scenario.model import Overhead, Scenario
from queuesim.scenario.overdue import schedules_of
from queuesim.scenario.processors import processor_of
from queuesim.scenario.queue_settings import WorkerSettings, name_workers
from queuesim.simulation.random import Streams

if TYPE_CHECKING:
    from queuesim.brokers.redis.embedded import EmbeddedServer
    from queuesim.runs.live.scheduler_process import LiveOverdue

LOOK = 0.05
"""Seconds between two looks at the event stream, and in a drain at the queue."""
PROGRESS = 0.2
"""Seconds between two reports of the progress, and at least between two checks of the thresholds."""
PATIENCE = 300.0
"""A run without a limit on its drain ends when for this many seconds nothing moved, and nothing is due."""
ENDLESS = Patience(rounds=100, seconds=PATIENCE, total=200_000)
"""When jobs that are put off again and again make no progress."""
ROUND_LOOK = 5.0
"""Seconds between two checks whether they do."""
LAST_TRIES = 3
"""How often the queue is read at the end: a server that has just come back has forgotten our connections."""


class LiveRun(Engine):
    """Plays a scenario in real time and records it.

    The queue has a prefix of its own, so that it meets no other on the server, and is removed in the end.

    Args:
        url: of the server; None: what the environment says.
        own: a processor object. Its workers run as tasks of this process, for an object can't be handed to another one;
            a processor that the scenario names runs in processes of their own.
        named: the processor that the scenario names.
        overdue: the overdue tasks, if the scenario has some.
        private: the server, if it is the run's own.
    """

    backend = "redis"
    broker: FollowedBroker
    fleet: LiveFleet
    stream: StreamFollower

    def __init__(
        self,
        scenario: Scenario,
        url: str | None,
        *,
        seed: int,
        own: Processor | None = None,
        named: Processor | None = None,
        progress: Progress | None = None,
        abort: Abort | None = None,
        overdue: LiveOverdue | None = None,
        private: EmbeddedServer | None = None,
    ) -> None:
        # what a backend costs is real here
        scenario = scenario.model_copy(update={"overhead": Overhead()})
        streams = Streams(seed)
        processor = build_processor(scenario, own or named, streams)
        super().__init__(scenario, seed, streams, processor, own or named, progress, abort)
        address = find_address(url)
        self.url = address.url
        self.prefix = f"{{queuesim-{secrets.token_hex(4)}}}"
        self.epoch = time.time()
        self.progress_interval = PROGRESS
        self.look_interval = max(scenario.duration / LOOKS, PROGRESS)
        self.pool = ProcessPool(self._note, spares=spares(scenario.faults))
        self._own = own
        self._overdue = overdue
        self._faults = LiveFaults(scenario.faults, address, private, self.recorder.faults)
        self._reports = Reports(self.recorder, self._number_at, self._faults)
        self._workers: list[Worker] = []
        self._servers: dict[str, RealServer] = {}
        """Connections to the server of the loads and workers that have their own, by name."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ahead = 0.0
        """Seconds that the server's clock was ahead of ours at second 0."""

    @property
    def time(self) -> float:
        """Seconds since the run began."""
        return time.time() - self.epoch

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers that are tasks of this process."""
        return self._workers

    def _clock(self) -> float:
        return self.time

    # -- playing

    async def play(self) -> None:
        """Run from second 0 to the end. However it ends, what was recorded until then is there."""
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        async with AsyncExitStack() as stack:
            # compares the calendar with the server's, and so comes before this task counts from second 0
            self._server = await connect(self.url)
            set_clock(self._clock)
            stack.push_async_callback(self._faults.close)
            stack.push_async_callback(self._disconnect)
            stack.push_async_callback(self._stop_processes)
            self._directory = stack.enter_context(TemporaryDirectory(prefix="queuesim-"))
            await self._assemble(stack)
            await super().play()

    async def _assemble(self, stack: AsyncExitStack) -> None:
        """Have all processes ready before second 0: what they need to start is no part of the run."""
        if self._own is None:
            await self.pool.stand_by(sum(1 for _ in name_workers(self.scenario.workers)))
        if self._overdue is not None:
            await self._overdue.stand_by()
        base = f"{self.prefix}:{self._processor.queue}:"
        self.stream = StreamFollower(
            self._server, base, self.recorder, lambda stamp: stamp / 1000 - self.epoch - self._ahead
        )
        if self._overdue is not None:
            self.stream.reader.foreign = self._overdue.notification
        self.broker = self._broker_at(self._server)
        self.broker.observe(self.recorder)
        stack.push_async_callback(self._remove_keys)
        await self.stream.begin()
        await self._server.load_scripts()
        self._engage()
        await self._connect_clients()
        await self.fleet.prepare()

    async def _connect_clients(self) -> None:
        """Connect whoever is a task of this process and reaches the server by a way of its own."""
        loads = [] if self._faults.injector is None else [entry.name for entry in self.scenario.load]
        workers = [] if self._own is None else [launch.name for launch in self._launches]
        for name in dict.fromkeys((*loads, *workers)):
            self._servers[name] = server = RealServer(Address(await self._faults.way(name)))
            await connect_early(server)

    async def _prepare(self) -> None:
        await self._open()
        await super()._prepare()
        self._start(self._follow(), "event stream")

    async def _open(self) -> None:
        """Set the clocks: second 0 is now, here and on the server."""
        seconds, micros = await self._server.command("TIME")
        self.epoch = self.broker.origin = time.time()
        self._ahead = int(seconds) + int(micros) / 1e6 - self.epoch

    def _broker_at(self, server: RealServer) -> FollowedBroker:
        return FollowedBroker(self._processor.queue, server, self.prefix, origin=self.epoch, stream=self.stream)

    def _load_broker(self, load: str) -> Broker:
        if self._faults.injector is None:
            return cast(Broker, self.broker)
        return cast(Broker, self._faults.injector.outbox(self._broker_at(self._servers[load]), load))

    async def _start_parts(self) -> None:
        self._faults.start(self._start)
        self._start_workers()
        if self._overdue is not None:
            await self._overdue.start(
                cast(Broker, self.broker),
                self._start,
                url=self.url,
                prefix=self.prefix,
                origin=self.epoch,
                clock=self._clock,
            )

    async def _end_faults(self) -> None:
        await self._faults.end()

    def interrupt(self) -> None:
        """End the run now. Any thread may call this."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, StopReason.INTERRUPTED)

    def _launch(self, settings: WorkerSettings, name: str) -> WorkerLaunch:
        return WorkerLaunch(
            self.scenario,
            settings,
            name,
            name,
            self.url,
            self.prefix,
            self._seed,
            database=None if self._overdue is None else self._overdue.url,
            directory=self._directory,
        )

    def _engage(self) -> None:
        """Make the fleet and the faults."""
        self._launches = [self._launch(settings, name) for name, settings in name_workers(self.scenario.workers)]
        self.fleet = LiveFleet(self.pool, self._launch, self._start, self._faults.way, self.stream.held)
        if self._own is None:
            for launch in self._launches:
                self.fleet.add(launch.settings, launch.name)
        self._faults.prepare(self.fleet, self.broker, self._server, self.stream, self._producers, self._streams)

    def _start_workers(self) -> None:
        self.fleet.start(self.epoch)
        if self._own is not None:
            for launch in self._launches:
                broker = RedisBroker(self.broker.queue, self._servers[launch.name], self.prefix, origin=self.epoch)
                broker.observe(self.recorder)
                queue = cast(Broker, broker)
                worker = make_worker(launch, queue, self.recorder, self._own, self._overdue, clock=self._clock)
                self._workers.append(worker)
                self._faults.began(worker.name, self.time)
                self._start(worker.run(), worker.name)

    # -- what happens meanwhile

    async def _follow(self) -> None:
        """Follow the event stream. While the server can't be reached, nothing happens there."""
        rng = self._streams.python("watch")
        while True:
            await retry_forever(self._read, rng)
            await asyncio.sleep(LOOK)

    async def _read(self) -> None:
        """Read what is new in the event stream, and record what was reported of jobs that it tells of."""
        held = self._reports.held
        await self.stream.read()
        self._reports.record_held(held)

    def _note(self, line: bytes) -> None:
        self._reports.note(line)

    def _number_at(self, job_id: str, time: float) -> int:
        return self.stream.reader.number_at(job_id, time)

    def _number_of(self, job: Job) -> int:
        return self._number(job.id)

    def _number(self, job_id: str) -> int:
        return number_of(job_id) or self.stream.reader.numbers.get(job_id, 0)

    async def _so_far(self) -> Recording:
        left = await retry_forever(self._where_left, self._streams.python("thresholds"))
        return self.recorder.so_far(self.facts(), left)

    # -- the end

    async def _drain(self) -> None:
        began = looked = moved = self.time
        before = -1
        deadline = began + self.scenario.drain_time
        rng = self._streams.python("drain")
        while not self._over.done() and self.time < deadline:
            counts = await retry_forever(self.broker.counts, rng)
            if not any(counts[state] for state in UNFINISHED):
                return
            if self.recorder.attempt_count != before or counts[JobState.DELAYED]:
                moved, before = self.time, self.recorder.attempt_count
            elif self.time > moved + PATIENCE:
                await self._end_without_progress(moved)
            if self.time >= looked + ROUND_LOOK:
                looked = self.time
                if await retry_forever(lambda: self._goes_round(ENDLESS), rng):
                    await self._end_without_progress(self.recorder.last_progress)
            await asyncio.wait([self._over], timeout=LOOK)

        since = self.recorder.last_progress
        quiet = self.time - since >= (self.time - began) / 2
        if not self._over.done() and quiet and await retry_forever(self._stands_still, rng):
            await self._end_without_progress(since)

    async def _stands_still(self) -> bool:
        if self._own is None and not self.recorder.put_off:
            return False  # what handlers in other processes wait for is unknown
        return await super()._stands_still()

    async def _end_without_progress(self, since: float) -> None:
        stop = await self._no_progress(since)
        if not self._over.done():
            self._over.set_result(stop)

    # -- the record

    async def _close_books(self) -> None:
        self.ended = self.time
        for worker in self._workers:
            for slot, job in sorted(worker.running.items()):
                self.recorder.unfinished(worker.name, slot, job)
        # what is on now has no end, whatever undoes it
        self.recorder.faults = [replace(fault) for fault in self.recorder.faults]
        await self.fleet.close()
        await self.pool.stop()
        for part in self._parts:
            part.cancel()
        if self._parts:
            await asyncio.wait(self._parts)
        if self._overdue is not None:
            await self._overdue.stop()
        await self._read_books()
        if self._overdue is not None:
            self.recorder.scans = self._overdue.scans(self.recorder.so_far(self.facts(), {}))
        self.recorder.close()

    async def _read_books(self) -> None:
        for tries_left in reversed(range(LAST_TRIES)):
            try:
                await self.stream.read()
                self.stream.reader.report_expected()
                self._reports.record_held(self._reports.held)
                self._left = await self._where_left()
                self._evidence = await self._final_state()
                return
            except BrokerUnavailableError:
                if not tries_left:
                    raise

    async def _remove_keys(self) -> None:
        """Remove the run's keys. A server that is gone keeps what it has."""
        try:
            for name in self._queues():
                queue = self.broker.sibling(name)
                await queue.pause(0.0)
                await queue.obliterate(True, 0.0)
        except BrokerUnavailableError as error:
            self.stopped = self.stopped or Stop(StopReason.INTERRUPTED, detail=str(error))

    async def _stop_processes(self) -> None:
        await self.pool.stop()
        if self._overdue is not None:
            await self._overdue.stop()

    async def _disconnect(self) -> None:
        for server in (*self._servers.values(), self._server):
            await server.close()

    def _queues(self) -> set[str]:
        """All queues of the run."""
        name = self.broker.queue
        letters = self._processor.dead_letters
        return {name, schedules_of(name)} | (set() if letters is None else {letters, redrives_of(letters)})

    def recording(self, *, stopped: Stop | None = None, wall: float = 0.0, version: str = "") -> Recording:
        """Everything that was recorded, once the run is over."""
        recorded = super().recording(stopped=stopped, wall=wall, version=version)
        # workers in other processes went on for a moment after the clock was read
        recorded.facts = replace(recorded.facts, duration=max(recorded.facts.duration, recorded.last_moment))
        return account_for(recorded, self.fleet.kills, self._number)

    def judge(self, recording: Recording) -> list[CheckRow]:
        """What the oracles say of the run."""
        slots: list[Any] = list(self.fleet.members)
        if self._own is not None:
            slots = [OwnSlot(launch.name, launch.settings) for launch in self._launches]
        promised = promises(self.scenario, self._processor, slots, self.recorder.options)
        began = self._faults.first_beginnings()
        return judge_live(recording, promised, self._evidence, began, self.stream.reader.gaps)


DURABLE = {"appendonly": "yes", "appendfsync": "always"}
"""Directives of a server that loses nothing that it has acknowledged."""
ENVIRONMENT = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")


def record(
    scenario: Scenario,
    url: str | None,
    seed: int,
    own: Processor | None = None,
    progress: Progress | None = None,
    abort: Abort | None = None,
) -> Recording:
    """Play a scenario on a real server and return the bare recording.

    The run has a thread and an event loop of its own, so that a notebook's loop does not matter, and the caller's
    thread waits for it: Ctrl-C there ends the run, and what was recorded until then is returned.

    Raises:
        BackendError: the scenario asks for what only a simulation can do.
    """
    from queuesim import __version__

    named = None if own is not None else processor_of(scenario)
    with server(url, scenario.faults) as (address, private), _overdue(scenario, own or named, seed) as overdue:
        check_faults(scenario, private, find_address(address).url, own)
        run = LiveRun(
            scenario,
            address,
            seed=seed,
            own=own,
            named=named,
            progress=progress,
            abort=abort,
            overdue=overdue,
            private=private,
        )
        began = time.perf_counter()
        _play(run)
        recording = run.recording(wall=time.perf_counter() - began, version=__version__)
    recording.checks.extend(run.judge(recording))
    return recording


@contextmanager
def server(url: str | None, faults: Sequence[FaultEntry] = ()) -> Iterator[tuple[str | None, EmbeddedServer | None]]:
    """The server's URL: the one given, the environment's (None), or a private server's for as long as it is needed.

    A private one that a fault restarts keeps its data on disk, each write before it is acknowledged, unless the URL
    says otherwise.
    """
    from queuesim.brokers.redis.embedded import EmbeddedServer, is_embedded

    if url is None and not any(os.environ.get(name) for name in ENVIRONMENT):
        url = "embedded"
    if url is None or not is_embedded(url):
        yield url, None
        return
    defaults = DURABLE if Need.DURABLE_SERVER in needs_of(faults) else {}
    with EmbeddedServer.from_url(url, defaults) as private:
        yield private.url, private


def _overdue(
    scenario: Scenario, own: Processor | None, seed: int
) -> AbstractContextManager[LiveOverdue] | AbstractContextManager[None]:
    """The overdue tasks, if the scenario has some. Their database is an extra, so it is loaded only now."""
    if scenario.overdue is None:
        return nullcontext()
    from queuesim.runs.live.scheduler_process import overdue_tasks

    return overdue_tasks(scenario, own, seed)


def _play(run: LiveRun) -> None:
    failure: list[BaseException] = []

    def play() -> None:
        try:
            asyncio.run(run.play())
        except BaseException as error:  # noqa: BLE001 - it is raised where the run was asked for
            failure.append(error)

    thread = threading.Thread(target=play, name=f"queuesim {run.scenario.name}")
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            run.interrupt()
    if failure:
        raise failure[0]
