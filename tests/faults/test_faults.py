"""Faults of every kind: each strikes when it should, does what it should, and is over in time."""

from __future__ import annotations

from typing import Any

import pytest

import queuesim
from playing import play
from queuesim import Result
from queuesim.results.recording import StopReason

STEADY = {"constant": 1.0}


def struck(*faults: dict[str, Any], **more: Any) -> Result:
    """A quiet run with faults: a job a second, each takes half a second."""
    options = {"service": 0.5, "drain": True, "workers": {"name": "w", "concurrency": 2}, "duration": 100.0, **more}
    return play(more.pop("load", STEADY), faults=list(faults), **{k: v for k, v in options.items() if k != "load"})


def faults(result: Result) -> list[tuple[Any, ...]]:
    return list(result.faults[["fault", "target", "began", "ended"]].itertuples(index=False, name=None))


def stuck_since(result: Result) -> float:
    """When a run that got stuck last made progress. It names the jobs that it left, unless none could be added."""
    stop = result.facts.stopped
    assert stop is not None
    assert stop.reason is StopReason.NO_PROGRESS
    assert stop.at is not None
    assert bool(stop.jobs) == result.jobs["state"].isin(["waiting", "active", "prioritized", "delayed"]).any()
    return stop.at


def states(result: Result) -> dict[str, int]:
    counts = result.jobs["state"].value_counts()
    return {str(state): int(count) for state, count in counts.items() if count}


def starts_between(result: Result, begin: float, end: float) -> int:
    return int(result.attempts["started"].between(begin, end, inclusive="neither").sum())


# -- Redis


def test_during_an_outage_nothing_starts_and_after_it_everything_does() -> None:
    result = struck({"redis.outage": {"at": 20.0, "for": 30.0}})
    assert faults(result) == [("redis.outage", "", 20.0, 50.0)]
    assert starts_between(result, 20.0, 50.0) == 0
    assert starts_between(result, 50.0, 60.0) > 10
    assert states(result) == {"completed": 100}
    late = result.jobs[result.jobs["scheduled"].between(21, 49)]
    assert (late["added"] >= 50).all(), "producers keep what they could not add"
    assert (late["scheduled"] == late["scheduled"].round()).all(), "and when it was meant to come"


def test_overlapping_outages_end_with_the_last() -> None:
    result = struck({"redis.outage": {"at": 20.0, "for": 20.0}}, {"redis.outage": {"at": 30.0, "for": 20.0}})
    assert starts_between(result, 20.0, 50.0) == 0
    assert faults(result) == [("redis.outage", "", 20.0, 40.0), ("redis.outage", "", 30.0, 50.0)]


def test_a_read_only_server_takes_nothing() -> None:
    result = struck({"redis.read-only": {"at": 20.0, "for": 10.0}})
    assert starts_between(result, 20.0, 30.0) == 0
    assert not result.jobs["added"].between(20.0, 30.0, inclusive="neither").any()
    assert states(result) == {"completed": 100}


def test_latency_is_added_to_each_command_of_a_client() -> None:
    result = struck({"redis.latency": {"at": 0.0, "for": 100.0, "delay": 0.2, "client": "w"}}, load={"constant": 0.1})
    assert set(result.jobs["waiting"].round(9)) <= {0.0, 0.1, 0.2}
    ((_, target, began, ended),) = faults(result)
    assert (target, began, ended) == ("w", 0.0, 100.0)


@pytest.mark.parametrize("effect", ["before", "after", "either"])
def test_broken_connections_lose_nothing_and_run_nothing_twice(effect: str) -> None:
    result = struck({"redis.drop": {"probability": 0.3, "effect": effect, "client": "w"}})
    assert len(result.faults) > 30
    assert states(result) == {"completed": 100}
    assert (result.jobs["attempts"] == 1).all()
    told = result.faults["detail"].str.contains
    assert told("before it took effect").any() == (effect != "after")
    assert told("after it took effect").any() == (effect != "before")


def test_an_add_whose_answer_is_lost_is_made_again() -> None:
    result = struck({"redis.drop": {"probability": 0.2, "effect": "after", "client": "load-1"}})
    assert len(result.jobs) == 100 + len(result.faults)


def test_a_failover_undoes_what_the_replica_had_not_got() -> None:
    load = {"bulk": {"at": 40.0, "size": 10}}
    result = struck({"redis.failover": {"at": 40.7, "lose": 0.5, "down": 2.0}}, load=load)
    assert faults(result) == [("redis.failover", "", 40.7, 42.7)]
    # two had completed at 40.5, which nobody knows any more
    first = result.attempts[result.attempts["job"] <= 2]
    assert first["outcome"].tolist() == ["ok", "ok", "ok", "ok"]
    assert states(result) == {"completed": 10}
    result = struck({"redis.failover": {"at": 40.7, "lose": 1.0, "down": 2.0}}, load=load)
    # nobody knows any more that they were added; two had run by then, and of the two that ran one is believed
    assert states(result) == {"completed": 3, "lost": 7}


def test_a_server_that_restarts_empty_has_forgotten_its_jobs() -> None:
    result = struck({"redis.restart": {"at": 50.2, "empty": True}}, load={"backlog": 400}, duration=60.0)
    lost, done = states(result)["lost"], states(result)["completed"]
    assert lost + done == 400
    assert 190 < lost < 210


def test_a_restart_with_its_memory_loses_nothing() -> None:
    result = struck({"redis.restart": {"every": 30.0, "down": 1.0}})
    assert [row[2] for row in faults(result)] == [30.0, 61.0, 92.0]
    assert states(result) == {"completed": 100}


def test_a_queue_in_memory_has_no_scripts_to_flush() -> None:
    result = struck({"redis.script-flush": {"at": 50.0}})
    assert result.faults["detail"].tolist() == ["a queue in memory has no scripts"]


# -- the queue


def test_while_the_queue_is_paused_nothing_starts_and_what_runs_goes_on() -> None:
    result = struck({"queue.pause": {"at": 20.1, "for": 30.0}})
    assert faults(result) == [("queue.pause", "default", 20.1, 50.1)]
    assert starts_between(result, 20.1, 50.1) == 0
    running = result.attempts[result.attempts["started"] == 20.0]
    assert running["ended"].tolist() == [20.5]
    assert states(result) == {"completed": 100}
    assert result.ok


def test_a_queue_that_is_paused_at_the_end_is_resumed_to_drain() -> None:
    result = struck({"queue.pause": {"at": 90.0, "for": 10.0}})
    assert states(result) == {"completed": 100}


# -- workers


def test_a_crash_ends_attempts_and_their_jobs_are_recovered() -> None:
    result = struck({"worker.crash": {"at": 20.2, "restart": 5.0}})
    assert faults(result) == [("worker.crash", "w", 20.2, 25.2)]
    (died,) = result.attempts[result.attempts["outcome"] == "lost"].itertuples()
    assert died.ended == 20.2
    again = result.attempts[result.attempts["job"] == died.job]
    assert again["outcome"].tolist() == ["lost", "ok"]
    assert starts_between(result, 20.2, 25.2) == 0
    assert states(result) == {"completed": 100}


def test_a_worker_that_never_restarts_leaves_its_jobs_behind() -> None:
    result = struck({"worker.crash": {"at": 20.2, "worker": "all", "restart": "never"}})
    assert result.facts.stopped is not None
    assert result.facts.stopped.reason is StopReason.NO_PROGRESS
    assert not result.ok
    assert states(result)["waiting"] == 80


def test_attempts_can_kill_their_workers() -> None:
    result = struck({"worker.crash": {"probability": 0.1}})
    assert len(result.faults) > 3
    assert result.attempts["outcome"].eq("lost").sum() >= len(result.faults)
    assert set(states(result)) <= {"completed", "failed"}


def test_what_is_crashed_is_chosen_by_name() -> None:
    workers = [{"name": "a"}, {"name": "b", "count": 2}]
    result = struck({"worker.crash": {"every": 10.0, "worker": "b"}}, workers=workers)
    assert set(result.faults["target"]) == {"b-1", "b-2"}
    result = struck({"worker.crash": {"every": 10.0, "worker": "b-2"}}, workers=workers)
    assert set(result.faults["target"]) == {"b-2"}
    result = struck({"worker.crash": {"every": 10.0}}, workers=workers)
    assert set(result.faults["target"]) == {"a", "b-1", "b-2"}


@pytest.mark.parametrize("kind", ["worker.freeze", "worker.block"])
def test_a_frozen_workers_jobs_stall_and_run_elsewhere(kind: str) -> None:
    workers = [{"name": "a"}, {"name": "b"}]
    result = struck({kind: {"at": 20.2, "for": 75.0, "worker": "a"}}, workers=workers, service=1.5)
    assert faults(result) == [(kind, "a", 20.2, 95.2)]
    (zombie,) = result.attempts[result.attempts["outcome"] == "lost"].itertuples()
    assert (zombie.worker, zombie.ended) == ("a", 95.2)
    heir = result.attempts[(result.attempts["job"] == zombie.job) & (result.attempts["outcome"] == "ok")]
    assert heir["worker"].tolist() == ["b"]
    assert states(result) == {"completed": 100}


def test_a_short_freeze_costs_no_lock() -> None:
    result = struck({"worker.freeze": {"at": 20.2, "for": 10.0}})
    assert set(result.attempts["outcome"]) == {"ok"}
    assert starts_between(result, 20.2, 30.2) == 0


LONE_JOB: dict[str, Any] = {"load": {"bulk": {"size": 1, "at": 2.0}}, "jobs": {"plain": {"service": 0.1}}}


def test_a_job_whose_worker_was_frozen_when_it_was_woken_is_taken_by_another_one_that_asks() -> None:
    """On Redis an idle worker asks again after five seconds at the latest."""
    for frozen, other in ("ab", "ba"):
        freeze = {"worker.freeze": {"at": 1.0, "for": 60.0, "worker": frozen}}
        result = struck(freeze, workers=[{"name": "a"}, {"name": "b"}], **LONE_JOB)
        assert result.attempts["worker"].tolist() == [other]
        assert result.jobs["waiting"].max() <= 5.0


def test_a_job_whose_worker_was_woken_while_it_was_frozen_and_then_killed_does_not_wait_for_ever() -> None:
    for dying, other in ("ab", "ba"):
        freeze = {"worker.freeze": {"at": 1.0, "for": 60.0, "worker": dying}}
        crash = {"worker.crash": {"at": 2.5, "worker": dying, "restart": 1000.0}}
        result = struck(freeze, crash, workers=[{"name": "a"}, {"name": "b"}], **LONE_JOB)
        assert result.attempts["worker"].tolist() == [other]
        assert result.jobs["waiting"].max() <= 5.0


def test_slow_starts() -> None:
    result = struck({"worker.slow-start": {"probability": 1, "delay": 7.0}}, {"worker.crash": {"at": 20.2}})
    assert result.attempts["started"].min() == 7.0
    assert starts_between(result, 20.2, 28.2) == 0
    assert [row[:4] for row in faults(result) if row[0] == "worker.slow-start"] == [
        ("worker.slow-start", "w", 0.0, 7.0),
        ("worker.slow-start", "w", 21.2, 28.2),
    ]


def test_a_rolling_deploy_replaces_one_after_the_other_and_breaks_nothing() -> None:
    result = struck({"worker.deploy": {"at": 20.2, "down": 3.0}}, workers={"name": "w", "count": 3})
    assert set(result.attempts["outcome"]) == {"ok"}
    ((_, _, began, ended),) = faults(result)
    assert (began, result.faults["detail"][0]) == (20.2, "0 attempts were killed")
    assert 29.2 <= ended <= 31.0


def test_a_deploy_kills_what_does_not_end_in_time() -> None:
    result = struck({"worker.deploy": {"at": 20.2, "grace": 1.0}}, service=10.0, load={"backlog": 10})
    assert result.faults["detail"].tolist() == ["2 attempts were killed"]
    assert result.attempts["outcome"].eq("lost").sum() == 2
    assert states(result) == {"completed": 10}


def test_scaling_up_and_down() -> None:
    backlog = {"backlog": 1000}
    result = struck({"worker.scale": {"at": 20.0, "to": 3, "for": 10.0}}, load=backlog, workers={"name": "w"})
    working = result.attempts[result.attempts["started"].between(20.0, 29.9)]["worker"]
    assert set(working) == {"w", "w-2", "w-3"}
    assert set(result.attempts[result.attempts["started"] > 31.0]["worker"]) == {"w"}
    result = struck({"worker.scale": {"at": 20.2, "to": 1}}, load=backlog, workers={"name": "w", "count": 3})
    assert set(result.attempts[result.attempts["started"] > 21.0]["worker"]) == {"w-1"}
    assert set(result.attempts["outcome"]) == {"ok"}, "who leaves finishes what it runs"


def test_a_fleet_that_grows_while_a_worker_is_down_is_as_large_as_before_afterwards() -> None:
    crash = {"worker.crash": {"at": 10.0, "restart": 40.0}}
    scale = {"worker.scale": {"at": 20.0, "to": 3, "for": 10.0}}
    result = struck(crash, scale, workers={"name": "w"})
    assert starts_between(result, 20.0, 30.0) > 5
    assert starts_between(result, 40.0, 100.0) > 50, "one worker is left, not none"
    assert set(result.attempts[result.attempts["started"] > 60.0]["worker"]) == {"w"}


def test_a_worker_that_died_does_not_come_back_to_a_fleet_that_became_smaller() -> None:
    crash = {"worker.crash": {"at": 25.0, "restart": 20.0, "worker": "w-2"}}
    scale = {"worker.scale": {"at": 30.0, "to": 1}}
    result = struck(crash, scale, workers={"name": "w", "count": 3})
    assert set(result.attempts[result.attempts["started"] > 40.0]["worker"]) == {"w-1"}


def test_a_worker_that_died_for_good_is_replaced_when_the_fleet_grows() -> None:
    crash = {"worker.crash": {"at": 10.0, "restart": "never"}}
    scale = {"worker.scale": {"at": 30.0, "to": 1}}
    result = struck(crash, scale, workers={"name": "w"})
    assert starts_between(result, 10.0, 30.0) == 0
    assert states(result) == {"completed": 100}


def test_a_worker_whose_clock_is_ahead_starts_delayed_jobs_early() -> None:
    load = {"name": "a", "bulk": {"at": 10.0, "size": 1}}
    jobs = {"a": {"service": 1.0, "delay": 30.0}}
    usual = play(load, jobs=jobs, drain=True)
    early = play(load, jobs=jobs, drain=True, faults=[{"worker.clock": {"at": 5.0, "for": 60.0, "skew": 10.0}}])
    assert usual.jobs["started"].tolist() == [40.0]
    # its clock showed 40 s when the run was 30 s old
    assert early.jobs["started"].tolist() == [30.0]
    assert early.jobs["finished"].tolist() == [31.0]
    assert early.attempts["clock_error"].tolist() == [10.0]
    assert early.events["time"].max() == 31.0


# -- handlers and databases


def test_errors_by_category_and_job() -> None:
    jobs = {"a": {"service": 0.1}, "b": {"service": 0.1}}
    result = struck({"handler.error": {"probability": 0.5, "category": "database", "job": "b"}}, jobs=jobs)
    failed = result.attempts[result.attempts["outcome"] == "failed"]
    assert set(failed["name"]) == {"b"}
    assert set(failed["category"]) == {"Database"}
    assert 10 < len(failed) < 40


def test_a_phase_strikes_only_while_it_lasts() -> None:
    result = struck({"handler.slow": {"at": 20.0, "for": 10.0, "delay": 3.0}}, workers={"concurrency": 20})
    slow = result.attempts[result.attempts["service"] > 3.0]["started"]
    assert (slow.min(), slow.max()) == (20.0, 29.0)
    assert len(slow) == 10


def test_hanging_handlers_hold_their_slots() -> None:
    result = struck({"handler.hang": {"at": 20.0, "for": 5.0, "lasts": 40.0}})
    hung = result.attempts[result.attempts["service"] >= 40.0]
    assert len(hung) == 2
    assert starts_between(result, 21.0, 60.0) == 0


def test_a_hang_without_end_is_the_end_of_the_run() -> None:
    result = struck({"handler.hang": {"at": 20.0, "for": 5.0}})
    assert result.facts.stopped is not None
    assert result.facts.stopped.reason is StopReason.NO_PROGRESS


def test_poison_jobs_fail_at_every_attempt() -> None:
    result = struck({"handler.poison": {"probability": 0.2}}, queue={"attempts": 3})
    by_job = result.attempts.groupby("job")["outcome"].agg(list)
    assert {tuple(outcomes) for outcomes in by_job} == {("ok",), ("retried", "retried", "failed")}


def test_payloads_kill_workers_that_hold_too_much() -> None:
    fault = {"handler.payload": {"size": "100MB", "memory": "150MB", "probability": 0.5}}
    result = struck(fault, workers={"name": "w", "concurrency": 5}, service=3.0)
    killed = result.faults[result.faults["target"] == "w"]
    assert len(killed) > 3
    assert states(result).keys() <= {"completed", "failed"}


def test_a_database_that_is_away_fails_attempts_at_once() -> None:
    result = struck({"database.outage": {"at": 20.0, "for": 10.0}})
    failed = result.attempts[result.attempts["outcome"] == "failed"]
    assert len(failed) == 10
    assert set(failed["service"]) == {0.0}
    assert set(failed["category"]) == {"Database"}


def test_slow_queries() -> None:
    result = struck({"database.slow": {"at": 20.0, "for": 10.0, "delay": 0.25}})
    assert set(result.attempts["service"].round(9)) == {0.5, 0.75}


def test_a_pool_with_few_connections_lets_few_run() -> None:
    fault = {"database.pool": {"at": 0.0, "for": 100.0, "size": 1, "timeout": 1.2}}
    result = struck(fault, load={"backlog": 6}, workers={"concurrency": 6})
    assert sorted(result.attempts["service"]) == [0.5, 1.0, 1.2, 1.2, 1.2, 1.5]
    assert states(result) == {"completed": 3, "failed": 3}


def test_a_dead_workers_connections_are_free_again() -> None:
    pool = {"database.pool": {"at": 0.0, "for": 100.0, "size": 1, "timeout": 5.0}}
    crash = {"worker.crash": {"at": 0.2, "worker": "a", "restart": "never"}}
    result = struck(pool, crash, load={"backlog": 2}, workers=[{"name": "a"}, {"name": "b"}])
    second = result.attempts[result.attempts["worker"] == "b"]
    assert second["ended"].iloc[0] == 0.7


@pytest.mark.parametrize("kind", ["database.deadlock", "database.lost-commit"])
def test_transactions_that_fail_at_their_end(kind: str) -> None:
    result = struck({kind: {"probability": 0.3}}, queue={"attempts": 5})
    failed = result.attempts[result.attempts["outcome"] == "retried"]
    assert set(failed["service"]) == {0.5}
    assert set(failed["category"]) == {"Database"}
    assert len(failed) > 20


# -- producers


def test_a_producer_that_adds_twice() -> None:
    result = struck({"producer.duplicate": {"probability": 0.3}})
    assert len(result.jobs) == 100 + len(result.faults)
    assert len(result.faults) > 15


def test_a_producer_that_retries() -> None:
    result = struck({"producer.retry": {"probability": 0.3, "pause": 0.25}})
    assert len(result.jobs) == 100 + len(result.faults)
    late = result.jobs[result.jobs["added"] > result.jobs["scheduled"]]
    assert set((late["added"] - late["scheduled"]).round(9)) == {0.25}


def test_a_burst() -> None:
    result = struck({"producer.burst": {"at": 50.5, "size": 40}})
    assert int(result.jobs["added"].eq(50.5).sum()) == 40


# -- when


def test_random_intervals_count_from_the_end_of_the_last() -> None:
    result = struck({"redis.outage": {"every": 10.0, "for": 5.0}})
    assert faults(result)[:3] == [("redis.outage", "", t, t + 5.0) for t in (10.0, 25.0, 40.0)]


def test_a_fault_while_a_condition_holds() -> None:
    faults_ = [
        {"redis.latency": {"while": "waiting >= 3", "delay": 0.0}},
        {"worker.freeze": {"at": 20.2, "for": 10.0}},
    ]
    result = struck(*faults_)
    (freeze, latency) = sorted(faults(result), key=lambda row: row[2])
    assert freeze[2] == 20.2
    assert 23.0 <= latency[2] <= 24.5
    assert 30.2 <= latency[3] <= 36.0


def test_faults_end_with_the_load_and_the_run_drains_without_them() -> None:
    result = struck({"redis.outage": {"every": 90.0, "for": 1000.0}})
    assert faults(result) == [("redis.outage", "", 90.0, 100.0)]
    assert states(result) == {"completed": 100}


def test_a_fault_that_is_on_at_the_end_of_a_run_has_no_end() -> None:
    result = struck({"redis.outage": {"every": 90.0, "for": 1000.0}}, drain=False)
    assert str(faults(result)) == "[('redis.outage', '', 90.0, nan)]"


def test_a_fault_shifts_neither_arrivals_nor_service_times_nor_other_faults() -> None:
    load, service = {"poisson": 1.0}, {"exponential": 0.5}
    crash = {"worker.crash": {"every": {"exponential": 20.0}}}
    alone = struck(crash, load=load, service=service)
    both = struck(crash, {"handler.error": {"probability": 0.0}}, load=load, service=service)
    assert alone.jobs["scheduled"].tolist() == both.jobs["scheduled"].tolist()
    assert [row for row in faults(both) if row[0] == "worker.crash"] == faults(alone)


def test_the_same_seed_gives_the_same_run() -> None:
    scenario = {
        "name": "twice",
        "duration": 300.0,
        "drain": True,
        "queue": {"attempts": 3},
        "workers": {"count": 3, "concurrency": 2},
        "jobs": {"a": {"service": {"exponential": 1.0}}},
        "load": [{"name": "l", "poisson": 3.0}],
        "faults": [
            {"worker.crash": {"every": {"exponential": 30.0}}},
            {"redis.drop": {"probability": 0.05}},
            {"redis.outage": {"every": {"exponential": 60.0}, "for": {"exponential": 5.0}}},
            {"worker.freeze": {"every": {"exponential": 60.0}, "for": 40.0}},
        ],
    }
    first, second = queuesim.run(scenario, seed=5), queuesim.run(scenario, seed=5)
    assert first.attempts.equals(second.attempts)
    assert first.faults.equals(second.faults)
    assert not first.faults.equals(queuesim.run(scenario, seed=6).faults)


# -- schedules that starve everybody


STARVING = [
    {"redis.outage": {"every": 0.001, "for": 1000.0}},
    {"worker.crash": {"at": 20.25, "worker": "all", "restart": "never"}},
    {"worker.freeze": {"every": 20.25, "for": 1000.0, "worker": "all"}},
    {"worker.scale": {"at": 20.25, "to": 0}},
    {"handler.hang": {"at": 20.25, "for": 79.0}},
]


@pytest.mark.parametrize("fault", STARVING, ids=lambda fault: next(iter(fault)))
def test_a_schedule_that_starves_every_worker_ends_with_a_verdict(fault: dict[str, Any]) -> None:
    result = struck(fault, drain=False)
    since = stuck_since(result)
    assert since == 0.001 or 20 <= since < 30
    assert not result.ok
    assert result.facts.duration == 100.0


@pytest.mark.parametrize("fault", STARVING[1:2])
def test_with_a_drain_too(fault: dict[str, Any]) -> None:
    assert stuck_since(struck(fault)) == 100.0


def test_overlapping_outages_that_never_end_are_undone_for_the_drain_and_a_verdict_without() -> None:
    outages = [{"redis.outage": {"every": 1.0, "for": 1000.0}}, {"redis.outage": {"at": 0.5, "for": 99.0}}]
    assert states(struck(*outages)) == {"completed": 100}
    assert stuck_since(struck(*outages, drain=False)) == 0.5


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        ({"redis.outage": {"at": 60.0, "for": 40.0}}, {}),
        ({"worker.freeze": {"at": 60.0, "for": 40.0, "worker": "all"}}, {}),
        ({"redis.latency": {"probability": 0.1, "delay": 0.01}}, {"service": 80.0}),
        ({"worker.crash": {"at": 1.0}}, {"workers": {"name": "w", "limiter": {"max": 1, "duration": 90.0}}}),
        ({"worker.crash": {"at": 1.0, "restart": "never"}}, {"load": {"bulk": {"at": 99.0, "size": 5}}}),
    ],
    ids=["outage", "freeze", "slow handlers", "limiter", "late load"],
)
def test_a_run_that_only_waits_is_not_stuck(fault: dict[str, Any], more: dict[str, Any]) -> None:
    assert struck(fault, drain=False, **more).facts.stopped is None
