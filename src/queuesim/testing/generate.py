"""Random scenarios from a seed: workloads, and schedules of faults that a queue must survive."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Draw = Callable[[random.Random, float], dict[str, Any]]
"""Draws the settings of a fault for a run of so many seconds."""


def _times(rng: random.Random, duration: float) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"at": round(rng.uniform(0.05, 0.6) * duration, 3)}
    return {"every": {"exponential": round(rng.uniform(0.1, 0.5) * duration, 3)}}


def _lasting(rng: random.Random, duration: float, longest: float) -> dict[str, Any]:
    return {**_times(rng, duration), "for": round(rng.uniform(0.5, min(longest, 0.3 * duration)), 3)}


def _probability(rng: random.Random, most: float) -> float:
    return round(rng.uniform(0.001, most), 4)


FAULTS: dict[str, Draw] = {
    "redis.outage": lambda rng, t: _lasting(rng, t, 90.0),
    "redis.latency": lambda rng, t: {
        **_lasting(rng, t, 60.0),
        "delay": {"exponential": round(rng.uniform(0.01, 1), 3)},
    },
    "redis.drop": lambda rng, t: {
        "probability": _probability(rng, 0.1),
        "effect": rng.choice(["before", "after", "either"]),
    },
    "redis.read-only": lambda rng, t: _lasting(rng, t, 30.0),
    "redis.failover": lambda rng, t: {
        **_times(rng, t),
        "lose": round(rng.uniform(0.01, 2.0), 3),
        "down": rng.choice([0.0, 3.0]),
    },
    "redis.restart": lambda rng, t: {
        **_times(rng, t),
        "empty": rng.random() < 0.3,
        "down": rng.choice([0.0, 1.0, 5.0]),
    },
    "queue.pause": lambda rng, t: _lasting(rng, t, 60.0),
    "worker.crash": lambda rng, t: {
        **_times(rng, t),
        "worker": rng.choice(["any", "all"]),
        "restart": round(rng.uniform(0.0, 40.0), 3),
    },
    "worker.freeze": lambda rng, t: {**_lasting(rng, t, 100.0), "worker": rng.choice(["any", "all"])},
    "worker.block": lambda rng, t: _lasting(rng, t, 60.0),
    "worker.slow-start": lambda rng, t: {"probability": _probability(rng, 1.0), "delay": round(rng.uniform(0, 20), 3)},
    "worker.deploy": lambda rng, t: {**_times(rng, t), "grace": round(rng.uniform(0.0, 20.0), 3)},
    "worker.scale": lambda rng, t: {**_lasting(rng, t, 60.0), "to": rng.randint(1, 6)},
    "worker.clock": lambda rng, t: {**_lasting(rng, t, 60.0), "skew": rng.choice([-20.0, -1.0, 1.0, 20.0])},
    "handler.error": lambda rng, t: {
        "probability": _probability(rng, 0.3),
        "category": rng.choice(["database", "network", "unknown", "validation"]),
    },
    "handler.hang": lambda rng, t: {"probability": _probability(rng, 0.02), "lasts": round(rng.uniform(1.0, 100.0), 3)},
    "handler.slow": lambda rng, t: {**_lasting(rng, t, 60.0), "delay": round(rng.uniform(0.1, 5.0), 3)},
    "handler.poison": lambda rng, t: {"probability": _probability(rng, 0.1)},
    "handler.payload": lambda rng, t: {"probability": _probability(rng, 0.2), "size": "100MB", "memory": "250MB"},
    "database.outage": lambda rng, t: _lasting(rng, t, 30.0),
    "database.pool": lambda rng, t: {**_lasting(rng, t, 60.0), "size": rng.randint(1, 3), "timeout": 5.0},
    "database.deadlock": lambda rng, t: {"probability": _probability(rng, 0.2)},
    "database.lost-commit": lambda rng, t: {"probability": _probability(rng, 0.2)},
    "producer.duplicate": lambda rng, t: {"probability": _probability(rng, 0.2)},
    "producer.retry": lambda rng, t: {"probability": _probability(rng, 0.2)},
    "producer.burst": lambda rng, t: {**_times(rng, t), "size": rng.randint(1, 200)},
}
"""The kinds of faults that are drawn, each mild enough that the run can end."""


def random_scenario(rng: random.Random, duration: float = 300.0, name: str = "generated") -> dict[str, Any]:
    """A scenario that a queue must survive: a workload, one to four faults, and time to drain."""
    jobs = {
        f"job-{i}": {
            "service": {"exponential": round(rng.uniform(0.05, 2.0), 3)},
            "priority": rng.choice([0, 0, 1, 5]),
            "delay": rng.choice([0.0, 0.0, 5.0]),
            "errors": {"network": round(rng.uniform(0.0, 0.2), 3)},
        }
        for i in range(1, rng.randint(2, 4))
    }
    workers: dict[str, Any] = {"name": "w", "count": rng.randint(1, 3), "concurrency": rng.randint(1, 5)}
    if rng.random() < 0.3:
        workers["limiter"] = {"max": rng.randint(5, 50), "duration": round(rng.uniform(1.0, 20.0), 3)}
    return {
        "name": name,
        "seed": rng.randrange(2**32),
        "duration": duration,
        "drain": True,
        "queue": {
            "attempts": rng.randint(1, 4),
            "backoff": {"type": rng.choice(["fixed", "exponential"]), "delay": 1.0, "jitter": rng.choice([0.0, 0.5])},
        },
        "workers": workers,
        "jobs": jobs,
        "load": [{"name": "users", "poisson": round(rng.uniform(0.2, 3.0), 3)}],
        "faults": random_faults(rng, duration),
    }


def random_faults(rng: random.Random, duration: float) -> list[dict[str, Any]]:
    """One to four faults of different kinds, for a run of so many seconds."""
    kinds = rng.sample(sorted(FAULTS), rng.randint(1, 4))
    return [{kind: FAULTS[kind](rng, duration)} for kind in kinds]
