"""The command `queuesim admin`, as a process of its own on the loopback interface."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from adminbench import SECRET, token
from typer.testing import CliRunner

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.cli.app import app
from queuesim.tasks.store import TaskStore

OURS = {"iss": "queuesim", "aud": "queuesim-admin"}


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A client of the command's server; it is told to end at the end, and must do so with code 0."""
    command = [sys.executable, "-m", "queuesim", "admin", "--port", "0", *options]
    process = subprocess.Popen(
        command, env={**os.environ, "QUEUESIM_ADMIN_SECRET": SECRET, **environment}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert found, told
        with httpx.Client(base_url=found[0], headers={"authorization": f"Bearer {token(**OURS)}"}) as client:
            yield client, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def until(seen: Callable[[], bool]) -> None:
    """Ask again, no oftener than one client may."""
    while not seen():
        time.sleep(0.1)


@pytest.mark.server
def test_it_serves_the_api_on_a_real_queue_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db"
    with EmbeddedServer(port=0) as server:
        place = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
        with serving("--database", url, "--work", **place) as (client, _):
            assert client.get("/health").json() == {"status": "ok"}
            assert client.get("/health", headers={"authorization": ""}).status_code == 200
            assert client.get("/tasks/admin/queue-metrics", headers={"authorization": ""}).status_code == 401
            (scan,) = client.post("/tasks/admin/trigger-overdue-check").json()
            assert (scan["trigger"], scan["found"]) == ("manual", 0)
            metrics = client.get("/tasks/admin/queue-metrics").json()
            assert (metrics["queue"], metrics["health"]) == ("task-processing", "healthy")
            assert 'queue="task-processing"' in client.get("/metrics").text
        # what it wrote is there for the next one
        with serving("--database", url, **place) as (client, _):
            log = client.get("/tasks/admin/audit-log").json()
            assert [row["outcome"] for row in log] == ["done", "refused"]


def test_it_works_what_is_overdue_in_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db"
    from queuesim.tasks.store import fill

    with TaskStore(url).opened() as store:
        store.run_now(lambda connection: fill(connection, [0.0] * 30))
    with serving("--database", url, "--memory", "--work") as (client, _):
        (scan,) = client.post("/tasks/admin/trigger-overdue-check").json()
        assert scan["found"] == 30
        until(lambda: client.get("/tasks/admin/queue-metrics").json()["processed"] == 30)
        (again,) = client.post("/tasks/admin/trigger-overdue-check").json()
        assert again["found"] == 0


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (["--memory"], {"QUEUESIM_ADMIN_SECRET": ""}, "32 bytes or more"),
        (["--memory", "--jwks", "http://issuer.example/jwks"], {}, "https"),
        (["--memory", "--jwks", "http://127.0.0.1:1/jwks"], {}, "can't be fetched"),
        (["--memory", "--jwks", "missing.json"], {}, "missing.json"),
        (["--memory", "--database", "mysql://x/y"], {}, "mysql"),
        (["--redis-url", "redis://127.0.0.1:1"], {}, "can't be reached"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(
    options: list[str], environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"QUEUESIM_ADMIN_SECRET": SECRET, **environment}
    database = [] if "--database" in options else ["--database", f"sqlite:///{tmp_path}/t.db"]
    done = CliRunner().invoke(app, ["admin", "--port", "0", *options, *database], env=given)
    assert done.exit_code == 2
    assert message in done.output


def test_a_key_set_in_a_file(tmp_path: Path) -> None:
    from test_admin_attacks import JWKS, PRIVATE

    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(JWKS))
    with serving("--memory", "--database", "sqlite://", "--jwks", str(file)) as (client, _):
        good = token(PRIVATE, "RS256", {"kid": "one"}, **OURS)
        assert client.get("/tasks/admin/queue-metrics").status_code == 401
        assert client.get("/tasks/admin/queue-metrics", headers={"authorization": f"Bearer {good}"}).status_code == 200
