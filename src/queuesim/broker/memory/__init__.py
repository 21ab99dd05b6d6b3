"""The memory broker: BullMQ's rules in plain Python, the reference model for every other broker."""

from queuesim.broker.memory.census import Census
from queuesim.broker.memory.image import Images
from queuesim.broker.memory.managing import Managing
from queuesim.broker.memory.scheduling import Scheduling
from queuesim.broker.memory.taking import Taking

__all__ = ["MemoryBroker"]


class MemoryBroker(Taking, Managing, Scheduling, Images, Census):
    """A queue in this process's memory. Its rules are BullMQ 6.7's; its times are whatever its callers say.

    `sibling` gives the other queues of the same place; they share nothing but that.
    """
