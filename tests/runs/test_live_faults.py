"""Faults on a real server: processes that are killed, stopped and replaced, and what the oracles say of it."""

from __future__ import annotations

from typing import Any

import pytest
from liveplay import BUSY, detail, over, play, then, violations

import queuesim
from queuesim.core.processor import Processor
from queuesim.runs.live.engine import LiveRun
from queuesim.scenario.model import BackendError

PROCESSES = ("worker.freeze", "worker.block", "worker.deploy", "worker.scale")
INSIDE = ("handler.error", "handler.hang", "handler.poison", "database.pool")


def test_a_killed_worker_is_replaced_and_its_jobs_run_again() -> None:
    crash = {"worker.crash": {"while": "completed > 10", "worker": "w", "restart": 0.1}}

    def recovered(run: LiveRun) -> bool:
        # who is killed may not have told of the last one or two
        return over(run, "worker.crash", 2) and run.recorder.ended_count >= 98

    result = play(crash, until=recovered, load=[{"name": "backlog", "backlog": 100}])
    faults = result.faults
    assert faults["fault"].unique().tolist() == ["worker.crash"]
    assert sorted(faults["target"])[:2] == ["w-1", "w-2"]
    died = sum(int(text.split()[0]) for text in faults["detail"])
    assert died >= 1
    assert (faults["ended"] - faults["began"]).min() >= 0.1
    assert (result.attempts["outcome"] == "lost").sum() == died
    assert "ran again after an attempt whose end did not reach the queue" in detail(result, "no job completed twice")
    assert "jobs recovered" in detail(result, "interrupted jobs recovered")


def test_the_oracles_judge_runs_without_faults() -> None:
    result = queuesim.run({**BUSY, "duration": 1.0, "drain": True}, backend="redis", redis_url="embedded")
    assert violations(result) == {}
    assert set(result.jobs["state"]) <= {"completed", "failed"}


def test_processes_stand_still_are_replaced_and_come_and_go() -> None:
    result = play(
        {"worker.freeze": {"while": "completed > 5", "worker": "w-1", "for": "1.5s"}},
        {"worker.block": {"while": "completed > 5", "worker": "w-2", "for": "1.5s"}},
        {"worker.deploy": {"while": "completed > 30", "grace": "20s", "down": "0.1s"}},
        {"worker.scale": {"while": "completed > 30", "to": 3, "for": "1s"}},
        until=lambda run: all(over(run, kind) for kind in PROCESSES),
    )
    faults = result.faults.drop_duplicates("fault").set_index("fault")
    assert set(faults.index) == set(PROCESSES)
    assert faults.loc["worker.freeze", "target"] == "w-1"
    # their locks expired meanwhile
    stalled = result.events[result.events["kind"] == "stalled"]
    assert len(stalled) >= 1
    assert (result.attempts["outcome"] == "lost").sum() >= 1
    assert faults.loc["worker.deploy", "detail"] == "0 attempts were killed"
    assert faults.loc["worker.scale", "detail"].endswith("to 3 workers")


def test_a_run_that_is_interrupted_while_workers_start_ends() -> None:
    """Nobody waits for workers that were about to start, and nobody starts others in their place."""

    def starting(run: LiveRun) -> bool:
        members = run.fleet.members if hasattr(run, "fleet") else []
        return sum(member.starting is not None and not member.starting.done() for member in members) >= 2

    result = play({"worker.scale": {"at": "0.2s", "to": 7, "for": "30s"}}, until=starting, duration=600.0)
    assert result.facts.duration < 600


def test_faults_inside_of_workers_strike_their_attempts() -> None:
    during = {"while": "completed > 5", "for": "2s"}
    result = play(
        {"handler.error": {**during, "probability": 0.5, "category": "database"}},
        {"handler.hang": {**during, "probability": 0.5, "lasts": "0.2s"}},
        {"handler.poison": {**during, "probability": 0.5, "category": "validation"}},
        {"database.pool": {**during, "size": 2, "timeout": "0.01s"}},
        {"worker.crash": {"probability": 0.01, "restart": "0.1s"}},
        until=lambda run: all(over(run, kind) for kind in INSIDE),
    )
    faults = result.faults.drop_duplicates("fault").set_index("fault")
    struck = {kind: int(faults.loc[kind, "detail"].split()[0]) for kind in INSIDE}
    assert all(count >= 1 for count in struck.values()), struck
    kinds = " ".join(result.attempts["category"].dropna().unique()).lower()
    assert "database" in kinds
    assert "validation" in kinds
    assert "exhaustion" in " ".join(result.attempts["message"].dropna().unique())


def test_who_holds_too_much_is_killed() -> None:
    payload = {"handler.payload": {"probability": 1.0, "size": "10MB", "memory": "15MB", "restart": "0.1s"}}
    result = play(payload, until=lambda run: over(run, "handler.payload"))
    assert set(result.faults["target"]) >= {""}
    assert result.faults["detail"].str.endswith("attempts died").any()
    assert (result.attempts["outcome"] == "lost").any()


def test_a_slow_start_and_a_wrong_clock_are_the_workers_own() -> None:
    result = play(
        {"worker.slow-start": {"probability": 1.0, "delay": "0.5s"}},
        {"worker.clock": {"while": "completed > 5", "worker": "w-1", "skew": "60s", "for": "1s"}},
        until=lambda run: over(run, "worker.clock"),
    )
    slow = result.faults[result.faults["fault"] == "worker.slow-start"]
    assert sorted(slow["target"]) == ["w-1", "w-2"]
    skewed = result.attempts[result.attempts["clock_error"] != 0]
    assert set(skewed["worker"]) == {"w-1"}
    assert skewed["clock_error"].tolist() == pytest.approx([60.0] * len(skewed), abs=1e-6)
    # all other columns go by the run's own clock
    assert result.attempts["started"].max() <= result.facts.duration < 60
    assert (result.attempts["service"].dropna() >= 0).all()
    assert (result.limiter["opened"] <= result.facts.duration).all()


def test_the_way_to_the_server_breaks() -> None:
    result = play(
        {"redis.outage": {"while": "completed > 5", "for": "0.5s"}},
        {"redis.latency": {"while": "completed > 20", "for": "1s", "delay": "40ms"}},
        {"redis.drop": {"probability": 0.05}},
        {"producer.duplicate": {"probability": 0.3}},
        until=lambda run: (
            all(over(run, kind) for kind in ("redis.outage", "redis.latency")) and over(run, "redis.drop", 8)
        ),
    )
    faults = result.faults
    drops = faults[faults["fault"] == "redis.drop"]
    assert set(drops["target"]) <= {"w-1", "w-2", "users"}
    assert drops["detail"].str.fullmatch(r"(exchange|add|renew|recover), (before|after) it took effect").all()
    assert int(faults.set_index("fault").loc["redis.latency", "detail"].split()[0]) > 5
    # an add whose answer was lost is known all the same, and whose it was
    assert set(result.jobs["load"]) == {"backlog", "users"}


def test_the_server_itself_is_killed_made_a_replica_and_forgets_its_scripts() -> None:
    result = play(
        {"redis.restart": {"while": "completed > 5", "down": "0.2s"}},
        {"redis.script-flush": {"while": "completed > 10"}},
        {"queue.pause": {"while": "completed > 10", "for": "0.3s"}},
        {"redis.read-only": {"while": "completed > 30", "for": "0.5s"}},
        until=then("redis.read-only"),
    )
    faults = result.faults.drop_duplicates("fault").set_index("fault")
    assert set(faults.index) == {"redis.restart", "redis.script-flush", "queue.pause", "redis.read-only"}
    assert faults.loc["redis.restart", "detail"] == "killed by SIGKILL"


def test_a_server_that_forgets_everything_is_told_apart_from_one_that_loses_jobs() -> None:
    result = play({"redis.restart": {"while": "completed > 5", "empty": True}}, until=then("redis.restart"))
    assert result.faults["detail"][0] == "its memory is lost"
    assert result.faults["lost"][0] == float("inf")
    assert "lost by redis.restart" in detail(result, "no job lost")
    # no number is given twice
    assert result.jobs["job"].is_unique
    assert set(result.jobs["state"]) >= {"lost", "completed"}


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
