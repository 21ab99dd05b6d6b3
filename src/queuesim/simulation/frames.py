"""The frames of a suspended task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import FrameType
from typing import Any


def suspended_frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames in which the task is suspended, outermost first. What an asynchronous generator awaits is missing."""
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        frame: FrameType | None = first_of(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield frame
        coroutine = first_of(coroutine, "cr_await", "gi_yieldfrom", "ag_await")


def first_of(owner: object, *names: str) -> Any:
    """The first of these attributes that is there and not None."""
    return next((found for name in names if (found := getattr(owner, name, None)) is not None), None)
