"""Real input and output, which has no place in virtual time: every such call of the loop is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from queuesim.error import QueuesimError
from queuesim.simulation.allowed_io import Reach, Target

STAND_IN = "put a stand-in with a simulated delay (await asyncio.sleep, or a SimPy resource) in its place"
FILES = "use an ordinary blocking call, or asyncio.to_thread, which takes no virtual time"
NETWORK = f"{STAND_IN}, or run the scenario live"
PROCESSES = f"{STAND_IN}, or call subprocess.run and allow the program with allow_io"
SIGNALS = "use signal.signal outside the simulation, and loop.interrupt() in its handler"

REFUSED = {
    "add_reader": NETWORK,
    "add_signal_handler": SIGNALS,
    "add_writer": NETWORK,
    "connect_accepted_socket": NETWORK,
    "connect_read_pipe": FILES,
    "connect_write_pipe": FILES,
    "create_connection": NETWORK,
    "create_datagram_endpoint": NETWORK,
    "create_server": NETWORK,
    "create_unix_connection": NETWORK,
    "create_unix_server": NETWORK,
    "getaddrinfo": NETWORK,
    "getnameinfo": NETWORK,
    "remove_reader": NETWORK,
    "remove_signal_handler": SIGNALS,
    "remove_writer": NETWORK,
    "sendfile": NETWORK,
    "sock_accept": NETWORK,
    "sock_connect": NETWORK,
    "sock_recv": NETWORK,
    "sock_recv_into": NETWORK,
    "sock_recvfrom": NETWORK,
    "sock_recvfrom_into": NETWORK,
    "sock_sendall": NETWORK,
    "sock_sendfile": NETWORK,
    "sock_sendto": NETWORK,
    "start_tls": NETWORK,
    "subprocess_exec": PROCESSES,
    "subprocess_shell": PROCESSES,
}
"""The methods of an event loop that do real input or output, and what to do instead."""

HARMLESS = ("remove_reader", "remove_signal_handler", "remove_writer")
"""These undo what was never done: they are refused, but nothing was reached for."""


class RealIOError(QueuesimError):
    """A simulation called for real input or output, which takes real time and reaches the world outside."""

    def __init__(self, call: str, advice: str, target: str = "") -> None:
        self.call = call
        """What was called: "socket.connect", "loop.create_connection"."""
        self.target = target
        """What it would have reached, as "mail.example.org:443"; "" if the call does not say."""
        super().__init__(f"{call}({target}) is real input or output, which can't happen in virtual time: {advice}")


def _target(call: str, args: tuple[Any, ...], options: dict[str, Any]) -> Target | None:
    """What a loop's method is to reach, as far as its arguments say."""
    named = dict(zip(ARGUMENTS.get(call, ()), args, strict=False)) | options
    address = named.get("address") or named.get("remote_addr") or named.get("local_addr")
    if isinstance(address, tuple) and len(address) >= 2:
        return host_target(address[0], address[1])
    if isinstance(named.get("path") or address, str):
        return Target(Reach.UNIX_SOCKET, str(named.get("path") or address))
    if isinstance(named.get("program"), str):
        return Target(Reach.PROCESS, named["program"])
    return host_target(named["host"], named.get("port")) if named.get("host") is not None else None


ARGUMENTS = {
    "create_connection": ("factory", "host", "port"),
    "create_datagram_endpoint": ("factory", "local_addr", "remote_addr"),
    "create_server": ("factory", "host", "port"),
    "create_unix_connection": ("factory", "path"),
    "create_unix_server": ("factory", "path"),
    "getaddrinfo": ("host", "port"),
    "getnameinfo": ("address",),
    "sock_connect": ("socket", "address"),
    "sock_sendto": ("socket", "data", "address"),
    "subprocess_exec": ("factory", "program"),
    "subprocess_shell": ("factory", "program"),
}
"""The arguments that say what a method reaches, by position."""


def host_target(host: object, port: object) -> Target:
    """A host as it stands in an address: text or bytes; a port as a number or as text."""
    name = host.decode(errors="replace") if isinstance(host, bytes) else "" if host is None else str(host)
    if isinstance(port, bytes):
        port = port.decode(errors="replace")
    number = int(port) if isinstance(port, int) or (isinstance(port, str) and port.isdigit()) else None
    return Target(Reach.HOST, name, number or None)


def _refuse(call: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(self: RealIORefused, *args: Any, **options: Any) -> NoReturn:
        target = _target(call, args, options)
        if call not in HARMLESS:
            self.guard.note(f"loop.{call}", target)
        raise RealIOError(f"loop.{call}", advice, "" if target is None else str(target))

    refuse.__name__ = call
    refuse.__doc__ = f"Always raises RealIOError: {advice}."
    return refuse


class RefusalLog(Protocol):
    """Keeps the loop's thread from the world; see io_guard.IOGuard."""

    def note(self, call: str, target: Target | None) -> None:
        """Record a refusal."""
        ...


class RealIORefused:
    """The part of an event loop that does real input and output: all of it raises RealIOError."""

    guard: RefusalLog
    """What keeps the loop's thread from the world, and is told of every refusal."""


for _call, _advice in REFUSED.items():
    setattr(RealIORefused, _call, _refuse(_call, _advice))
