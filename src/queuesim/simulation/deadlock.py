"""The two ways in which virtual time stands still for ever, and a description of who waits for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.errors import QueuesimError

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


class Deadlock(QueuesimError):  # noqa: N818  (a state of the program, by its usual name)
    """Nothing is ready, no timer is left, and the program has not ended. Says what every task waits for."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__("deadlock")


class Livelock(QueuesimError):  # noqa: N818
    """Callbacks beget callbacks for ever at one instant, so that time can't move. Says what every task does."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__("livelock")
