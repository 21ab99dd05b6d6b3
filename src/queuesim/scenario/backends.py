"""Backends: where a scenario's queue lives, and by which clock it is played."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.broker.memory import MemoryBroker
from queuesim.errors import QueuesimError

if TYPE_CHECKING:
    from queuesim.broker.redis.observed import ObservedBroker
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


def make_broker(backend: str, queue: str, loop: VirtualLoop, epoch: float) -> MemoryBroker | ObservedBroker:
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

    return ObservedBroker(queue, FakePlace(lambda: loop.time() + epoch), origin=epoch)
