from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.units import format_duration, format_percent, format_rate, parse_duration, parse_percent, parse_rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4h", 14400.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("2d", 172800.0),
        ("1m30s", 90.0),
        ("250us", 0.00025),
        ("1d2h3m4s5ms6us", 93784.005006),
        ("0.1s", 0.1),
        ("100ms", 0.1),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("60/min", 1.0),
        ("25/s", 25.0),
        ("100/h", 100 / 3600),
        ("3/day", 3 / 86400),
        ("1.5/s", 1.5),
        ("0/s", 0),
        ("0", 0),
    ],
)
def test_rates(text: str, per_second: float) -> None:
    assert parse_rate(text) == per_second


def test_percents() -> None:
    assert parse_percent("95%") == 0.95
    assert parse_percent("0.5%") == 0.005


def test_a_number_beyond_floats_is_refused() -> None:
    for parse, unit in ((parse_duration, "d"), (parse_rate, "/s"), (parse_percent, "%")):
        with pytest.raises(ValueError, match="too large"):
            parse("9" * 400 + unit)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.08, "80ms"), (5400, "1h30m"), (90.5, "1m30.5s"), (172800, "2d"), (90000, "25h"), (1e-6, "1us")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0, "0/s"), (25, "25/s"), (140 / 60, "140/min"), (100 / 3600, "100/h"), (3 / 86400, "3/day"), (0.5, "30/min")],
)
def test_rates_are_written_as_people_do(per_second: float, text: str) -> None:
    assert format_rate(per_second) == text


FLOATS = st.floats(0, 1e15, allow_subnormal=False)


@given(FLOATS)
def test_a_duration_survives_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(FLOATS)
def test_a_rate_survives_being_written(per_second: float) -> None:
    assert parse_rate(format_rate(per_second)) == per_second


@given(FLOATS)
def test_a_percent_survives_being_written(fraction: float) -> None:
    assert parse_percent(format_percent(fraction)) == fraction


@given(st.text(alphabet="0123456789.dhmsu/ -%inay", max_size=8))
def test_any_text_is_read_or_refused_with_what_to_write(text: str) -> None:
    for parse in (parse_duration, parse_rate, parse_percent):
        assert _tried(parse, text) or re.search(r"write |negative", _refusal(parse, text))


def _tried(parse: Callable[[str], float], text: str) -> bool:
    try:
        return parse(text) >= 0
    except ValueError:
        return False


def _refusal(parse: Callable[[str], float], text: str) -> str:
    with pytest.raises(ValueError) as caught:
        parse(text)
    return str(caught.value)
