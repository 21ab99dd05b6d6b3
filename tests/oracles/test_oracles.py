"""Every oracle catches the bug that is planted for it, and is quiet without."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from oraclebench import CRASHES, every, found, hush_starts, notes, played, wrap

import queuesim
from queuesim import Processor
from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.memory_store import Deduplications, Finished, Record, Window
from queuesim.core.broker import Outcome, Retried
from queuesim.core.job import Backoff, Deduplication, Job, JobOptions
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker
from queuesim.oracles import ORACLES
from queuesim.oracles.run_view import Expectations, FinalState, RunView

Patch = pytest.MonkeyPatch

# -- without a bug


@pytest.mark.parametrize("faults", [[], CRASHES], ids=["quiet", "crashes"])
def test_nothing_is_found_where_there_is_nothing(faults: Any) -> None:
    result = played(faults=faults)
    assert found(result) == set()
    assert result.ok
    assert int((result.checks["kind"] == "oracle").sum()) == len(ORACLES) + 1


# -- planted bugs


def test_a_job_that_is_dropped_when_it_should_run_again(monkeypatch: Patch) -> None:
    drop = every(5)

    def retry(original: Any, self: Any, record: Record, outcome: Retried, now: float) -> None:
        if drop():
            del self._records[record.id]
        else:
            original(self, record, outcome, now)

    wrap(monkeypatch, MemoryBroker, "_retry", retry)
    assert "no job lost" in found(played())


def test_an_outcome_that_is_taken_though_the_lock_is_gone(monkeypatch: Patch) -> None:
    """Two workers complete one job: the second should be refused."""

    def settle(original: Any, self: Any, outcome: Outcome, now: float) -> int:
        code: int = original(self, outcome, now)
        return 0 if code else code

    wrap(monkeypatch, MemoryBroker, "_settle", settle)
    frozen = [{"worker.freeze": {"every": 10.0, "for": 70.0}}]
    assert "no job completed twice" in found(played(faults=frozen, duration=300.0))


def test_stalled_jobs_that_are_never_put_back(monkeypatch: Patch) -> None:
    def recover(original: Any, self: Any, interval: float, most: int, now: float) -> Any:
        for job_id in list(self._active):
            if not self._locked(self._active[job_id], now):
                del self._active[job_id], self._records[job_id]
        return original(self, interval, most, now)

    wrap(monkeypatch, MemoryBroker, "recover_stalled", recover)
    assert {"no job lost", "interrupted jobs recovered"} <= found(played(faults=CRASHES))


def test_a_job_that_nobody_added(monkeypatch: Patch) -> None:
    from queuesim.results.recorder import Recorder

    forget = every(50)
    wrap(
        monkeypatch,
        Recorder,
        "added",
        lambda original, self, *rest: None if forget() else original(self, *rest),
    )
    assert "nothing unexpected" in found(played())


def test_a_job_in_two_lists(monkeypatch: Patch) -> None:
    def finish(original: Any, self: Any, record: Record, *rest: Any) -> None:
        original(self, record, *rest)
        if record.id in self._records and record.number % 7 == 0:
            self._active[record.id] = record

    wrap(monkeypatch, MemoryBroker, "_finish", finish)
    assert "one state at a time" in found(played(drain=False))


def test_a_job_in_no_list(monkeypatch: Patch) -> None:
    drop = every(20)

    def add(original: Any, self: Finished, record: Record) -> None:
        if not drop():
            original(self, record)

    wrap(monkeypatch, Finished, "add", add)
    assert "one state at a time" in found(played())


def test_a_transition_that_is_not_told(monkeypatch: Patch) -> None:
    hush_starts(monkeypatch)
    assert "events in a legal order" in found(played())


def test_a_job_that_is_handed_to_two_workers(monkeypatch: Patch) -> None:
    """It is put back as soon as it is taken."""
    again = every(15)

    def start(original: Any, self: Any, record: Record, *rest: Any) -> None:
        original(self, record, *rest)
        if again():
            self._wait.appendleft(record)

    wrap(monkeypatch, MemoryBroker, "_start", start)
    assert "one worker at a time" in found(played(drain=False))


def test_a_worker_that_runs_more_than_it_may(monkeypatch: Patch) -> None:
    def init(original: Any, self: Worker, *rest: Any, **named: Any) -> None:
        original(self, *rest, **named)
        self._vacant.append(self.concurrency)
        self._slot_names.append("one more")

    wrap(monkeypatch, Worker, "__init__", init)
    assert "concurrency never exceeded" in found(played())


def test_a_queue_that_forgets_its_concurrency(monkeypatch: Patch) -> None:
    monkeypatch.setattr(MemoryBroker, "_maxed", lambda self: False)
    assert "concurrency never exceeded" in found(played())


def test_one_attempt_too_many(monkeypatch: Patch) -> None:
    from queuesim.core import retry

    def delay(original: Any, self: Any, job: Job, *rest: Any) -> Any:
        seconds = original(self, job, *rest)
        return 1.0 if seconds is None and job.attempts_made < 4 else seconds

    wrap(monkeypatch, retry.Retries, "delay", delay)
    assert "attempts within the limit" in found(played())


def test_one_attempt_too_few(monkeypatch: Patch) -> None:
    from queuesim.core import retry

    def delay(original: Any, self: Any, job: Job, *rest: Any) -> Any:
        return None if job.attempts_made >= 1 else original(self, job, *rest)

    wrap(monkeypatch, retry.Retries, "delay", delay)
    jobs = {"plain": {"service": 0.5, "errors": {"network": 0.5}}}
    assert "attempts within the limit" in found(played(jobs=jobs))


def test_a_backoff_that_does_not_double(monkeypatch: Patch) -> None:
    wrap(monkeypatch, Backoff, "seconds", lambda original, self, made, rng: original(self, 1, rng))
    jobs = {"plain": {"service": 0.5, "errors": {"network": 0.5}}}
    assert "backoff to the millisecond" in found(played(jobs=jobs))


@pytest.mark.parametrize("off", [-0.002, 0.002])
def test_a_backoff_that_is_two_milliseconds_off(monkeypatch: Patch, off: float) -> None:
    def postpone(original: Any, self: Any, record: Record, due: float, now: float) -> None:
        original(self, record, due + off, now)

    wrap(monkeypatch, MemoryBroker, "_postpone", postpone)
    assert "backoff to the millisecond" in found(played())


def test_a_limiter_that_counts_too_little(monkeypatch: Patch) -> None:
    wrap(monkeypatch, Window, "closes_at", lambda original, self, most, now: original(self, most + 2, now))
    assert "limiter windows never exceeded" in found(played())


def test_a_limiter_whose_window_is_too_short(monkeypatch: Patch) -> None:
    wrap(monkeypatch, Window, "start", lambda original, self, duration, now: original(self, duration / 4, now))
    assert "limiter windows never exceeded" in found(played())


def test_last_come_first_served(monkeypatch: Patch) -> None:
    def pop(original: Any, self: Any) -> Any:
        if len(self._wait) > 1:
            self._wait.rotate(1)
        return original(self)

    wrap(monkeypatch, MemoryBroker, "_pop_next", pop)
    assert "order within a priority" in found(played())


def test_the_less_urgent_first(monkeypatch: Patch) -> None:
    def enqueue(original: Any, self: Any, record: Record, **named: Any) -> None:
        record.priority = 9 - record.priority if record.priority else 0
        original(self, record, **named)

    wrap(monkeypatch, MemoryBroker, "_enqueue", enqueue)
    assert "order within a priority" in found(played())


def test_a_wake_up_that_is_lost(monkeypatch: Patch) -> None:
    lose = every(3)
    wrap(monkeypatch, MemoryBroker, "_wake", lambda original, self: None if lose() else original(self))
    quiet = {"workers": {"name": "w", "count": 2}, "load": [{"name": "users", "poisson": 0.3}]}
    assert "no job waits beside an idle worker" in found(played(**quiet, jobs={"plain": {"service": 0.1}}))


def test_retention_that_keeps_too_many(monkeypatch: Patch) -> None:
    monkeypatch.setattr(MemoryBroker, "_finish", _finish_keeping_one_more)
    assert "retention honoured" in found(played())


def _finish_keeping_one_more(self: Any, record: Record, state: Any, keep: Any, now: float) -> None:
    record.state, record.finished_on, record.marked = state, now, True
    finished = self._finished[state]
    finished.add(record)
    while len(finished.records) > keep.count + 1:
        del self._records[finished.pop_first().id]


def test_retention_that_evicts_the_newest(monkeypatch: Patch) -> None:
    wrap(monkeypatch, Finished, "pop_first", lambda original, self: self.records.pop())
    assert "retention honoured" in found(played())


def test_a_dead_letter_that_is_missing(monkeypatch: Patch) -> None:
    lose = every(3)
    wrap(
        monkeypatch,
        MemoryBroker,
        "_dead_letter",
        lambda original, self, *rest: None if lose() else original(self, *rest),
    )
    assert "dead letters complete" in found(played())


def test_a_dead_letter_too_many(monkeypatch: Patch) -> None:
    def bury(original: Any, self: Any, *rest: Any) -> None:
        original(self, *rest)
        original(self, *rest)

    wrap(monkeypatch, MemoryBroker, "_dead_letter", bury)
    assert "dead letters complete" in found(played())


@pytest.mark.parametrize("broken", [False, True])
def test_a_deduplication_id_that_two_jobs_hold(monkeypatch: Patch, broken: bool) -> None:
    processor = Processor("default")
    options = JobOptions(deduplication=Deduplication("same"))

    @processor.job("a")
    async def handler(job: Job) -> None:
        assert job.broker is not None
        await asyncio.sleep(2.0)
        for _ in range(2):
            await Queue(job.broker).add("b", options=options)

    @processor.job("b")
    async def child(job: Job) -> None:
        await asyncio.sleep(3.0)

    if broken:
        monkeypatch.setattr(Deduplications, "holder", lambda *_: None)
    scenario = {
        "name": "dedup",
        "duration": 20.0,
        "drain": True,
        "processor": "passed:by",
        "load": [{"name": "l", "constant": 1.0, "jobs": "a"}],
        "workers": {"concurrency": 50},
    }
    result = queuesim.run(scenario, processor=processor)
    assert ("deduplication" in found(result)) is broken


def test_a_run_that_leaves_jobs_behind() -> None:
    result = played(drain=False)
    recording = result._recording
    assert recording is not None
    assert recording.left
    rows = {
        row.name: row
        for row in (oracle(RunView(recording, Expectations(drained=True), FinalState())) for oracle in ORACLES)
    }
    assert not rows["drained at the end"].ok
    rows = {row.name: row for row in (oracle(RunView(recording, Expectations(), FinalState())) for oracle in ORACLES)}
    assert rows["drained at the end"].ok, "it was not promised"


# -- what can't be promised is counted


def test_crashes_are_told_in_jepsens_terms() -> None:
    told = notes(played(faults=CRASHES))
    assert "jobs ran again after an attempt whose end did not reach the queue" in told["no job completed twice"]
    assert "jobs recovered" in told["interrupted jobs recovered"]


def test_runs_beside_each_other_after_a_stall_are_told() -> None:
    result = played(faults=[{"worker.freeze": {"every": 10.0, "for": 70.0}}], duration=300.0)
    assert found(result) == set()
    assert "ran twice at once after a stall" in notes(result)["one worker at a time"]


def test_witnesses_are_named_and_the_rest_is_counted(monkeypatch: Patch) -> None:
    monkeypatch.setattr(MemoryBroker, "_maxed", lambda self: False)
    (row,) = [row for row in played().checks.itertuples() if row.check == "concurrency never exceeded"]
    assert row.value > 3
    assert row.detail.count("jobs were active at") == 3
    assert row.detail.endswith("; ...")
    assert row.limit == "== 0"
