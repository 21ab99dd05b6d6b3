"""What was found: a failing scenario made small, saved as a file, with the command that replays it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    faults, jobs, workers = scenario.get("faults", []), scenario.get("jobs", {}), scenario.get("workers", {})
    for i in range(len(faults)):
        yield {**scenario, "faults": faults[:i] + faults[i + 1 :]}
    if isinstance(scenario["duration"], float) and scenario["duration"] > 10.0:
        yield {**scenario, "duration": scenario["duration"] / 2}
    for name in jobs if len(jobs) > 1 else ():
        yield {**scenario, "jobs": {other: settings for other, settings in jobs.items() if other != name}}
    if isinstance(workers, dict):
        if workers.get("count", 1) > 1:
            yield {**scenario, "workers": {**workers, "count": workers["count"] - 1}}
        if "limiter" in workers:
            yield {**scenario, "workers": {key: value for key, value in workers.items() if key != "limiter"}}


def save(scenario: dict[str, Any], directory: Path = DIRECTORY) -> Path:
    """Write a scenario as a file that `queuesim run` takes. Its name tells it from any other."""
    import yaml

    from queuesim.scenario.schema import Scenario

    told = Scenario.model_validate(scenario).model_dump(mode="json", by_alias=True, exclude_unset=True)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]
    path = directory / f"{told['name']}-{digest}.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path


def replay_command(path: Path, *, processor: str | None = None, shuffle: bool = False) -> str:
    """The one command that plays it again."""
    words = ["queuesim", "run", path.as_posix()]
    words += ["--processor", processor] if processor else []
    words += ["--shuffle"] if shuffle else []
    return " ".join(words)
