"""One worker of a live run, as a process of its own: ``python -m queuesim.scenario.live.worker``.

It reads its orders from standard input (a pickled Orders behind its length) and works until that ends or says stop.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from queuesim.broker.base import Broker, Observer
from queuesim.broker.redis import RedisBroker
from queuesim.broker.redis.address import Address
from queuesim.broker.redis.scripts import names
from queuesim.broker.redis.server import ServerPlace
from queuesim.clock import set_clock
from queuesim.errors import BrokerUnavailableError
from queuesim.processor import Processor
from queuesim.scenario.handlers import build_processor
from queuesim.scenario.live.disturbance import Disturbance
from queuesim.scenario.live.ears import listen
from queuesim.scenario.live.report import Reporter
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.reference import load_processor
from queuesim.scenario.schema import Scenario
from queuesim.scenario.worker_clock import RunClockRecorder, SkewedBroker, WorkerClock
from queuesim.simulation.process import CURRENT
from queuesim.simulation.streams import Streams
from queuesim.worker import Worker, WorkerObserver

if TYPE_CHECKING:
    from queuesim.scenario.overdue_store import OverdueStore

LENGTH = struct.Struct("<I")
READY = b"\n"
"""What a process says when it can take its orders, and a worker again when it has followed them: it waits for "go"."""


@dataclass(frozen=True, slots=True)
class Orders:
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

    def __init__(self) -> None:
        self.origin = time.time()
        """Second 0 of the run, in seconds since the Unix epoch."""

    def __call__(self) -> float:
        return time.time() - self.origin


def streams_of(orders: Orders) -> Streams:
    """A worker's random streams, its own in each of its lives: no two draw the same service times."""
    return Streams(int(Streams(orders.seed).named(f"worker/{orders.token}").integers(2**62)))


def make_worker(
    orders: Orders,
    broker: Broker,
    observer: WorkerObserver,
    own: Processor | None,
    overdue: OverdueStore | None = None,
    *,
    clock: Callable[[], float],
    disturbance: Disturbance | None = None,
) -> Worker:
    """The worker that a scenario asks for."""
    streams = streams_of(orders)
    settings = orders.settings
    processor = build_processor(orders.scenario, own, streams)
    if overdue is not None:
        overdue.serve(processor)
    if disturbance is not None:
        disturbance.disturb(processor)
    return Worker(
        processor,
        broker,
        name=orders.name,
        token=orders.token,
        concurrency=settings.concurrency,
        limiter=None if settings.limiter is None else settings.limiter.model(),
        options=settings.options(),
        clock=clock,
        rng=streams.python("backoff"),
        observer=observer,
    )


def clock_from(origin: float) -> Callable[[], float]:
    """The clock of a live run: seconds since it began."""
    return lambda: time.time() - origin


def own_processor(scenario: Scenario) -> Processor | None:
    """The user's processor, if the scenario names one."""
    return None if scenario.processor is None else load_processor(scenario.processor, scenario.directory)


def open_tasks(orders: Orders) -> OverdueStore | None:
    """The overdue tasks, if there are some. Their database is an extra, so it is loaded only now."""
    settings = orders.scenario.overdue
    if settings is None or orders.database is None:
        return None
    from queuesim.scenario.overdue_store import OverdueStore
    from queuesim.tasks import TaskStore

    return OverdueStore(settings, TaskStore(orders.database, connections=settings.database.connections))


async def connect(place: ServerPlace) -> None:
    """Open all connections for commands ahead of the first job. A server that is away is no error here: whoever uses
    it later waits for it."""
    with suppress(BrokerUnavailableError):
        await asyncio.gather(*(place.command("PING") for _ in range(place.lanes)))


async def work(orders: Orders) -> None:
    """Get ready, wait for "go", and run the worker until standard input ends.

    All that takes time, such as imports, handlers and the connection, comes before "go": the worker takes jobs at once.
    SIGTERM has it finish what it runs, and end.
    """
    loop = asyncio.get_running_loop()
    run_clock = RunClock()
    clock = WorkerClock(run_clock, orders.skew)
    set_clock(run_clock)
    CURRENT.set(BusyProcess())  # type: ignore[arg-type]
    reporter = Reporter(orders.report)
    own = own_processor(orders.scenario)
    place = ServerPlace(Address(orders.url))
    queue = build_processor(orders.scenario, own, Streams(orders.seed)).queue
    broker = RedisBroker(queue, place, orders.prefix, origin=run_clock.origin)
    recorder = RunClockRecorder(reporter, clock)
    broker.observe(cast(Observer, recorder))
    skewed = cast(Broker, SkewedBroker(cast(Broker, broker), clock, recorder, None))
    disturbance = Disturbance(orders, broker, reporter, streams_of(orders))
    worker = make_worker(orders, skewed, recorder, own, open_tasks(orders), clock=clock, disturbance=disturbance)
    gone: asyncio.Future[float] = loop.create_future()

    def go(origin: float, delay: float) -> None:
        run_clock.origin = broker.origin = origin
        gone.set_result(delay)

    def set_skew(seconds: float) -> None:
        clock.skew = seconds

    over = await listen({"go": go, "skew": set_skew, "switch": disturbance.switch})
    await connect(place)
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
    reporter.began(orders.name, run_clock())
    await asyncio.wait([over, running], return_when=asyncio.FIRST_COMPLETED)
    for slot, job in sorted(worker.running.items()):
        recorder.unfinished(worker.name, slot, job)
    if running.done():
        running.result()
    # whatever its handlers still do, the run is over
    os._exit(0)


def read_orders() -> Any:
    """The orders from standard input, once the pipe that the command names has been told that they may come.

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
    run(work(read_orders()))
