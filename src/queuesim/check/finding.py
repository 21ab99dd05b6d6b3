"""A finding: one thing that will go wrong."""

from __future__ import annotations

from dataclasses import dataclass

from queuesim.units import format_duration

PATIENCE = 30.0
"""Seconds for which whoever waits for a job's result usually waits: the time-out of HTTP clients and proxies."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will go wrong, or that does nothing."""

    name: str
    key: str
    """What it is about: the key of a scenario, as ``workers.limiter``, or the argument of a processor."""
    message: str

    @property
    def shown_by(self) -> str:
        """A scenario of the repository in which it can be seen, and seen to happen."""
        return f"scenarios/check/{self.name.replace(' ', '-')}.yaml"


def rate(per_second: float) -> str:
    """A rate, as findings tell it."""
    return f"{per_second * 60:.3g}/min"


def time(seconds: float) -> str:
    """A duration, as findings tell it."""
    return format_duration(float(f"{seconds:.3g}")) if seconds < 100 else format_duration(float(round(seconds)))
