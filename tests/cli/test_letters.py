"""`queuesim letters` lists dead letters and what became of redrives."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from queuesim import DeadLetters, Queue
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from queuesim.core.broker import DeadLetter, Failed, Terms
from queuesim.core.deadletters import describe

pytestmark = pytest.mark.server
Command = Callable[..., "subprocess.CompletedProcess[str]"]
NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server on which three jobs died, one of them a second time after a redrive; a fourth waits after one."""
    with EmbeddedServer(port=0) as server:
        asyncio.run(bury(server.url))
        yield server.url


async def bury(url: str) -> None:
    place = await connect(url)
    broker: Any = RedisBroker("mail", place)
    queue, dead = Queue(broker), DeadLetters(broker, "mail-dead")

    async def fail(reason: str) -> None:
        (job,) = (await broker.exchange([], 1, Terms(), "t", NOW)).jobs
        letter = DeadLetter("mail-dead", describe("mail", job, reason, [*job.history, {"attempt": 1}]))
        await broker.exchange([Failed(job.id, "t", reason, dead_letter=letter)], 0, Terms(), "u", NOW)

    for reason in ("no \x1b[31manswer", "closed", "lost"):
        await queue.add("welcome", {"to": reason})
        await fail(reason)
    await dead.redrive(["2"])
    await fail("closed again")
    await dead.redrive(["3"])
    await place.close()


def test_letters_and_redrives_are_listed(invoke: Command, url: str) -> None:
    done = invoke("letters", "mail-dead", "--redis-url", url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "mail-dead: 2 dead letters"
    assert lines[1] == "  1  welcome, job 1 of mail: no \\x1b[31manswer"
    assert lines[2].startswith("  4  welcome, job redriven-2-")
    assert lines[2].endswith(" of mail: closed again (redriven 1 times, first job 2)")
    assert lines[3] == "redrives, the newest first"
    assert lines[4].startswith("  3  welcome, job redriven-3-")
    assert lines[4].endswith(" of mail: waiting")
    assert lines[5].endswith(" of mail: dead again: closed again")
    assert len(lines) == 6


def test_as_json(invoke: Command, url: str) -> None:
    told = json.loads(invoke("letters", "mail-dead", "--redis-url", url, "--json").stdout)
    assert told["count"] == 2
    assert [(letter["id"], letter["reason"]) for letter in told["letters"]] == [
        ("1", "no \x1b[31manswer"), ("4", "closed again"),
    ]  # fmt: skip
    (row,) = [row for row in told["letters"][1]["history"] if "redriven" in row]
    assert row["status"] == "dead again"
    assert [(redrive["letter"], redrive["status"]) for redrive in told["redrives"]] == [
        ("3", "waiting"), ("2", "dead again"),
    ]  # fmt: skip


def test_a_limit_and_an_empty_queue(invoke: Command, url: str) -> None:
    lines = invoke("letters", "mail-dead", "--redis-url", url, "--limit", "1").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["mail-dead:", "1", "redrives,", "3"]
    assert invoke("letters", "nobody", "--redis-url", url).stdout == "nobody: 0 dead letters\n"


def test_wrong_input_is_refused(invoke: Command, url: str) -> None:
    done = invoke("letters", "a:b", "--redis-url", url)
    assert done.returncode == 2
    assert "can't contain ':'" in " ".join(done.stderr.split())
    done = invoke("letters", "mail-dead", "--redis-url", "redis://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
