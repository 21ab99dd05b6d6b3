"""Axes of sweeps: how they are written, and their combinations."""

from __future__ import annotations

import math
from typing import Any

import pytest

from queuesim.experiments.axes import Axes, AxisError, parse_axes, parse_axis
from queuesim.scenario.loading import ScenarioError, as_scenario

SCENARIO: dict[str, Any] = {
    "name": "small",
    "duration": "1m",
    "jobs": {"mail": {"service": "1s"}},
    "load": [{"name": "users", "poisson": "1/s"}],
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1..5", (1, 2, 3, 4, 5)),
        ("1..9..4", (1, 5, 9)),
        ("1..8..4", (1, 5)),
        ("0.5..1.5..0.25", (0.5, 0.75, 1.0, 1.25, 1.5)),
        ("0.1..0.3..0.1", (0.1, 0.2, 0.3)),
        ("1,3,5", (1, 3, 5)),
        ("100ms, 1s", ("100ms", "1s")),
        ("[1, 2.5]", (1, 2.5)),
        ("true,false", (True, False)),
        ("10", (10,)),
        ("{max: 10, duration: 1s}", ({"max": 10, "duration": "1s"},)),
        ("60/min", ("60/min",)),
    ],
)
def test_values_as_a_command_line_has_them(text: str, values: tuple[Any, ...]) -> None:
    path, found = parse_axis(f"workers.count={text}")
    assert (path, found) == ("workers.count", values)
    assert [type(each) for each in found] == [type(each) for each in values]


@pytest.mark.parametrize("text", ["workers.count", "workers.count=", "=1..5", "workers.count=.nan", "workers.count=[1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse_axis(text)


@pytest.mark.parametrize("text", ["a=5..1", "a=1..5..0", "a=1..1000000", "a=1,,3"])
def test_ranges_without_values_or_with_too_many_are_refused(text: str) -> None:
    with pytest.raises(AxisError):
        parse_axis(text)


def test_combinations_are_in_order_and_can_be_taken_by_their_place() -> None:
    axes = parse_axes(["workers.count=1..3", "load=1,2", "queue.attempts=5"])
    assert len(axes) == 6
    combinations = list(axes)
    assert combinations[1] == {"workers.count": 1, "load": 2, "queue.attempts": 5}
    assert [axes.at(place) for place in range(6)] == combinations
    with pytest.raises(AxisError):
        parse_axes(["load=1,2", "load=3"])


@pytest.mark.parametrize(
    "values", [[], "5", b"5", 5, {"a": 1}, [math.nan], [1, math.inf], [1, 1], [{"max": 1}, {"max": 1}]]
)
def test_values_that_cannot_be_swept_are_refused(values: Any) -> None:
    with pytest.raises(AxisError, match=r"workers\.count"):
        Axes.of({"workers.count": values})


def test_each_path_and_value_is_tried() -> None:
    scenario = as_scenario(SCENARIO)
    Axes.of({"workers.count": range(1, 4), "load": [2], "load.users.poisson": ["2/s"]}).check(scenario)
    for path, values, named in (
        ("workers.cuont", [1], "did you mean"),
        ("workers.count", [1, 0], "too small"),
        ("load.user.poisson", ["1/s"], 'did you mean "users"'),
        ("duration", ["1m", "soon"], "not a duration"),
    ):
        with pytest.raises(AxisError, match=named):
            Axes.of({path: values}).check(scenario)
