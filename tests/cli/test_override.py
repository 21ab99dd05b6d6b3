"""Overrides: what a path reaches, and how what is wrong with one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuesim.scenario.loading import Override, load_with, parse_set
from queuesim.scenario.model import Scenario


def document() -> dict[str, Any]:
    return {
        "workers": {"concurrency": 5},
        "queue": None,
        "jobs": {"send.mail": {"weight": 1}, "send": {"weight": 2}},
        "load": [{"name": "office-hours", "poisson": 1}, {"name": "overdue.batch", "poisson": 2}, {"poisson": 3}],
    }


def applied(path: str, value: Any = 9) -> tuple[dict[str, Any], tuple[str | int, ...]]:
    changed = document()
    return changed, Override("", path, value).apply(changed)


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("workers.concurrency", ("workers", "concurrency")),
        ("workers.limiter.max", ("workers", "limiter")),
        ("queue.backoff.delay", ("queue",)),
        ("overhead.add", ("overhead",)),
        ("jobs.send.weight", ("jobs", "send", "weight")),
        ("jobs.send.mail.weight", ("jobs", "send.mail", "weight")),
        ("load.office-hours.poisson", ("load", 0, "poisson")),
        ("load.overdue.batch.poisson", ("load", 1, "poisson")),
        ("load.2.poisson", ("load", 2, "poisson")),
        ("load[2].poisson", ("load", 2, "poisson")),
        ("load.1", ("load", 1)),
    ],
)
def test_a_path_reaches(path: str, way: tuple[str | int, ...]) -> None:
    changed, first_changed = applied(path)
    assert first_changed == way
    value: Any = changed
    for step in way:
        value = value[step]
    while isinstance(value, dict):
        (value,) = value.values()
    assert value == 9
    # nothing else has changed
    for key in document().keys() - {way[0]}:
        assert changed[key] == document()[key]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=10", "a.b", 10),
        (" a = 1.5 ", "a", 1.5),
        ("a=60/min", "a", "60/min"),
        ("a=null", "a", None),
        ("a={b: [1, true]}", "a", {"b": [1, True]}),
        ("a=lost == 0", "a", "lost == 0"),
    ],
)
def test_parse(text: str, path: str, value: Any) -> None:
    assert parse_set(text) == Override(f"--set {text}", path, value)


def loaded(file: Path, *texts: str) -> Scenario:
    return load_with(file, [parse_set(text) for text in texts])


def test_it_is_in_the_scenario(small: Path) -> None:
    scenario = loaded(
        small, "workers.concurrency=10", "workers.limiter={max: 3, duration: 1s}", "load.users.start=5s", "name=other"
    )
    assert scenario.workers[0].concurrency == 10
    assert scenario.workers[0].limiter is not None
    assert scenario.load[0].start == 5.0
    assert scenario.name == "other"
    assert scenario.directory == small.parent


def test_the_later_one_wins(small: Path) -> None:
    assert loaded(small, "seed=1", "seed=2").seed == 2
    assert loaded(small, "load=[{name: a, constant: 1/s}]", "load.a.constant=2/s").load[0].name == "a"
