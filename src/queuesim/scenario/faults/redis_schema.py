"""What can go wrong with Redis, or on the way to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from queuesim.scenario.faults.timing_schema import ALL, Lasting, Likely, Timing
from queuesim.scenario.service_schema import ServiceTime
from queuesim.scenario.unit_schema import PositiveSeconds, Seconds, Word, refuse


class Outage(Lasting):
    """Nobody reaches Redis: connections break, and no command gets through."""


class Latency(Likely):
    """Commands take longer, there and back together."""

    delay: ServiceTime
    """How much longer."""
    client: Word = ALL
    """Whose commands: a worker's, a load entry's, or all."""


class Drop(Likely):
    """The connection breaks on a command: before it reached the server, or after it took effect, its answer lost."""

    effect: Literal["before", "after", "either"] = "either"
    """Whether it breaks before or after the command took effect."""
    client: Word = ALL
    """Whose commands: a worker's, a load entry's, or all."""


class ReadOnly(Lasting):
    """Clients talk to a replica: it answers questions and refuses whatever would change something."""


class Failover(Timing):
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


class Restart(Timing):
    """The server restarts."""

    empty: Annotated[bool, Field(strict=True)] = False
    """Without what it held in memory; otherwise everything is still there."""
    down: Seconds = 1.0
    """For how long nobody reaches it."""


class ScriptFlush(Timing):
    """SCRIPT FLUSH: the server forgets all scripts. A queue in memory has none: there it changes nothing."""
