"""The crew: the workers of a live run as faults see them, like a fleet, but of real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from queuesim.core.clock import now
from queuesim.runs.live.reconciliation import Death
from queuesim.runs.live.worker_process import LENGTH, READY, Orders
from queuesim.scenario.queue import WorkerSettings, unused
from queuesim.simulation.process import State

if TYPE_CHECKING:
    from queuesim.runs.live.scheduler_process import ScanOrders


# -- The staff of a live run: its workers, as processes that can be stopped, killed and replaced

PATIENCE = 10.0
"""Seconds that a worker may take to report what it is doing when the run is over."""


@dataclass(eq=False)
class Hand:
    """One worker's place: one process after another bears its name."""

    orders: Orders | ScanOrders
    lives: int = 0
    process: asyncio.subprocess.Process | None = None
    reports: asyncio.Task[None] | None = None
    past: list[asyncio.Task[None]] = field(default_factory=list)
    """Readers of the reports of former lives."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the present process waits for "go", or has ended."""

    @property
    def name(self) -> str:
        """The worker's."""
        return self.orders.name

    @property
    def token(self) -> str:
        """First part of the lock tokens of its present life."""
        return self.orders.token if self.lives == 1 else f"{self.orders.token}.{self.lives}"

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.returncode is None


@dataclass(frozen=True, slots=True)
class Recruit:
    """A process that nobody has told what to do."""

    process: asyncio.subprocess.Process
    reading: int
    """Where its reports are read."""
    writing: int
    """The same pipe's other end, by its number in the process."""


class Staff:
    """All workers of a live run.

    Args:
        orders: a worker each, or a scheduler.
        note: takes each line that a worker reports.
        program: the module that each of them runs.
        spares: so many processes stand by that have nothing to do yet: whoever takes the place of another one need not
            wait until Python has started.
    """

    def __init__(
        self,
        orders: Sequence[Orders] | Sequence[ScanOrders],
        note: Callable[[bytes], None],
        program: str = "queuesim.runs.live.worker_process",
        spares: int = 0,
    ) -> None:
        self.hands = [Hand(order) for order in orders]
        self._note = note
        self._program = program
        self._spares: list[Recruit] = []
        self._spares_wanted = spares
        self._recruiting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all of them."""
        await asyncio.gather(*(self.hire(hand) for hand in self.hands))

    async def stand_by(self, more: int = 0) -> None:
        """Start the spares, and so many processes besides: the next ones that are hired. Returns when all are ready."""
        await asyncio.gather(*(self._stand_by() for _ in range(self._spares_wanted + more)))

    async def hire(self, hand: Hand, **changes: Any) -> None:
        """Start a process for this place.

        Args:
            changes: to its orders, for this life.

        Raises:
            RuntimeError: one is there.
        """
        if hand.alive:
            raise RuntimeError(f"worker {hand.name} is there already")
        hand.lives += 1
        if self._spares:
            recruit = self._spares.pop(0)
        else:
            recruit = await self._recruit()
        hand.process = recruit.process
        orders = pickle.dumps(replace(hand.orders, report=recruit.writing, token=hand.token, **changes))
        assert hand.process.stdin is not None
        hand.process.stdin.write(LENGTH.pack(len(orders)) + orders)
        if hand.reports is not None:
            hand.past.append(hand.reports)
        hand.ready = asyncio.Event()
        hand.reports = asyncio.create_task(self._listen(recruit.reading, hand.ready), name=f"{hand.name}: reports")
        if len(self._spares) + len(self._recruiting) < self._spares_wanted:
            self._recruiting.add(task := asyncio.create_task(self._fill_up(hand.ready), name="spare worker"))
            task.add_done_callback(self._recruiting.discard)

    async def _fill_up(self, ready: asyncio.Event) -> None:
        """One more spare, once the process that was just hired is ready: to start Python takes what that needs now."""
        await ready.wait()
        await self._stand_by()

    async def _recruit(self) -> Recruit:
        """A process that waits for its orders. Raises RuntimeError if it does not come so far."""
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
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise
        except BaseException:
            os.close(reading)
            raise
        return Recruit(process, reading, writing)

    async def _stand_by(self) -> None:
        self._spares.append(await self._recruit())

    async def _listen(self, file: int, ready: asyncio.Event) -> None:
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
                    self._note(line)
        finally:
            ready.set()
            transport.close()

    def send(self, hand: Hand, number: signal.Signals) -> None:
        """Send a signal to a worker's process. Nothing happens where there is none."""
        if hand.alive and hand.process is not None:
            hand.process.send_signal(number)

    def say(self, hand: Hand, *words: Any) -> None:
        """Tell a worker's process something, as its `Ears` understand it. Nothing happens where there is none."""
        if hand.alive and hand.process is not None and hand.process.stdin is not None:
            hand.process.stdin.write(json.dumps(words).encode() + b"\n")

    async def stop(self) -> None:
        """Have all of them report what is unfinished and end; kill those that don't, and read their last reports."""
        for hand in self.hands:
            if hand.alive and hand.process is not None and hand.process.stdin is not None:
                self.send(hand, signal.SIGCONT)
                hand.process.stdin.close()
        waiting = [asyncio.ensure_future(hand.process.wait()) for hand in self.hands if hand.process is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE)
        self.kill()
        await self._dismiss()
        readers = [task for hand in self.hands for task in (hand.reports, *hand.past) if task is not None]
        if readers:
            await asyncio.wait(readers)
            for reader in readers:
                reader.result()

    async def _dismiss(self) -> None:
        """The spares are not needed any more."""
        if self._recruiting:
            await asyncio.wait(self._recruiting)
        for spare in self._spares:
            spare.process.kill()
            await spare.process.wait()
            os.close(spare.reading)
        self._spares = []

    def kill(self) -> None:
        """End all processes at once."""
        for hand in self.hands:
            self.send(hand, signal.SIGKILL)


async def _readable(file: int) -> None:
    """Return when there is something to read, or an end."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(file, tell)
    try:
        await ready
    finally:
        loop.remove_reader(file)


LOOK = 0.005
"""Seconds between two looks whether a worker has begun."""
Launch = Callable[[Coroutine[Any, Any, None], str], object]


class WorkerError(RuntimeError):
    """A worker's process ended by itself. What went wrong it has written to standard error."""


class LiveProcess:
    """What a simulated process can, done to a real one. Freezes count."""

    def __init__(self, staff: Staff, hand: Hand) -> None:
        self._staff = staff
        self._hand = hand
        self._freezes = 0

    @property
    def state(self) -> State:
        """Whether it runs, as far as this side had a hand in it."""
        if not self._hand.alive:
            return State.DEAD
        return State.FROZEN if self._freezes else State.RUNNING

    def freeze(self) -> None:
        """Stop it: SIGSTOP."""
        self._freezes += 1
        self._staff.send(self._hand, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on: SIGCONT."""
        self._freezes -= 1
        if not self._freezes:
            self._staff.send(self._hand, signal.SIGCONT)


class Member:
    """A place in the crew; see fleet.Member."""

    def __init__(self, staff: Staff, hand: Hand, settings: WorkerSettings, joined: float) -> None:
        self.hand = hand
        self.settings = settings
        self.joined = joined
        self.wanted = True
        self.process = LiveProcess(staff, hand)
        self.hiring: asyncio.Task[None] | None = None
        """Its process is about to start."""
        self.ready = False
        """Its present process takes jobs."""
        self._staff = staff
        self._skew = 0.0

    @property
    def name(self) -> str:
        """The worker's."""
        return self.hand.name

    @property
    def alive(self) -> bool:
        """Whether a process is there, or about to be."""
        return self.hand.alive or (self.hiring is not None and not self.hiring.done())

    @property
    def skew(self) -> float:
        """Seconds that its clock is ahead."""
        return self._skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        self._skew = seconds
        self._staff.say(self.hand, "skew", seconds)


class Crew:
    """All workers of a live run, with what faults can do to them.

    Args:
        order: the orders of one more worker.
        launch: starts a part of the run.
        way: the URL by which a worker of that name reaches the server.
        held: the ids of the jobs that are locked with tokens that begin so.
    """

    def __init__(
        self,
        staff: Staff,
        order: Callable[[WorkerSettings, str], Orders],
        launch: Launch,
        way: Callable[[str], Awaitable[str]],
        held: Callable[[str], Awaitable[list[str]]],
    ) -> None:
        self.staff = staff
        self.members = [self._member(hand) for hand in staff.hands]
        self.start_delay: Callable[[Any], float] | None = None
        """See fleet.Fleet."""
        self.gone: Callable[[Any], None] | None = None
        """See fleet.Fleet."""
        self.origin = 0.0
        """Second 0 of the run, in seconds since the Unix epoch."""
        self.closed = False
        """The run is over: nobody is hired any more."""
        self.switched_on: set[int] = set()
        """Faults of handlers that are on, by their places among the scenario's."""
        self.deaths: list[Death] = []
        """Of workers that were killed."""
        self._order = order
        self._launch = launch
        self._way = way
        self._held = held

    def _member(self, hand: Hand, joined: float = 0.0) -> Member:
        assert isinstance(hand.orders, Orders)
        return Member(self.staff, hand, hand.orders.settings, joined)

    async def prepare(self) -> None:
        """Have all of them ready to take jobs, before second 0."""
        await asyncio.gather(*(self._hire(member) for member in self.members))

    def start(self, origin: float) -> None:
        """Let all of them work, each from its time on; second 0 was at `origin`, in seconds since the Unix epoch."""
        self.origin = origin
        for member in self.members:
            self._go(member, member.settings.start)

    def add(self, settings: WorkerSettings, name: str, joined: float = 0.0) -> Member:
        """One more member, which does not work yet; see fleet.Fleet.add."""
        hand = Hand(self._order(settings, unused(name, {other.name for other in self.members})))
        self.staff.hands.append(hand)
        self.members.append(member := self._member(hand, joined))
        return member

    def revive(self, member: Member) -> None:
        """Start the successor of a worker that ended or died. Harmless if one is there."""
        if not (member.alive or self.closed):
            member.hiring = asyncio.create_task(self._replace(member), name=f"{member.name}: start")
            self._launch(self._hired(member.hiring), f"{member.name}: hire")

    async def close(self) -> None:
        """The run is over: nobody is hired any more, and whoever is just being hired is not waited for."""
        self.closed = True
        hiring = [member.hiring for member in self.members if member.hiring is not None]
        for task in hiring:
            task.cancel()
        if hiring:
            await asyncio.wait(hiring)

    async def _hired(self, hiring: asyncio.Task[None]) -> None:
        await hiring

    async def _replace(self, member: Member) -> None:
        await self._hire(member)
        self._go(member, 0.0)

    def _go(self, member: Member, delay: float) -> None:
        """Let a worker that is ready take jobs in `delay` seconds, or later if something slows it down."""
        slow = 0.0 if self.start_delay is None else self.start_delay(member)
        self.staff.say(member.hand, "go", self.origin, delay + slow)

    async def _hire(self, member: Member) -> None:
        """Start a worker's process. Returns when it is ready to take jobs."""
        member.process = LiveProcess(self.staff, member.hand)
        member.ready = False
        await self.staff.hire(
            member.hand,
            url=await self._way(member.name),
            faults_on=tuple(sorted(self.switched_on)),
            skew=member.skew,
        )
        process = member.hand.process
        assert process is not None
        self._launch(self._watch(member.name, process), f"{member.name}: watch")
        await member.hand.ready.wait()

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Raises WorkerError if the process ends by itself; who is killed ends by a signal."""
        if await process.wait() > 0:
            raise WorkerError(f"worker {name} has failed: its process said why, and ended")

    async def kill(self, member: Member) -> int:
        """End a worker's process by SIGKILL. Returns how many attempts died with it."""
        if member.hiring is not None:
            await asyncio.wait([member.hiring])
        if member.hand.process is None:
            return 0
        died = now()
        self.staff.send(member.hand, signal.SIGKILL)
        await member.hand.process.wait()
        if self.gone is not None:
            self.gone(member)
        held = await self._held(f"{member.hand.token}:")
        self.deaths.append(Death(died, member.name, held))
        return len(held)

    async def retire(self, member: Member, grace: float) -> int:
        """End a worker by SIGTERM; after `grace` seconds, kill it. Returns how many attempts did not end."""
        if member.hiring is not None:
            await asyncio.wait([member.hiring])
        if not member.hand.alive or member.hand.process is None:
            return 0
        self.staff.send(member.hand, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await member.hand.process.wait()
        except TimeoutError:
            return await self.kill(member)
        if self.gone is not None:
            self.gone(member)
        return 0

    async def arrived(self, member: Member) -> None:
        """Return when a worker that was just started takes jobs, or has ended before."""
        while member.alive and not (member.ready or self.closed):  # noqa: ASYNC110 - its report is noted elsewhere
            await asyncio.sleep(LOOK)

    def member(self, name: str) -> Member:
        """The one of that name."""
        return next(member for member in self.members if member.name == name)

    # -- what goes on inside of them

    def switch(self, number: int, on: bool) -> None:
        """A fault of handlers begins or ends, in all of them."""
        (self.switched_on.add if on else self.switched_on.discard)(number)
        for member in self.members:
            self.staff.say(member.hand, "switch", number, on)

    def block(self, member: Member, on: bool) -> None:
        """Hold a worker's event loop, or let it go."""
        self.staff.say(member.hand, "block" if on else "unblock")
