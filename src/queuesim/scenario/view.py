"""The notebook's view of a scenario: what comes, what works it off, and what must hold."""

from __future__ import annotations

from typing import Any

from queuesim.results.markup import fill
from queuesim.scenario.thresholds import describe
from queuesim.text import percent, readable


def to_html(scenario: Any) -> str:
    """Of a Scenario: its name, what it is about, and tables of workers, jobs, load and thresholds."""
    written = scenario.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    drain = f", then drains for up to {readable(scenario.drain_time)}" if 0 < scenario.drain_time < 1e12 else ""
    drain = ", then drains" if scenario.drain is True else drain
    weights = sum(job.weight for job in scenario.jobs.values())
    jobs = [
        (name, percent(job.weight / weights) if weights else "–", *(_brief(written, "jobs", name, key) for key in JOB))
        for name, job in scenario.jobs.items()
    ]
    load = [
        (entry.name, entry.kind, _text(written["load"][i].get(entry.kind)), _text(written["load"][i].get("jobs")))
        for i, entry in enumerate(scenario.load)
    ]
    workers = [(kind.name, str(kind.count), str(kind.concurrency), _limiter(kind.limiter)) for kind in scenario.workers]
    return fill(
        "scenario.html",
        name=scenario.name,
        seed=scenario.seed,
        duration=f"{readable(scenario.duration)}{drain}",
        description=scenario.description,
        tables=[
            (("workers", "count", "concurrency", "limiter"), workers),
            (("job", "share", *JOB), jobs),
            (("load", "kind", "", "jobs"), load),
        ],
        thresholds=[describe(threshold) for threshold in scenario.thresholds],
    )


JOB = ("service", "errors")


def _limiter(limiter: Any) -> str:
    return "none" if limiter is None else f"{limiter.max} per {readable(limiter.duration)}"


def _brief(written: dict[str, Any], *path: str) -> str:
    value: Any = written
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return _text(value)


def _text(value: Any) -> str:
    """A value as a file would have it, in a line."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list):
        return _text(value[0]) if len(value) == 1 else f"({'; '.join(map(_text, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)
