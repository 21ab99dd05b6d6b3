"""Bull Board, asked over HTTP, lists our jobs and moves them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nodedriver import Node, NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Job, JobState
from queuesim.brokers.redis.embedded import EmbeddedServer

pytestmark = pytest.mark.every_version

SERVE = """
const { createBullBoard } = await import('@bull-board/api');
const { BullMQAdapter } = await import('@bull-board/api/bullMQAdapter');
const { ExpressAdapter } = await import('@bull-board/express');
const { default: express } = await import('express');
const adapter = new ExpressAdapter();
createBullBoard({ queues: [new BullMQAdapter(args.queue)], serverAdapter: adapter });
const app = express();
app.use('/', adapter.getRouter());
kept.board = app.listen(0, '127.0.0.1');
await new Promise(done => kept.board.once('listening', done));
return kept.board.address().port;
"""
Ask = Callable[..., Any]


@pytest.fixture
def ask(node: Node, node_queue: NodeObject) -> Iterator[Ask]:
    """Asks the board: a path below /api, and the method."""
    port = node.run(SERVE, queue=node_queue)

    def ask(path: str, method: str = "GET", body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/{path}", data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    yield ask
    node.run("kept.board.closeAllConnections(); kept.board.close()")


def jobs(ask: Ask, status: str) -> list[dict[str, Any]]:
    (queue,) = ask(f"queues?activeQueue=mail&status={status}&page=1")["queues"]
    found: list[dict[str, Any]] = queue["jobs"]
    return found


async def fail(job: Job) -> None:
    await job.update_progress(40)
    raise OSError("the mail server is down")


def test_it_lists_our_queue_in_every_state(server: EmbeddedServer, our_queue: OurQueue, ask: Ask) -> None:
    our_queue.add("job", {"n": 1})
    with working(processor_of(fail, "mail"), server):
        until(lambda: our_queue.get_state("1") is JobState.FAILED)
    our_queue.add("job", {"n": 2}, delay=60.0)
    our_queue.add("job", {"n": 3}, priority=3)
    our_queue.add("job", {"n": 4})
    (queue,) = ask("queues?activeQueue=mail&status=failed&page=1")["queues"]
    counts = {state: queue["counts"][state] for state in ("failed", "delayed", "prioritized", "waiting", "active")}
    assert counts == {"failed": 1, "delayed": 1, "prioritized": 1, "waiting": 1, "active": 0}
    (job,) = queue["jobs"]
    assert job["failedReason"] == "the mail server is down"
    assert job["progress"] == 40
    assert job["data"] == {"n": 1}
    assert "OSError" in job["stacktrace"][0]
    assert [job["id"] for job in jobs(ask, "delayed")] == ["2"]


def test_it_retries_a_failed_job_of_ours(server: EmbeddedServer, our_queue: OurQueue, ask: Ask) -> None:
    our_queue.add("job")
    with working(processor_of(fail, "mail"), server):
        until(lambda: our_queue.get_state("1") is JobState.FAILED)
    ask("queues/mail/1/retry", "PUT")
    assert our_queue.get_state("1") is JobState.WAITING

    async def succeed(job: Job) -> str:
        return "sent"

    with working(processor_of(succeed, "mail"), server):
        until(lambda: our_queue.get_state("1") is JobState.COMPLETED)
    assert jobs(ask, "completed")[0]["returnValue"] == "sent"


def test_it_promotes_a_delayed_job_of_ours(our_queue: OurQueue, ask: Ask) -> None:
    our_queue.add("job", delay=60.0)
    ask("queues/mail/1/promote", "PUT")
    assert our_queue.get_state("1") is JobState.WAITING


def test_it_removes_a_job_of_ours(our_queue: OurQueue, ask: Ask) -> None:
    our_queue.add("job")
    ask("queues/mail/1/clean", "PUT")
    assert our_queue.get_job("1") is None


def test_it_pauses_and_resumes(our_queue: OurQueue, ask: Ask) -> None:
    ask("queues/mail/pause", "PUT")
    assert our_queue.is_paused()
    ask("queues/mail/resume", "PUT")
    assert not our_queue.is_paused()
