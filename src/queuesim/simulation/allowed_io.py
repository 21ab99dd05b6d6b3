"""What a simulation may reach outside of its process: the list that `allow_io` gives."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import ip_address

EVERYTHING = "*"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine. A pattern that matches one of them matches all."""


class Reach(Enum):
    """What sort of thing a call reaches for."""

    HOST = "host"
    UNIX_SOCKET = "unix"
    PROCESS = "process"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Target:
    """What a call reaches for."""

    reach: Reach
    name: str
    """A host's name or address, a path, or a program."""
    port: int | None = None
    """None: the call names no port, or it has none."""

    def __str__(self) -> str:
        if self.reach is not Reach.HOST:
            return self.name
        host = f"[{self.name}]" if ":" in self.name else self.name
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def pattern(self) -> str:
        """The entry of `allow_io` that would allow it."""
        prefix = "" if self.reach is Reach.HOST else f"{self.reach.value}:"
        return f"{prefix}{self}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of `allow_io`, taken apart."""

    reach: Reach | None
    """None: everything."""
    name: str = EVERYTHING
    port: int | None = None
    """None: every port."""

    def matches(self, target: Target) -> bool:
        """Whether this entry allows the target. A target without a port needs the name alone."""
        if self.reach is None:
            return True
        if self.reach is not target.reach:
            return False
        if self.reach is Reach.HOST:
            return self.matches_host(target.name) and target.port in (None, self.port or target.port)
        names = (target.name, target.name.rpartition("/")[2]) if self.reach is Reach.PROCESS else (target.name,)
        return any(fnmatchcase(name, self.name) for name in names)

    def matches_host(self, host: str) -> bool:
        """Whether this entry is about this host, at whatever port."""
        names = LOOPBACK if host.lower() in LOOPBACK else (host.lower().rstrip("."),)
        return any(fnmatchcase(name, self.name) for name in names)


def parse_pattern(text: str) -> Pattern:
    """An entry of `allow_io`: "*", "host", "host:port", "[::1]:port", "unix:/path" or "process:program".

    Names and paths may have wildcards, as in "*.example.org". Raises ValueError if it is none of these.
    """
    if text == EVERYTHING:
        return Pattern(None)
    kind, separator, rest = text.partition(":")
    if separator and kind in (Reach.UNIX_SOCKET.value, Reach.PROCESS.value):
        if not rest:
            raise ValueError(f'"{text}" names no {"path" if kind == Reach.UNIX_SOCKET.value else "program"}')
        return Pattern(Reach(kind), rest)
    name, port = _host_and_port(text)
    if not name or any(character.isspace() or character in "/@" for character in name):
        raise ValueError(
            f'"{text}" is not a host: write it as host, host:port, *.example.org, unix:/path or process:program'
        )
    return Pattern(Reach.HOST, name.lower(), None if port in ("", EVERYTHING) else _port(text, port))


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        return name, port.removeprefix(":")
    if text.count(":") > 1:
        return text, ""  # an IPv6 address without a port
    name, _, port = text.partition(":")
    return name, port


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f'"{text}" has no valid port: it is a number from 1 to 65535, or left out for every port')
    return int(port)


class AllowedIO:
    """The parsed list, and the addresses that its host names turned out to have.

    Raises ValueError as `parse_pattern` does.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.entries = list(dict.fromkeys(entries))
        self._patterns = [parse_pattern(entry) for entry in self.entries]
        self._addresses: dict[str, list[Pattern]] = {}
        """By IP address, the entries that allow a name of it."""

    def permits(self, target: Target) -> bool:
        """Whether the target is on the list, by its name or as an address of a name that is."""
        if any(pattern.matches(target) for pattern in self._patterns):
            return True
        return any(
            target.port in (None, pattern.port or target.port) for pattern in self._addresses.get(target.name, ())
        )

    def learn_addresses(self, host: str) -> None:
        """Look `host`, which is allowed, up: a connection to one of its addresses is a connection to it."""
        if host in LOOPBACK or is_address(host):
            return
        patterns = [pattern for pattern in self._patterns if pattern.reach is Reach.HOST and pattern.matches_host(host)]
        try:
            found = socket.getaddrinfo(host, None)
        except OSError:
            return  # the call itself is about to fail in the same way, and tells the program
        for *_, address in found:
            self._addresses.setdefault(str(address[0]), []).extend(patterns)


def is_address(host: str) -> bool:
    """Whether this is an IP address, so that no look-up is needed."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
