"""``queuesim worker`` as real processes: signals, drains, several processes, its port, its log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.service.log import ContainedLogger
from queuesim.service.service import Supervisor

PROCESSOR = """
import asyncio, os, sys, threading
from queuesim import Job, Processor, UnrecoverableError

processor = Processor("mail", concurrency=3)

@processor.job("quick")
async def quick(job: Job) -> int:
    return os.getpid()

@processor.job("bad")
async def bad(job: Job) -> None:
    raise UnrecoverableError("no such address")

@processor.job("gated")
async def gated(job: Job) -> str:
    while not os.path.exists(job.data["gate"]):
        await asyncio.sleep(0.01)
    return "done"

@processor.job("stubborn")
async def stubborn(job: Job) -> None:
    while True:
        try:
            await asyncio.sleep(3600.0)
        except asyncio.CancelledError:
            pass

@processor.job("stuck")
def stuck(job: Job) -> None:
    threading.Event().wait()

@processor.job("exits")
async def exits(job: Job) -> None:
    async def exit() -> None:
        sys.exit(2)

    if job.data["where"] == "handler":
        await exit()
    elif job.data["where"] == "thread":
        await asyncio.to_thread(sys.exit, 2)
    async with asyncio.TaskGroup() as group:
        group.create_task(exit())
"""
PATIENCE = 30.0
WORKER = ("-m", "queuesim", "worker", "mail:processor")


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


class Command:
    """A running ``queuesim worker``, and what it said."""

    def __init__(self, place: Path, url: str | None, program: Sequence[str], *options: str) -> None:
        self.log = place / f"log-{len(list(place.glob('log-*')))}"
        environment = {**os.environ} if url is None else {**os.environ, "REDIS_URL": url}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *options],
                cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def await_said(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]] | None:
            assert self.process.poll() is None or len(self.said(event)) >= count, self.log.read_text()
            found = self.said(event)
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = until(enough)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, default_server: EmbeddedServer) -> Iterator[Start]:
    (tmp_path / "mail.py").write_text(PROCESSOR)
    commands: list[Command] = []

    def start(*options: str, url: str | None = default_server.url, program: Sequence[str] = WORKER) -> Command:
        commands.append(Command(tmp_path, url, program, *options))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


@pytest.fixture
def client(default_server: EmbeddedServer) -> Iterator[Redis]:
    with Redis.from_url(default_server.url, decode_responses=True) as client:
        yield client


def add(client: Redis, name: str, data: object = None) -> str:
    """As any program could."""
    job_id = str(client.incr("bull:mail:id"))
    fields = {"name": name, "data": json.dumps(data or {}), "opts": "{}", "timestamp": 0, "delay": 0, "priority": 0}
    client.hset(f"bull:mail:{job_id}", mapping=fields)
    client.lpush("bull:mail:wait", job_id)
    client.zadd("bull:mail:marker", {"0": 0})
    return job_id


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_it_works_and_stops_when_told(start: Start, client: Redis) -> None:
    command = start("--name", "w1")
    (started,) = command.await_said("started")
    assert (started["queue"], started["worker"], started["concurrency"]) == ("mail", "w1", 3)
    job_id = add(client, "quick")
    until(lambda: client.zscore("bull:mail:completed", job_id))
    assert client.hget(f"bull:mail:{job_id}", "returnvalue") == str(command.process.pid)
    assert client.hget(f"bull:mail:{job_id}", "pb") == "w1"
    assert command.stop() == 0
    assert command.said("stopped")


def test_failures_are_logged(start: Start, client: Redis) -> None:
    command = start("--log-level", "debug")
    add(client, "bad")
    add(client, "quick")
    (failed,) = command.await_said("failed")
    assert (failed["reason"], failed["name"], failed["level"]) == ("no such address", "bad", "error")
    assert command.await_said("completed")[0]["name"] == "quick"
    assert command.stop(signal.SIGINT) == 0


def test_running_jobs_may_end_and_no_other_starts(start: Start, client: Redis, tmp_path: Path) -> None:
    command = start()
    job_id = add(client, "gated", {"gate": str(tmp_path / "gate")})
    until(lambda: client.lrange("bull:mail:active", 0, -1) == [job_id])
    command.process.send_signal(signal.SIGTERM)
    command.await_said("draining")
    other = add(client, "quick")
    (tmp_path / "gate").touch()
    assert command.process.wait(PATIENCE) == 0
    assert client.hget(f"bull:mail:{job_id}", "returnvalue") == '"done"'
    assert client.lrange("bull:mail:wait", 0, -1) == [other]


@pytest.mark.parametrize("how", ["the deadline", "another signal"])
def test_what_outlasts_the_drain_is_cut_off(start: Start, client: Redis, tmp_path: Path, how: str) -> None:
    command = start("--drain", "0.2" if how == "the deadline" else "600")
    job_id = add(client, "gated", {"gate": str(tmp_path / "never")})
    until(lambda: client.lrange("bull:mail:active", 0, -1) == [job_id])
    command.process.send_signal(signal.SIGTERM)
    command.await_said("draining")
    if how == "another signal":
        command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(PATIENCE) == 1
    assert command.said("stopped with jobs cut off")[0]["jobs"] == [job_id]
    # it is where it was, for another worker's stalled check
    assert client.lrange("bull:mail:active", 0, -1) == [job_id]


@pytest.mark.parametrize("broken", ["a pipe that nobody reads", "a full disk"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_log_that_can_not_be_written_stops_no_job_and_no_signal(
    tmp_path: Path, default_server: EmbeddedServer, client: Redis, broken: str, processes: int
) -> None:
    (tmp_path / "mail.py").write_text(PROCESSOR)
    if broken == "a full disk":
        log = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, log = os.pipe()
        os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "queuesim", "worker", "mail:processor", f"--processes={processes}", "--log-level=debug"],
        cwd=tmp_path, env={**os.environ, "REDIS_URL": default_server.url}, stdout=subprocess.DEVNULL, stderr=log,
    )  # fmt: skip
    os.close(log)
    try:
        bad, good = [add(client, "bad") for _ in range(5)], [add(client, "quick") for _ in range(5)]
        until(lambda: client.zcard("bull:mail:failed") + client.zcard("bull:mail:completed") == 10)
        assert set(client.zrange("bull:mail:failed", 0, -1)) == set(bad)
        assert set(client.zrange("bull:mail:completed", 0, -1)) == set(good)
        gated = add(client, "gated", {"gate": str(tmp_path / "gate")})
        until(lambda: client.lrange("bull:mail:active", 0, -1) == [gated])
        process.send_signal(signal.SIGTERM)
        (tmp_path / "gate").touch()
        assert process.wait(PATIENCE) == 0
        assert client.hget(f"bull:mail:{gated}", "returnvalue") == '"done"'
    finally:
        process.kill()
        process.wait()


def test_health_and_metrics(start: Start, client: Redis, tmp_path: Path) -> None:
    command = start("--port", "0")
    port = command.await_said("started")[0]["port"]
    status, text = get(port, "/health")
    assert status == 200
    assert json.loads(text)["status"] == "ok"
    job_id = add(client, "quick")
    until(lambda: client.zscore("bull:mail:completed", job_id))
    until(
        lambda: 'queuesim_attempts_total{name="quick",outcome="completed",queue="mail"} 1.0' in get(port, "/metrics")[1]
    )
    text = get(port, "/metrics")[1]
    assert 'queuesim_contained_errors{queue="mail",source="observer"} 0.0' in text
    assert 'queuesim_jobs{queue="mail",state="completed"} 1.0' in text
    assert 'queuesim_attempt_seconds_count{name="quick",queue="mail"} 1.0' in text
    assert get(port, "/nothing")[0] == 404
    gated = add(client, "gated", {"gate": str(tmp_path / "gate")})
    until(lambda: client.lrange("bull:mail:active", 0, -1) == [gated])
    command.process.send_signal(signal.SIGTERM)
    command.await_said("draining")
    assert get(port, "/health")[0] == 503
    (tmp_path / "gate").touch()
    assert command.process.wait(PATIENCE) == 0


def test_it_is_unhealthy_while_the_server_is_away(start: Start) -> None:
    with EmbeddedServer(options={"appendonly": "yes"}) as server, Redis.from_url(server.url) as client:
        command = start("--port", "0", url=server.url)
        port = command.await_said("started")[0]["port"]
        server.stop()
        assert get(port, "/health")[0] == 503
        server.start()
        assert get(port, "/health")[0] == 200
        job_id = add(client, "quick")
        until(lambda: client.zscore("bull:mail:completed", job_id))
        assert command.stop() == 0


def test_several_processes_and_one_that_dies(start: Start, client: Redis) -> None:
    command = start("--processes", "2", "--name", "w")
    command.await_said("started", 2)
    ids = [add(client, "quick") for _ in range(40)]
    until(lambda: client.zcard("bull:mail:completed") == 40)
    pids = {int(client.hget(f"bull:mail:{job_id}", "returnvalue") or 0) for job_id in ids}
    assert command.process.pid not in pids
    os.kill(pids.pop(), signal.SIGKILL)
    assert command.await_said("worker process died")[0]["code"] == -signal.SIGKILL
    command.await_said("started", 3)
    assert command.stop() == 0
    assert len(command.said("stopped")) == 2


def test_no_process_goes_on_taking_jobs_when_its_supervisor_was_killed(
    start: Start, client: Redis, tmp_path: Path
) -> None:
    command = start("--processes", "2")
    command.await_said("started", 2)
    gated = [add(client, "gated", {"gate": str(tmp_path / "gate")}) for _ in range(6)]
    until(lambda: client.llen("bull:mail:active") == 6)
    command.process.kill()
    command.process.wait()
    until(lambda: len(command.said("draining")) == 2)
    assert len(command.said("supervisor gone")) == 2
    late = add(client, "quick")
    (tmp_path / "gate").touch()
    until(lambda: len(command.said("stopped")) == 2)
    assert set(client.zrange("bull:mail:completed", 0, -1)) == set(gated)
    assert client.lrange("bull:mail:wait", 0, -1) == [late]


SERVICE = """
import sys
from mail import processor
from queuesim.core.worker import WorkerOptions
from queuesim.service.log import ServiceLog, make_logger
from queuesim.service.service import ServiceSettings, WorkerService, run_service

settings = ServiceSettings(drain=0.1, options=WorkerOptions(cancel_grace=0.2))
sys.exit(0 if run_service(WorkerService(processor, settings, ServiceLog(make_logger("json", "info")))) else 1)
"""


@pytest.mark.parametrize("kind", ["stubborn", "stuck"])
def test_handlers_that_can_not_be_stopped_do_not_keep_the_process(
    start: Start, client: Redis, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    command = start(program=["service.py"])
    command.await_said("started")
    job_id = add(client, kind)
    until(lambda: client.lrange("bull:mail:active", 0, -1) == [job_id])
    assert command.stop() == 1
    if kind == "stubborn":
        (line,) = command.said("stopped with jobs abandoned")
        assert (line["jobs"], line["abandoned"]) == ([job_id], [job_id])
    else:
        (line,) = command.said("stopped with jobs cut off")
        assert line["jobs"] == [job_id]
    assert client.lrange("bull:mail:active", 0, -1) == [job_id]


def test_sys_exit_fails_its_job_and_the_process_goes_on(start: Start, client: Redis) -> None:
    """Also in a task of the handler's own, where a loop passes it on to whoever runs the loop."""
    command = start("--processes", "1")
    command.await_said("started")
    ids = [add(client, "exits", {"where": where}) for where in ("handler", "task", "thread")]
    until(lambda: client.zcard("bull:mail:failed") == 3)
    assert {client.hget(f"bull:mail:{job_id}", "failedReason") for job_id in ids} == {"the handler called sys.exit(2)"}
    quick = add(client, "quick")
    until(lambda: client.zscore("bull:mail:completed", quick))
    assert command.stop() == 0


def test_a_private_server_ends_with_it(start: Start) -> None:
    command = start("--redis-url", "embedded", url=None)
    url = command.await_said("private server")[0]["url"]
    command.await_said("started")
    with Redis.from_url(url, decode_responses=True) as client:
        job_id = add(client, "quick")
        until(lambda: client.zscore("bull:mail:completed", job_id))
    assert command.stop() == 0
    assert not Path(url.removeprefix("unix://")).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--redis-url", "redis://127.0.0.1:1"], "can't be reached"),
        (["--redis-url", "http://x"], "not a Redis URL"),
        (["--redis-url", "embedded:reddis"], 'no embedded server "reddis"'),
        (["--processes", "2", "--redis-url", "redis://127.0.0.1:1"], "can't be reached"),
        (["--log", "xml"], "neither json nor console"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_with_exit_code_2(start: Start, options: list[str], message: str) -> None:
    command = start(*options, url=None)
    assert command.process.wait(PATIENCE) == 2
    assert message in command.log.read_text()
    assert "Traceback" not in command.log.read_text()


def test_a_process_that_is_told_to_end_before_it_has_begun_is_no_failure() -> None:
    """It has no handler for the signal yet."""

    async def scene() -> int:
        idle = [sys.executable, "-c", "import signal; signal.pause()"]
        supervisor = Supervisor(lambda number: idle, 2, os.environ, ContainedLogger(logging.getLogger("test")))
        running = asyncio.create_task(supervisor.run())
        while len(supervisor._processes) < 2:  # noqa: ASYNC110 - a supervisor has no event for it
            await asyncio.sleep(0.01)
        supervisor._pass_on(signal.SIGTERM)
        return await running

    assert asyncio.run(scene()) == 0
