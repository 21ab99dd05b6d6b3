"""What every part of the Redis broker rests on: a queue's name, its keys, its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuesim.broker.redis.options import milliseconds
from queuesim.broker.redis.place import Argument, Place
from queuesim.broker.redis.scripts import script
from queuesim.clock import Clock
from queuesim.containment import Contained
from queuesim.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from queuesim.broker.base import Broker

PREFIX = "bull"
"""BullMQ's default."""
TYPES = {
    **dict.fromkeys(("wait", "active", "paused"), "list"),
    **dict.fromkeys(("prioritized", "delayed", "completed", "failed", "waiting-children", "marker", "repeat"), "zset"),
    **dict.fromkeys(("id", "pc", "limiter", "stalled-check"), "string"),
    "meta": "hash",
    "stalled": "set",
    "events": "stream",
}
"""The keys of a queue, and what each of them is."""


class RedisQueue:
    """A queue on BullMQ's keys.

    Args:
        queue: its name.
        place: the server.
        prefix: what all keys begin with. On Redis Cluster it must carry the hash tag: "{bull}".
        origin: when second 0 of the queue's clock was, in seconds since the Unix epoch; 0 for a clock of Unix time.

    Raises:
        ValueError: the name holds a colon, which separates the parts of a key.
    """

    server_now: float | None = None
    """What time it really is, while someone is served whose clock is wrong; None: all clocks agree. A simulation sets
    it: a real server has a clock of its own."""

    def __init__(self, queue: str, place: Place, prefix: str = PREFIX, *, origin: float = 0.0) -> None:
        if not queue or ":" in queue:
            raise ValueError(f"a queue's name can't be empty or contain ':' ({queue!r}): it is a part of Redis keys")
        self.queue = queue
        self.prefix = prefix
        self.origin = origin
        self._place = place
        self._base = self._base_of(queue)
        self.clock: Clock | None = None if place.clock is None else self._calendar
        self.observer_errors = Contained(f"the observer of queue {queue}")

    @property
    def lanes(self) -> int:
        """How many exchanges of a worker may be under way at once."""
        return getattr(self._place, "lanes", 1)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix}:{self.queue}>"

    def _calendar(self) -> float:
        assert self._place.clock is not None
        return self._place.clock() - self.origin

    async def compare_clock(self, clock: Clock) -> None:
        """Log a warning if a clock of this queue's users is not the server's; see ServerPlace.compare_clock."""
        compare = getattr(self._place, "compare_clock", None)
        if compare is not None:
            await compare(lambda: clock() + self.origin)

    def _base_of(self, queue: str) -> str:
        return f"{self.prefix}:{queue}:"

    def sibling(self, queue: str) -> Broker:
        """A broker for another queue in the same place."""
        return type(self)(queue, self._place, self.prefix, origin=self.origin)  # type: ignore[return-value]

    async def close(self) -> None:
        """Nothing to give back: whoever made the place closes it."""

    def _stamp(self, time: float) -> int:
        """A time of the queue's clock as the keys have it: milliseconds since the Unix epoch."""
        return milliseconds(time + self.origin)

    def _time(self, stamp: float) -> float:
        """A time of the keys on the queue's clock."""
        return stamp / 1000 - self.origin

    async def _run(self, name: str, arguments: Sequence[Argument] = ()) -> Any:
        from redis.exceptions import ResponseError

        try:
            return await self._place.run(script(name), self._base, arguments)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise BrokerUnavailableError(await self._foreign_key()) from error

    async def _foreign_key(self) -> str:
        """Which of the queue's keys is of a type that no queue has, and what to do."""
        for name, expected in TYPES.items():
            found = await self._place.command("TYPE", self._base + name)
            if found not in (expected, "none"):
                return (
                    f"the key {self._base}{name} is a {found}, where a queue has a {expected}: another program "
                    "wrote it. Rename or remove it, or give the queue another name or prefix"
                )
        return f"a job of {self._base} has a key of a foreign type: another program wrote it. Remove that job's keys"
