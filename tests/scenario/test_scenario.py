from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import Arrivals, LoadEntry
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import QueueSettings, WorkerSettings
from queuesim.scenario.thresholds import parse_threshold
from queuesim.simulation.service_times import ExponentialTime, ServiceTime

WRITTEN: dict[str, Any] = {
    "name": "x",
    "duration": 60,
    "jobs": {"a": {"service": 0.08}, "b": {"service": 0.1, "weight": 3}},
    "load": [{"name": "l", "poisson": 2.5}],
}


def test_a_notebook_builds_it_from_parts() -> None:
    scenario = Scenario(
        name="x",
        duration=60.0,
        queue=QueueSettings(name="mail", attempts=3),
        workers=(WorkerSettings(count=2, concurrency=5),),
        jobs={"a": JobSettings(service=ServiceTime(exponential=ExponentialTime(mean=0.12)))},
        load=(LoadEntry(name="l", poisson=Arrivals(rate=2.5)),),
        thresholds=(parse_threshold("lost == 0"),),
    )
    assert scenario.dead_letters == "mail-dead"
    assert scenario.mix(scenario.load[0]) == {"a": 1.0}
    assert scenario.job("a").service == ServiceTime(exponential=ExponentialTime(mean=0.12))
    assert scenario.job("unheard-of") == JobSettings()


def test_a_notebook_may_write_seconds_and_short_forms() -> None:
    scenario = Scenario.model_validate(WRITTEN)
    assert scenario.duration == 60.0
    assert scenario.load[0].poisson == Arrivals(rate=2.5)
    assert scenario.mix(scenario.load[0]) == {"a": 0.25, "b": 0.75}


def test_it_survives_being_taken_apart_in_every_way() -> None:
    scenario = Scenario.model_validate(
        {**WRITTEN, "queue": {"keep": {"completed": "all"}}, "thresholds": ["lost == 0"]}
    )
    assert Scenario.model_validate(scenario.model_dump(by_alias=True)) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json(by_alias=True)) == scenario


def test_defaults() -> None:
    scenario = Scenario.model_validate(WRITTEN)
    assert scenario.seed == 0
    assert scenario.warmup == 0.0
    assert scenario.epoch == datetime(2025, 1, 1, tzinfo=UTC)
    assert scenario.workers == (WorkerSettings(),)
    assert scenario.queue.name == "default"
    assert scenario.drain_time == 0.0


@pytest.mark.parametrize(
    ("drain", "seconds"), [(False, 0.0), (True, math.inf), ("10m", 600.0), (5.0, 5.0), (0, 0.0), ("0s", 0.0)]
)
def test_drain_is_a_choice_or_a_limit(drain: Any, seconds: float) -> None:
    assert Scenario.model_validate({**WRITTEN, "drain": drain}).drain_time == seconds


def test_the_epoch_has_a_zone() -> None:
    written = {**WRITTEN, "epoch": "2025-06-01T08:00:00+02:00"}
    epoch = Scenario.model_validate(written).epoch
    assert epoch == datetime(2025, 6, 1, 8, tzinfo=timezone(timedelta(hours=2)))
    with pytest.raises(ValidationError, match="the time has no zone"):
        Scenario.model_validate({**WRITTEN, "epoch": datetime(2025, 1, 1)})


def test_it_can_not_be_changed_afterwards() -> None:
    scenario = Scenario.model_validate(WRITTEN)
    with pytest.raises(ValidationError, match="frozen"):
        scenario.seed = 5  # type: ignore[misc]


def test_what_does_not_go_together_is_told_in_python_too() -> None:
    with pytest.raises(ValidationError, match="warmup: 2m leaves nothing of the duration of 1m"):
        Scenario.model_validate({**WRITTEN, "warmup": 120})


def test_a_mix_leaves_out_what_has_no_weight() -> None:
    written = {**WRITTEN, "load": [{"name": "l", "poisson": 1, "jobs": {"a": 2, "b": 0}}]}
    scenario = Scenario.model_validate(written)
    assert scenario.mix(scenario.load[0]) == {"a": 1.0}
