"""A sleeping task's next step, waiting in the environment's heap."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import ClassVar

from queuesim.simulation.handle import Handle


class Nap(Handle):
    """The step of a task that `VirtualLoop.sleep` put off. It has no callback once that came, or was cancelled."""

    __slots__ = ()

    callbacks: ClassVar[tuple[()]] = ()
    """No SimPy process can wait for it."""
    _ok: ClassVar[bool] = True
    _value: ClassVar[None] = None
    _defused: ClassVar[bool] = True

    def __init__(self, callback: Callable[..., object], context: Context) -> None:
        self._callback = callback
        self._args = ()
        self._context = context

    @property
    def pending(self) -> bool:
        """Whether the task still sleeps."""
        return self._callback is not None

    def take(self) -> Handle:
        """The step itself, to be run now: the nap stays behind as a husk."""
        step = Handle(self._callback, (), self._context)  # type: ignore[arg-type]
        self._callback = None
        return step
