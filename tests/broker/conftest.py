"""The brokers under test. Every broker has to pass the same tests, which see it through its protocol only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from brokerdriver import FACTORIES, Driver

from queuesim.broker.base import Broker


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=sorted(FACTORIES))
def broker(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Broker]:
    async def make() -> Broker:
        return await FACTORIES[request.param]()

    broker = runner.run(make())
    yield broker
    runner.run(broker.close())


@pytest.fixture
def queue(broker: Broker, runner: asyncio.Runner) -> Driver:
    return Driver(broker, runner)
