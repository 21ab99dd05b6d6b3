"""Handlers that reach for the world: what is refused in a scenario's run, and what the result says of it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pydantic
import pytest

import queuesim
from playing import own, play, rows
from queuesim import Job
from queuesim.results.recording import Refusal
from queuesim.scenario.model import Scenario

BACKLOG = {"backlog": 3}


async def blocking_client(job: Job) -> None:
    httpx.post("http://127.0.0.1:9/send")  # noqa: ASYNC210


async def async_client(job: Job) -> None:
    async with httpx.AsyncClient() as client:
        await client.post("https://mail.example.org/send")


def client_in_a_thread(job: Job) -> None:
    thread = threading.Thread(target=lambda: swallow(lambda: socket.create_connection(("127.0.0.1", 9))))
    thread.start()
    thread.join()


def swallow(function: Any) -> None:
    try:
        function()
    except Exception:  # noqa: BLE001
        return


def client_that_hides_the_error(job: Job) -> None:
    swallow(lambda: httpx.post("http://127.0.0.1:9/send"))


@pytest.mark.parametrize(
    ("handler", "call", "target", "outcome"),
    [
        (blocking_client, "socket.getaddrinfo", "127.0.0.1:9", "failed"),
        (async_client, "loop.getaddrinfo", "mail.example.org:443", "failed"),
        (client_in_a_thread, "socket.getaddrinfo", "127.0.0.1:9", "ok"),
        (client_that_hides_the_error, "socket.getaddrinfo", "127.0.0.1:9", "ok"),
    ],
)
@pytest.mark.parametrize("backend", ["sim", "fakeredis"])
def test_refusals_are_facts_of_the_run(
    handler: Any, call: str, target: str, outcome: str, backend: str, tmp_path: Path
) -> None:
    result = play({"bulk": {"size": 3, "at": 2.0}}, processor=own(handler), options={"backend": backend})
    assert result.facts.refusals == [Refusal(call, target, job=1, job_type="a", first=2.0, count=3)]
    assert rows(result, "outcome") == [(outcome,)] * 3
    result.to_parquet(tmp_path)
    assert queuesim.load(tmp_path).facts == result.facts


def test_a_run_that_reaches_for_nothing_has_no_refusals() -> None:
    result = play(BACKLOG)
    assert (result.facts.refusals, result.facts.allow_io) == ([], [])


def test_what_is_allowed_is_reached_and_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"localhost:{server.getsockname()[1]}"

        def connect(job: Job) -> None:
            socket.create_connection(server.getsockname()).close()

        by_key = play(BACKLOG, processor=own(connect), allow_io=[host])
        by_argument = play(BACKLOG, processor=own(connect), options={"allow_io": [host]})
        refused = play(BACKLOG, processor=own(connect), allow_io="another.example.org")
    for result in (by_key, by_argument):
        assert result.facts.refusals == []
        assert result.facts.allow_io == [host]
        assert rows(result, "outcome") == [("ok",)] * 3
        assert host in result.to_html()
    assert rows(refused, "outcome") == [("failed",)] * 3
    assert refused.facts.allow_io == ["another.example.org"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [(True, ("*",)), (False, ()), ("db:5432", ("db:5432",)), (["a", "b"], ("a", "b"))],
)
def test_forms_of_the_key(written: Any, meant: tuple[str, ...]) -> None:
    scenario = Scenario.model_validate(
        {
            "name": "x",
            "duration": 1.0,
            "jobs": {"a": {"service": 1.0}},
            "load": [{"name": "l", "backlog": 1}],
            "allow_io": written,
        }
    )
    assert scenario.allow_io == meant


def test_a_wrong_entry_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="1 to 65535"):
        play(BACKLOG, allow_io=["db:http"])
    with pytest.raises(ValueError, match="1 to 65535"):
        play(BACKLOG, options={"allow_io": ["db:http"]})


def test_progress_is_told_from_outside() -> None:
    def progress(seconds: float, jobs: int) -> None:
        assert socket.getaddrinfo("127.0.0.1", 9)

    assert play(BACKLOG, options={"progress": progress}).facts.refusals == []


def test_each_handler_has_the_whole_limit_of_real_time() -> None:
    """They all run in one step of the slot's task, for nothing here takes virtual time."""

    def handler(job: Job) -> None:
        time.sleep(0.05)

    result = play({"backlog": 40}, processor=own(handler), options={"handler_limit": 0.5})
    assert set(rows(result, "outcome")) == {("ok",)}
