"""Random scenarios from a seed: workloads, and schedules of faults that a queue must survive."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib.util import find_spec
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


OVERDUE = "overdue-tasks-notification"
"""The type of the jobs that scans for overdue tasks make."""
STOCK = "queuesim.testing.stock:processor"
"""Handlers for what a scenario can't describe."""


def random_scenario(rng: random.Random, duration: float = 300.0, name: str = "generated") -> dict[str, Any]:
    """A scenario that a queue must survive: a workload, one to four faults, and time to drain."""
    jobs = {f"job-{i}": _job_type(rng) for i in range(1, rng.randint(2, 4))}
    load = _load(rng, duration)
    scenario: dict[str, Any] = {
        "name": name,
        "seed": rng.randrange(2**32),
        "duration": duration,
        "drain": True,
        "queue": _queue(rng),
        "workers": [_workers(rng, name) for name in (["w", "v"] if rng.random() < 0.25 else ["w"])],
        "jobs": jobs,
        "load": load,
        "faults": [_named(fault) for fault in random_faults(rng, duration)],
    }
    if rng.random() < 0.25:
        scenario["processor"] = STOCK
        chosen = rng.sample(["limited", "postponed", "unique"], rng.randint(1, 3))
        stock = {"name": "stock", "poisson": round(rng.uniform(0.1, 1.0), 3), "jobs": dict.fromkeys(chosen, 1.0)}
        # other loads do not draw them
        described = dict.fromkeys(jobs, 1.0)
        scenario["load"] = [{**entry, "jobs": described} for entry in load] + [stock]
    if rng.random() < 0.08 and find_spec("sqlalchemy") is not None:
        scenario["overdue"] = _overdue(rng, duration)
        jobs[OVERDUE] = {"weight": 0.0, "service": round(rng.uniform(0.01, 0.5), 3)}
    return scenario


def _named(fault: dict[str, Any]) -> dict[str, Any]:
    """The fault, with the load or the kind of workers that it means: there may be several."""
    added = {"producer.burst": {"load": "users"}, "worker.scale": {"worker": "w"}}
    return {kind: {**settings, **added.get(kind, {})} for kind, settings in fault.items()}


def _queue(rng: random.Random) -> dict[str, Any]:
    queue: dict[str, Any] = {
        "attempts": rng.randint(1, 4),
        "backoff": {"type": rng.choice(["fixed", "exponential"]), "delay": 1.0, "jitter": rng.choice([0.0, 0.5])},
    }
    if rng.random() < 0.15:
        queue["concurrency"] = rng.randint(1, 6)
    if rng.random() < 0.15:
        queue["rate_limit"] = _limit(rng)
    if rng.random() < 0.3:
        keep = [rng.randint(0, 30), "all", {"count": rng.randint(1, 50), "age": round(rng.uniform(1.0, 60.0), 3)}]
        queue["keep"] = {"completed": rng.choice(keep), "failed": rng.choice(keep)}
    if rng.random() < 0.2:
        queue["dead_letter"] = False
    if rng.random() < 0.2:
        queue["retry"] = {"network": {"attempts": rng.randint(1, 5), "backoff": 0.5}, "validation": {"retry": True}}
    return queue


def _limit(rng: random.Random) -> dict[str, Any]:
    return {"max": rng.randint(5, 50), "duration": round(rng.uniform(1.0, 20.0), 3)}


def _workers(rng: random.Random, name: str) -> dict[str, Any]:
    workers: dict[str, Any] = {"name": name, "count": rng.randint(1, 3), "concurrency": rng.randint(1, 5)}
    if rng.random() < 0.3:
        workers["limiter"] = _limit(rng)
    if rng.random() < 0.3:
        workers["lock_duration"] = round(rng.uniform(1.0, 10.0), 3)
        workers["stalled_interval"] = round(rng.uniform(1.0, 10.0), 3)
        workers["max_stalled"] = rng.randint(0, 2)
    return workers


def _job_type(rng: random.Random) -> dict[str, Any]:
    job: dict[str, Any] = {
        "service": {"exponential": round(rng.uniform(0.05, 2.0), 3)},
        "priority": rng.choice([0, 0, 1, 5]),
        "delay": rng.choice([0.0, 0.0, 5.0]),
        "errors": {"network": round(rng.uniform(0.0, 0.2), 3)},
    }
    if rng.random() < 0.15:
        job["lifo"] = True
    if rng.random() < 0.1:
        job["blocking"] = {"exponential": round(rng.uniform(0.01, 0.5), 3)}
    if rng.random() < 0.15:
        job["timeout"] = round(rng.uniform(0.5, 5.0), 3)
    if rng.random() < 0.1:
        job["poison"] = round(rng.uniform(0.01, 0.1), 3)
    return job


def _load(rng: random.Random, duration: float) -> list[dict[str, Any]]:
    rate = round(rng.uniform(0.2, 3.0), 3)
    load: list[dict[str, Any]] = [{"name": "users", rng.choice(["poisson", "poisson", "constant"]): rate}]
    if rng.random() < 0.2:
        closed = {"producers": rng.randint(1, 5), "think": {"exponential": round(rng.uniform(0.1, 3.0), 3)}}
        load.append({"name": "callers", "closed": closed})
    if rng.random() < 0.2:
        bulk = {"at": round(rng.uniform(0.0, 0.8) * duration, 3), "size": rng.randint(1, 60)}
        load.append({"name": "batch", "bulk": bulk})
    if rng.random() < 0.1:
        load.append({"name": "before", "backlog": rng.randint(1, 60)})
    return load


def _overdue(rng: random.Random, duration: float) -> dict[str, Any]:
    return {
        "every": max(round(duration / rng.randint(2, 8)), 1),
        "tasks": rng.randint(0, 40),
        "backlog": rng.randint(0, 40),
        "page_size": rng.choice([5, 100]),
        "per": rng.choice(["task", "page"]),
        "by": rng.choice(["scheduler", "timer"]),
        "delivery": rng.choice(["after-commit", "outbox"]),
    }


def random_faults(rng: random.Random, duration: float) -> list[dict[str, Any]]:
    """One to four faults of different kinds, for a run of so many seconds."""
    kinds = rng.sample(sorted(FAULTS), rng.randint(1, 4))
    return [{kind: FAULTS[kind](rng, duration)} for kind in kinds]
