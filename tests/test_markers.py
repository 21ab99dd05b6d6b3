"""The tables that give tests their markers."""

from __future__ import annotations

import markers


def test_every_path_in_the_tables_exists() -> None:
    """A file that is moved or renamed keeps its markers."""
    paths = [*markers.PLACES, *markers.SLOW]
    assert [path for path in paths if not (markers.TESTS / path).exists()] == []


def test_every_test_in_the_list_of_slow_ones_exists() -> None:
    """`tools/slow_tests` writes it anew."""
    missing = []
    for test in markers.MEASURED:
        file, _, name = test.partition("::")
        path = markers.TESTS / file
        # a state machine's test is a class that Hypothesis makes
        named = (f"def {name}(", f"{name.partition('::')[0]} = ", f"def {name.rpartition('::')[2]}(")
        text = path.read_text() if path.exists() else ""
        if not any(each in text for each in named):
            missing.append(test)
    assert missing == []
