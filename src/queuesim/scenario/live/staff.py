"""The staff of a live run: its workers, as processes that can be stopped, killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from queuesim.scenario.live.worker import LENGTH, READY, Orders

if TYPE_CHECKING:
    from queuesim.scenario.live.scanner import ScanOrders

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
        program: str = "queuesim.scenario.live.worker",
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
