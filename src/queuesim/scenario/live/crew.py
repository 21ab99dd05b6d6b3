"""The crew: the workers of a live run as faults see them, like a fleet, but of real processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from queuesim.clock import now
from queuesim.scenario.live.inquest import Death
from queuesim.scenario.live.staff import Hand, Staff
from queuesim.scenario.live.worker import Orders
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.worker_names import unused
from queuesim.simulation.process import State

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
