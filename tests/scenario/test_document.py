from __future__ import annotations

import pytest

from queuesim.scenario.yaml import Document, DocumentError

TEXT = """\
name: x
base: &base
  count: 1
  name: plain
workers:
  - <<: *base
    name: fast
  - count: 2
load: {poisson: 5}
"""


def test_it_says_what_json_can_say() -> None:
    text = "{a: 1, b: -2.5, c: 1e3, d: true, e: null, f: ~, g: 'x', h: [1, {i: 2}], j: }"
    assert Document(text).value == {
        "a": 1,
        "b": -2.5,
        "c": 1000.0,
        "d": True,
        "e": None,
        "f": None,
        "g": "x",
        "h": [1, {"i": 2}],
        "j": None,
    }


def test_what_only_old_yaml_takes_for_something_else_is_text() -> None:
    text = "{a: no, b: on, c: 1:30, d: 2025-01-01, e: 2025-01-01T00:00:00Z, f: 0x1F, g: 1_000}"
    assert set(map(type, Document(text).value.values())) == {str}


def test_numbers_with_a_leading_zero_are_decimal() -> None:
    assert Document("a: 010").value == {"a": 10}


def test_merged_keys_give_way_to_a_mappings_own() -> None:
    value = Document(TEXT).value
    assert value["workers"] == [{"count": 1, "name": "fast"}, {"count": 2}]
    assert Document("[&a {x: 1}, &b {x: 2, y: 2}, {<<: [*a, *b]}]").value[2] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("location", "line", "way"),
    [
        ((), 1, ()),
        (("name",), 1, ("name",)),
        (("workers",), 5, ("workers",)),
        (("workers", 0), 6, ("workers", 0)),
        (("workers", 0, "name"), 7, ("workers", 0, "name")),
        (("workers", 0, "count"), 3, ("workers", 0, "count")),
        (("workers", 1, "count"), 8, ("workers", 1, "count")),
        # what is not there belongs to where it would be
        (("workers", 1, "limiter"), 8, ("workers", 1)),
        (("workers", 7, "count"), 5, ("workers",)),
        (("nowhere", "at", "all"), 1, ()),
        # a list of one that is written without the list, and a long form that is written short
        (("load", 0, "poisson", "rate"), 9, ("load", "poisson")),
    ],
)
def test_every_key_knows_its_line(location: tuple[str | int, ...], line: int, way: tuple[str | int, ...]) -> None:
    assert Document(TEXT).locate(location) == (line, way)


@pytest.mark.parametrize("text", ["[" * 101, "a: " + "[" * 300_000 + "]" * 300_000])
def test_nesting_has_a_limit(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Document(text)
    assert (caught.value.line, caught.value.location) == (1, ())
