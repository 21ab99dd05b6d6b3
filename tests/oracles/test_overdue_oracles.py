"""The oracles of overdue scans catch the bugs that are planted for them, and are quiet without."""

from __future__ import annotations

from typing import Any

import pytest
from oraclebench import every, found, wrap
from sqlalchemy import Connection, update

import queuesim
from queuesim import Result
from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.memory_store import Deduplications
from queuesim.tasks import queries
from queuesim.tasks.overdue import Delivered, OverdueScan
from queuesim.tasks.tables import tasks

Patch = pytest.MonkeyPatch

SCHEDULERS, SCANS = "schedulers go on", "overdue scans complete"
SCENARIO: dict[str, Any] = {
    "name": "overdue",
    "seed": 5,
    "duration": 600.0,
    "drain": True,
    "queue": {"attempts": 3, "backoff": 1.0},
    "workers": {"name": "w", "count": 2, "concurrency": 5},
    "jobs": {"overdue-tasks-notification": {"service": 0.05}},
    "overdue": {"every": 20.0, "tasks": 200, "backlog": 50, "page_size": 10, "schedulers": 2, "lease": 5.0},
}


def play(backend: str = "sim", faults: Any = (), **overdue: Any) -> Result:
    changed = {"overdue": {**SCENARIO["overdue"], **overdue}, "faults": list(faults)}
    return queuesim.run({**SCENARIO, **changed}, backend=backend)


def detail(result: Result, oracle: str) -> str:
    checks = result.checks.set_index("check")
    return str(checks.loc[oracle, "detail"])


# -- right code


@pytest.mark.parametrize("backend", ["sim", "fakeredis"])
@pytest.mark.parametrize("seconds", [1.1, 0.7, 20.0])
def test_ticks_go_on(backend: str, seconds: float) -> None:
    duration = 15.0
    result = queuesim.run(
        {**SCENARIO, "duration": duration, "overdue": {"every": seconds, "tasks": 20}}, backend=backend
    )
    assert len(result.overdue) in (int(duration / seconds), int(duration / seconds) + 1)
    assert found(result) == set()
    assert {SCHEDULERS, SCANS} <= set(result.checks["check"])


@pytest.mark.parametrize(
    "faults",
    [
        [{"cron.missed": {"probability": 0.4}}],
        [{"cron.twice": {"probability": 0.4}}],
        [{"cron.overlap": {"probability": 0.4, "delay": 3.0}}],
        [{"redis.outage": {"every": {"exponential": 100.0}, "for": 15.0}}],
        [{"database.deadlock": {"probability": 0.2}}],
        [{"database.lost-commit": {"probability": 0.2}}],
        [{"redis.drop": {"probability": 0.1}}],
    ],
    ids=lambda faults: next(iter(faults[0])),
)
@pytest.mark.parametrize("missed", ["skip", "all"])
def test_a_fault_accounts_for_what_it_does(faults: Any, missed: str) -> None:
    assert found(play(faults=faults, missed=missed)) & {SCHEDULERS, SCANS} == set()


def test_crashes_of_schedulers_account_for_what_they_do() -> None:
    crashes = [{"at": at, "length": 10.0} for at in (40.01, 200.02, 300.005, 590.0)]
    for delivery in ("after-commit", "outbox"):
        result = play(crashes=crashes, delivery=delivery, database={"latency": 0.5})
        assert found(result) & {SCHEDULERS, SCANS} == set()


@pytest.mark.parametrize("missed", ["skip", "all"])
def test_a_run_that_ends_as_a_tick_begins(missed: str) -> None:
    """Nobody has written yet that its scan began: it is under way."""
    overdue = {"every": 300.0, "tasks": 3, "missed": missed, "database": {"latency": 2.0}}
    result = queuesim.run({**SCENARIO, "duration": 601.0, "drain": False, "overdue": overdue})
    assert len(result.overdue) == 1
    assert found(result) == set()


def test_where_timers_begin_the_scans_there_is_no_job_scheduler_to_judge() -> None:
    checks = play(by="timer").checks.set_index("check")
    assert SCHEDULERS not in checks.index
    assert checks.loc[SCANS, "status"] == "passed"


def test_a_run_without_scans_has_no_such_oracles() -> None:
    plain = {key: value for key, value in SCENARIO.items() if key != "overdue"}
    result = queuesim.run({**plain, "jobs": {"mail": {"service": 0.1}}, "load": [{"name": "users", "constant": 1.0}]})
    assert not {SCHEDULERS, SCANS} & set(result.checks["check"])


# -- planted bugs


def test_a_scheduler_that_keeps_the_tick_that_ran(monkeypatch: Patch) -> None:
    tenth = every(10)

    async def advance(original: Any, self: Any, scheduler_id: str, job_id: str, due: Any, now: float) -> Any:
        return None if tenth() else await original(self, scheduler_id, job_id, due, now)

    wrap(monkeypatch, MemoryBroker, "advance_scheduler", advance)
    result = play()
    assert SCHEDULERS in found(result)
    assert "stands still" in detail(result, SCHEDULERS)


def test_a_scheduler_that_is_forgotten(monkeypatch: Patch) -> None:
    third = every(3)

    async def advance(original: Any, self: Any, scheduler_id: str, job_id: str, due: Any, now: float) -> Any:
        return await original(self, scheduler_id, job_id, None if third() else due, now)

    wrap(monkeypatch, MemoryBroker, "advance_scheduler", advance)
    result = play()
    assert detail(result, SCHEDULERS) == "the job scheduler is gone"


def test_a_pending_job_that_is_dropped(monkeypatch: Patch) -> None:
    fifth = every(5)

    def add(original: Any, self: Any, scheduler: Any, job_id: str, due: float, now: float) -> None:
        if not fifth():
            original(self, scheduler, job_id, due, now)

    wrap(monkeypatch, MemoryBroker, "_add_iteration", add)
    result = play()
    assert "is nowhere" in detail(result, SCHEDULERS)


def test_ticks_that_are_skipped(monkeypatch: Patch) -> None:
    fifth = every(5)

    async def advance(original: Any, self: Any, scheduler_id: str, job_id: str, due: Any, now: float) -> Any:
        return await original(self, scheduler_id, job_id, due + 20.0 if fifth() else due, now)

    wrap(monkeypatch, MemoryBroker, "advance_scheduler", advance)
    assert "never ran" in detail(play(), SCHEDULERS)


def test_jobs_that_start_before_their_tick(monkeypatch: Patch) -> None:
    def add(original: Any, self: Any, scheduler: Any, job_id: str, due: float, now: float) -> None:
        original(self, scheduler, job_id, due - 5.0, now)

    wrap(monkeypatch, MemoryBroker, "_add_iteration", add)
    assert "before its tick" in detail(play(), SCHEDULERS)


def test_a_pending_job_that_nobody_starts(monkeypatch: Patch) -> None:
    def add(original: Any, self: Any, scheduler: Any, job_id: str, due: float, now: float) -> None:
        original(self, scheduler, job_id, due + 10_000.0 if due > 300.0 else due, now)

    wrap(monkeypatch, MemoryBroker, "_add_iteration", add)
    assert "has not begun" in detail(play(), SCHEDULERS)


def test_pages_that_leave_tasks_out(monkeypatch: Patch) -> None:
    original = queries.read_page

    def read(connection: Connection, cutoff: float, after: Any, size: int) -> Any:
        return [row for row in original(connection, cutoff, after, size) if row[0] % 7]

    monkeypatch.setattr(queries, "read_page", read)
    assert "was left out" in detail(play(), SCANS)


def test_assignees_that_are_told_again(monkeypatch: Patch) -> None:
    fifth = every(5)
    original = queries.notify_overdue

    def notify(connection: Connection, task_ids: Any, job_id: str, now: float, window: float) -> Any:
        if fifth():
            connection.execute(update(tasks).where(tasks.c.id.in_(task_ids)).values(notify_at=now))
        return original(connection, task_ids, job_id, now, 1.0 if fifth() else window)

    monkeypatch.setattr(queries, "notify_overdue", notify)
    assert "and again at" in detail(play(window=3600.0, tasks=400, every=5.0), SCANS)


def test_a_scan_that_nobody_takes_over(monkeypatch: Patch) -> None:
    async def resume(original: Any, self: OverdueScan) -> list[Any]:
        return []

    wrap(monkeypatch, OverdueScan, "resume", resume)
    crashes = [{"at": at, "length": 1.0} for at in (20.6, 100.6, 300.6)]
    assert "was left unfinished" in detail(play(crashes=crashes, database={"latency": 0.2}), SCANS)


def test_duplicates_that_count_as_new_jobs(monkeypatch: Patch) -> None:
    def drop(original: Any, self: MemoryBroker, job: Any, job_id: str, *rest: Any) -> None:
        rest[0].job_id = job_id
        original(self, job, job_id, *rest)

    wrap(monkeypatch, MemoryBroker, "_drop", drop)
    overdue = {**SCENARIO["overdue"], "backlog": 300}
    workers = {"concurrency": 5, "limiter": {"max": 10, "duration": 60.0}}
    result = queuesim.run({**SCENARIO, "drain": False, "overdue": overdue, "workers": workers})
    assert "came into the queue" in detail(result, SCANS)


def test_counts_that_do_not_add_up(monkeypatch: Patch) -> None:
    fifth = every(5)

    def counts(original: Any, self: Delivered) -> Any:
        return (0, 0) if fifth() else original(self)

    wrap(monkeypatch, Delivered, "counts", counts)
    assert "and counted" in detail(play(), SCANS)


def test_deduplication_that_is_forgotten_makes_no_noise_here(monkeypatch: Patch) -> None:
    """Another oracle finds that; whoever is told of a task twice would be found here, and the handler prevents it."""
    wrap(monkeypatch, Deduplications, "holder", lambda original, self, *rest: None)
    result = play(backlog=100)
    assert SCANS not in found(result)
