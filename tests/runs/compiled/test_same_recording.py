"""The compiled engine records, bit for bit, what the virtual loop records."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from language import scenarios

from queuesim.results.engines import NotCompiled
from queuesim.results.recording import Recording
from queuesim.runs.compiled.engine import record as record_compiled
from queuesim.runs.compiled.reasons import UnplayableError, reasons
from queuesim.runs.virtual.engine import record
from queuesim.scenario.loading import as_scenario
from queuesim.scenario.model import Scenario

ROWS = ("jobs", "attempts", "events", "windows")
TABLES = ("names", "loads", "origins", "workers", "errors", "messages", "bugs", "ids", "left", "checks", "faults")
TABLES += ("scans", "skews")
ENGINE_ALONE = ("wall", "engine", "not_compiled")
"""Facts in which engines differ."""
RARE = {NotCompiled.STANDSTILL}
"""What may happen in a drawn run, and is left to the virtual loop."""


def differences(one: Recording, other: Recording) -> list[str]:
    """What differs between two recordings; checks are compared by their texts, for NaN is unlike itself."""
    found = [name for name in ROWS if getattr(one, name).tobytes() != getattr(other, name).tobytes()]
    found += [name for name in TABLES if repr(getattr(one, name)) != repr(getattr(other, name))]
    for field in dataclasses.fields(one.facts):
        a, b = getattr(one.facts, field.name), getattr(other.facts, field.name)
        if field.name not in ENGINE_ALONE and a != b:
            found.append(f"facts.{field.name}")
    return found


def both_record(source: Any, seed: int = 1) -> tuple[Recording, Recording]:
    """A scenario as the virtual loop and the compiled one record it."""
    scenario = as_scenario(source)
    assert not list(reasons(scenario))
    return record(scenario, seed), record_compiled(scenario, seed)


def scenario(**changes: Any) -> dict[str, Any]:
    """A scenario in which many times are equal."""
    return {
        "name": "ties",
        "duration": 60.0,
        "drain": True,
        "workers": {"count": 2, "concurrency": 2},
        "jobs": {"a": {"service": {"constant": 0.5}, "weight": 2}, "b": {"service": {"exponential": 0.7}}},
        "load": [{"name": "even", "constant": 4.0}],
        **changes,
    }


@given(scenarios())
def test_drawn_scenarios_have_the_same_recording(source: dict[str, Any]) -> None:
    drawn = Scenario.model_validate(source)
    assert not list(reasons(drawn))
    compiled = compiled_recording(drawn)
    if isinstance(compiled, NotCompiled):
        assert compiled in RARE
    else:
        assert differences(record(drawn, drawn.seed), compiled) == []


def compiled_recording(drawn: Scenario) -> Recording | NotCompiled:
    """What the compiled engine records, or why it gave up."""
    try:
        return record_compiled(drawn, drawn.seed)
    except UnplayableError as error:
        return error.reason


SCENARIOS = Path(__file__).parents[3] / "scenarios"
PLAYED = sorted(path for path in SCENARIOS.glob("**/*.yaml") if not list(reasons(as_scenario(path))))


def test_some_scenarios_of_this_repository_are_played() -> None:
    assert {"task-processing", "type-starved-by-priority", "bullmq-1627"} <= {path.stem for path in PLAYED}


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_scenarios_of_this_repository_have_the_same_recording(path: Path) -> None:
    assert differences(*both_record(path)) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"drain": False}, id="cut off at its end"),
        pytest.param({"queue": {"rate_limit": {"max": 3, "duration": 1.0}}}, id="limited"),
        pytest.param({"queue": {"rate_limit": {"max": 30, "duration": 45.0}}}, id="held for longer than one wait"),
        pytest.param({"queue": {"concurrency": 2, "keep": {"completed": 3}}}, id="global concurrency"),
        pytest.param(
            {"jobs": {"a": {"service": {"constant": 1.0}, "timeout": 1.0}}}, id="the timeout comes with the end"
        ),
        pytest.param({"jobs": {"a": {"service": {"constant": 0.0}}}}, id="no service time"),
        pytest.param(
            {
                "jobs": {"a": {"service": {"constant": 0.1}, "errors": {"network": 0.5}}},
                "queue": {"attempts": 4, "backoff": {"type": "exponential", "delay": 0.25, "jitter": 0.5}},
            },
            id="jitter",
        ),
        pytest.param(
            {
                "load": [{"name": "delayed", "bulk": {"size": 3000, "at": 1.0}}],
                "jobs": {"a": {"service": {"constant": 0.001}, "delay": 2.0}},
            },
            id="more jobs due at once than one exchange promotes",
        ),
        pytest.param(
            {"load": [{"name": "ramp", "poisson": {"from": 1.0, "stages": [{"duration": 30, "target": 9.0}]}}]},
            id="ramp",
        ),
    ],
)
def test_hard_cases_have_the_same_recording(changes: dict[str, Any]) -> None:
    virtual, compiled = both_record(scenario(**changes))
    assert len(virtual.jobs) > 0
    assert differences(virtual, compiled) == []


@pytest.mark.slow
def test_closed_models_add_more_jobs_than_there_is_room_for_at_first() -> None:
    jobs = {"a": {"service": {"exponential": 0.1}}, "b": {"service": {"constant": 0.0}, "priority": 1}}
    closed = {"name": "closed", "closed": {"producers": 20, "think": {"exponential": 0.01}}}
    virtual, compiled = both_record(
        scenario(jobs=jobs, duration=1800.0, workers={"count": 2, "concurrency": 2}, load=[closed])
    )
    assert len(virtual.jobs) > 65_536 + 1000
    assert differences(virtual, compiled) == []


def test_measured_times_are_resampled_alike(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("seconds\n0.25\n0.5\n1\n")
    (tmp_path / "measured.yaml").write_text(
        "name: measured\nduration: 2m\nworkers: {concurrency: 3}\n"
        "jobs: {a: {service: {empirical: {file: times.csv, column: seconds, unit: s}}}}\n"
        "load: [{name: steady, poisson: 4/s}]\n"
    )
    assert differences(*both_record(tmp_path / "measured.yaml")) == []


def test_random_numbers_go_on_where_a_block_ends() -> None:
    # each stream is drawn in blocks of 4096: here several are used up
    jobs = {"a": {"service": {"gamma": {"mean": 0.4, "shape": 2.5}}, "errors": {"network": 0.3}}}
    virtual, compiled = both_record(
        scenario(jobs=jobs, duration=2000.0, load=[{"name": "busy", "poisson": 5.0}], queue={"attempts": 3})
    )
    assert len(virtual.attempts) > 3 * 4096
    assert differences(virtual, compiled) == []
