"""A broker whose idle workers learn of work a little late, as those of a real one do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuesim.clock import sleep

if TYPE_CHECKING:
    from queuesim.broker.base import Broker


class SlowPickup:
    """Another broker, except that `wait` returns `pickup` seconds after there is work.

    Args:
        broker: whom all else is left to.
        pickup: seconds from when a job could start until a worker that waits asks for it.
    """

    def __init__(self, broker: Broker, pickup: float) -> None:
        self._broker = broker
        self._pickup = pickup

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def wait(self, until: float | None, now: float) -> None:
        """See Broker.wait."""
        await self._broker.wait(until, now)
        await sleep(self._pickup)
