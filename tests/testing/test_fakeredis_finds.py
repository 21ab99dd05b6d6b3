"""Scenarios that a soak on fakeredis once found: nothing is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

import queuesim
from queuesim.testing.surviving import explain

FINDS = sorted((Path(__file__).parent / "fakeredis_finds").glob("*.yaml"))


@pytest.mark.parametrize("path", FINDS, ids=lambda path: path.stem)
def test_it_is_well_on_fakeredis(path: Path) -> None:
    result = queuesim.run(path, "fakeredis")
    assert result.ok, explain(result)
