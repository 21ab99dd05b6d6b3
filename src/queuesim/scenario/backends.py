"""Backends: where a scenario's queue lives, and by which clock it is played."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from queuesim.broker.base import Broker, Observer
from queuesim.broker.memory import MemoryBroker
from queuesim.containment import Contained
from queuesim.errors import QueuesimError

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop

BACKENDS = {
    "sim": "virtual time, the queue in memory",
    "fakeredis": "virtual time, our Lua scripts on fakeredis",
    "redis": "real time, a real server, workers in processes of their own",
}
"""What each one is."""


class BackendError(QueuesimError):
    """There is no such backend, or it can't play this."""


def check_backend(backend: str) -> None:
    """Raise BackendError if there is no such backend."""
    if backend not in BACKENDS:
        raise BackendError(f'there is no backend "{backend}"; choose from: {", ".join(BACKENDS)}')


class LocalBroker(Broker, Protocol):
    """A queue in this process, which tells all that happens to it and can be asked at any moment."""

    observer_errors: Contained
    """What the observer raised."""

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of everything that happens from now on."""
        ...

    @property
    def idle(self) -> bool:
        """No job waits, is delayed or runs."""
        ...

    def flush(self) -> None:
        """Tell the observer what it was not told yet."""
        ...


def make_broker(backend: str, queue: str, loop: VirtualLoop, epoch: float) -> LocalBroker:
    """The queue of a simulation.

    Args:
        epoch: the loop's second 0, in seconds since the Unix epoch: what the keys on fakeredis tell.

    Raises:
        MissingExtraError: fakeredis is not installed.
    """
    if backend == "sim":
        return MemoryBroker(queue)
    from queuesim.broker.redis.fake import FakePlace
    from queuesim.broker.redis.observed import ObservedBroker

    return cast(LocalBroker, ObservedBroker(queue, FakePlace(lambda: loop.time() + epoch), origin=epoch))
