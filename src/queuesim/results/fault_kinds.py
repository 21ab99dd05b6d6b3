"""What records, oracles and plots know of the kinds of faults: their effects and colours.

Each kind registers itself: see queuesim.faults.base.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto

from queuesim import results

BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
"""Colours that colour-blind people tell apart (Okabe and Ito, Color Universal Design, 2008)."""

GREY, PALE = "#6B6B6B", "#DDDDDD"


class Effect(Flag):
    """What a kind of fault can do to a run, as far as oracles must know."""

    SERVER = auto()
    """Commands may fail, take effect late, or be forgotten."""
    AWAY = auto()
    """Nobody reaches the server while it is on."""
    LATE_COMMANDS = auto()
    """Commands take effect later than they were sent."""
    WORKERS = auto()
    """Workers may die, stand still, start late, come and go, or have a wrong clock."""
    UNHEARD = auto()
    """A worker may not hear whether the queue accepted its outcomes, nor the queue how an attempt ended."""
    WRONG_CLOCK = auto()
    """A worker reports wrong times to the queue."""
    HANGS = auto()
    """Attempts may never end."""
    SKIPS_TICKS = auto()
    """A scheduler may not scan at a tick."""
    REPEATS_PAGES = auto()
    """A page of a scan may be delivered twice, or not be counted yet."""


NO_EFFECT = Effect(0)


@dataclass(frozen=True, slots=True)
class FaultFacts:
    """The facts of one kind."""

    effects: Effect = NO_EFFECT
    color: str = RED


FACTS: dict[str, FaultFacts] = {}
"""By kind."""
UNKNOWN = FaultFacts()
"""Of a kind that only another version knows."""


def facts_of(kind: str) -> FaultFacts:
    """The facts of a kind, as "redis.outage"."""
    if not FACTS:
        results.register_faults()
    return FACTS.get(kind, UNKNOWN)
