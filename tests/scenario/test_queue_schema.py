from __future__ import annotations

from typing import Any

import pytest

from queuesim.core.job import Backoff, Keep, RateLimit
from queuesim.core.retry import RetryPolicy
from queuesim.core.worker import WorkerOptions
from queuesim.scenario.queue_settings import BackoffSettings, KeepSettings, QueueSettings, WorkerSettings

FILE = {"file": True}


@pytest.mark.parametrize(
    ("written", "backoff"),
    [
        ("1s", Backoff("fixed", 1.0)),
        ({"delay": "1s"}, Backoff("fixed", 1.0)),
        (
            {"type": "exponential", "delay": "1s", "jitter": "50%", "cap": "1m"},
            Backoff("exponential", 1.0, 0.5, 60.0),
        ),
    ],
)
def test_backoff(written: Any, backoff: Backoff) -> None:
    assert BackoffSettings.model_validate(written, context=FILE).model() == backoff


@pytest.mark.parametrize(
    ("written", "keep"),
    [
        (100, Keep(100)),
        (0, Keep(0)),
        ("all", Keep()),
        ({"count": 100, "age": "1h"}, Keep(100, 3600.0)),
        ({"age": "1h"}, Keep(None, 3600.0)),
    ],
)
def test_keep(written: Any, keep: Keep) -> None:
    assert KeepSettings.model_validate(written, context=FILE).model() == keep


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ({}, "mail-dead"),
        ({"dead_letter": None}, "mail-dead"),
        ({"dead_letter": False}, None),
        ({"dead_letter": "x"}, "x"),
    ],
)
def test_dead_letters_go_to_a_queue_of_their_own_unless_it_is_false(written: Any, name: str | None) -> None:
    assert QueueSettings.model_validate({"name": "mail", **written}).dead_letters == name


def test_retry_rules_by_category() -> None:
    written = {
        "retry": {
            "network": {"attempts": 5, "backoff": {"type": "exponential", "delay": "1s"}},
            "validation": {"retry": False},
        }
    }
    assert QueueSettings.model_validate(written, context=FILE).retry.policies() == {
        "Network": RetryPolicy(attempts=5, backoff=Backoff("exponential", 1.0)),
        "Validation": RetryPolicy(retry=False),
    }
    assert QueueSettings().retry.policies() == {}


def test_workers_have_bullmqs_defaults() -> None:
    assert WorkerSettings().options() == WorkerOptions()
    written = {"lock_duration": "10s", "lock_renew": "4s", "stalled_interval": "1m", "max_stalled": 0}
    assert WorkerSettings.model_validate(written, context=FILE).options() == WorkerOptions(10.0, 4.0, 60.0, 0)


def test_limiter() -> None:
    workers = WorkerSettings.model_validate({"limiter": {"max": 100, "duration": "60s"}}, context=FILE)
    assert workers.limiter is not None
    assert workers.limiter.model() == RateLimit(100, 60.0)
