"""Times at which a fault strikes: the windows of a scenario's `at`, `every` or `while`."""

from __future__ import annotations

import asyncio
import math
import operator
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from queuesim.core.clock import now, sleep, sleep_until
from queuesim.core.job import JobState
from queuesim.fields import NOT_EMPTY, Seconds, Section, or_single, refuse
from queuesim.simulation.random import Streams
from queuesim.simulation.service_times import ServiceTime
from queuesim.text import listing, show, unknown

# -- Conditions while which a fault holds: ``waiting > 1000``

COUNTS: dict[str, tuple[JobState, ...]] = {
    "waiting": (JobState.WAITING, JobState.PRIORITIZED),
    "delayed": (JobState.DELAYED,),
    "active": (JobState.ACTIVE,),
    "completed": (JobState.COMPLETED,),
    "failed": (JobState.FAILED,),
    "backlog": (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE),
}
"""What can be counted, and the states that count. Finished jobs count as long as retention keeps them."""

OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}

_TEXT = re.compile(rf"^\s*([A-Za-z_]+)\s*({'|'.join(OPERATORS)})\s*([0-9][0-9_]*)\s*$")


@dataclass(frozen=True, slots=True)
class Condition:
    """A count of jobs held against a number."""

    count: str
    operator: str
    number: int

    def __str__(self) -> str:
        return f"{self.count} {self.operator} {self.number}"

    def holds(self, counts: Mapping[JobState, int]) -> bool:
        """Whether it holds for jobs counted by their states."""
        measured = sum(counts.get(state, 0) for state in COUNTS[self.count])
        return OPERATORS[self.operator](measured, self.number)


def parse_condition(value: Any) -> Condition:
    """Read a condition. Refuses what is none."""
    if isinstance(value, Condition):
        return value
    found = _TEXT.match(value) if isinstance(value, str) else None
    if found is None:
        raise refuse(f'{show(value)} is not a condition: write it as "waiting > 1000"')
    if found[1] not in COUNTS:
        raise refuse(unknown("count", found[1], COUNTS))
    return Condition(found[1], found[2], int(found[3]))


ConditionField = Annotated[
    Condition,
    PlainValidator(parse_condition),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^\s*({'|'.join(COUNTS)})\s*(<=|>=|==|!=|<|>)\s*[0-9][0-9_]*\s*$"}),
]


# -- When a fault strikes and for how long, as a scenario writes it

ANY, ALL = "any", "all"
"""One worker that is drawn; every worker."""


class Timing(Section):
    """When a fault strikes: exactly one of `at`, `every` and `while`."""

    model_config = ConfigDict(serialize_by_alias=True)

    by_chance: ClassVar[bool] = False
    """Whether it may do without: then it can strike at any time, with its probability."""
    lasting: ClassVar[bool] = False
    """Whether it needs to be told for how long."""

    at: Annotated[tuple[Seconds, ...], NOT_EMPTY, Field(json_schema_extra=or_single)] | None = None
    """When it begins, once or several times."""
    every: ServiceTime | None = None
    """How long until it begins, and after its end until it begins again: ``{exponential: 30m}`` for random times."""
    while_: ConditionField | None = Field(None, alias="while")
    """It begins when this holds, and ends when it does so no longer; it is looked at every second."""

    @field_validator("at", mode="before")
    @classmethod
    def _one_time(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, (list, tuple)) else [value]

    @field_validator("at")
    @classmethod
    def _in_order(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and any(later <= earlier for earlier, later in pairwise(value)):
            raise refuse("the times must come one after the other")
        return value

    @field_validator("every")
    @classmethod
    def _some_time(cls, value: ServiceTime | None) -> ServiceTime | None:
        if value is not None and value.constant == 0:
            raise refuse("it must be longer than 0")
        return value

    @property
    def timed(self) -> bool:
        """Whether it says when it strikes."""
        return self.at is not None or self.every is not None or self.while_ is not None

    @model_validator(mode="after")
    def _when(self) -> Any:
        given = [key for key, value in (("at", self.at), ("every", self.every), ("while", self.while_)) if value]
        if len(given) > 1:
            raise refuse(f"only one of these keys is allowed: {listing(given)}")
        if not given and not (self.by_chance and getattr(self, "probability", None) is not None):
            more = ", probability" if self.by_chance else ""
            raise refuse(f"when does it strike? One of these keys is needed: at, every, while{more}")
        return self


LOOK = 1.0
"""Seconds between two looks at a condition."""

Counts = Callable[[], Awaitable[Mapping[JobState, int]]]
"""How many jobs are in each state."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One time that a fault strikes."""

    length: float
    """Seconds that it lasts at most; infinity: until its condition holds no longer, or the faults end."""
    condition: Condition | None = None


class Schedule:
    """When one fault strikes.

    Args:
        name: of the streams that its random times come from.
        counts: for conditions.
    """

    def __init__(self, timing: Timing, name: str, streams: Streams, counts: Counts) -> None:
        self._timing = timing
        self._counts = counts
        length = getattr(timing, "for_", None)
        self._length = None if length is None else length.model().sampler(streams.named(f"{name}/for"))
        self._gap = None if timing.every is None else timing.every.model().sampler(streams.named(f"{name}/every"))

    async def ahead(self, lead: float) -> AsyncIterator[float]:
        """For faults that have to prepare: each time `lead` seconds before one strikes, when that will be."""
        for when in self._timing.at or ():
            await sleep_until(when - lead)
            yield when
        while self._gap is not None:
            when = now() + self._gap()
            await sleep_until(max(when - lead, now()))
            yield when

    async def strikes(self) -> AsyncIterator[Strike]:
        """Each time that the fault strikes. The next one is asked for when the last is over."""
        if not self._timing.timed:
            yield Strike(math.inf)
        for when in self._timing.at or ():
            await sleep_until(when)
            yield Strike(self._draw())
        while self._gap is not None:
            await sleep(self._gap())
            yield Strike(self._draw())
        while self._timing.while_ is not None:
            await self._until(self._timing.while_, True)
            yield Strike(self._draw(), self._timing.while_)
            # an instant fault strikes once for each time that the condition comes to hold
            await self._until(self._timing.while_, False)

    async def over(self, strike: Strike) -> None:
        """Return when the strike is over."""
        if strike.condition is None:
            if math.isinf(strike.length):
                await asyncio.Event().wait()
            await sleep(strike.length)
            return
        end = now() + strike.length
        while now() < end and strike.condition.holds(await self._counts()):
            await sleep(min(LOOK, end - now()))

    def _draw(self) -> float:
        return math.inf if self._length is None else self._length()

    async def _until(self, condition: Condition, holds: bool) -> None:
        while condition.holds(await self._counts()) != holds:
            await sleep(LOOK)
