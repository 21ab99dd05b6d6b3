"""Recordings written by hand: jobs and their attempts in one line each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from queuesim.core.events import EventKind
from queuesim.core.job import JobState
from queuesim.results.recording import (
    ATTEMPT_ROW,
    ENDINGS,
    EVENT_ROW,
    JOB_ROW,
    WINDOW_ROW,
    CheckRow,
    Facts,
    FaultRow,
    Recording,
    ScanRow,
)

NAN = math.nan
KINDS = [kind.value for kind in EventKind]
STATES = [state.value for state in JobState]


class Script:
    """What happened, told step by step, to be packed into a recording."""

    def __init__(self, duration: float = 100.0, **facts: Any) -> None:
        self.facts = replace(Facts("hand-made", "sim", 1, duration, duration), **facts)
        self.names: list[str] = []
        self.loads: list[str] = []
        self.workers: list[str] = []
        self.errors: list[tuple[str, str, bool]] = [("", "", False)]
        self.messages = [""]
        self.jobs: list[tuple[Any, ...]] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.events: list[tuple[Any, ...]] = []
        self.windows: list[tuple[Any, ...]] = []
        self.ids: dict[int, str] = {}
        self.left: dict[int, str] = {}
        self.checks: list[CheckRow] = []
        self.faults: list[FaultRow] = []
        self.scans: list[ScanRow] = []

    def job(
        self,
        scheduled: float,
        name: str = "mail",
        load: str = "steady",
        added: float | None = None,
        delay: float = 0.0,
        priority: int = 0,
        left: str | None = None,
        id: str | None = None,
        number: int | None = None,
    ) -> int:
        """Add a job and return its number."""
        number = number or len(self.jobs) + 1
        row = (number, place(self.names, name), place(self.loads, load), scheduled)
        self.jobs.append((*row, scheduled if added is None else added, delay, priority))
        if left is not None:
            self.left[number] = left
        if id is not None:
            self.ids[number] = id
        return number

    def attempt(
        self,
        number: int,
        started: float,
        ended: float = NAN,
        ending: str = "ok",
        ready: float = NAN,
        error: tuple[str, str, bool] | None = None,
        message: str = "",
        backoff: float = NAN,
        worker: str = "w1",
        slot: int = 0,
    ) -> None:
        """A start of a job; its ordinal follows from those before. Without an end it is unfinished."""
        ordinal = 1 + sum(row[0] == number for row in self.attempts)
        what = "unfinished" if math.isnan(ended) else ending
        row = (number, ordinal, place(self.workers, worker), slot, ready, started, ended, ENDINGS.index(what))
        code = place(self.errors, error) if error else 0
        self.attempts.append((*row, code, place(self.messages, message), backoff))

    def event(self, time: float, kind: str, number: int = 0, previous: str | None = None) -> None:
        """An event of a job, or of the queue (0)."""
        before = 0 if previous is None else STATES.index(previous) + 1
        self.events.append((time, number, KINDS.index(kind), before))

    def window(self, opened: float, closes: float, max: int) -> None:
        """A window of the limiter."""
        self.windows.append((opened, closes, max))

    def recording(self) -> Recording:
        """Packed, with attempts in the order in which they ended, unfinished ones last."""
        attempts = np.array(self.attempts, dtype=ATTEMPT_ROW)
        return Recording(
            facts=self.facts,
            jobs=np.array(self.jobs, dtype=JOB_ROW),
            attempts=attempts[np.argsort(attempts["ended"], kind="stable")],
            events=np.array(self.events, dtype=EVENT_ROW),
            windows=np.array(self.windows, dtype=WINDOW_ROW),
            names=self.names,
            loads=self.loads,
            workers=self.workers,
            errors=self.errors,
            messages=self.messages,
            ids=self.ids,
            left=self.left,
            checks=self.checks,
            faults=self.faults,
            scans=self.scans,
        )


def place(table: list[Any], entry: Any) -> int:
    """Where `entry` is in a table, which it joins if it is new."""
    if entry not in table:
        table.append(entry)
    return table.index(entry)
