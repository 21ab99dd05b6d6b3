"""Which engine played a run in virtual time, and why it was not the compiled one."""

from __future__ import annotations

from enum import StrEnum


class EngineKind(StrEnum):
    """What plays a scenario in virtual time."""

    VIRTUAL = "virtual"
    """The virtual loop: it runs handlers."""
    COMPILED = "compiled"
    """The compiled loop over arrays: the same recording, for scenarios without user code."""


class NotCompiled(StrEnum):
    """Why the virtual loop played and not the compiled one. The values are what stored results hold."""

    ASKED = "asked"
    SMALL = "small"
    NO_NUMBA = "numba missing"
    BROKEN_NUMBA = "numba broken"
    BACKEND = "backend"
    PROCESSOR = "processor"
    INVARIANTS = "invariants"
    TRACER = "tracer"
    ORDER = "order"
    CALENDAR = "calendar"
    FAULTS = "faults"
    OVERDUE = "overdue"
    TRACE = "trace"
    BLOCKING = "blocking"
    ABORT = "abort"
    TICK = "tick"
    LOCKS = "locks"
    SLOW_TIMEOUT = "slow timeout"
    RETENTION_BY_AGE = "retention by age"
    TOO_LARGE = "too large"
    # what only the run shows
    STEPS = "steps"
    ATTEMPTS = "attempts"
    LONG_DRAIN = "long drain"
    STANDSTILL = "standstill"
    SHORT_WAIT = "short wait"

    @property
    def text(self) -> str:
        """The reason in words."""
        return TEXTS[self]


TEXTS = {
    NotCompiled.ASKED: "the virtual loop was asked for",
    NotCompiled.SMALL: "the run is small: it is over before compiled code is loaded",
    NotCompiled.NO_NUMBA: "numba is not installed (the extra fast)",
    NotCompiled.BROKEN_NUMBA: "numba does not work here",
    NotCompiled.BACKEND: "only the backend sim has a compiled engine",
    NotCompiled.PROCESSOR: "it runs handlers of your own",
    NotCompiled.INVARIANTS: "it has invariants, which are functions of your own",
    NotCompiled.TRACER: "its awaits are traced",
    NotCompiled.ORDER: "its tasks run in a drawn order",
    NotCompiled.CALENDAR: "it is on the virtual calendar",
    NotCompiled.FAULTS: "it has faults",
    NotCompiled.OVERDUE: "it has overdue tasks, which live in a database",
    NotCompiled.TRACE: "a load replays a trace",
    NotCompiled.BLOCKING: "a job type blocks its worker",
    NotCompiled.ABORT: "a threshold can end the run",
    NotCompiled.TICK: "its overhead has a tick",
    NotCompiled.LOCKS: "locks may expire before they are renewed",
    NotCompiled.SLOW_TIMEOUT: "its overhead has an attempt, and a job type a timeout",
    NotCompiled.RETENTION_BY_AGE: "it keeps finished jobs by their age",
    NotCompiled.TOO_LARGE: "it has more jobs or job types than the compiled engine can number",
    NotCompiled.STEPS: "very much happened at one instant",
    NotCompiled.ATTEMPTS: "a job failed a thousand times",
    NotCompiled.LONG_DRAIN: "nothing moved in the drain for most of a day",
    NotCompiled.STANDSTILL: "the drain came to a standstill",
    NotCompiled.SHORT_WAIT: "a wait was too short for the clock",
}
