"""Faults of the clock that begins overdue scans, and of the database behind them: late, perhaps, but nobody is left out
and nobody is told twice."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

import queuesim
from queuesim import Result
from queuesim.scenario.loading import ScenarioError, parse_scenario
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import notifications

SCENARIO: dict[str, Any] = {
    "name": "overdue",
    "seed": 11,
    "duration": 3900.0,
    "drain": True,
    "queue": {"attempts": 10, "backoff": 1.0},
    "workers": {"name": "w", "count": 2, "concurrency": 5},
    "jobs": {"overdue-tasks-notification": {"service": 0.05, "weight": 0}, "other": {"service": 0.05}},
    "load": [{"name": "others", "constant": 0.05}],
    "overdue": {"every": 600.0, "tasks": 300, "page_size": 10, "database": {"latency": 0.01}},
}


def play(*faults: dict[str, Any], **overdue: Any) -> tuple[Result, int]:
    """A run, and how many tasks' assignees were told in it: each once."""
    told: list[int] = []
    original = TaskStore.close

    def close(self: TaskStore) -> None:
        read = select(notifications.c.task_id)
        told.extend(self.run_now(lambda connection: connection.execute(read).scalars().all()))
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskStore, "close", close)
        result = queuesim.run({**SCENARIO, "faults": list(faults), "overdue": {**SCENARIO["overdue"], **overdue}})
    assert len(told) == len(set(told)), "somebody was told twice"
    return result, len(told)


def begins(result: Result) -> list[float]:
    return [round(began) for began in result.overdue["began"]]


QUIET, EVERYBODY = play()


def test_without_faults() -> None:
    assert begins(QUIET) == [600, 1200, 1800, 2400, 3000, 3600]
    assert int(QUIET.overdue["found"].sum()) == EVERYBODY > 250
    assert QUIET.ok


# -- cron


@pytest.mark.parametrize("by", ["timer", "scheduler"])
def test_a_missed_tick_is_made_up_for_by_the_next(by: str) -> None:
    result, told = play({"cron.missed": {"at": 1100.0, "for": 200.0}}, by=by)
    assert begins(result) == [600, 1800, 2400, 3000, 3600]
    assert result.faults[["fault", "target"]].to_numpy().tolist() == [["cron.missed", "scheduler-1"]]
    assert told == EVERYBODY
    assert result.ok


def test_ticks_are_missed_by_chance() -> None:
    result, _told = play({"cron.missed": {"probability": 0.5}})
    assert len(result.overdue) == 6 - len(result.faults)
    assert 0 < len(result.faults) < 6


@pytest.mark.parametrize("by", ["timer", "scheduler"])
def test_two_schedulers_scan_twice_and_nobody_is_told_twice(by: str) -> None:
    result, told = play({"cron.twice": {"at": 1.0, "for": 2000.0}}, by=by)
    assert begins(result) == [600, 600, 1200, 1200, 1800, 1800, 2400, 3000, 3600]
    assert told == EVERYBODY
    assert result.overdue["duplicates"].sum() > 0
    assert result.ok


def test_a_scan_that_overlaps_the_next_and_nobody_is_told_twice() -> None:
    result, told = play({"cron.overlap": {"at": 500.0, "for": 200.0, "delay": 200.0}}, lease=300.0)
    slow, following = result.overdue.iloc[0], result.overdue.iloc[1]
    assert slow["ended"] > following["ended"] > following["began"] > slow["began"]
    assert result.faults["fault"].tolist() == ["cron.overlap"]
    assert result.faults["ended"][0] == pytest.approx(slow["ended"], abs=1.0)
    assert told == EVERYBODY
    assert result.ok


@pytest.mark.parametrize("kind", ["cron.missed", "cron.twice", "cron.overlap"])
def test_where_nobody_scans_a_fault_of_ticks_is_refused(kind: str) -> None:
    delay = ", delay: 1s" if kind == "cron.overlap" else ""
    text = f"""
name: none
duration: 1m
jobs: {{a: {{service: 1s}}}}
load: [{{name: l, constant: 1/s}}]
faults: [{{{kind}: {{probability: 1%{delay}}}}}]
"""
    with pytest.raises(ScenarioError, match='nobody scans here: it needs the key "overdue"'):
        parse_scenario(text)


# -- the database

DATABASE = {
    "database.outage": {"at": 1190.0, "for": 120.0},
    "database.slow": {"at": 1190.0, "for": 120.0, "delay": 0.5},
    "database.pool": {"at": 1190.0, "for": 120.0, "size": 1, "timeout": 0.5},
    "database.deadlock": {"probability": 0.1},
    "database.lost-commit": {"probability": 0.1},
}


@pytest.mark.parametrize("delivery", ["after-commit", "outbox"])
@pytest.mark.parametrize("kind", DATABASE)
def test_a_database_in_trouble_delays_scans_and_loses_no_notification(kind: str, delivery: str) -> None:
    result, told = play({kind: DATABASE[kind]}, delivery=delivery)
    # a scan that begins later finds what has become overdue meanwhile, too
    assert EVERYBODY <= told <= EVERYBODY + 10
    assert result.overdue["ended"].notna().all()
    assert result.ok
    struck = int(result.faults["detail"][0].split()[0])
    assert result.faults["detail"][0] == f"{struck} transactions and attempts"
    assert struck > 0


def test_an_outage_holds_a_scan_up_until_its_lease_is_over() -> None:
    result, _told = play({"database.outage": {"at": 1200.05, "for": 60.0}}, lease=100.0)
    struck = result.overdue.iloc[1]
    assert 1300.0 <= struck["ended"] <= 1303.0
    assert QUIET.overdue.iloc[1]["ended"] < 1202.0


def test_slow_queries_are_slow_for_scans() -> None:
    pages = QUIET.overdue.iloc[1]["pages"]
    result, _told = play({"database.slow": {"at": 1190.0, "for": 120.0, "delay": 2.0}})
    assert result.overdue.iloc[1]["ended"] - result.overdue.iloc[1]["began"] >= 2.0 * pages


def test_other_attempts_are_struck_as_ever() -> None:
    result, _told = play({"database.outage": {"at": 100.0, "for": 100.0}})
    others = result.attempts[(result.attempts["name"] == "other") & (result.attempts["outcome"] == "retried")]
    assert len(others) >= 5
    assert set(others["category"]) == {"Database"}


def test_a_fault_of_one_type_of_jobs_leaves_the_store_alone() -> None:
    result, _told = play({"database.outage": {"at": 1.0, "for": 3500.0, "job": "other"}})
    assert result.overdue[["began", "ended"]].equals(QUIET.overdue[["began", "ended"]])


def test_the_same_seed_gives_the_same_run() -> None:
    faults = [{kind: settings} for kind, settings in DATABASE.items()]
    (first, _), (second, _) = (play(*faults, {"cron.twice": {"probability": 0.5}}) for _ in range(2))
    assert first.attempts.equals(second.attempts)
    assert first.overdue.equals(second.overdue)
