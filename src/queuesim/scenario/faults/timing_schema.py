"""When a fault strikes and for how long, as a scenario writes it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, field_validator, model_validator

from queuesim.scenario.base_schema import Section, or_single
from queuesim.scenario.faults.condition import ConditionField
from queuesim.scenario.service_schema import ServiceTime
from queuesim.scenario.unit_schema import NOT_EMPTY, Probability, Seconds, refuse
from queuesim.scenario.wording import listing

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
            raise refuse(f"only one of these keys can be there: {listing(given)}")
        if not given and not (self.by_chance and getattr(self, "probability", None) is not None):
            more = ", probability" if self.by_chance else ""
            raise refuse(f"when does it strike? One of these keys is needed: at, every, while{more}")
        return self


class Lasting(Timing):
    """A fault that lasts for some time."""

    lasting = True

    for_: ServiceTime | None = Field(None, alias="for")
    """For how long; with `while` at most so long."""

    @model_validator(mode="after")
    def _how_long(self) -> Any:
        if self.timed and self.while_ is None and self.for_ is None:
            raise refuse('"for" is missing: how long it lasts, as "for: 2m"')
        if self.for_ is not None and not self.timed:
            raise refuse('"for" needs a beginning: add at or every')
        return self


class Likely(Lasting):
    """A fault that strikes with a probability: at any time, or only while it lasts."""

    by_chance = True

    probability: Probability | None = None
    """How likely each single one is struck; 1 if left out."""

    @property
    def chance(self) -> float:
        """The probability, 1 if it was left out."""
        return 1.0 if self.probability is None else self.probability
