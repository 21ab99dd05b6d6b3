from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

import queuesim
from queuesim import Result
from queuesim.scenario.loading import ScenarioError, parse_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def play(name: str, **overdue: Any) -> Result:
    """One of the overdue scenarios, smaller."""
    scenario = yaml.safe_load((SCENARIOS / f"overdue-{name}.yaml").read_text())
    scenario["overdue"] |= overdue
    return queuesim.run(scenario)


def test_the_hourly_steady_state_is_drained_within_the_hour() -> None:
    result = play("hourly", tasks=240)
    assert result.ok
    assert len(result.overdue) == 11
    assert (result.overdue["drained"] - result.overdue["began"] < 3600).all()
    assert result.overdue["duplicates"].sum() == 0


def test_a_job_per_task_outlives_the_period_and_a_job_per_page_does_not() -> None:
    """A hundredth of the year's backlog against a hundredth of the limiter's allowance."""
    scenario = yaml.safe_load((SCENARIOS / "overdue-backlog-per-task.yaml").read_text())
    scenario["workers"]["limiter"]["max"] = 1
    scenario["overdue"]["backlog"] = 180
    scenario["duration"] = "5h"
    piled = queuesim.run(scenario)
    assert piled.overdue["enqueued"].tolist() == [180, 0, 0, 0]
    assert piled.overdue["duplicates"].tolist()[1:3] == [120, 60]
    scenario["overdue"] |= {"per": "page", "page_size": 10}
    paged = queuesim.run(scenario)
    assert len(paged.jobs) == 18
    assert paged.overdue["drained"][0] < paged.overdue["began"][1]


def test_schedulers_that_die_in_the_middle_of_a_scan_lose_nothing() -> None:
    result = play("crash", backlog=3000)
    assert result.ok
    assert len(result.jobs) == 3000
    assert result.overdue["found"][0] == 3000
    assert result.overdue["enqueued"].sum() == 3000


def test_two_timers_scan_twice_and_one_scheduler_once() -> None:
    twice = play("two-schedulers", tasks=100)
    assert twice.overdue["trigger"].value_counts().to_dict() == {"cron": 10, "manual": 1}
    assert twice.overdue["duplicates"].sum() > 0
    once = play("two-schedulers", tasks=100, by="scheduler")
    assert once.overdue["trigger"].value_counts().to_dict() == {"cron": 5, "manual": 1}
    assert len(once.jobs) == len(twice.jobs)


def test_the_outbox_brings_them_too() -> None:
    result = play("hourly", tasks=120, delivery="outbox")
    assert result.ok
    assert result.overdue["enqueued"].sum() == (result.jobs["name"] == "overdue-tasks-notification").sum() > 90


def test_the_same_seed_gives_the_same_scans() -> None:
    first, second = (play("crash", backlog=500, database={"latency": 0.1}) for _ in range(2))
    assert first.overdue.equals(second.overdue)
    assert first.attempts.equals(second.attempts)


def test_a_scan_whose_notifications_did_not_all_end_is_not_drained() -> None:
    scenario = yaml.safe_load((SCENARIOS / "overdue-backlog-per-task.yaml").read_text())
    scenario["overdue"]["backlog"], scenario["duration"] = 300, "1h1m30s"
    assert math.isnan(queuesim.run(scenario).overdue["drained"][0])


@pytest.mark.parametrize(
    ("overdue", "message"),
    [
        ('{cron: "0 0 30 2 *"}', "day-of-month"),
        ('{cron: "0 * * *"}', "wrong number of fields"),
        ('{cron: "0 * * * *", zone: Mars/Olympus}', 'no time zone "Mars/Olympus"'),
        ('{cron: "0 * * * *", every: 1h}', "only one of these keys"),
        ("{page_size: 100}", "exactly one of these keys"),
        ('{cron: "0 * * * *", page_size: 0}', "overdue.page_size"),
        ('{cron: "0 * * * *", page_sice: 10}', '"page_size"'),
    ],
)
def test_what_makes_no_scan_is_refused(overdue: str, message: str) -> None:
    text = f"name: s\nduration: 1h\noverdue: {overdue}\n"
    with pytest.raises(ScenarioError, match=message) as caught:
        parse_scenario(text, file="s.yaml")
    assert str(caught.value).startswith("s.yaml:3: overdue")


def test_a_scenario_without_load_needs_overdue_tasks() -> None:
    with pytest.raises(ScenarioError, match='"load" is missing'):
        parse_scenario("name: s\nduration: 1h\njobs: {a: {service: 1s}}\n")


@pytest.mark.parametrize("delivery", ["after-commit", "outbox"])
@pytest.mark.parametrize("by", ["timer", "scheduler"])
def test_a_scan_outlives_an_outage_of_the_server_and_goes_on_where_it_was(by: str, delivery: str) -> None:
    result = queuesim.run(
        {
            "name": "outage",
            "duration": 4000.0,
            "drain": True,
            "jobs": {"overdue-tasks-notification": {"service": 0.01}},
            "workers": {"concurrency": 5},
            "overdue": {
                "cron": "0 * * * *", "backlog": 600, "page_size": 30, "by": by,
                "delivery": delivery, "database": {"latency": 0.05},
                "triggers": [3602.0],
            },
            "faults": [{"redis.outage": {"at": 3600.3, "for": 60.0}}],
        }
    )  # fmt: skip
    assert result.ok
    assert (result.jobs["state"] == "completed").sum() == 600
    cron = result.overdue[result.overdue["trigger"] == "cron"].iloc[0]
    assert (cron["pages"], cron["found"]) == (20, 600)
    assert result.overdue["enqueued"].sum() == 600
    assert not result.overdue["drained"].isna().any()
