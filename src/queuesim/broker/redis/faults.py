"""What a server's refusals mean, and what to do about them."""

from __future__ import annotations

import ssl
from typing import Any

from queuesim.errors import BrokerUnavailableError

_USER = "it refuses the user or the password: give them in the URL, redis://user:password@host"
_PASSWORD = "it wants a password: give it in the URL, redis://:password@host"
_REPLICA = "it is a read-only replica: connect to the primary"
_RIGHTS = "its user may not do that: queues need all commands on their keys, scripts included (see ACL SETUSER)"
_ORPHAN = "it is a replica that lost its primary: connect to the primary"
_MEMORY = (
    "it is out of memory and refuses to write: raise maxmemory, or remove finished jobs (keep, clean). "
    "Its maxmemory-policy should be noeviction"
)
_LOADING = "it is loading its data: wait"
_PLAIN = "it does not speak TLS there, write redis:// in place of rediss://, or use its TLS port"
_TRUST = "its certificate is not trusted: name the authority's, ?ssl_ca_certs=/path/to/ca.pem"

ADVICE = {
    "WRONGPASS": _USER,
    "invalid username-password": _USER,
    "NOAUTH": _PASSWORD,
    "Authentication required": _PASSWORD,
    "called without any password": "it has no password, but one was given: take it out of the URL",
    "NOPERM": _RIGHTS,
    "no permissions": _RIGHTS,
    "READONLY": _REPLICA,
    "read only replica": _REPLICA,
    "OOM": _MEMORY,
    "used memory": _MEMORY,
    "LOADING": _LOADING,
    "is loading": _LOADING,
    "UNBLOCKED": "it has become a replica, as at a failover: connect to the new primary",
    "MASTERDOWN": _ORPHAN,
    "Link with MASTER": _ORPHAN,
    "CLUSTERDOWN": "its cluster is down",
    "cluster is down": "its cluster is down",
    "busy running a script": "it is busy with somebody's long script (SCRIPT KILL ends it)",
    "MISCONF": "it can't write its data to disk and refuses writes: see its log",
    "NOREPLICAS": "it has too few replicas and refuses writes (min-replicas-to-write)",
    "CROSSSLOT": "it is a cluster: give the queue a prefix with a hash tag, {bull}",
    "MOVED": "it is a node of a cluster that does not hold this queue: connect to the node that does",
    "WRONG_VERSION_NUMBER": _PLAIN,
    "record layer failure": _PLAIN,
    "CERTIFICATE_VERIFY_FAILED": _TRUST,
    "certificate verify failed": _TRUST,
}
"""A part of the server's message, or of what redis-py makes of it, and what to do."""

HUNG_UP = "if it speaks TLS there, write rediss:// in place of redis://; else see its maxclients and its log"


def explain(error: BaseException, address: object) -> BrokerUnavailableError:
    """The error that the core knows, with what to do in its message."""
    seen: BaseException | None = error
    said: list[str] = []
    while seen is not None:
        said.append(str(seen) or type(seen).__name__)
        if isinstance(seen, ssl.SSLError):
            said.append(seen.reason or "")
        seen = seen.__cause__ or seen.__context__
    everything = " / ".join(said)
    for part, advice in ADVICE.items():
        if part in everything:
            return BrokerUnavailableError(f"the server at {address} can't be used: {advice}. It said: {said[0]}")
    if "imeout" in everything and str(address).startswith("rediss:"):
        return BrokerUnavailableError(f"the server at {address} does not answer: if {_PLAIN}")
    if "Connection closed by server" in everything or "Connection reset" in everything:
        return BrokerUnavailableError(f"the server at {address} ended the connection: {HUNG_UP}")
    return BrokerUnavailableError(f"the server at {address} can't be reached: {said[0]}")


def is_refusal(error: Any) -> bool:
    """Whether an error reply means that the server can't serve now, rather than that the command was wrong."""
    text = str(error)
    return any(part in text for part in ADVICE)
