"""The two ends of a queue: Node with BullMQ, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from again import play_again, sets_for
from hands import Both, NodeHand, OurHand
from nodedriver import DEFAULT as NEWEST
from nodedriver import VERSIONS, Js, Node, NodeObject, SharedNode
from pythonside import OurQueue
from redis import Redis

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from servers import DEFAULT

PREFIXES = ("ours", "node")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with the marker `every_version` run once with each version of BullMQ, if they run Node at all."""
    marked = metafunc.definition.get_closest_marker("every_version") is not None
    if marked and "package" in metafunc.fixturenames:
        metafunc.parametrize("package", VERSIONS, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Tests with the marker `with_options` play their steps again, with options that are not the defaults."""
    outcome = yield
    both, marker = pyfuncitem.funcargs.get("both"), pyfuncitem.get_closest_marker("with_options")
    if isinstance(both, Both) and marker is not None:
        play_again(both, sets_for(pyfuncitem.name, hasattr(pyfuncitem, "callspec")))
    return outcome


@pytest.fixture
def package(request: pytest.FixtureRequest) -> str:
    """The version of BullMQ at Node's end, by its name in package.json."""
    return str(getattr(request, "param", NEWEST))


@pytest.fixture(scope="session")
def shared_nodes(start_server: Callable[[str], EmbeddedServer]) -> Iterator[dict[str, SharedNode]]:
    """One Node process for all tests with a version of BullMQ, connected with the default server."""
    shared = {package: SharedNode(start_server(DEFAULT), package) for package in VERSIONS}
    yield shared
    for each in shared.values():
        each.close()


@pytest.fixture
def node(shared_nodes: dict[str, SharedNode], package: str) -> Node:
    """The shared process, which runs; so does its clock."""
    return shared_nodes[package].running()


@pytest.fixture(scope="session")
def node_hands() -> dict[Node, NodeHand]:
    """The hand of each process that has run: connecting takes long."""
    return {}


@pytest.fixture
def node_hand(node: Node, node_hands: dict[Node, NodeHand]) -> NodeHand:
    """Node's hand on its own queue `q`."""
    if node not in node_hands:
        node_hands[node] = NodeHand(node, "q", PREFIXES[1])
    return node_hands[node]


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


@pytest.fixture
def server(default_server: EmbeddedServer) -> EmbeddedServer:
    """The server that both ends use, empty."""
    return default_server


@pytest.fixture
def node_queue(node: Node, server: EmbeddedServer) -> Iterator[NodeObject]:
    """The queue `mail` at Node's end."""
    queue = node.new("Queue", "mail", {"connection": node.connection})
    queue.waitUntilReady()
    yield queue
    queue.close()


@pytest.fixture
def our_queue(server: EmbeddedServer) -> Iterator[OurQueue]:
    """The queue `mail` at our end."""
    queue = OurQueue(server, "mail")
    yield queue
    queue.close()


@pytest.fixture
def node_worker(node: Node, server: EmbeddedServer) -> Iterator[Callable[..., NodeObject]]:
    """Starts workers at Node's end, of the queue `mail`: a processor as JavaScript, and options."""
    workers = []

    def start(processor: str, **options: Any) -> NodeObject:
        settings = {"connection": node.connection, "name": "node", "drainDelay": 1, **options}
        worker = node.new("Worker", "mail", Js(processor), settings)
        worker.waitUntilReady()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.close(True)
