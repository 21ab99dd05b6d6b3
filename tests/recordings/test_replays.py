"""The four recorded runs of a real BullMQ queue, replayed, come out as they really did."""

from pathlib import Path

import pytest

import queuesim
from queuesim.recordings.compare import compare, of_recording, of_result
from queuesim.recordings.fit import fit_directory
from queuesim.scenario.loading import load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
RECORDINGS = ("steady", "limited", "retry-storm", "overdue-burst")


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_replay_ends_as_the_recording_did(name: str) -> None:
    comparison = compare(
        of_result(queuesim.run(SCENARIOS / f"bullmq-{name}.yaml")), of_recording(SCENARIOS / "traces" / name)
    )
    assert comparison.attempts_compared > 1000
    assert comparison.attempts_differing == ()
    assert comparison.states_differing == ()


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_replay_waits_as_the_recording_did(name: str) -> None:
    comparison = compare(
        of_result(queuesim.run(SCENARIOS / f"bullmq-{name}.yaml")), of_recording(SCENARIOS / "traces" / name)
    )
    for quantity in ("waiting mean", "waiting p95", "latency mean", "latency p95"):
        assert abs(comparison.row(quantity).difference) <= 0.03, comparison.row(quantity)
    assert abs(comparison.row("throughput").difference) <= 0.005


@pytest.mark.parametrize("name", ["limited", "overdue-burst"])
def test_a_replay_has_the_limiter_windows_of_the_recording(name: str) -> None:
    comparison = compare(
        of_result(queuesim.run(SCENARIOS / f"bullmq-{name}.yaml")), of_recording(SCENARIOS / "traces" / name)
    )
    assert comparison.row("limiter windows").difference == 0
    assert comparison.row("starts in a window, mean").difference == 0


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_scenario_has_the_overhead_that_is_fitted_from_its_recording(name: str) -> None:
    fitted = fit_directory(SCENARIOS / "traces" / name)
    overhead = load_scenario(SCENARIOS / f"bullmq-{name}.yaml").overhead
    assert overhead.attempt == pytest.approx(fitted.attempt, abs=1e-5)
    assert overhead.pickup == pytest.approx(fitted.pickup, abs=1e-5)
    if fitted.tick is not None:
        assert overhead.tick == pytest.approx(fitted.tick, abs=1e-5)
        assert overhead.phase == pytest.approx(fitted.phase, abs=1e-3)


def test_a_replay_without_overhead_is_further_off() -> None:
    scenario = load_scenario(SCENARIOS / "bullmq-retry-storm.yaml")
    recording = of_recording(SCENARIOS / "traces" / "retry-storm")
    bare = type(scenario.overhead)()
    comparison = compare(of_result(queuesim.run(scenario.model_copy(update={"overhead": bare}))), recording)
    assert comparison.row("waiting mean").difference < -0.05
