"""The two ways in which virtual time stands still for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.errors import QueuesimError
from queuesim.simulation.waiters import describe_waiters

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


class Deadlock(QueuesimError):  # noqa: N818  (a state of the program, by its usual name)
    """Nothing is ready, no timer is left, and the program has not ended. Says what every task waits for."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.time = loop.time()
        """Seconds of virtual time at which nothing could happen any more."""
        self.detail = (
            f"nothing is ready, no timer is left, and the program has not ended.\n{describe_waiters(loop.tasks())}"
        )
        """Why, and what every task waits for."""
        super().__init__(f"deadlock at {self.time:g} s of virtual time: {self.detail}")


class BusyThread(Deadlock):
    """A thread that the simulation started goes on for too long in real time, and virtual time waits for it."""

    def __init__(self, loop: VirtualLoop, busy: str) -> None:
        self.time = loop.time()
        self.detail = f"{busy} is still busy after {loop.thread_limit:g} s of real time, and virtual time waits for it"
        QueuesimError.__init__(self, f"deadlock at {self.time:g} s of virtual time: {self.detail}")


class Livelock(QueuesimError):  # noqa: N818
    """Callbacks beget callbacks for ever at one instant, so that time can't move. Says what every task does.

    The usual cause is a task that polls: ``while not done: await asyncio.sleep(0)``. Real time would pass meanwhile,
    virtual time does not: let it sleep for a while, or wait for an event.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self.time = loop.time()
        """Seconds of virtual time that can't get on."""
        self.detail = (
            f"callbacks were followed by callbacks {loop.most_generations} times at this one instant. A task that "
            "polls with sleep(0), or sleeps for less than the clock can tell, must sleep for a while or wait for an "
            "event.\n"
            f"{describe_waiters(loop.tasks())}"
        )
        """Why, and what every task does."""
        super().__init__(f"livelock at {self.time:g} s of virtual time: {self.detail}")
