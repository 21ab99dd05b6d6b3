"""The workers of a live run: processes that are started, stopped, killed and replaced, and the fleet that they make."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from queuesim.childprocess import send_signal
from queuesim.core.clock import now, wake
from queuesim.runs.live.messages import LENGTH, READY
from queuesim.runs.live.reconciliation import WorkerKill
from queuesim.scenario.queue_settings import WorkerSettings, unused
from queuesim.simulation.process import State

STOP_TIMEOUT = 10.0
"""Seconds that a process may take to report what it is doing when the run is over."""
POLL = 0.005
"""Seconds between two checks whether a worker has begun."""


StartPart = Callable[[Coroutine[Any, Any, None], str], object]
"""Starts a part of the run."""


class Launch(Protocol):
    """What a process has to know: a dataclass that can be pickled."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...

    @property
    def token(self) -> str:
        """First part of the lock tokens: no two processes share one."""
        ...


@dataclass(eq=False)
class WorkerProcess:
    """The process of a worker or scheduler: one after another bears its name."""

    launch: Launch
    lives: int = 0
    process: asyncio.subprocess.Process | None = None
    reports: asyncio.Task[None] | None = None
    past: list[asyncio.Task[None]] = field(default_factory=list)
    """Readers of the reports of former lives."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the present process waits for "go", or has ended."""

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.launch.name

    @property
    def token(self) -> str:
        """First part of the lock tokens of its present life."""
        return self.launch.token if self.lives == 1 else f"{self.launch.token}.{self.lives}"

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Nothing happens where there is no process."""
        if self.process is not None:
            send_signal(self.process, number)

    def send(self, *words: Any) -> None:
        """Send a command to its `ControlChannel`. Nothing happens where there is no process."""
        if self.alive and self.process is not None and self.process.stdin is not None:
            self.process.stdin.write(json.dumps(words).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class SpareProcess:
    """A process that waits for its launch."""

    process: asyncio.subprocess.Process
    reading: int
    """Where its reports are read."""
    writing: int
    """The same pipe's other end, by its number in the process."""


class ProcessPool:
    """The processes of a run that execute one program.

    Args:
        report: takes each line that a process reports.
        program: the module that each of them runs.
        spares: how many processes stand by: who replaces another one need not wait until Python has started.
    """

    def __init__(
        self,
        report: Callable[[bytes], None],
        program: str = "queuesim.runs.live.worker_process",
        spares: int = 0,
    ) -> None:
        self.workers: list[WorkerProcess] = []
        self._report = report
        self._program = program
        self._spares: list[SpareProcess] = []
        self._spares_wanted = spares
        self._starting: set[asyncio.Task[None]] = set()

    def add(self, launch: Launch) -> WorkerProcess:
        """Add a process, which is not started yet."""
        self.workers.append(worker := WorkerProcess(launch))
        return worker

    async def stand_by(self, more: int = 0) -> None:
        """Start the spares, and `more` processes for those that are started next. Returns when all are ready."""
        await asyncio.gather(*(self._add_spare() for _ in range(self._spares_wanted + more)))

    async def start(self, worker: WorkerProcess, **changes: Any) -> None:
        """Start the process of a worker.

        Args:
            changes: to its launch, for this life.

        Raises:
            RuntimeError: one is there.
        """
        if worker.alive:
            raise RuntimeError(f"worker {worker.name} is there already")
        worker.lives += 1
        spare = self._spares.pop(0) if self._spares else await self._start_spare()
        worker.process = spare.process
        launch = pickle.dumps(replace(worker.launch, report=spare.writing, token=worker.token, **changes))
        assert worker.process.stdin is not None
        worker.process.stdin.write(LENGTH.pack(len(launch)) + launch)
        if worker.reports is not None:
            worker.past.append(worker.reports)
        worker.ready = asyncio.Event()
        worker.reports = asyncio.create_task(self._read(spare.reading, worker.ready), name=f"{worker.name}: reports")
        if len(self._spares) + len(self._starting) < self._spares_wanted:
            self._starting.add(task := asyncio.create_task(self._fill_up(worker.ready), name="spare worker"))
            task.add_done_callback(self._starting.discard)

    async def _fill_up(self, ready: asyncio.Event) -> None:
        """Add a spare once the process that was just started is ready: to start Python takes what that needs now."""
        await ready.wait()
        await self._add_spare()

    async def _add_spare(self) -> None:
        self._spares.append(await self._start_spare())

    async def _start_spare(self) -> SpareProcess:
        """Start a process that waits for its launch. Raises RuntimeError if it ends before."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", self._program, str(writing)]
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.PIPE, pass_fds=[writing]
                )
            finally:
                os.close(writing)
            try:
                await _readable(reading)
                if os.read(reading, 1) != READY:
                    raise RuntimeError(f"{self._program} ended before it had begun: its process said why")
            except BaseException:
                send_signal(process, signal.SIGKILL)
                await process.wait()
                raise
        except BaseException:
            os.close(reading)
            raise
        return SpareProcess(process, reading, writing)

    async def _read(self, file: int, ready: asyncio.Event) -> None:
        """Pass on the lines that a process reports, until it ends."""
        reader = asyncio.StreamReader(limit=2**24)
        pipe = os.fdopen(file, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                if line == READY:
                    ready.set()
                # a process that is killed may leave half a line
                elif line.endswith(b"\n"):
                    self._report(line)
        finally:
            ready.set()
            transport.close()

    async def stop(self) -> None:
        """Have all of them report what is unfinished and end; kill those that don't, and read their last reports."""
        for worker in self.workers:
            if worker.alive and worker.process is not None and worker.process.stdin is not None:
                worker.signal(signal.SIGCONT)
                worker.process.stdin.close()
        waiting = [asyncio.ensure_future(each.process.wait()) for each in self.workers if each.process is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=STOP_TIMEOUT)
        for worker in self.workers:
            worker.signal(signal.SIGKILL)
        await self._end_spares()
        readers = [task for worker in self.workers for task in (worker.reports, *worker.past) if task is not None]
        if readers:
            await asyncio.wait(readers)
            for reader in readers:
                reader.result()

    async def _end_spares(self) -> None:
        if self._starting:
            await asyncio.wait(self._starting)
        for spare in self._spares:
            send_signal(spare.process, signal.SIGKILL)
            await spare.process.wait()
            os.close(spare.reading)
        self._spares = []


async def _readable(file: int) -> None:
    """Return when there is something to read, or an end."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(file, wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(file)


class WorkerError(RuntimeError):
    """A worker's process ended by itself. It has written why to standard error."""


class LiveProcess:
    """What a simulated process can, done to a real one. Freezes count."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._freezes = 0

    @property
    def state(self) -> State:
        """Whether it runs, as far as this side has changed that."""
        if not self._worker.alive:
            return State.DEAD
        return State.FROZEN if self._freezes else State.RUNNING

    def freeze(self) -> None:
        """Stop it: SIGSTOP."""
        self._freezes += 1
        self._worker.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on: SIGCONT."""
        self._freezes -= 1
        if not self._freezes:
            self._worker.signal(signal.SIGCONT)


class LiveMember:
    """A worker slot of a live fleet; see runs.virtual.fleet.Member."""

    def __init__(self, worker: WorkerProcess, settings: WorkerSettings, joined: float = 0.0) -> None:
        self.worker = worker
        self.settings = settings
        self.joined = joined
        self.wanted = True
        self.process = LiveProcess(worker)
        self.starting: asyncio.Task[None] | None = None
        """Starts its process."""
        self.ready = False
        """Its present process takes jobs."""
        self._skew = 0.0

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.worker.name

    @property
    def alive(self) -> bool:
        """Whether a process is there, or about to be."""
        return self.worker.alive or (self.starting is not None and not self.starting.done())

    @property
    def skew(self) -> float:
        """Seconds that its clock is ahead."""
        return self._skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        self._skew = seconds
        self.worker.send("skew", seconds)


class LiveFleet:
    """All workers of a live run, with what faults can do to them.

    Args:
        launch: what one more worker has to know.
        start_part: starts a part of the run.
        way: the URL by which a worker of that name reaches the server.
        held: the ids of the jobs that are locked with tokens that begin with a text.
    """

    def __init__(
        self,
        pool: ProcessPool,
        launch: Callable[[WorkerSettings, str], Launch],
        start_part: StartPart,
        way: Callable[[str], Awaitable[str]],
        held: Callable[[str], Awaitable[list[str]]],
    ) -> None:
        self.pool = pool
        self.members: list[LiveMember] = []
        self.start_delay: Callable[[Any], float] | None = None
        """See runs.virtual.fleet.Fleet."""
        self.gone: Callable[[Any], None] | None = None
        """See runs.virtual.fleet.Fleet."""
        self.origin = 0.0
        """Second 0 of the run, in seconds since the Unix epoch."""
        self.closed = False
        """The run is over: no worker is started any more."""
        self.switched_on: set[int] = set()
        """Faults of handlers that are on, by their places among the scenario's."""
        self.kills: list[WorkerKill] = []
        self._launch = launch
        self._start_part = start_part
        self._way = way
        self._held = held

    async def prepare(self) -> None:
        """Have all of them ready to take jobs, before second 0."""
        await asyncio.gather(*(self._start_process(member) for member in self.members))

    def start(self, origin: float) -> None:
        """Let all of them work, each from its time on; second 0 was at `origin`, in seconds since the Unix epoch."""
        self.origin = origin
        for member in self.members:
            self._go(member, member.settings.start)

    def add(self, settings: WorkerSettings, name: str, joined: float = 0.0) -> LiveMember:
        """Add a member, which does not work yet. Its name is changed if another one has it."""
        launch = self._launch(settings, unused(name, {other.name for other in self.members}))
        member = LiveMember(self.pool.add(launch), settings, joined)
        self.members.append(member)
        return member

    def revive(self, member: LiveMember) -> None:
        """Start the successor of a worker that ended or died. Harmless if one is there."""
        if not (member.alive or self.closed):
            member.starting = asyncio.create_task(self._replace(member), name=f"{member.name}: start")
            self._start_part(_result_of(member.starting), f"{member.name}: started")

    async def close(self) -> None:
        """The run is over: no worker is started any more, and those that are starting are not waited for."""
        self.closed = True
        starting = [member.starting for member in self.members if member.starting is not None]
        for task in starting:
            task.cancel()
        if starting:
            await asyncio.wait(starting)

    async def _replace(self, member: LiveMember) -> None:
        await self._start_process(member)
        self._go(member, 0.0)

    def _go(self, member: LiveMember, delay: float) -> None:
        """Let a worker that is ready take jobs in `delay` seconds, or later if something slows it down."""
        slow = 0.0 if self.start_delay is None else self.start_delay(member)
        member.worker.send("go", self.origin, delay + slow)

    async def _start_process(self, member: LiveMember) -> None:
        """Start a worker's process. Returns when it is ready to take jobs."""
        member.process = LiveProcess(member.worker)
        member.ready = False
        await self.pool.start(
            member.worker,
            url=await self._way(member.name),
            faults_on=tuple(sorted(self.switched_on)),
            skew=member.skew,
        )
        process = member.worker.process
        assert process is not None
        self._start_part(self._watch(member.name, process), f"{member.name}: watch")
        await member.worker.ready.wait()

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Raises WorkerError if the process ends by itself; who is killed ends by a signal."""
        if await process.wait() > 0:
            raise WorkerError(f"worker {name} has failed: its process said why, and ended")

    async def kill(self, member: LiveMember) -> int:
        """End a worker's process by SIGKILL. Returns how many attempts died with it."""
        if member.starting is not None:
            await asyncio.wait([member.starting])
        if member.worker.process is None:
            return 0
        time = now()
        member.worker.signal(signal.SIGKILL)
        await member.worker.process.wait()
        if self.gone is not None:
            self.gone(member)
        held = await self._held(f"{member.worker.token}:")
        self.kills.append(WorkerKill(time, member.name, held))
        return len(held)

    async def retire(self, member: LiveMember, grace: float) -> int:
        """End a worker by SIGTERM; after `grace` seconds, kill it. Returns how many attempts did not end."""
        if member.starting is not None:
            await asyncio.wait([member.starting])
        if not member.worker.alive or member.worker.process is None:
            return 0
        member.worker.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await member.worker.process.wait()
        except TimeoutError:
            return await self.kill(member)
        if self.gone is not None:
            self.gone(member)
        return 0

    async def arrived(self, member: LiveMember) -> None:
        """Return when a worker that was just started takes jobs, or has ended before."""
        while member.alive and not (member.ready or self.closed):  # noqa: ASYNC110 - its report is recorded elsewhere
            await asyncio.sleep(POLL)

    def member(self, name: str) -> LiveMember:
        """The member of that name."""
        return next(member for member in self.members if member.name == name)

    # -- what goes on inside of them

    def switch(self, number: int, on: bool) -> None:
        """A fault of handlers begins or ends, in all of them."""
        (self.switched_on.add if on else self.switched_on.discard)(number)
        for member in self.members:
            member.worker.send("switch", number, on)

    def block(self, member: LiveMember, on: bool) -> None:
        """Hold a worker's event loop, or let it go."""
        member.worker.send("block" if on else "unblock")


async def _result_of(task: asyncio.Task[None]) -> None:
    await task
