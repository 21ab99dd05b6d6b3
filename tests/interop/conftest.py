"""The two ends of a queue: Node with BullMQ, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hands import Both, NodeHand, OurHand
from nodedriver import Node
from redis import Redis

from queuesim.broker.redis import RedisBroker
from queuesim.broker.redis.server import connect
from queuesim.live.embedded import EmbeddedServer

PREFIXES = ("ours", "node")


@pytest.fixture(scope="session")
def node(start_server: Callable[[str], EmbeddedServer]) -> Iterator[Node]:
    """One Node process for all tests, connected with the default server; its clock runs."""
    with Node(start_server("valkey-9.1")) as node:
        yield node


@pytest.fixture(scope="session")
def node_hand(node: Node) -> NodeHand:
    """Node's hand on its own queue `q`."""
    return NodeHand(node, "q", PREFIXES[1])


@pytest.fixture
def both(node_hand: NodeHand, default_server: EmbeddedServer, node: Node) -> Iterator[Both]:
    """Both hands, each on a queue of its own on one server."""
    node_hand.forget()
    node_hand.at(0)
    with (
        Redis.from_url(default_server.url, decode_responses=True) as client,
        asyncio.Runner() as runner,
    ):
        server = runner.run(connect(default_server.url))
        broker = RedisBroker("q", server, PREFIXES[0])
        try:
            yield Both(OurHand(broker, runner), node_hand, client, "q", PREFIXES)
        finally:
            node.set_clock(None)
            runner.run(server.close())
