from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from queuesim.scenario.loading import ScenarioError, parse_scenario
from queuesim.text import nearest, show, unknown

EVERYTHING: dict[str, Any] = {
    "name": "everything",
    "description": "every key that there is",
    "seed": 1,
    "duration": "1h",
    "warmup": "1m",
    "drain": "5m",
    "epoch": "2025-01-01T00:00:00Z",
    "queue": {
        "name": "q",
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": "1s", "jitter": 0.5, "cap": "1m"},
        "keep": {"completed": 100, "failed": {"count": 5, "age": "1h"}},
        "dead_letter": "dead",
        "concurrency": 5,
        "rate_limit": {"max": 5, "duration": "1s"},
        "retry": {"network": {"retry": True, "attempts": 5, "backoff": "1s"}},
    },
    "workers": [
        {
            "count": 2,
            "name": "w",
            "concurrency": 5,
            "limiter": {"max": 5, "duration": "1s"},
            "lock_duration": "30s",
            "lock_renew": "15s",
            "stalled_interval": "30s",
            "max_stalled": 1,
            "start": "1s",
        }
    ],
    "jobs": {
        "a": {
            "weight": 1,
            "service": {"lognormal": {"mean": "120ms", "p95": "400ms"}},
            "blocking": {"uniform": {"low": 0, "high": "1s"}},
            "errors": {"database": [0.1, "5%"], "network": 0.1},
            "poison": {"probability": 0.1, "category": "network"},
            "timeout": "1m",
            "priority": 5,
            "delay": "1s",
            "attempts": 2,
            "backoff": "2s",
            "lifo": True,
            "data": {"task": [1, None, "x"]},
        },
        "b": {"service": {"gamma": {"mean": "1s", "cv": 0.5}}},
        "c": {"service": {"exponential": "1s"}},
    },
    "load": [
        {
            "name": "ramp",
            "poisson": {
                "from": "1/s",
                "stages": [{"duration": "5m", "target": "60/min"}, {"duration": "5m", "rate": "1/s"}],
            },
            "start": "1m",
            "duration": "30m",
            "jobs": {"a": 1, "b": 2},
        },
        {"name": "steady", "constant": "5/h", "jobs": "a"},
        {"name": "bulk", "bulk": {"every": "1h", "offset": "1m", "until": "30m", "size": 5}},
        {"name": "left", "backlog": 5},
        {"name": "people", "closed": {"producers": 5, "think": {"constant": "1s"}}},
    ],
    "overhead": {"attempt": "1ms", "pickup": "1ms", "add": "1ms"},
    "thresholds": [
        "lost == 0",
        {"latency": "p95 < 30s", "where": {"job": "a", "load": "ramp"}, "over": "5m", "abort": True},
    ],
}

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    5,
    2.5,
    10**30,
    "",
    "x",
    "5",
    "5s",
    "-5s",
    "5/s",
    "50%",
    [],
    ["x"],
    [[]],
    {},
]
ODD += [{"x": 1}, {"mean": "1s"}, "a b:c", "all", "\u2028"]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from places(child, (*way, key))


PLACES = [way for way in places(EVERYTHING) if way]


def changed(way: tuple[Any, ...], change: str, value: Any) -> dict[str, Any]:
    """The scenario with one place replaced, left out, or renamed."""
    scenario = copy.deepcopy(EVERYTHING)
    parent: Any = scenario
    for step in way[:-1]:
        parent = parent[step]
    if change == "replace" or isinstance(parent, list):
        parent[way[-1]] = value
    else:
        old = parent.pop(way[-1])
        if change == "rename":
            parent[f"{way[-1]}s"] = old
    return scenario


def test_the_scenario_that_is_changed_below_is_right() -> None:
    scenario = parse_scenario(yaml.safe_dump(EVERYTHING))
    assert parse_scenario(scenario.model_dump_json(by_alias=True, exclude_none=True)) is not None


@given(
    way=st.sampled_from(PLACES),
    change=st.sampled_from(["replace", "replace", "leave out", "rename"]),
    value=st.sampled_from(ODD),
)
def test_whatever_is_wrong_is_told_in_our_words_with_its_line(way: tuple[Any, ...], change: str, value: Any) -> None:
    text = yaml.safe_dump(changed(way, change, value), sort_keys=False, allow_unicode=True)
    try:
        parse_scenario(text, file="s.yaml")
    except ScenarioError as error:
        problems = error.problems
    else:
        return
    lines = len(text.splitlines())
    for problem in problems:
        assert re.fullmatch(r"s\.yaml:\d+: .+", str(problem))
        assert problem.line is not None
        assert 1 <= problem.line <= lines
        assert not re.search(r"[Ii]nput|should|valid |pydantic|Union|None|True|False", problem.message), problem


def test_files_and_references_too() -> None:
    text = """\
name: x
duration: 1h
processor: %s
jobs: {a: {service: {empirical: {file: %s, unit: s}}}}
load: [{name: l, trace: {file: %s}}]
"""
    odd = ["5", "[]", "", "''", "{}", "true", "'a b:c'", "a:b:c"]
    for value in odd:
        with pytest.raises(ScenarioError) as caught:
            parse_scenario(text % (value, value, value), file="s.yaml")
        for problem in caught.value.problems:
            assert re.search(r"is not (the name of a file|module:attribute|text)|no such file", problem.message)


def test_values_are_shown_as_files_write_them() -> None:
    shown = [show(value) for value in (None, True, 5, 1.5, "x", [1], {"a": 1}, "x" * 100)]
    assert shown[:7] == ["nothing", "true", "5", "1.5", '"x"', "a list", "a mapping"]
    assert len(shown[7]) == 60
    assert shown[7].endswith("...")


def test_the_nearest_name() -> None:
    assert nearest("worker", ["name", "workers"]) == '; did you mean "workers"?'
    assert nearest("Workers", ["name", "workers"]) == '; did you mean "workers"?'
    assert nearest("p950", ["p90", "p95", "mean"]) == '; did you mean "p95"?'
    assert nearest("faults", ["name", "workers"]) == ""
    assert unknown("job", "x", []) == 'unknown job "x"; known: none'
