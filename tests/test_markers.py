"""The tables that give tests their markers."""

from __future__ import annotations

import markers


def test_every_path_in_the_tables_exists() -> None:
    """A file that is moved or renamed keeps its markers."""
    paths = [*markers.PLACES, *markers.SLOW]
    assert [path for path in paths if not (markers.TESTS / path).exists()] == []
