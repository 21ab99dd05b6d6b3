"""Faults of Redis, of the way to it, and of the queue itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from queuesim.core.clock import now, sleep, sleep_until
from queuesim.faults.base import (
    Chance,
    Fault,
    Lasting,
    Likely,
    Need,
    Problem,
    ScenarioOutline,
    Settings,
    draw_probability,
    draw_span,
    draw_times,
    end,
    fault,
)
from queuesim.faults.network import Break, Delay
from queuesim.faults.timing import ALL, Strike
from queuesim.fields import PositiveSeconds, Seconds, Word, refuse
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import FaultRow
from queuesim.simulation.service_times import ServiceTime
from queuesim.text import unknown
from queuesim.units import format_duration


@fault("redis.outage")
class RedisOutage(Lasting):
    """Redis can't be reached: connections break, and no command gets through."""

    effects = Effect.SERVER | Effect.AWAY
    needs = Need.PROXY

    def turn(self, on: bool) -> None:
        if on:
            self.context.server.go_away()
        else:
            self.context.server.come_back()

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return draw_span(rng, duration, 90.0)


class ClientFault(Likely):
    """A fault of the commands of clients."""

    effects = Effect.SERVER
    needs = Need.PROXY

    client: Word = ALL
    """Whose commands: those of a worker or of a load entry; all if left out."""

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        clients = dict.fromkeys([ALL, *scenario.worker_kinds, *scenario.workers, *scenario.loads])
        if self.client not in clients:
            yield "client", unknown("client", self.client, clients, "clients")


@fault("redis.latency")
class RedisLatency(ClientFault):
    """Commands and their answers take longer."""

    effects = Effect.SERVER | Effect.LATE_COMMANDS

    delay: ServiceTime
    """How much longer, in both directions together."""

    @property
    def target(self) -> str:
        return self.client

    def prepare(self) -> None:
        self._delay = Delay(self.client, self.chance, self.sampler("delay"), self.rng)

    def turn(self, on: bool) -> None:
        if on:
            self._delay.commands, self._delay.settled = 0, 0.0
            self.context.server.delays.append(self._delay)
        else:
            self.context.server.delays.remove(self._delay)

    def finish(self, row: FaultRow) -> None:
        row.detail = f"{self._delay.commands} commands"
        end(row)
        row.settled = max(row.ended, self._delay.settled)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_span(rng, duration, 60.0), "delay": {"exponential": round(rng.uniform(0.01, 1), 3)}}


@fault("redis.drop")
class RedisDrop(ClientFault, Chance):
    """The connection breaks on a command: before it takes effect, or after that, and its answer is lost."""

    effect: Literal["before", "after", "either"] = "either"
    """Whether it breaks before or after the command took effect."""

    def prepare(self) -> None:
        self._break = Break(self.client, self.chance, self.effect, self.rng, self.note)

    def turn(self, on: bool) -> None:
        if on:
            self.context.server.breaks.append(self._break)
        else:
            self.context.server.breaks.remove(self._break)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.1), "effect": rng.choice(["before", "after", "either"])}


@fault("redis.read-only")
class RedisReadOnly(Lasting):
    """Clients are connected to a replica: it accepts reads, and refuses commands that write."""

    effects = Effect.SERVER
    needs = Need.PRIVATE_SERVER

    def turn(self, on: bool) -> None:
        self.context.server.read_only += 1 if on else -1

    async def strike_live(self, strike: Strike) -> None:
        """The server becomes a replica of one that does not exist: it keeps its data and refuses writes."""
        host = self.context.host
        assert host is not None
        row = self.note("", lasting=True)
        await host.follow_nobody(True)
        try:
            await self.schedule.over(strike)
        finally:
            await host.follow_nobody(False)
            end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return draw_span(rng, duration, 30.0)


@fault("redis.failover")
class RedisFailover(Fault):
    """A replica that lacks the last writes takes over: these writes are lost."""

    effects = Effect.SERVER
    not_live = (
        "it takes a replica that lags behind by just so much, and the ids of the jobs that it has not got are given "
        "again, so that nobody could tell which job is which"
    )

    lose: PositiveSeconds
    """How much of the past is lost."""
    down: Seconds = 0.0
    """For how long the server can't be reached."""

    @model_validator(mode="after")
    def _foreseen(self) -> Any:
        if self.while_ is not None:
            raise refuse("a failover needs at or every: what it undoes must be kept beforehand")
        return self

    async def run(self) -> None:
        broker, server = self.context.broker, self.context.server
        async for when in self.schedule.ahead(self.lose):
            kept, image = now(), broker.save()
            await sleep_until(when)
            lost = round(when - kept, 6)
            row = self.note("", f"the last {format_duration(lost)} are lost", lasting=True, lost=lost)
            server.go_away()
            broker.restore(image)
            await self.context.pauses.restore()
            try:
                if self.down:
                    await sleep(self.down)
            finally:
                server.come_back()
                end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {
            **draw_times(rng, duration),
            "lose": round(rng.uniform(0.01, 2.0), 3),
            "down": rng.choice([0.0, 3.0]),
        }


@fault("redis.restart")
class RedisRestart(Fault):
    """The server restarts."""

    effects = Effect.SERVER
    needs = Need.PRIVATE_SERVER

    empty: Annotated[bool, Field(strict=True)] = False
    """Whether the server loses its data; otherwise everything is still there."""
    down: Seconds = 1.0
    """For how long it can't be reached."""

    async def strike(self, strike: Strike) -> None:
        detail, lost = ("its memory is lost", math.inf) if self.empty else ("", None)
        row = self.note("", detail, lasting=True, lost=lost)
        self.context.server.go_away()
        if self.empty:
            self.context.broker.forget()
            await self.context.pauses.restore()
        try:
            if self.down:
                await sleep(self.down)
        finally:
            self.context.server.come_back()
            end(row)

    async def strike_live(self, strike: Strike) -> None:
        """The server's process is killed by SIGKILL, and started again."""
        host = self.context.host
        assert host is not None
        lost = self.empty or not host.persistent
        if lost:
            # what clients sent until then is read before
            self.context.server.go_away()
        await host.kill(self.empty)
        detail = "its memory is lost" if lost else "killed by SIGKILL"
        row = self.note("", detail, lasting=True, lost=math.inf if lost else None)
        try:
            await sleep(self.down)
        finally:
            await host.start()
            if lost:
                self.context.server.come_back()
                await self.context.pauses.restore()
            end(row)

    def needs_live(self, durable: bool) -> Need:
        forgets = Need.PROXY if self.empty or not durable else Need.PRIVATE_SERVER
        return self.needs | forgets | (Need.PRIVATE_SERVER if self.empty else Need.DURABLE_SERVER)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_times(rng, duration), "empty": rng.random() < 0.3, "down": rng.choice([0.0, 1.0, 5.0])}


@fault("redis.script-flush")
class RedisScriptFlush(Fault):
    """SCRIPT FLUSH: the server forgets all scripts. No effect on a queue in memory, which has none."""

    effects = Effect.SERVER
    needs = Need.PRIVATE_SERVER

    async def strike(self, strike: Strike) -> None:
        flush = getattr(self.context.broker, "flush_scripts", None)
        if flush is None:
            self.note("", "a queue in memory has no scripts")
        else:
            await flush()
            self.note("")


@fault("queue.pause")
class QueuePause(Lasting):
    """The queue is paused, and resumed later: meanwhile no job starts, and active jobs continue."""

    def prepare(self) -> None:
        self.context.pauses.possible = True

    async def strike(self, strike: Strike) -> None:
        """Pauses that overlap end with the last of them. A failover neither ends nor revives one."""
        row = self.note(self.context.broker.queue, lasting=True)
        await self.context.pauses.change(1)
        try:
            await self.schedule.over(strike)
        finally:
            await self.context.pauses.change(-1)
            end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return draw_span(rng, duration, 60.0)
