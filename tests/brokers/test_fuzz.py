"""Hostile jobs under real worker processes, a small draw. `python -m benchmarks.fuzz` plays all of them."""

from __future__ import annotations

import random

import pytest
from benchmarks.damage import VALUES
from benchmarks.fuzz import fuzz

from servers import REAL, skipping_without


@pytest.mark.server
@pytest.mark.timeout(600)  # some jobs end only when two locks have expired, and each wave waits for them
@pytest.mark.parametrize("seed_and_server", list(enumerate(REAL)), ids=list(REAL))
def test_hostile_jobs_harm_nobody(seed_and_server: tuple[int, str]) -> None:
    seed, server = seed_and_server
    with skipping_without(server):
        found = fuzz(server, random.Random(seed).sample(VALUES, 2))
    assert found.deaths == 0
    assert found.repeated == []
    assert found.stateless == []
    assert found.unfinished == []
    assert found.hostile == found.good > 300
