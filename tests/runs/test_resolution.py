"""What keys on Redis can tell: whole milliseconds, which are no violation."""

from __future__ import annotations

import queuesim


def test_a_second_answer_to_an_exchange_tells_whole_milliseconds() -> None:
    scenario = {
        "name": "dropped",
        "duration": 5.0,
        "drain": True,
        "queue": {"attempts": 4, "backoff": {"type": "exponential", "delay": 0.3, "jitter": 0.5}},
        "workers": {"count": 3, "concurrency": 2, "lock_duration": 2.0, "stalled_interval": 1.0},
        "jobs": {"mail": {"service": {"exponential": 0.3}, "errors": {"network": 0.2}}},
        "load": [{"name": "users", "poisson": 8.0}],
        "faults": [{"redis.drop": {"probability": 0.05}}],
    }
    # with this seed, one bears a start that was rounded to before the end of the attempt that it follows
    result = queuesim.run(scenario, backend="fakeredis", seed=1)
    assert result.ok, result.checks[~result.checks["ok"]]["detail"].tolist()
