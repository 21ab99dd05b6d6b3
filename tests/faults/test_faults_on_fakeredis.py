"""Faults of the server, with our scripts on fakeredis: it forgets, goes back, and loses its scripts."""

from __future__ import annotations

from typing import Any

import pytest

import queuesim
from queuesim.results.result import Result

BUSY: dict[str, Any] = {
    "name": "busy",
    "duration": 15.0,
    "drain": True,
    "queue": {"attempts": 3, "backoff": {"type": "exponential", "delay": 0.3}},
    "workers": {"count": 2, "concurrency": 2, "lock_duration": 2.0, "stalled_interval": 1.0},
    "jobs": {"mail": {"service": {"exponential": 0.3}, "errors": {"network": 0.1}}},
    "load": [{"name": "users", "poisson": 8.0}],
}


def play(fault: dict[str, Any], backend: str = "fakeredis") -> Result:
    result = queuesim.run({**BUSY, "faults": [fault]}, backend=backend)
    assert result.ok, result.checks[~result.checks["ok"]]
    return result


@pytest.mark.parametrize(
    "fault",
    [
        {"redis.failover": {"every": 3.0, "lose": 0.5, "down": 0.2}},
        {"redis.restart": {"at": 5.0, "empty": True}},
    ],
)
def test_what_a_server_forgets_is_lost_and_nothing_else(fault: dict[str, Any]) -> None:
    fake, memory = play(fault), play(fault, "sim")
    assert fake.faults["began"].tolist() == memory.faults["began"].tolist()
    lost = [(result.jobs["state"] == "lost").sum() for result in (fake, memory)]
    assert lost[0] >= 1
    # a job may be on one side of a whole millisecond or on the other
    assert abs(lost[0] - lost[1]) <= 2
    assert fake.jobs["job"].is_unique


def test_a_failover_with_nothing_to_lose_changes_nothing() -> None:
    quiet = {**BUSY, "load": [{"name": "early", "backlog": 5}]}
    fault = {"redis.failover": {"at": 10.0, "lose": 1.0}}
    result = queuesim.run({**quiet, "faults": [fault]}, backend="fakeredis")
    assert result.ok
    assert set(result.jobs["state"]) == {"completed"}


def test_scripts_that_the_server_forgot_are_given_again() -> None:
    flushed = play({"redis.script-flush": {"every": 1.0}})
    assert len(flushed.faults) >= 10
    assert set(flushed.faults["detail"]) == {""}
    untouched = queuesim.run(BUSY, backend="fakeredis")
    assert flushed.attempts["started"].tolist() == untouched.attempts["started"].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_a_repeated_exchange_gives_jobs_the_exact_time_at_which_the_first_try_started_them(seed: int) -> None:
    """Redis keeps whole milliseconds, and the worker's clock may have jumped between the two tries."""
    clock = {"worker.clock": {"every": {"exponential": 2.0}, "for": 1.0, "skew": 1.0}}
    drop = {"redis.drop": {"probability": 0.2, "effect": "after"}}
    scenario = {
        "name": "repeated",
        "duration": 10.0,
        "drain": True,
        "workers": {"count": 3, "concurrency": 4},
        "jobs": {"mail": {"service": {"exponential": 1.731}}},
        "load": [{"name": "batch", "bulk": {"size": 53, "at": 7.06637}}],
        "faults": [clock, drop],
    }
    result = queuesim.run(scenario, backend="fakeredis", seed=seed)
    assert result.ok, result.checks[~result.checks["ok"]]
    milliseconds = result.attempts["started"] * 1000
    # a time since the Unix epoch is a float of this precision
    assert (milliseconds - milliseconds.round()).abs().min() > 1e-4
