"""The staff of a live run: its workers, as processes that can be stopped, killed and replaced."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from queuesim.scenario.live.worker import LENGTH, Orders

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


class Staff:
    """All workers of a live run.

    Args:
        orders: a worker each, or a scheduler.
        note: takes each line that a worker reports.
        program: the module that each of them runs.
    """

    def __init__(
        self,
        orders: Sequence[Orders] | Sequence[ScanOrders],
        note: Callable[[bytes], None],
        program: str = "queuesim.scenario.live.worker",
    ) -> None:
        self.hands = [Hand(order) for order in orders]
        self._note = note
        self._program = program

    async def start(self) -> None:
        """Start all of them."""
        await asyncio.gather(*(self.hire(hand) for hand in self.hands))

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
        reading, writing = os.pipe()
        orders = pickle.dumps(replace(hand.orders, report=writing, token=hand.token, **changes))
        try:
            hand.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._program, stdin=asyncio.subprocess.PIPE, pass_fds=[writing]
            )
        finally:
            os.close(writing)
        assert hand.process.stdin is not None
        hand.process.stdin.write(LENGTH.pack(len(orders)) + orders)
        if hand.reports is not None:
            hand.past.append(hand.reports)
        hand.reports = asyncio.create_task(self._listen(reading), name=f"{hand.name}: reports")

    async def _listen(self, file: int) -> None:
        reader = asyncio.StreamReader(limit=2**24)
        pipe = os.fdopen(file, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                # a process that is killed may leave half a line
                if line.endswith(b"\n"):
                    self._note(line)
        finally:
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
        readers = [task for hand in self.hands for task in (hand.reports, *hand.past) if task is not None]
        if readers:
            await asyncio.wait(readers)
            for reader in readers:
                reader.result()

    def kill(self) -> None:
        """End all processes at once."""
        for hand in self.hands:
            self.send(hand, signal.SIGKILL)
