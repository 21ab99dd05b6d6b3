"""The two ways in which virtual time stands still for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from linecache import getline
from pathlib import Path
from typing import Any, NamedTuple

from queuesim.error import QueuesimError
from queuesim.simulation.process import CURRENT, is_buried, suspended_frames
from queuesim.simulation.timers import SimulatedTask, Waking

# -- Who waits for what: a description of suspended tasks

MOST_LISTED = 50
"""So many tasks are described; of the rest only the number is told."""


@cache
def library_directories() -> tuple[str, ...]:
    """Where the code lives that waits on behalf of a user's."""
    specs = [spec for name in ("asyncio", "anyio", "simpy") if (spec := find_spec(name)) is not None]
    files = [__file__, *(spec.origin for spec in specs if spec.origin is not None)]
    return tuple(str(Path(file).parent) for file in files)


class StackFrame(NamedTuple):
    """A line in a suspended function."""

    function: str
    file: str
    line: int

    @property
    def in_library(self) -> bool:
        """Whether this is code that waits on behalf of a user's."""
        return self.file.startswith(library_directories())

    @property
    def is_private(self) -> bool:
        """Whether the library keeps this function to itself."""
        return any(part.startswith("_") and not part.startswith("__") for part in self.function.split("."))

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


def describe_waiters(tasks: Sequence[asyncio.Task[Any]]) -> str:
    """A line for each task: its name, what it waits for, and the innermost line of the user's code."""
    lines = [f"  {describe(task)}" for task in tasks[:MOST_LISTED]]
    if len(tasks) > MOST_LISTED:
        lines.append(f"  and {len(tasks) - MOST_LISTED} more")
    return "\n".join([f"{len(tasks)} task(s) left:" if lines else "No task is left.", *lines])


def describe(task: asyncio.Task[Any]) -> str:
    """`Task-1 waits for Queue.get in main (file.py:7)`."""
    places = places_of(task)
    own = [index for index, place in enumerate(places) if not place.in_library]
    innermost = own[-1] if own else -1
    primitive = next((place.function for place in places[innermost + 1 :] if not place.is_private), None)
    where = f" in {places[max(innermost, 0)]}" if places else ""
    return f"{task.get_name()} {what(task, primitive)}{where}{process_of(task)}"


def what(task: asyncio.Task[Any], primitive: str | None) -> str:
    """What the task waits for. `primitive` is the library function that the user's code awaits, if it does."""
    waiter: object = getattr(task, "_fut_waiter", None)
    if waiter is None:
        naps = isinstance(task, SimulatedTask) and task.nap is not None and task.nap.pending
        return "waits for sleep" if naps else "is ready to run"
    if isinstance(waiter, Waking):
        return f"waits for {waiter.describe()}"
    if primitive is not None:
        return f"waits for {primitive}"
    if isinstance(waiter, asyncio.Task):
        return f"waits for {waiter.get_name()}" + (", which was killed," if is_buried(waiter) else "")
    return "waits for gather" if type(waiter).__name__ == "_GatheringFuture" else "waits for a Future"


def process_of(task: asyncio.Task[Any]) -> str:
    """A word on the task's process, if that does not run."""
    process = task.context.get(CURRENT) if isinstance(task, SimulatedTask) else None
    return "" if process is None or process.runs else f"; its process {process.name!r} is {process.state.value}"


def places_of(task: asyncio.Task[Any]) -> list[StackFrame]:
    """The lines at which the task is suspended, outermost first."""
    return [
        StackFrame(frame.f_code.co_qualname.rpartition("<locals>.")[2], frame.f_code.co_filename, frame.f_lineno)
        for frame in suspended_frames(task)
    ]


class Await(NamedTuple):
    """Where a task of a user's hangs."""

    code: str
    """The line: ``await lock.acquire()``; what it waits for, if the source can't be read."""
    place: str
    """``mail.py:31``."""


def awaited(task: asyncio.Task[Any], own: Sequence[str] = ()) -> Await | None:
    """The innermost line of the user's code in which a task, or a task that it waits for, is suspended.

    Args:
        own: directories or files whose code is not the user's, beside those of libraries.

    Returns:
        None if the task is not suspended in code of the user's.
    """
    for other in waited_for(task):
        if (found := awaited(other, own)) is not None:
            return found
    places = places_of(task)
    users = [place for place in places if not place.in_library and not place.file.startswith(tuple(own))]
    if not users:
        return None
    innermost = users[-1]
    code = getline(innermost.file, innermost.line).strip() or what(task, None)
    return Await(code, f"{Path(innermost.file).name}:{innermost.line}")


def waited_for(task: asyncio.Task[Any]) -> list[asyncio.Task[Any]]:
    """The tasks that a task waits for by ``await task`` or ``gather``, as far as they have not ended."""
    waiter: Any = getattr(task, "_fut_waiter", None)
    children = [waiter, *getattr(waiter, "_children", ())]
    return [child for child in children if isinstance(child, asyncio.Task) and not child.done()]


def sleeps(task: asyncio.Task[Any]) -> bool:
    """Whether a task, or one that it waits for, sleeps: it will go on by itself."""
    if isinstance(task, SimulatedTask) and task.nap is not None and task.nap.pending:
        return True
    places = places_of(task)
    if places and places[-1].in_library and places[-1].function == "sleep":
        return True
    return any(sleeps(other) for other in waited_for(task))


class Deadlock(QueuesimError):  # noqa: N818  (a state of the program, by its usual name)
    """Nothing is ready, no timer is left, and the program has not ended. Says what every task waits for."""

    def __init__(self, time: float, tasks: Sequence[asyncio.Task[Any]]) -> None:
        self.time = time
        """Seconds of virtual time at which nothing could happen any more."""
        self.detail = f"nothing is ready, no timer is left, and the program has not ended.\n{describe_waiters(tasks)}"
        """Why, and what every task waits for."""
        super().__init__(f"deadlock at {self.time:g} s of virtual time: {self.detail}")


class BusyThread(Deadlock):
    """A thread that the simulation started goes on for too long in real time, and virtual time waits for it."""

    def __init__(self, time: float, busy: str, limit: float) -> None:
        self.time = time
        self.detail = f"{busy} is still busy after {limit:g} s of real time, and virtual time waits for it"
        QueuesimError.__init__(self, f"deadlock at {self.time:g} s of virtual time: {self.detail}")


class Livelock(QueuesimError):  # noqa: N818
    """Callbacks beget callbacks for ever at one instant, so that time can't move. Says what every task does.

    The usual cause is a task that polls: ``while not done: await asyncio.sleep(0)``. Real time would pass meanwhile,
    virtual time does not: let it sleep for a while, or wait for an event.
    """

    def __init__(self, time: float, generations: int, tasks: Sequence[asyncio.Task[Any]]) -> None:
        self.time = time
        """Seconds of virtual time that can't get on."""
        self.detail = (
            f"callbacks were followed by callbacks {generations} times at this one instant. A task that "
            "polls with sleep(0), or sleeps for less than the clock can tell, must sleep for a while or wait for an "
            "event.\n"
            f"{describe_waiters(tasks)}"
        )
        """Why, and what every task does."""
        super().__init__(f"livelock at {self.time:g} s of virtual time: {self.detail}")
