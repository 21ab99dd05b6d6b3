"""Running a coroutine step by step, to look at each of its awaits or to act there."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


class Stepped(Generator[Any, Any, Any]):
    """A coroutine that others await through this object, which sees each await at which it is suspended."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine

    @property
    def cr_await(self) -> Any:
        """What is awaited, for whoever looks for the place at which a task is suspended."""
        return self.coroutine

    def __await__(self) -> Stepped:
        return self

    def send(self, value: Any) -> Any:
        """Go on to the next await."""
        return self.suspended(self.coroutine.send(value))

    def throw(self, *error: Any) -> Any:
        """Go on with an error to the next await."""
        return self.suspended(self.coroutine.throw(*error))

    def close(self) -> None:
        """End it."""
        self.coroutine.close()

    def suspended(self, awaited: Any) -> Any:
        """The coroutine is suspended. Returns what is awaited."""
        return awaited


async def stepped(generator: Stepped) -> Any:
    """A coroutine that runs it: for tasks, which take nothing else."""
    return await generator
