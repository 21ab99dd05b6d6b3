"""Faults on a real server: processes that are killed, stopped and replaced, and what the oracles say of it."""

from __future__ import annotations

from typing import Any

import pytest
from liveplay import BUSY, detail, over, play, violations

import queuesim
from queuesim.processor import Processor
from queuesim.scenario.backends import BackendError
from queuesim.scenario.live.run import LiveRun


def test_a_killed_worker_is_replaced_and_its_jobs_run_again() -> None:
    crash = {"worker.crash": {"while": "completed > 10", "worker": "w", "restart": 0.1}}

    def recovered(run: LiveRun) -> bool:
        return over(run, "worker.crash", 2) and run.recorder.attempt_count > 100

    result = play(crash, until=recovered, load=[{"name": "backlog", "backlog": 100}])
    faults = result.faults
    assert faults["fault"].unique().tolist() == ["worker.crash"]
    assert sorted(faults["target"])[:2] == ["w-1", "w-2"]
    died = sum(int(text.split()[0]) for text in faults["detail"])
    assert died >= 1
    assert (faults["ended"] - faults["began"]).min() >= 0.1
    assert (result.attempts["outcome"] == "lost").sum() == died
    assert "ran again after an attempt whose end the queue did not hear of" in detail(result, "no job completed twice")
    assert "jobs recovered" in detail(result, "interrupted jobs recovered")


def test_the_oracles_judge_runs_without_faults() -> None:
    result = queuesim.run({**BUSY, "duration": 1.0, "drain": True}, backend="redis", redis_url="embedded")
    assert violations(result) == {}
    assert set(result.jobs["state"]) <= {"completed", "failed"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"redis.failover": {"at": 1.0, "lose": 0.5}}, "can't do redis.failover"),
        ({"redis.restart": {"at": 1.0}}, "others may use: say --redis-url embedded"),
        ({"redis.script-flush": {"at": 1.0}}, "others may use"),
        ({"redis.read-only": {"at": 1.0, "for": 1.0}}, "others may use"),
    ],
)
def test_what_can_not_be_had_is_refused_by_its_name(fault: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        queuesim.run({**BUSY, "faults": [fault]}, backend="redis", redis_url="redis://127.0.0.1:1")


def test_faults_of_workers_take_processes() -> None:
    scenario = {**BUSY, "processor": "passed:by", "faults": [{"worker.crash": {"at": 1.0}}]}
    with pytest.raises(BackendError, match="name it in the scenario"):
        queuesim.run(scenario, backend="redis", redis_url="embedded", processor=Processor("default"))


@pytest.mark.parametrize("fault", [{"cron.missed": {}}, {"cron.twice": {}}, {"cron.overlap": {"delay": 1.0}}])
def test_nobody_can_get_at_the_clock_of_a_scheduler(fault: dict[str, dict[str, Any]]) -> None:
    ((kind, settings),) = fault.items()
    scenario = {**BUSY, "overdue": {"every": 10.0}, "faults": [{kind: {"probability": 0.5, **settings}}]}
    with pytest.raises(BackendError, match=f"can't do {kind}: its schedulers are processes of their own"):
        queuesim.run(scenario, backend="redis", redis_url="redis://127.0.0.1:1")


def test_a_queue_that_is_paused_and_resumed_loses_nothing() -> None:
    def resumed(run: LiveRun) -> bool:
        return over(run, "queue.pause") and run.recorder.ended_count > 100

    result = play({"queue.pause": {"while": "completed > 5", "for": 0.5}}, until=resumed)
    assert result.faults["target"].tolist()[0] == "default"
    kinds = result.events["kind"].tolist()
    meanwhile = kinds[kinds.index("paused") : kinds.index("resumed")]
    assert "active" not in meanwhile
    assert "added" in meanwhile
