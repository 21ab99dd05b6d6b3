"""Real input and output, which has no place in virtual time: every such call of the loop is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from queuesim.errors import QueuesimError

FILES = "use an ordinary blocking call, or asyncio.to_thread, which runs inline in a simulation"
NETWORK = "put a stand-in with a simulated delay (await asyncio.sleep) in its place, or run the scenario live"
PROCESSES = "put a stand-in with a simulated delay in its place, or call subprocess.run inside asyncio.to_thread"
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


class RealIOError(QueuesimError):
    """A simulation called for real input or output, which takes real time."""

    def __init__(self, call: str, advice: str) -> None:
        self.call = call
        """The event loop's method."""
        super().__init__(f"loop.{call}() is real input or output, which can't happen in virtual time: {advice}")


def _refuse(call: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: Any, **kwargs: Any) -> NoReturn:
        raise RealIOError(call, advice)

    refuse.__name__ = call
    refuse.__doc__ = f"Always raises RealIOError: {advice}."
    return refuse


class RealIORefused:
    """The part of an event loop that does real input and output: all of it raises RealIOError."""


for _call, _advice in REFUSED.items():
    setattr(RealIORefused, _call, _refuse(_call, _advice))
