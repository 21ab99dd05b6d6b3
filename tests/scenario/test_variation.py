"""Scenarios with some values changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import queuesim
from queuesim.scenario.loading import as_scenario, vary
from queuesim.scenario.model import Scenario

FILE = Path(__file__).parents[2] / "scenarios" / "task-processing.yaml"


def small(**more: object) -> Scenario:
    jobs = {"mail": {"service": "100ms"}}
    load = [{"name": "steady", "poisson": "2/s"}, {"name": "rush", "bulk": {"at": "10s", "size": 20}}]
    return Scenario.model_validate({"name": "small", "duration": "1m", "jobs": jobs, "load": load, **more})


def test_without_changes_the_same_jobs_come() -> None:
    scenario = small()
    assert queuesim.run(scenario).events.equals(queuesim.run(vary(scenario, {})).events)


def test_values_are_changed_by_their_paths() -> None:
    varied = vary(
        as_scenario(FILE), {"workers.concurrency": 9, "queue.backoff.delay": "3s", "load.overdue-batch.bulk.size": 7}
    )
    assert varied.workers[0].concurrency == 9
    assert varied.queue.backoff is not None
    assert varied.load[1].bulk is not None
    assert varied.load[1].bulk.size == 7
    assert varied.directory == FILE.parent


def test_load_multiplies_rates_and_sizes() -> None:
    varied = vary(as_scenario(FILE), {"load": 0.5})
    assert varied.load[0].poisson is not None
    assert [stage.target for stage in varied.load[0].poisson.stages or ()] == pytest.approx([0.5, 70 / 60, 20 / 60])
    assert varied.load[1].bulk is not None
    assert varied.load[1].bulk.size == 150
    assert vary(small(), {"load": 3}).load[0].poisson.rate == 6.0  # type: ignore[union-attr]


def test_a_path_that_leads_nowhere() -> None:
    with pytest.raises(ValueError, match=r"concurency"):
        vary(small(), {"workers.concurency": 3})
    with pytest.raises(ValueError, match=r"load\.stead.*: unknown entry"):
        vary(small(), {"load.stead.poisson": "1/s"})
    with pytest.raises(ValueError, match=r"workers\[0\]\.concurrency"):
        vary(small(), {"workers.concurrency": "many"})


def test_recorded_load_cannot_be_multiplied() -> None:
    closed = small(load=[{"name": "users", "closed": {"producers": 3}}])
    assert vary(closed, {"load": 1}).load == closed.load
    with pytest.raises(ValueError, match=r"load\.users: .* can't be multiplied by 2"):
        vary(closed, {"load": 2})
