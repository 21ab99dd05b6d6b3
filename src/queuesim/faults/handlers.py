"""Faults of handlers: attempts that fail, hang, take longer or need too much memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from random import Random
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from queuesim.core.clock import sleep
from queuesim.core.errors import simulated
from queuesim.core.job import Job
from queuesim.faults.base import (
    AttemptHook,
    Likely,
    Need,
    Problem,
    ScenarioOutline,
    Settings,
    draw_probability,
    draw_span,
    end,
    fault,
)
from queuesim.faults.workers import Killing
from queuesim.fields import Word, refuse
from queuesim.results.fault_kinds import GREEN, Effect
from queuesim.results.recording import FaultRow
from queuesim.simulation.process import CURRENT
from queuesim.simulation.random import Streams, mixed
from queuesim.simulation.service_times import ServiceTime
from queuesim.text import show, unknown

Category = Literal["database", "validation", "network", "unknown"]

SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(rf"^\s*([0-9]+(?:\.[0-9]+)?)\s*({'|'.join(SIZES)})\s*$")


def _bytes(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    size = int(float(found[1]) * SIZES[found[2]]) if found else 0
    if size < 1:
        raise refuse(f"{show(value)} is not a size: write it as 10MB or 512KiB")
    return size


Size = Annotated[
    int,
    PlainValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _SIZE.pattern}, {"type": "integer", "minimum": 1}]}),
]
"""A size in bytes."""


class HandlerFault(Likely, AttemptHook):
    """A fault of attempts: on for a while, or always, it strikes each with a probability."""

    color = GREEN
    needs = Need.PROCESSES

    job: Word | None = None
    """The job type; all if left out."""

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        if self.job is not None and scenario.jobs is not None and self.job not in scenario.jobs:
            yield "job", unknown("job", self.job, scenario.jobs, "jobs")

    def prepare(self) -> None:
        self.count = 0
        self.counted = "attempts"
        self.spared: frozenset[str] = frozenset()

    @property
    def target(self) -> str:
        return self.job or ""

    def turn(self, on: bool) -> None:
        if on:
            self.count = 0
        self.active = on
        self.context.note_active(self)

    def finish(self, row: FaultRow) -> None:
        row.detail = f"{self.count} {self.counted}"
        end(row)

    def concerns(self, job_type: str) -> bool:
        return self.job in (None, job_type) and job_type not in self.spared

    def strikes(self, job: Job) -> bool:
        """Whether this attempt is struck."""
        return self.note_drawn(self.drawn())

    def note_drawn(self, struck: bool) -> bool:
        """Count one more, if it is struck."""
        if struck:
            self.count += 1
            self.context.note_struck(self)
        return struck


class Failing(HandlerFault):
    """Attempts that are struck fail at their end."""

    category: Category = "unknown"
    """The category of the error that they fail with."""

    async def after(self, job: Job) -> None:
        if self.strikes(job):
            raise simulated(self.category)


@fault("handler.error")
class HandlerError(Failing):
    """Attempts fail at their end."""

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {
            "probability": draw_probability(rng, 0.3),
            "category": rng.choice(["database", "network", "unknown", "validation"]),
        }


@fault("handler.hang")
class HandlerHang(HandlerFault):
    """Attempts don't end on their own."""

    effects = Effect.HANGS

    lasts: ServiceTime | None = None
    """How long they hang; forever if left out."""

    async def before(self, job: Job) -> None:
        if self.strikes(job):
            await (asyncio.Event().wait() if self.lasts is None else sleep(self.sampler("lasts")()))

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.02), "lasts": round(rng.uniform(1.0, 100.0), 3)}


@fault("handler.slow")
class HandlerSlow(HandlerFault):
    """Attempts take longer."""

    delay: ServiceTime
    """How much longer."""

    async def before(self, job: Job) -> None:
        if self.strikes(job):
            await sleep(self.sampler("delay")())

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_span(rng, duration, 60.0), "delay": round(rng.uniform(0.1, 5.0), 3)}


class ByNumber(HandlerFault):
    """Strikes some jobs, at every attempt: their numbers decide, in all processes and in a simulation alike."""

    def prepare(self) -> None:
        super().prepare()
        self._salt = self.rng.getrandbits(64)

    @property
    def streams(self) -> Streams:
        return self.context.shared_streams

    def strikes(self, job: Job) -> bool:
        return self.note_drawn(mixed(self._salt + job.number) < self.chance * 2**64)


@fault("handler.poison")
class HandlerPoison(ByNumber, Failing):
    """Some jobs fail at every attempt while the fault lasts; the jobs' numbers decide which."""

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.1)}


@fault("handler.redelivery")
class HandlerRedelivery(HandlerFault, Killing):
    """Jobs whose handler has finished are delivered again: the worker dies before the queue learns of it."""

    effects = Effect.WORKERS | Effect.UNHEARD
    needs = Need.PROCESSES | Need.SPARES
    of_handlers = True

    restart: ServiceTime = ServiceTime(constant=1.0)
    """Time until the successor of a killed worker runs."""

    def prepare(self) -> None:
        super().prepare()
        self.replace_after(self.sampler("restart"))

    async def after(self, job: Job) -> None:
        slot = self.context.here()
        if slot is not None and self.strikes(job):
            self.context.kill_here(self, slot)
            await asyncio.Event().wait()

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.2)}


@fault("handler.payload")
class HandlerPayload(ByNumber, Killing):
    """Jobs have large data. A worker that holds too much of it at once is killed, out of memory."""

    effects = Effect.UNHEARD
    needs = Need.PROCESSES | Need.SPARES

    size: Size
    """Size of one such job's data in a worker's memory."""
    memory: Size
    """How much a worker may hold at once."""
    restart: ServiceTime = ServiceTime(constant=1.0)
    """Time until the successor of a killed worker runs."""

    def unmet_needs(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        if self.size > self.memory:
            yield "size", "one such job alone is more than a worker can hold: all of them would fail"

    def prepare(self) -> None:
        super().prepare()
        self.replace_after(self.sampler("restart"))
        # bytes are counted, not allocated: for each process, those of each attempt
        self._held: dict[object, dict[str, int]] = {}

    async def before(self, job: Job) -> None:
        if not self.strikes(job):
            return
        process = CURRENT.get(None)
        held = self._held.setdefault(process, {})
        held[job.token + job.id] = self.size
        slot = self.context.here()
        if slot is not None and sum(held.values()) > self.memory:
            self._held.pop(process)
            self.context.kill_here(self, slot)
            await asyncio.Event().wait()

    def finally_(self, job: Job) -> None:
        self._held.get(CURRENT.get(None), {}).pop(job.token + job.id, None)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.2), "size": "100MB", "memory": "250MB"}
