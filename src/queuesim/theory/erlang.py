"""Erlang's two formulas, for any number of servers."""

from __future__ import annotations

import math

from queuesim.theory.model import UnstableError, require_positive, require_servers


def erlang_b(offered_load: float, servers: int) -> float:
    """Probability that a call is lost in M/G/c/c: `servers` servers and no queue.

    `offered_load` is in erlangs (arrival rate times mean service). Source: Erlang 1917; by the recursion
    B(n) = a B(n-1) / (n + a B(n-1)), B(0) = 1 (Gross, Shortle, Thompson & Harris, section 2.6), whose terms are all
    positive: no overflow, and no digit is lost however many servers there are. A probability below 1e-308 is 0.

    Raises:
        ValueError: a load that is not above 0, or fewer servers than 1.
    """
    require_positive("offered_load", offered_load)
    require_servers(servers)
    start, blocked = _start(offered_load, servers)
    for n in range(start + 1, servers + 1):
        blocked = offered_load * blocked / (n + offered_load * blocked)
        if not blocked:
            break
    return blocked


def _start(load: float, servers: int) -> tuple[int, float]:
    """From which n on the recursion is needed, and a B(n) to begin with.

    A step multiplies an error by less than n / a. From 9 sqrt(a) steps below min(servers, a) on, the error of the first
    value shrinks by exp(-81 / 2): nothing of it is left. So a million servers take 9 000 steps, not a million.
    """
    start = math.floor(min(servers, load) - 9 * math.sqrt(load))
    return (start, 1 - start / load) if start > 0 else (0, 1.0)


def erlang_c(offered_load: float, servers: int) -> float:
    """Probability that a job has to wait in M/M/c. Source: Erlang 1917, as C = c B / (c - a (1 - B)) from Erlang B.

    Raises:
        ValueError: as `erlang_b`.
        UnstableError: a load that is not below the number of servers.
    """
    blocked = erlang_b(offered_load, servers)
    if not offered_load < servers:
        raise UnstableError(offered_load, servers, f"erlang_c({offered_load!r}, {servers!r})")
    return servers * blocked / (servers - offered_load * (1 - blocked))
