"""Where a Redis server is: a URL, or the environment's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from queuesim.errors import QueuesimError

SCHEMES = ("redis", "rediss", "unix")


class AddressError(QueuesimError):
    """It is no address of a Redis server."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server's URL: ``redis://user:password@host:port/db``, ``rediss://`` over TLS, ``unix:///path/to/socket``.

    Options go behind a question mark, as redis-py takes them: ``?ssl_ca_certs=/etc/ca.pem``.

    Raises:
        AddressError: it is none of these.
    """

    url: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise AddressError(f"{self.url!r} is no Redis URL: {error}") from None
        if parts.scheme not in SCHEMES:
            raise AddressError(
                f"{self.shown!r} is no Redis URL: write redis://host:port, rediss://host:port (TLS), "
                "unix:///path/to/socket, or embedded for a server of our own"
            )
        if port is None and not parts.hostname and not parts.path.strip("/"):
            raise AddressError(f"{self.shown!r} names no host")

    @property
    def shown(self) -> str:
        """The URL without its password, for messages and logs."""
        parts = urlsplit(self.url)
        if "@" not in parts.netloc:
            return self.url
        user = parts.netloc.rpartition("@")[0].partition(":")[0]
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:***@{host}"))

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def find_address(url: str | None = None, environment: Mapping[str, str] | None = None) -> Address:
    """The address that was given, or else REDIS_URL's, or REDIS_HOST's and REDIS_PORT's, or localhost's.

    Raises:
        AddressError: what was found is no address.
    """
    environment = os.environ if environment is None else environment
    if url is None:
        url = environment.get("REDIS_URL") or None
    if url is None:
        host, port = environment.get("REDIS_HOST") or "localhost", environment.get("REDIS_PORT") or "6379"
        if not port.isdecimal() or int(port) > 65535:
            raise AddressError(f"REDIS_PORT is to be a port number, not {port!r}")
        url = f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}"
    return Address(url)
