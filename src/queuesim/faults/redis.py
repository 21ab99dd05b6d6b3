"""Faults of Redis, or of the way to it, at work."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from queuesim.core.clock import now, sleep, sleep_until
from queuesim.faults.base import Fault, State, end
from queuesim.faults.network import Break, Delay
from queuesim.faults.timing import ALL, Lasting, Likely, Strike, Timing
from queuesim.fields import PositiveSeconds, Seconds, Word, refuse
from queuesim.results.recording import FaultRow
from queuesim.simulation.distributions import ServiceTime
from queuesim.units import format_duration


class Outage(State):
    """The server is away."""

    def on(self) -> None:
        self.plant.server.go_away()

    def off(self) -> None:
        self.plant.server.come_back()


class ReadOnly(State):
    """The server refuses what would change something."""

    def on(self) -> None:
        self.plant.server.read_only += 1

    def off(self) -> None:
        self.plant.server.read_only -= 1


class Latency(State):
    """Commands take longer."""

    def prepare(self) -> None:
        settings = self.settings
        self._delay = Delay(settings.client, settings.chance, self.sampler(settings.delay, "delay"), self.rng)

    @property
    def struck(self) -> str:
        client: str = self.settings.client
        return client

    def on(self) -> None:
        self._delay.commands, self._delay.settled = 0, 0.0
        self.plant.server.delays.append(self._delay)

    def off(self) -> None:
        self.plant.server.delays.remove(self._delay)

    def finish(self, row: FaultRow) -> None:
        row.detail = f"{self._delay.commands} commands"
        end(row)
        row.settled = max(row.ended, self._delay.settled)


class Drop(State):
    """The connections that broke are recorded, one by one, not the time in which they could."""

    def prepare(self) -> None:
        settings = self.settings
        self._break = Break(settings.client, settings.chance, settings.effect, self.rng, self._struck)

    def _struck(self, client: str, detail: str) -> None:
        self.plant.note(self.kind, client, detail)

    async def strike(self, strike: Strike) -> None:
        self.on()
        try:
            await self.schedule.over(strike)
        finally:
            self.off()

    def on(self) -> None:
        self.plant.server.breaks.append(self._break)

    def off(self) -> None:
        self.plant.server.breaks.remove(self._break)


class Failover(Fault):
    """The queue is as it was some time ago."""

    async def run(self) -> None:
        lose, down = self.settings.lose, self.settings.down
        async for when in self.schedule.ahead(lose):
            kept, image = now(), self.plant.broker.save()
            await sleep_until(when)
            lost = round(when - kept, 6)
            detail = f"the last {format_duration(lost)} are lost"
            row = self.plant.note(self.kind, "", detail, lasting=True, lost=lost)
            self.plant.server.go_away()
            self.plant.broker.restore(image)
            await self.plant.restore_pause()
            try:
                if down:
                    await sleep(down)
            finally:
                self.plant.server.come_back()
                end(row)


class Restart(Fault):
    """The server is away for a moment, and may have forgotten everything."""

    async def strike(self, strike: Strike) -> None:
        empty, down = self.settings.empty, self.settings.down
        detail, lost = ("its memory is lost", math.inf) if empty else ("", None)
        row = self.plant.note(self.kind, "", detail, lasting=True, lost=lost)
        self.plant.server.go_away()
        if empty:
            self.plant.broker.forget()
            await self.plant.restore_pause()
        try:
            if down:
                await sleep(down)
        finally:
            self.plant.server.come_back()
            end(row)


class ScriptFlush(Fault):
    """The server forgets its scripts."""

    async def strike(self, strike: Strike) -> None:
        flush = getattr(self.plant.broker, "flush_scripts", None)
        if flush is None:
            self.plant.note(self.kind, "", "a queue in memory has no scripts")
        else:
            await flush()
            self.plant.note(self.kind, "")


# -- What can go wrong with Redis, or on the way to it


class OutageFields(Lasting):
    """Nobody reaches Redis: connections break, and no command gets through."""


class LatencyFields(Likely):
    """Commands take longer, there and back together."""

    delay: ServiceTime
    """How much longer."""
    client: Word = ALL
    """Whose commands: a worker's, a load entry's, or all."""


class DropFields(Likely):
    """The connection breaks on a command: before it reached the server, or after it took effect, its answer lost."""

    effect: Literal["before", "after", "either"] = "either"
    """Whether it breaks before or after the command took effect."""
    client: Word = ALL
    """Whose commands: a worker's, a load entry's, or all."""


class ReadOnlyFields(Lasting):
    """Clients talk to a replica: it answers questions and refuses whatever would change something."""


class FailoverFields(Timing):
    """A replica takes over that had not got the last writes yet: they are undone."""

    lose: PositiveSeconds
    """How much of the past is lost."""
    down: Seconds = 0.0
    """For how long nobody reaches the server meanwhile."""

    @model_validator(mode="after")
    def _foreseen(self) -> Any:
        if self.while_ is not None:
            raise refuse("a failover needs at or every: what it undoes must be kept beforehand")
        return self


class RestartFields(Timing):
    """The server restarts."""

    empty: Annotated[bool, Field(strict=True)] = False
    """Without what it held in memory; otherwise everything is still there."""
    down: Seconds = 1.0
    """For how long nobody reaches it."""


class ScriptFlushFields(Timing):
    """SCRIPT FLUSH: the server forgets all scripts. A queue in memory has none: there it changes nothing."""


# -- What somebody does to the queue itself, at work


class Pause(Fault):
    """The queue is paused. Pauses that overlap end with the last of them. A failover neither ends nor revives one."""

    def prepare(self) -> None:
        self.plant.may_pause = True

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, self.plant.broker.queue, lasting=True)
        self.plant.pauses += 1
        if self.plant.pauses == 1:
            await self.plant.pause_as_told()
        try:
            await self.schedule.over(strike)
        finally:
            self.plant.pauses -= 1
            if not self.plant.pauses:
                await self.plant.pause_as_told()
            end(row)


# -- What somebody may do to the queue itself


class PauseFields(Lasting):
    """Somebody pauses the queue, and resumes it later: meanwhile no job starts, and those that run go on."""
