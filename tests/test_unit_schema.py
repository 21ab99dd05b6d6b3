from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from queuesim.fields import PerSecond, PositiveSeconds, Probability, Seconds

FILE = {"file": True}


def problem(kind: Any, value: Any, context: dict[str, Any] | None = None) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value, context=context)
    (error,) = caught.value.errors()
    return error["msg"]


def test_a_float_is_seconds_in_python_and_refused_in_a_file() -> None:
    assert TypeAdapter(Seconds).validate_python(30) == 30.0
    assert TypeAdapter(Seconds).validate_python(np.float64(0.5)) == 0.5
    assert TypeAdapter(Seconds).validate_python(np.int64(5)) == 5.0
    assert TypeAdapter(Seconds).validate_python("30s") == 30.0
    assert "no unit" in problem(Seconds, 30, FILE)
    assert "no unit" in problem(Seconds, 1.5, FILE)
    assert TypeAdapter(Seconds).validate_python("30s", context=FILE) == 30.0


def test_a_rate_is_per_second_in_python_and_has_its_unit_in_a_file() -> None:
    assert TypeAdapter(PerSecond).validate_python(2.5) == 2.5
    assert "no unit" in problem(PerSecond, 60, FILE)
    assert TypeAdapter(PerSecond).validate_python("60/min", context=FILE) == 1.0


@pytest.mark.parametrize("kind", [Seconds, PerSecond])
def test_zero_needs_no_unit(kind: Any) -> None:
    assert TypeAdapter(kind).validate_python(0, context=FILE) == 0.0


@pytest.mark.parametrize("kind", [Seconds, PerSecond, PositiveSeconds])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, True, None, [1], {"a": 1}])
@pytest.mark.parametrize("context", [None, FILE])
def test_what_is_no_number_of_zero_or_more_is_refused(kind: Any, value: Any, context: dict[str, Any] | None) -> None:
    assert " is not a " in problem(kind, value, context)


def test_a_positive_duration_is_above_zero() -> None:
    assert problem(PositiveSeconds, 0) == "it must be longer than 0"
    assert problem(PositiveSeconds, "0s", FILE) == "it must be longer than 0"


def test_json_has_the_unit_again_and_python_the_float() -> None:
    assert TypeAdapter(Seconds).dump_python(5400.0, mode="json") == "1h30m"
    assert TypeAdapter(Seconds).dump_python(5400.0) == 5400.0
    assert TypeAdapter(PerSecond).dump_python(1.0, mode="json") == "1/s"


def test_a_probability_is_a_number_or_a_percent() -> None:
    assert TypeAdapter(Probability).validate_python(0.25, context=FILE) == 0.25
    assert TypeAdapter(Probability).validate_python("2.5%", context=FILE) == 0.025
    for value in (1.5, "150%", math.nan, "often", True):
        assert problem(Probability, value)
