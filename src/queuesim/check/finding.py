"""A finding: one thing that will go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.scenario.threshold import Threshold

PATIENCE = 30.0
"""Seconds for which whoever waits for a job's result usually waits: the time-out of HTTP clients and proxies."""

MARGIN = 1.05
"""A threshold is only called out of reach if it is missed by more than this: the arithmetic is no more exact."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will go wrong, or that does nothing."""

    name: str
    key: str
    """What it is about: the key of a scenario, as ``workers.limiter``, or the argument of a processor."""
    message: str
    expected: float | None = None
    """What a threshold's metric comes to, in its unit, where the finding is about one."""

    @property
    def shown_by(self) -> str:
        """A scenario of the repository in which it can be seen, and seen to happen."""
        return f"scenarios/check/{self.name.replace(' ', '-')}.yaml"


def rate(per_second: float) -> str:
    """A rate, as findings tell it."""
    return f"{per_second * 60:.3g}/min"


AGES = 1000 * 365 * 86400.0
"""Seconds above which a duration is no more told exactly."""


def time(seconds: float) -> str:
    """A duration, as findings tell it."""
    if seconds > AGES:
        return "more than 1,000 years"
    return format_duration(float(f"{seconds:.3g}")) if seconds < 100 else format_duration(float(round(seconds)))


def whose(threshold: Threshold) -> str:
    """Which jobs a threshold looks at, as findings tell it."""
    chosen = threshold.where.chosen()
    return f" of {', '.join(f'{key} {name}' for key, name in chosen.items())}" if chosen else ""
