"""Disturbance: the faults of a scenario that are carried out inside of a worker's process, around its handlers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from queuesim.errors import DatabaseError
from queuesim.job import Job
from queuesim.processor import Processor
from queuesim.scenario.faults import databases, handlers, workers
from queuesim.scenario.faults.hooks import HandlerHook, disturb
from queuesim.scenario.faults.injector import FAULTS, make_fault, named
from queuesim.scenario.faults.plant import Plant
from queuesim.scenario.faults.server import Server
from queuesim.scenario.live.report import Reporter
from queuesim.simulation.streams import Streams

if TYPE_CHECKING:
    from queuesim.scenario.fleet import Fleet
    from queuesim.scenario.live.worker import Orders

LOOK = 0.01
"""Seconds between two looks for a free connection."""


class Inside(Plant):
    """A run as the faults see it that are inside of one worker.

    Args:
        broker: the queue, as this worker reaches it.
        streams: this worker's own.
    """

    def __init__(self, orders: Orders, broker: Any, reporter: Reporter, streams: Streams) -> None:
        super().__init__(broker, cast("Fleet", None), Server(), {}, [], streams)
        self.orders = orders
        self._reporter = reporter
        self._numbers: dict[int, int] = {}

    def know(self, fault: Any, number: int) -> None:
        """This fault is the one at that place among the scenario's."""
        self._numbers[id(fault)] = number

    def number_of(self, fault: Any) -> int:
        """A fault's place among the scenario's."""
        return self._numbers[id(fault)]

    def die(self, fault: Any) -> None:
        """Kill this process, and say which fault did it."""
        self._reporter.died(self.orders.name, self.number_of(fault))
        os.kill(os.getpid(), signal.SIGKILL)

    def tell_struck(self, fault: Any) -> None:
        """A fault struck an attempt."""
        self._reporter.struck(self.number_of(fault))


class Crash(workers.Crash):
    """With a probability, this worker dies of an attempt that it starts."""

    plant: Inside

    async def before(self, job: Job) -> None:
        """See HandlerHook."""
        if self.rng.random() < self.settings.probability:
            self.plant.die(self)


class Payload(handlers.Payload):
    """Who holds too much is killed, as by a system that is out of memory. The bytes are counted all the same."""

    plant: Inside

    async def before(self, job: Job) -> None:
        if self.strikes(job):
            held = self._held.setdefault(None, {})
            held[job.token + job.id] = self.settings.size
            if sum(held.values()) > self.settings.memory:
                self.plant.die(self)

    def finally_(self, job: Job) -> None:
        self._held.get(None, {}).pop(job.token + job.id, None)


class ExhaustedPool(databases.DatabaseFault):
    """A pool that all workers share: a connection is a locked file, which is free again when its holder dies."""

    plant: Inside

    def prepare(self) -> None:
        super().prepare()
        self._timeout = self.sampler(self.settings.timeout, "timeout")
        self._held: dict[object, int] = {}

    async def hinder(self, transaction: object) -> None:
        try:
            async with asyncio.timeout(self._timeout()):
                while (file := self._take()) is None:  # noqa: ASYNC110 - another process lets it go
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            raise DatabaseError("simulated exhaustion: no connection became free in time") from None
        self._held[transaction] = file

    def _take(self) -> int | None:
        for number in range(self.settings.size):
            path = Path(self.plant.orders.directory) / f"pool-{self.plant.number_of(self)}-{number}"
            file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                return file
        return None

    def release(self, transaction: object) -> None:
        file = self._held.pop(transaction, None)
        if file is not None:
            os.close(file)


KINDS = {**FAULTS, "worker.crash": Crash, "handler.payload": Payload, "database.pool": ExhaustedPool}


class Disturbance:
    """All faults inside of one worker. They are on when the run says so."""

    def __init__(self, orders: Orders, broker: Any, reporter: Reporter, streams: Streams) -> None:
        plant = Inside(orders, broker, reporter, streams)
        plant.struck = plant.tell_struck
        self._faults: dict[int, Any] = {}
        for number, (entry, name) in enumerate(named(orders.scenario.faults)):
            if not issubclass(KINDS[entry.kind], HandlerHook):
                continue
            # which jobs are poisoned is the same in all workers, and in a simulation
            shared = issubclass(KINDS[entry.kind], handlers.ByNumber)
            plant.streams = Streams(orders.seed) if shared else streams
            fault: Any = make_fault(entry, name, plant, KINDS)
            if isinstance(fault, Crash):
                meant = entry.settings.worker in ("any", "all", orders.name, orders.settings.name)  # type: ignore[attr-defined]
                fault.by_attempt = fault.by_attempt and meant
            plant.know(fault, number)
            self._faults[number] = fault
        for number in orders.faults_on:
            self.switch(number, True)

    def disturb(self, processor: Processor) -> None:
        """Let the faults get at its handlers."""
        disturb(processor, list(self._faults.values()))

    def switch(self, number: int, on: bool) -> None:
        """A fault begins or ends."""
        self._faults[number].active = on
