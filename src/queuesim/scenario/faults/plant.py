"""What faults can get at in a run, and how they leave a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from queuesim.clock import now
from queuesim.metrics.recording import FaultRow
from queuesim.scenario.faults.server import Server
from queuesim.scenario.faults.timing_schema import ALL, ANY
from queuesim.simulation.streams import Streams

if TYPE_CHECKING:
    from queuesim.scenario.fleet import Fleet, Member
    from queuesim.scenario.producers import Producer


@dataclass
class Plant:
    """A run, as its faults see it."""

    broker: Any
    """The queue itself."""
    fleet: Fleet
    server: Server
    producers: Mapping[str, Producer]
    """By load entry."""
    rows: list[FaultRow]
    """What becomes of faults."""
    streams: Streams
    pauses: int = 0
    """Pauses of the queue that are on."""
    may_pause: bool = False
    """Whether a fault of this run pauses the queue."""
    guests: list[Callable[[Member], None]] = field(default_factory=list)
    """Told of every worker that ends or dies."""
    switched: Callable[[Any, bool], None] = lambda fault, on: None
    """Told of every fault of handlers that begins or ends."""
    struck: Callable[[Any], None] = lambda fault: None
    """Told of every attempt that such a fault strikes, with the fault."""

    def note(
        self, kind: str, target: str, detail: str = "", *, lasting: bool = False, lost: float | None = None
    ) -> FaultRow:
        """Record that a fault struck, and the seconds of memory that it lost. One that lasts gets its end later."""
        began = now()
        row = FaultRow(kind, target, began, math.nan if lasting else began, detail, lost)
        self.rows.append(row)
        return row

    async def pause_as_told(self) -> None:
        """Pause or resume the queue: it is paused while at least one fault wants it so."""
        if self.pauses:
            await self.broker.pause(now())
        else:
            await self.broker.resume(now())

    async def restore_pause(self) -> None:
        """The server went back to an earlier memory: undo what that changed of a pause that a fault made or ended."""
        if self.may_pause and await self.broker.is_paused() != (self.pauses > 0):
            await self.pause_as_told()

    def choose(self, who: str, draw: Callable[[list[Member]], Member]) -> list[Member]:
        """The living workers that are meant: one that is drawn, all, those of a kind, or one by its name."""
        living = [member for member in self.fleet.members if member.alive]
        if who == ANY:
            return [draw(living)] if living else []
        return [member for member in living if who in (ALL, member.name, member.settings.name)]


def end(row: FaultRow) -> None:
    """A fault is over."""
    row.ended = now()
