"""The driver of Node: what happens to tests when its process dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hands import NodeHand
from nodedriver import NodeError, NodeGoneError, NodeObject, SharedNode

from queuesim.brokers.redis.embedded import EmbeddedServer


@pytest.fixture
def shared(default_server: EmbeddedServer) -> Iterator[SharedNode]:
    """Another than the one that the other tests share."""
    shared = SharedNode(default_server)
    yield shared
    shared.close()


def test_what_a_request_throws_leaves_it_running(shared: SharedNode) -> None:
    node = shared.running()
    with pytest.raises(NodeError, match="no such thing"):
        node.run("throw new Error('no such thing')")
    assert shared.running() is node


def test_a_request_to_a_dead_process_fails_at_once(shared: SharedNode) -> None:
    node = shared.running()
    with pytest.raises(NodeGoneError):
        node.run("process.exit(3)")
    with pytest.raises(NodeGoneError):
        node.run("return 1")


def test_whoever_comes_next_gets_a_new_process(shared: SharedNode) -> None:
    dead = shared.running()
    os.kill(dead.pid, signal.SIGKILL)
    with pytest.raises(NodeGoneError):
        dead.run("return 1")
    node = shared.running()
    assert (node.pid != dead.pid, node.run("return 1")) == (True, 1)
    # a hand is a process's own, too
    assert isinstance(NodeHand(node, "q", "node").queue, NodeObject)
