"""What handlers did: each await at which an attempt was suspended, with its line."""

from __future__ import annotations

import asyncio
import dis
import sys
from collections import defaultdict
from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from linecache import getline
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import queuesim
from queuesim.core.job import Job
from queuesim.core.processor import JobType, Processor, call
from queuesim.results.recording import Recording
from queuesim.scenario.processors import INSTALLED
from queuesim.simulation.process import frames_of
from queuesim.simulation.stepping import Stepped, stepped

OURS = str(Path(queuesim.__file__).parent)
STANDARD = str(Path(asyncio.__file__).parents[1])


NOTED = 10_000
"""Awaits of an attempt that are noted, at most: a handler may poll a million times, and noting takes time."""


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    @property
    def code(self) -> str:
        """What stands there."""
        return getline(self.file, self.line).strip()

    def __str__(self) -> str:
        path = Path(self.file)
        # a notebook's cell is a file with a number, in a directory of its kernel
        name = "cell" if path.parent.name.startswith("ipykernel_") or path.name.startswith("<ipython-") else path.name
        return f"{name}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """An attempt was suspended."""

    time: float
    """Seconds since the run began."""
    number: int
    """The job's number."""
    attempt: int
    """Which start of the job, from 1."""
    place: Place


class Tracer:
    """Notes the awaits of all attempts of a run."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        """In the order in which they happened; of each attempt, the first `NOTED`."""
        self.recording: Recording | None = None
        """What the run left behind, once it is over, with all of its rows."""
        self.lines: dict[CodeType, set[int]] = defaultdict(set)
        """By function of the user's, the lines at which it was suspended."""
        self.awaits = 0
        """How many there were, those in code that is not the user's included."""

    def wrap(self, processor: Processor) -> Processor:
        """A copy of a processor whose attempts are noted."""
        traced = copy(processor)
        traced.types, traced.plain_handlers = {}, {}
        for job_type in processor.types.values():
            traced.add(self._wrap(job_type))
        return traced

    def _wrap(self, job_type: JobType) -> JobType:
        handler = job_type.handler

        async def handle(job: Job) -> Any:
            return await stepped(_Traced(call(handler, job), self._noter(job)))

        return replace(job_type, handler=handle, is_async=True)

    def _noter(self, job: Job) -> Callable[[Coroutine[Any, Any, Any]], None]:
        now, number, attempt = asyncio.get_running_loop().time, job.number, job.attempts_started
        left = NOTED

        def note(coroutine: Coroutine[Any, Any, Any]) -> None:
            nonlocal left
            self.awaits += 1
            left -= 1
            if left < 0:
                return
            frames = users_frames(coroutine)
            for frame in frames:
                self.lines[frame.f_code].add(frame.f_lineno)
            if frames:
                place = Place(frames[-1].f_code.co_filename, frames[-1].f_lineno)
                self.steps.append(Step(now(), number, attempt, place))

        return note


class _Traced(Stepped):
    def __init__(self, coroutine: Coroutine[Any, Any, Any], note: Callable[[Coroutine[Any, Any, Any]], None]) -> None:
        super().__init__(coroutine)
        self._note = note

    def suspended(self, awaited: Any) -> Any:
        self._note(self.coroutine)
        return awaited


def users_frames(coroutine: Coroutine[Any, Any, Any]) -> list[FrameType]:
    """The frames of the user's code in which a coroutine is suspended, outermost first."""
    return [frame for frame in frames_of(coroutine) if is_users(frame.f_code.co_filename)]


def awaits_of(code: CodeType) -> set[Place]:
    """The lines at which a function can be suspended."""
    sends = (each for each in dis.get_instructions(code) if each.opname == "SEND" and each.positions is not None)
    lines = {each.positions.lineno for each in sends if each.positions is not None}
    return {Place(code.co_filename, line) for line in lines if line is not None}


@cache
def is_users(file: str) -> bool:
    """Whether a file is the user's own: neither of Python, nor of a library, nor of ours."""
    if file.startswith((OURS, "<frozen")):
        return False
    if not INSTALLED.isdisjoint(Path(file).parts):
        return False
    return not file.startswith(STANDARD) or not STANDARD.startswith(sys.base_prefix)
