"""Conditions while which a fault holds: ``waiting > 1000``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from queuesim.job import JobState
from queuesim.scenario.unit_schema import refuse
from queuesim.scenario.wording import show, unknown

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
