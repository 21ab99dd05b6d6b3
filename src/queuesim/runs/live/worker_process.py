"""One worker of a live run, as a process of its own: ``python -m queuesim.runs.live.worker_process``.

It reads its launch from standard input, a pickled WorkerLaunch behind its length, and works until that ends or says
stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.scripts import names
from queuesim.brokers.redis.server import Address, RealServer
from queuesim.core.broker import Broker, Observer
from queuesim.core.clock import set_clock, wake
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.processor import Processor
from queuesim.core.worker import Worker, WorkerObserver
from queuesim.faults.base import AttemptHook, Deadly, Fault, FaultContext, FleetSlot, disturb
from queuesim.faults.network import Server
from queuesim.faults.registry import bind
from queuesim.runs.handlers import build_processor, build_worker
from queuesim.runs.live.messages import LENGTH, READY, Reporter
from queuesim.runs.worker_clock import RunClockRecorder, SkewedBroker, WorkerClock
from queuesim.scenario.model import Scenario
from queuesim.scenario.processors import processor_of
from queuesim.scenario.queue_settings import WorkerSettings
from queuesim.simulation.process import CURRENT
from queuesim.simulation.random import Streams

if TYPE_CHECKING:
    from queuesim.runs.overdue import OverdueStore


# -- ControlChannel: what a worker's process is told by the run that started it, a line of JSON each on standard input

STDIN = 0


class ControlChannel(asyncio.Protocol):
    """Handles commands until standard input ends. ``["block"]`` holds the event loop until ``["unblock"]``.

    Args:
        handlers: what to do, by the first word of a line; called with the others.
    """

    def __init__(self, handlers: Mapping[str, Callable[..., object]]) -> None:
        self.over = asyncio.get_running_loop().create_future()
        """Done when the run is over, or whoever started this process has died."""
        self._handlers = handlers
        self._received = b""
        self._blocks = 0

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._understand(data)
        # as a handler would that waits without await: nothing else runs until the word comes
        while self._blocks and not self.over.done():
            select.select([STDIN], [], [])
            more = os.read(STDIN, 65536)
            if not more:
                self._end()
            self._understand(more)

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end()

    def _end(self) -> None:
        wake(self.over)

    def _understand(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            word, *more = json.loads(line)
            if word == "block":
                self._blocks += 1
            elif word == "unblock":
                self._blocks -= 1
            else:
                self._handlers[word](*more)


async def listen(handlers: Mapping[str, Callable[..., Any]]) -> asyncio.Future[None]:
    """Begin to listen. The future is done when the run is over."""
    channel = ControlChannel(handlers)
    await asyncio.get_running_loop().connect_read_pipe(lambda: channel, sys.stdin)
    return channel.over


# -- The faults of a scenario that act inside of a worker's process, around its handlers


@dataclass(frozen=True, slots=True)
class OwnSlot:
    """A worker of this process, as faults and oracles see it."""

    name: str
    settings: WorkerSettings
    joined: float = 0.0
    process: None = None


class InProcessFaultContext(FaultContext):
    """A run as the faults see it that act inside of one worker.

    Args:
        broker: the queue, as this worker reaches it.
        streams: this worker's own.
    """

    live = True

    def __init__(self, launch: WorkerLaunch, broker: Any, reporter: Reporter, streams: Streams) -> None:
        # the other workers are in other processes
        super().__init__(broker, None, Server(), {}, [], streams)
        self.shared_streams = Streams(launch.seed)
        self.directory = Path(launch.directory)
        self._slot = OwnSlot(launch.name, launch.settings)
        self._reporter = reporter

    def candidates(self) -> list[Any]:
        return [self._slot]

    def here(self) -> Any:
        return self._slot

    def kill_here(self, fault: Deadly, slot: FleetSlot) -> None:
        """Kill this process, and report before which fault did it."""
        self._reporter.died(slot.name, fault.number)
        os.kill(os.getpid(), signal.SIGKILL)

    def note_active(self, fault: Fault) -> None:
        """The run says when a fault begins and ends."""

    def note_struck(self, fault: Fault) -> None:
        self._reporter.struck(fault.number)


class InProcessFaults:
    """All faults inside of one worker. They are on when the run says so."""

    def __init__(self, launch: WorkerLaunch, broker: Any, reporter: Reporter, streams: Streams) -> None:
        context = InProcessFaultContext(launch, broker, reporter, streams)
        hooks = bind(launch.scenario.faults, context, AttemptHook)
        self._faults = {hook.number: hook for hook in hooks}
        for number in launch.faults_on:
            self.switch(number, True)

    def disturb(self, processor: Processor) -> None:
        """Let the faults act on its handlers."""
        disturb(processor, list(self._faults.values()))

    def switch(self, number: int, on: bool) -> None:
        """A fault begins or ends."""
        self._faults[number].active = on


@dataclass(frozen=True, slots=True)
class WorkerLaunch:
    """What a worker of a run has to know."""

    scenario: Scenario
    settings: WorkerSettings
    name: str
    token: str
    """First part of its lock tokens: no two workers share one, nor two lives of one worker."""
    url: str
    prefix: str
    seed: int
    report: int = -1
    """The file descriptor to report to."""
    database: str | None = None
    """The task database's URL, if there are overdue tasks."""
    skew: float = 0.0
    """Seconds that its clock is ahead."""
    faults_on: tuple[int, ...] = ()
    """Faults of handlers that are on when it starts, by their places among the scenario's."""
    directory: str = ""
    """Of files that all workers of the run share."""


class BusyProcess:
    """Stands for the process that the handlers run in: to block it is to hold the event loop, for real."""

    async def block(self, seconds: float) -> None:
        """Compute for so long."""
        time.sleep(seconds)  # noqa: ASYNC251 - that it blocks is what it is for


class RunClock:
    """The run's own clock: seconds since it began."""

    def __init__(self, origin: float) -> None:
        self.origin = origin
        """Second 0 of the run, in seconds since the Unix epoch."""

    def __call__(self) -> float:
        return time.time() - self.origin


def streams_of(launch: WorkerLaunch) -> Streams:
    """A worker's random streams, its own in each of its lives: no two draw the same service times."""
    return Streams(int(Streams(launch.seed).named(f"worker/{launch.token}").integers(2**62)))


def make_worker(
    launch: WorkerLaunch,
    broker: Broker,
    observer: WorkerObserver,
    own: Processor | None,
    overdue: OverdueStore | None = None,
    *,
    clock: Callable[[], float],
    faults: InProcessFaults | None = None,
) -> Worker:
    """The worker that a scenario asks for."""
    streams = streams_of(launch)
    processor = build_processor(launch.scenario, own, streams)
    if overdue is not None:
        overdue.serve(processor)
    if faults is not None:
        faults.disturb(processor)
    return build_worker(
        processor,
        broker,
        launch.settings,
        name=launch.name,
        token=launch.token,
        clock=clock,
        rng=streams.python("backoff"),
        observer=observer,
    )


def open_tasks(launch: WorkerLaunch) -> OverdueStore | None:
    """The overdue tasks, if there are some. Their database is an extra, so it is loaded only now."""
    settings = launch.scenario.overdue
    if settings is None or launch.database is None:
        return None
    from queuesim.runs.overdue import OverdueStore
    from queuesim.tasks.store import TaskStore

    return OverdueStore(settings, TaskStore(launch.database, connections=settings.database.connections))


async def connect(server: RealServer) -> None:
    """Open all connections for commands ahead of the first job. A server that is away is no error here: whoever uses
    it later waits for it."""
    with suppress(BrokerUnavailableError):
        await asyncio.gather(*(server.command("PING") for _ in range(server.max_in_flight)))


async def work(launch: WorkerLaunch) -> None:
    """Get ready, wait for "go", and run the worker until standard input ends.

    All that takes time, such as imports, handlers and the connection, comes before "go": the worker takes jobs at once.
    SIGTERM has it finish what it runs, and end.
    """
    loop = asyncio.get_running_loop()
    run_clock = RunClock(time.time())
    clock = WorkerClock(run_clock, launch.skew)
    set_clock(run_clock)
    CURRENT.set(BusyProcess())  # type: ignore[arg-type]
    reporter = Reporter(launch.report)
    own = processor_of(launch.scenario)
    server = RealServer(Address(launch.url))
    queue = build_processor(launch.scenario, own, Streams(launch.seed)).queue
    broker = RedisBroker(queue, server, launch.prefix, origin=run_clock.origin)
    recorder = RunClockRecorder(reporter, clock)
    broker.observe(cast(Observer, recorder))
    skewed = cast(Broker, SkewedBroker(cast(Broker, broker), clock, recorder, None))
    faults = InProcessFaults(launch, broker, reporter, streams_of(launch))
    worker = make_worker(launch, skewed, recorder, own, open_tasks(launch), clock=clock, faults=faults)
    gone: asyncio.Future[float] = loop.create_future()

    def go(origin: float, delay: float) -> None:
        run_clock.origin = broker.origin = origin
        gone.set_result(delay)

    def set_skew(seconds: float) -> None:
        clock.skew = seconds

    over = await listen({"go": go, "skew": set_skew, "switch": faults.switch})
    await connect(server)
    reporter.ready()
    told: list[asyncio.Future[Any]] = [over, gone]
    await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
    if gone.done():
        await asyncio.wait([over], timeout=gone.result())
    if over.done():
        return
    running = loop.create_task(worker.run())
    closing: list[asyncio.Task[bool]] = []
    loop.add_signal_handler(signal.SIGTERM, lambda: closing.append(loop.create_task(worker.close())))
    reporter.began(launch.name, run_clock())
    await asyncio.wait([over, running], return_when=asyncio.FIRST_COMPLETED)
    for slot, job in sorted(worker.running.items()):
        recorder.unfinished(worker.name, slot, job)
    if running.done():
        running.result()
    # whatever its handlers still do, the run is over
    os._exit(0)


def read_launch() -> Any:
    """The launch from standard input, once the pipe that the command names has been told that they may come.

    What every run needs is imported and read before: it takes a tenth of a second, which a run would notice.
    """
    for module in ("hiredis", "redis.asyncio", "redis.backoff", "uvloop"):
        if find_spec(module.partition(".")[0]) is not None:
            import_module(module)
    names()
    try:
        os.write(int(sys.argv[1]), READY)
        head = os.read(0, LENGTH.size)
    except BrokenPipeError:
        head = b""
    if not head:
        # whoever would have given them has gone
        sys.exit()
    (length,) = LENGTH.unpack(head)
    data = b""
    while len(data) < length:
        data += os.read(0, length - len(data))
    return pickle.loads(data)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a program on uvloop if it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


if __name__ == "__main__":
    run(work(read_launch()))
