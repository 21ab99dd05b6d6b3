"""Faults of Redis, or of the way to it, at work."""

from __future__ import annotations

import math

from queuesim.clock import now, sleep, sleep_until
from queuesim.metrics.recording import FaultRow
from queuesim.scenario.faults.fault import Fault, State
from queuesim.scenario.faults.plant import end
from queuesim.scenario.faults.schedule import Strike
from queuesim.scenario.faults.server import Break, Delay
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
