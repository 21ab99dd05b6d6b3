"""What was found: a failing scenario made small, saved as a file, with the command that replays it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from queuesim.escaping import as_file_name

DIRECTORY = Path("scenarios/found")
"""Where failing scenarios are saved, below the current directory."""

Fails = Callable[[dict[str, Any]], bool]


def smallest(scenario: dict[str, Any], fails: Fails, tries: int = 60) -> dict[str, Any]:
    """Make a failing scenario smaller as long as it fails: fewer faults, less time, fewer workers and kinds of jobs.

    Args:
        fails: whether a scenario fails; one that can't be played doesn't.
        tries: scenarios to play at most.
    """
    left = tries
    again = True
    while again and left > 0:
        again = False
        for smaller in _smaller(scenario):
            left -= 1
            if fails(smaller):
                scenario, again = smaller, True
                break
            if left <= 0:
                break
    return scenario


def _smaller(scenario: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("faults", "load"):
        rows = scenario.get(key, [])
        for i in range(len(rows) if key == "faults" or len(rows) > 1 else 0):
            yield {**scenario, key: rows[:i] + rows[i + 1 :]}
    if isinstance(scenario["duration"], float) and scenario["duration"] > 10.0:
        yield {**scenario, "duration": scenario["duration"] / 2}
    if "overdue" in scenario:
        yield _without(scenario, "overdue")
    jobs = scenario.get("jobs", {})
    for name in jobs if len(jobs) > 1 else ():
        fewer = {**scenario, "jobs": _without(jobs, name)}
        if "load" in scenario:
            fewer["load"] = [
                {**entry, "jobs": _without(entry["jobs"], name)} if isinstance(entry.get("jobs"), dict) else entry
                for entry in scenario["load"]
            ]
        yield fewer
    for key in sorted(set(scenario.get("queue", {})) & {"concurrency", "rate_limit", "keep", "dead_letter", "retry"}):
        yield {**scenario, "queue": _without(scenario["queue"], key)}
    for workers in _fewer(scenario.get("workers", {})):
        yield {**scenario, "workers": workers}


def _fewer(workers: Any) -> Iterator[Any]:
    """Workers of fewer kinds, fewer of a kind, or without what they need not have."""
    if isinstance(workers, list):
        for i in range(len(workers) if len(workers) > 1 else 0):
            yield workers[:i] + workers[i + 1 :]
        for i, each in enumerate(workers):
            yield from ([*workers[:i], fewer, *workers[i + 1 :]] for fewer in _fewer(each))
        return
    if workers.get("count", 1) > 1:
        yield {**workers, "count": workers["count"] - 1}
    for key in sorted(set(workers) & {"limiter", "lock_duration", "stalled_interval", "max_stalled"}):
        yield _without(workers, key)


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {other: value for other, value in mapping.items() if other != key}


def save(scenario: dict[str, Any], directory: Path = DIRECTORY) -> Path:
    """Write a scenario as a file that `queuesim run` takes. Its name tells it from any other."""
    import yaml

    from queuesim.scenario.schema import Scenario

    told = Scenario.model_validate(scenario).model_dump(mode="json", by_alias=True, exclude_unset=True)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]
    path = directory / f"{as_file_name(told['name'])}-{digest}.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path


def replay_command(path: Path, *, processor: str | None = None, shuffle: bool = False, backend: str = "sim") -> str:
    """The one command that plays it again."""
    words = ["queuesim", "run", quote(path.as_posix())]
    words += ["--backend", backend] if backend != "sim" else []
    words += ["--processor", processor] if processor else []
    words += ["--shuffle"] if shuffle else []
    return " ".join(words)
