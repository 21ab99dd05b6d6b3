from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from queuesim.core.job import Backoff, JobOptions
from queuesim.scenario.jobs import ErrorRates, JobSettings, Poison
from queuesim.scenario.queue_settings import QueueSettings

FILE = {"file": True}


def test_error_rates_by_attempt_keep_their_last_value() -> None:
    errors = ErrorRates.model_validate({"database": [0.5, "10%"], "network": 0.25}, context=FILE)
    assert errors.at(1) == {"database": 0.5, "network": 0.25}
    assert errors.at(2) == {"database": 0.1, "network": 0.25}
    assert errors.at(50) == errors.at(2)
    assert errors.attempts == 2
    assert ErrorRates().at(1) == {}


def test_poison_alone_is_of_no_known_category() -> None:
    assert JobSettings.model_validate({"poison": "1%"}, context=FILE).poison == Poison(probability=0.01)
    written = {"poison": {"probability": 0.01, "category": "network"}}
    assert JobSettings.model_validate(written, context=FILE).poison == Poison(probability=0.01, category="network")


def test_options_are_the_jobs_own_or_the_queues() -> None:
    queue = QueueSettings.model_validate({"attempts": 3, "backoff": "1s"}, context=FILE)
    assert JobSettings().options(queue) == JobOptions(attempts=3, backoff=Backoff("fixed", 1.0))
    written = {"attempts": 5, "backoff": {"delay": "2s"}, "priority": 7, "delay": "1m", "lifo": True}
    assert JobSettings.model_validate(written, context=FILE).options(queue) == JobOptions(
        attempts=5, backoff=Backoff("fixed", 2.0), delay=60.0, priority=7, lifo=True
    )


@pytest.mark.parametrize("data", [None, 5, "x", [1, {"a": None}], {"task": {"id": 1}}])
def test_data_is_any_json(data: Any) -> None:
    assert JobSettings.model_validate({"data": data}).data == data


@pytest.mark.parametrize("data", [math.nan, {"a": math.inf}, object(), {"a": {1, 2}}])
def test_data_that_is_no_json_is_refused(data: Any) -> None:
    with pytest.raises(ValidationError, match="JSON"):
        JobSettings.model_validate({"data": data})


def test_a_job_is_synthetic_if_the_scenario_says_how_long_it_takes() -> None:
    assert JobSettings.model_validate({"service": "1s"}).synthetic
    assert not JobSettings().synthetic
