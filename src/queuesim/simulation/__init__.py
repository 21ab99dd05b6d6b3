"""The simulation: an asyncio event loop in virtual time, random streams and service times.

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuesim.simulation.calendar import Calendar as Calendar
    from queuesim.simulation.diagnosis import Deadlock as Deadlock
    from queuesim.simulation.diagnosis import Livelock as Livelock
    from queuesim.simulation.environment import Environment as Environment
    from queuesim.simulation.environment import until as until
    from queuesim.simulation.loop import Interrupted as Interrupted
    from queuesim.simulation.loop import VirtualLoop as VirtualLoop
    from queuesim.simulation.process import Process as Process
    from queuesim.simulation.refused_io import RealIOError as RealIOError
    from queuesim.simulation.runner import run as run
    from queuesim.simulation.watchdog import Watchdog as Watchdog

HOMES = {
    "Calendar": "calendar",
    "Deadlock": "diagnosis",
    "Environment": "environment",
    "Interrupted": "loop",
    "Livelock": "diagnosis",
    "Process": "process",
    "RealIOError": "refused_io",
    "VirtualLoop": "loop",
    "Watchdog": "watchdog",
    "run": "runner",
    "until": "environment",
}
"""In which module each public name lives."""


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
