"""One run of a scenario in real time: its queue on a real server, its producers here, its workers in processes."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import Address, ServerPlace, connect, find_address
from queuesim.core.broker import Broker
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import redrives_of
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import JobState, number_of
from queuesim.core.processor import Processor
from queuesim.core.retry import retry_forever
from queuesim.core.worker import Worker
from queuesim.faults.registry import FaultEntry
from queuesim.oracles.run_view import Evidence
from queuesim.results.recorder import Recorder
from queuesim.results.recording import CheckRow, Facts, Recording, Stop, StopReason
from queuesim.runs.abort import Abort
from queuesim.runs.handlers import build_processor, job_options
from queuesim.runs.judging import Patience, gather, goes_round, no_progress, promises, stands_still
from queuesim.runs.live.faults import Trouble, check_faults, needs_persistence, spares
from queuesim.runs.live.messages import Reports, Watch, WatchedBroker
from queuesim.runs.live.processes import Crew, Hand, Staff
from queuesim.runs.live.reconciliation import Post, account_for, facts_of, judge_live
from queuesim.runs.live.worker_process import Orders, make_worker, own_processor
from queuesim.runs.live.worker_process import connect as connect_early
from queuesim.runs.producers import Endings, Producer
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.model import Overhead, Scenario
from queuesim.scenario.overdue import schedules_of
from queuesim.scenario.queue import WorkerSettings, name_workers
from queuesim.simulation.random import Streams

if TYPE_CHECKING:
    from queuesim.brokers.redis.embedded import EmbeddedServer
    from queuesim.runs.live.scheduler_process import LiveOverdue


LOOK = 0.05
"""Seconds between two looks at the event stream."""
PATIENCE = 300.0
"""A run that is to go on until it is drained ends when for so many seconds nothing moved, and nothing is due."""
ENDLESS = Patience(rounds=100, seconds=PATIENCE, total=200_000)
"""When jobs that are put off again and again are on their way nowhere."""
ROUND_LOOK = 5.0
"""Seconds between two looks whether they are."""
FLUSH = 10.0
"""When the faults are over, producers have so many seconds to add what they could not add before."""
LAST_TRIES = 3
"""So often are the books asked for: a server that has just come back has forgotten our connections."""
UNFINISHED = (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE)

Progress = Callable[[float, int], None]


class LiveRun:
    """Plays a scenario in real time and records it.

    The queue has a prefix of its own, so that it meets no other on the server, and is removed in the end.

    Args:
        url: of the server; None: what the environment says.
        own: a processor object. Its workers run as tasks of this process, for an object can't be handed to another one;
            a processor that the scenario names runs in processes of their own.
        overdue: the overdue tasks, if the scenario has some.
        private: the server, if it is the run's own.
    """

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
        self.scenario = scenario.model_copy(update={"overhead": Overhead()})
        address = find_address(url)
        self.url = address.url
        self.prefix = f"{{queuesim-{secrets.token_hex(4)}}}"
        self.recorder = Recorder()
        self.stopped: Stop | None = None
        self.ended: float | None = None
        self._seed = seed
        self._own = own
        self._processor = build_processor(self.scenario, own or named, Streams(seed))
        self._options = job_options(self.scenario, own or named)
        self._overdue = overdue
        self._progress = progress
        self._abort = abort
        self._endings = Endings()
        self._trouble = Trouble(self.scenario.faults, address, private, self.recorder.faults)
        self._reports = Reports(self.recorder, self._number_at, self._trouble)
        self._evidence = Evidence()
        self._workers: list[Worker] = []
        self._producers: dict[str, Producer] = {}
        self._places: dict[str, ServerPlace] = {}
        """Connections to the server of the loads and workers that have their own, by name."""
        self._parts: list[asyncio.Task[None]] = []
        self._left: dict[int, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origin = time.time()
        """Second 0, in seconds since the Unix epoch."""
        self._ahead = 0.0
        """Seconds that the server's clock was ahead of ours at second 0."""

    def _clock(self) -> float:
        """Seconds since the run began."""
        return time.time() - self._origin

    # -- playing

    async def play(self) -> None:
        """Run from second 0 to the end. However it ends, what was recorded until then is there."""
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Stop] = self._loop.create_future()
        self._place = await connect(self.url)
        set_clock(self._clock)
        with TemporaryDirectory(prefix="queuesim-") as directory:
            self._directory = directory
            try:
                await self._assemble()
                await self._open()
                try:
                    await self._play()
                finally:
                    await self._close_books()
            finally:
                await self._clear_up()
        if self._over.done() and not self._over.cancelled():
            self._over.result()

    async def _assemble(self) -> None:
        """Have all processes ready before second 0: what they need to start is no part of the run."""
        self.staff = Staff([], self._note, spares=spares(self.scenario.faults))
        if self._own is None:
            await self.staff.stand_by(sum(1 for _ in name_workers(self.scenario.workers)))
        if self._overdue is not None:
            await self._overdue.stand_by()
        base = f"{self.prefix}:{self._processor.queue}:"
        self.watch = Watch(self._place, base, self.recorder, lambda stamp: stamp / 1000 - self._origin - self._ahead)
        if self._overdue is not None:
            self.watch.chronicle.foreign = self._overdue.notification
        self.broker = self._broker_at(self._place)
        self.broker.observe(self.recorder)
        await self.watch.begin()
        await self._place.load_scripts()
        self._engage()
        await self._connect_clients()
        await self.crew.prepare()

    async def _connect_clients(self) -> None:
        """Connect whoever is a task of this process and reaches the server by a way of its own."""
        loads = [] if self._trouble.injector is None else [entry.name for entry in self.scenario.load]
        workers = [] if self._own is None else [order.name for order in self._orders]
        for name in dict.fromkeys((*loads, *workers)):
            self._places[name] = place = ServerPlace(Address(await self._trouble.way(name)))
            await connect_early(place)

    async def _open(self) -> None:
        """Set the clocks: second 0 is now, here and on the server."""
        seconds, micros = await self._place.command("TIME")
        self._origin = self.broker.origin = time.time()
        self._ahead = int(seconds) + int(micros) / 1e6 - self._origin
        self.recorder.when_ended = self._endings
        queue = self.scenario.queue
        if queue.concurrency is not None:
            await self.broker.set_concurrency(queue.concurrency, 0.0)
        if queue.rate_limit is not None:
            await self.broker.set_rate_limit(queue.rate_limit.model(), 0.0)

    def _broker_at(self, place: ServerPlace) -> WatchedBroker:
        return WatchedBroker(self._processor.queue, place, self.prefix, origin=self._origin, watch=self.watch)

    async def _play(self) -> None:
        producers = self._producers
        for entry in self.scenario.load:
            producers[entry.name] = producer = self._make_producer(entry)
            if entry.backlog is not None:
                await producer.run()
        self._start(self._follow(), "event stream")
        self._start(self._tell(), "progress")
        self._start(self._abort_when_due(), "thresholds")
        self._trouble.start(self._start)
        self._start_workers()
        await self._start_schedulers()
        loads = [
            self._start(producer.run(), f"load {name}")
            for name, producer in producers.items()
            if producer.entry.backlog is None
        ]
        await asyncio.wait([self._over], timeout=max(self.scenario.duration - self._clock(), 0.0))
        if not self._over.done() and self.scenario.drain_time:
            await self._trouble.end()
            if self.scenario.faults and loads:
                # what they could not add yet, they add now
                await asyncio.wait(loads, timeout=FLUSH)
            for task in loads:
                task.cancel()
            await self._drain()
        if self._over.done() and self._over.exception() is None:
            self.stopped = self._over.result()

    def interrupt(self) -> None:
        """End the run now. Any thread may call this."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, StopReason.INTERRUPTED)

    def _end(self, reason: StopReason, at: float | None = None, detail: str = "") -> None:
        if not self._over.done():
            self._over.set_result(Stop(reason, self._clock() if at is None else at, detail))

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a part of the run. If it fails, so does the run."""
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._note_failure)
        self._parts.append(task)
        return task

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._over.done():
            self._over.set_exception(error)

    def _make_producer(self, entry: LoadEntry) -> Producer:
        broker: Any = self.broker
        if self._trouble.injector is not None:
            broker = self._trouble.injector.outbox(self._broker_at(self._places[entry.name]), entry.name)
        return Producer(entry, self.scenario, broker, self._options, Streams(self._seed), self._endings)

    async def _start_schedulers(self) -> None:
        if self._overdue is not None:
            await self._overdue.start(
                cast(Broker, self.broker),
                self._start,
                url=self.url,
                prefix=self.prefix,
                origin=self._origin,
                clock=self._clock,
            )

    def _order(self, settings: WorkerSettings, name: str) -> Orders:
        return Orders(
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
        """Give every worker its place, and faults their hold on all of it."""
        self._orders = [self._order(settings, name) for name, settings in name_workers(self.scenario.workers)]
        self.staff.hands = [Hand(order) for order in self._orders if self._own is None]
        self.crew = Crew(self.staff, self._order, self._start, self._trouble.way, self.watch.held)
        self._trouble.prepare(self.crew, self.broker, self._place, self.watch, self._producers, Streams(self._seed))

    def _start_workers(self) -> None:
        self.crew.start(self._origin)
        if self._own is not None:
            for order in self._orders:
                broker = RedisBroker(self.broker.queue, self._places[order.name], self.prefix, origin=self._origin)
                broker.observe(self.recorder)
                queue = cast(Broker, broker)
                worker = make_worker(order, queue, self.recorder, self._own, self._overdue, clock=self._clock)
                self._workers.append(worker)
                self._trouble.began(worker.name, self._clock())
                self._start(worker.run(), worker.name)

    # -- what happens meanwhile

    async def _follow(self) -> None:
        """Follow the event stream. While the server can't be reached, nothing happens there."""
        rng = Streams(self._seed).python("watch")
        while True:
            await retry_forever(self._read, rng)
            await asyncio.sleep(LOOK)

    async def _read(self) -> None:
        """Read what is new in the event stream, and record what was reported of jobs that it tells of."""
        held = self._reports.held
        await self.watch.read()
        self._reports.record_held(held)

    def _note(self, line: bytes) -> None:
        self._reports.note(line)

    def _number_at(self, job_id: str, time: float) -> int:
        return self.watch.chronicle.number_at(job_id, time)

    def _number_of(self, job_id: str) -> int:
        return number_of(job_id) or self.watch.chronicle.numbers.get(job_id, 0)

    async def _tell(self) -> None:
        while self._progress is not None:
            self._progress(self._clock(), self.recorder.ended_count)
            await asyncio.sleep(0.2)

    async def _abort_when_due(self) -> None:
        """End the run when a threshold that can do so has failed."""
        while self._abort is not None:
            await asyncio.sleep(max(self.scenario.duration / 100, 0.2))
            if not self._abort.due(self._clock(), self.recorder.added_count + self.recorder.attempt_count):
                continue
            left = await retry_forever(self._where_left, Streams(self._seed).python("thresholds"))
            failure = self._abort.look(self.recorder.so_far(self.facts(), left))
            if failure is not None:
                self._end(StopReason.THRESHOLD, failure.at, failure.name)

    async def _drain(self) -> None:
        """Go on until every job has ended, the time for it is up, or nothing moves any more."""
        deadline = self._clock() + self.scenario.drain_time
        began = looked = self._clock()
        moved, before = began, -1
        rng = Streams(self._seed).python("drain")
        while not self._over.done() and self._clock() < deadline:
            counts = await retry_forever(self.broker.counts, rng)
            if not any(counts[state] for state in UNFINISHED):
                return
            if self.recorder.attempt_count != before or counts[JobState.DELAYED]:
                moved, before = self._clock(), self.recorder.attempt_count
            elif self._clock() > moved + PATIENCE:
                await self._end_without_progress(moved)
            if self._clock() >= looked + ROUND_LOOK:
                looked = self._clock()
                if await retry_forever(self._goes_round, rng):
                    await self._end_without_progress(self.recorder.last_progress)
            await asyncio.wait([self._over], timeout=LOOK)

        since = self.recorder.last_progress
        quiet = self._clock() - since >= (self._clock() - began) / 2
        if not self._over.done() and quiet and await retry_forever(self._stands_still, rng):
            await self._end_without_progress(since)

    async def _goes_round(self) -> bool:
        return await goes_round(
            self.broker, self.recorder, self._workers, self._clock(), ENDLESS, lambda job: self._number_of(job.id)
        )

    async def _stands_still(self) -> bool:
        if self._own is None and not self.recorder.put_off:
            return False  # what handlers in other processes wait for is unknown
        return await stands_still(
            self.broker, self.recorder, self._workers, self._clock(), lambda job: self._number_of(job.id)
        )

    async def _end_without_progress(self, since: float) -> None:
        stop = await no_progress(self.broker, self.recorder, self._workers, since, lambda job: self._number_of(job.id))
        if not self._over.done():
            self._over.set_result(stop)

    # -- the record

    async def _close_books(self) -> None:
        """Note what is unfinished, and read what was not read yet."""
        self.ended = self._clock()
        for worker in self._workers:
            for slot, job in sorted(worker.running.items()):
                self.recorder.unfinished(worker.name, slot, job)
        # what is on now has no end, whatever undoes it
        self.recorder.faults = [replace(fault) for fault in self.recorder.faults]
        if hasattr(self, "crew"):
            await self.crew.close()
        await self.staff.stop()
        for part in self._parts:
            part.cancel()
        if self._parts:
            await asyncio.wait(self._parts)
        if self._overdue is not None:
            await self._overdue.stop()
        if hasattr(self, "broker"):
            await self._read_books()
        if self._overdue is not None:
            self.recorder.scans = self._overdue.scans(self.recorder.so_far(self.facts(), {}))
        self.recorder.close()

    async def _read_books(self) -> None:
        for tries_left in reversed(range(LAST_TRIES)):
            try:
                await self.watch.read()
                self.watch.chronicle.give_up()
                self._reports.record_held(self._reports.held)
                self._left = await self._where_left()
                self._evidence = await gather(
                    self.broker, self.recorder, self._processor.dead_letters, self.watch.number_of
                )
                return
            except BrokerUnavailableError:
                if not tries_left:
                    raise

    async def _where_left(self) -> dict[int, str]:
        """Where every job is that has not ended, by its number."""
        left = dict.fromkeys(self.recorder.removed_numbers, "removed")
        for state in (*UNFINISHED, JobState.WAITING_CHILDREN):
            for job in await self.broker.jobs(state, 0, -1, True):
                left[self._number_of(job.id)] = state.value
        return left

    async def _clear_up(self) -> None:
        """Remove the run's keys, and close the place. A server that is gone keeps what it has."""
        try:
            if hasattr(self, "broker"):
                for name in self._queues():
                    queue = self.broker.sibling(name)
                    await queue.pause(0.0)
                    await queue.obliterate(True, 0.0)
        except BrokerUnavailableError as error:
            self.stopped = self.stopped or Stop(StopReason.INTERRUPTED, detail=str(error))
        finally:
            await self.staff.stop()
            if self._overdue is not None:
                await self._overdue.stop()
            for place in (*self._places.values(), self._place):
                await place.close()
            await self._trouble.close()

    def _queues(self) -> set[str]:
        """All queues of the run."""
        name = self.broker.queue
        letters = self._processor.dead_letters
        return {name, schedules_of(name)} | (set() if letters is None else {letters, redrives_of(letters)})

    def facts(self) -> Facts:
        """What was run, as far as it is known now."""
        duration = self._clock() if self.ended is None else self.ended
        return facts_of(self.scenario, self._processor, self._seed, self._origin, duration, self.stopped)

    def recording(self, *, wall: float = 0.0, version: str = "") -> Recording:
        """Everything that was recorded, once the run is over."""
        facts = replace(self.facts(), stopped=self.stopped, wall=wall, version=version)
        deaths = self.crew.deaths if hasattr(self, "crew") else []
        recorded = self.recorder.recording(facts, self._left)
        # workers in other processes went on for a moment after the clock was read
        recorded.facts = replace(facts, duration=max(facts.duration, recorded.last_moment))
        return account_for(recorded, deaths, self._number_of)

    def judge(self, recording: Recording) -> list[CheckRow]:
        """What the oracles say of the run."""
        places: list[Any] = list(self.crew.members)
        if self._own is not None:
            places = [Post(order.name, order.settings) for order in self._orders]
        promised = promises(self.scenario, self._processor, places, self.recorder)
        began = self._trouble.first_beginnings()
        return judge_live(recording, promised, self._evidence, began, self.watch.chronicle.gaps)


# -- Running a scenario in real time: the server, the loop, Ctrl-C

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

    named = None if own is not None else own_processor(scenario)
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
    defaults = DURABLE if needs_persistence(faults) else {}
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
