"""What a failover or an empty restart lost is laid at its door, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from oraclebench import every, found, hush_starts, notes, played, wrap

from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.memory_store import Record
from queuesim.core.broker import Outcome, Retried
from queuesim.core.job import JobState

Patch = pytest.MonkeyPatch

FAILOVER = {"redis.failover": {"at": 26.0, "lose": 3.0}}


def test_what_a_failover_lost_and_duplicated_is_no_violation_but_told() -> None:
    result = played(faults=[FAILOVER])
    assert found(result) == set()
    told = notes(result)
    assert "lost by redis.failover at 26 s" in told["no job lost"]
    assert "duplicated by redis.failover at 26 s" in told["no job completed twice"]


def test_what_was_lost_before_a_failover_is_a_violation(monkeypatch: Patch) -> None:
    drop = every(5)

    def retry(original: Any, self: Any, record: Record, outcome: Retried, now: float) -> None:
        if drop() and now < 50.0:
            del self._records[record.id]
        else:
            original(self, record, outcome, now)

    wrap(monkeypatch, MemoryBroker, "_retry", retry)
    assert "no job lost" in found(played(faults=[{"redis.failover": {"at": 60.0, "lose": 1.0}}]))


def test_a_replica_that_lacks_an_old_job_is_a_violation(monkeypatch: Patch) -> None:
    """The job was added long before what the failover may have lost."""

    def restore(original: Any, self: Any, image: dict[str, dict[str, Any]]) -> None:
        waiting = image[self.queue]["_wait"]
        del image[self.queue]["_records"][waiting.popleft().id]
        original(self, image)

    wrap(monkeypatch, MemoryBroker, "restore", restore)
    assert "no job lost" in found(played(faults=[{"redis.failover": {"at": 40.0, "lose": 1.0}}]))


@pytest.mark.parametrize("lose", [1.0, 3.0])
def test_a_job_that_completes_twice_is_not_excused_by_a_failover_long_before(monkeypatch: Patch, lose: float) -> None:
    def settle(original: Any, self: Any, outcome: Outcome, now: float) -> int:
        code: int = original(self, outcome, now)
        return 0 if code else code

    wrap(monkeypatch, MemoryBroker, "_settle", settle)
    faults = [{"redis.failover": {"at": 5.0, "lose": lose}}, {"worker.freeze": {"every": 10.0, "for": 70.0}}]
    assert "no job completed twice" in found(played(faults=faults, duration=300.0))


def test_a_job_that_completes_twice_within_what_was_forgotten_is_a_violation(monkeypatch: Patch) -> None:
    """A failover may undo one completion, not two."""
    from queuesim.results.recorder import Recorder

    def attempt(original: Any, self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        if 24.0 < arguments[3] < 26.0:
            original(self, *arguments)

    wrap(monkeypatch, Recorder, "attempt", attempt)
    assert "no job completed twice" in found(played(faults=[FAILOVER]))


def test_one_attempt_too_many_is_not_excused_by_a_failover_before(monkeypatch: Patch) -> None:
    from queuesim.core import retry

    def delay(original: Any, self: Any, job: Any, *rest: Any) -> Any:
        seconds = original(self, job, *rest)
        return 1.0 if seconds is None and job.attempts_made < 4 else seconds

    wrap(monkeypatch, retry.Retries, "delay", delay)
    assert "attempts within the limit" in found(played(faults=[{"redis.failover": {"at": 10.0, "lose": 1.0}}]))


def test_a_job_in_no_state_is_not_excused_by_a_failover(monkeypatch: Patch) -> None:
    drop = every(20)

    def add(original: Any, self: Any, record: Record) -> None:
        if not drop():
            original(self, record)

    from queuesim.brokers.memory_store import Finished

    wrap(monkeypatch, Finished, "add", add)
    assert "one state at a time" in found(played(faults=[FAILOVER]))


def test_a_dead_letter_that_is_missing_is_not_excused_by_a_failover(monkeypatch: Patch) -> None:
    lose = every(3)
    wrap(
        monkeypatch,
        MemoryBroker,
        "_dead_letter",
        lambda original, self, *rest: None if lose() else original(self, *rest),
    )
    assert "dead letters complete" in found(played(faults=[FAILOVER]))


def test_dead_letters_of_a_failover_are_complete_without_a_bug() -> None:
    failing = {"plain": {"service": 0.2, "errors": {"validation": 0.5}}}
    assert found(played(faults=[FAILOVER], jobs=failing)) == set()


def test_an_illegal_transition_is_not_excused_by_a_failover(monkeypatch: Patch) -> None:
    hush_starts(monkeypatch)
    assert "events in a legal order" in found(played(faults=[FAILOVER]))


def test_a_worker_that_runs_on_with_a_forgotten_job_leaves_nothing_behind() -> None:
    jobs = {"slow": {"service": 200.0}}
    restart = {"redis.restart": {"at": 30.0, "empty": True, "down": 0.0}}
    load = [{"name": "one", "bulk": {"at": 1.0, "size": 1}}, {"name": "late", "bulk": {"at": 110.0, "size": 1}}]
    result = played(jobs=jobs, faults=[restart], load=load, workers={"count": 2})
    assert found(result) == set()
    assert notes(result)["no job lost"] == "1 lost by redis.restart at 30 s"


def test_an_attempt_that_hangs_on_after_its_job_stalled_leaves_nothing_behind() -> None:
    faults = [{"handler.hang": {"at": 10.0, "for": 2.0}}, {"worker.freeze": {"at": 15.0, "for": 80.0, "worker": "w-1"}}]
    result = played(faults=faults, jobs={"plain": {"service": 0.2}})
    assert found(result) == set()


def test_a_job_that_is_left_is_told_though_something_was_forgotten(monkeypatch: Patch) -> None:
    from queuesim.runs.virtual.engine import Simulation

    async def where(original: Any, self: Any) -> dict[int, str]:
        return {**await original(self), 1: JobState.WAITING.value}

    wrap(monkeypatch, Simulation, "_where_left", where)
    assert "drained at the end" in found(played(faults=[FAILOVER]))


def test_jobs_added_at_the_very_moment_of_an_empty_restart_are_no_violation() -> None:
    """Some of them are forgotten and some are not, and all bear the same time."""
    load = [{"name": "burst", "bulk": {"at": 26.0, "size": 16}}, {"name": "users", "poisson": 2.0}]
    result = played(load=load, faults=[{"redis.restart": {"at": 26.0, "empty": True, "down": 0.0}}])
    assert found(result) == set()
