"""The brokers under test. Every broker has to pass the same tests, which see it through its protocol only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from brokerdriver import FACTORIES, Driver
from redisservers import Clock

from queuesim.core.broker import Broker


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=sorted(FACTORIES))
def broker(request: pytest.FixtureRequest, runner: asyncio.Runner, clock: Clock) -> Iterator[Broker]:
    async def make() -> Broker:
        return await FACTORIES[request.param](clock)

    broker = runner.run(make())
    yield broker
    runner.run(broker.close())


@pytest.fixture
def queue(broker: Broker, runner: asyncio.Runner, clock: Clock) -> Driver:
    return Driver(broker, runner, clock)
