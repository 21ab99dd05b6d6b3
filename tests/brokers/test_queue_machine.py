"""The state machine that users get, over our scripts: on fakeredis, and on each real server by the machine's clock."""

from __future__ import annotations

import pytest
from brokerdriver import FACTORIES
from hypothesis import settings
from redisservers import Clock

from queuesim.core.broker import Broker
from queuesim.testing.machine import QueueMachine

SERVER = settings(max_examples=8, stateful_step_count=20, deadline=None)
"""Each step makes some twenty round trips."""


class MachineClock(Clock):
    """What time it is in a machine."""

    def __init__(self, machine: QueueMachine) -> None:
        self._machine = machine

    @property  # type: ignore[override]
    def now(self) -> float:
        """Seconds; 0 until the machine is made."""
        return getattr(self._machine, "now", 0.0)

    def __call__(self) -> float:
        return self.now


class RedisMachine(QueueMachine):
    """A queue on Redis, whose keys expire by the machine's clock."""

    kind = "fakeredis"

    async def make_broker(self) -> Broker:
        """A new, empty queue."""
        return await FACTORIES[self.kind](MachineClock(self))


class OldestMachine(RedisMachine):
    kind = "redis-6.2"


class ValkeyMachine(RedisMachine):
    kind = "valkey-9.1"


TestOnFakeredis = RedisMachine.TestCase
TestOnFakeredis.settings = settings(max_examples=5, stateful_step_count=20, deadline=None)
TestOnTheOldestRedis = pytest.mark.server(OldestMachine.TestCase)
TestOnTheOldestRedis.settings = SERVER
TestOnValkey = pytest.mark.server(ValkeyMachine.TestCase)
TestOnValkey.settings = SERVER
