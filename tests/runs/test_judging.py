"""What makes a live run fit for the oracles: starts by the server's clock, acknowledged jobs that are nowhere."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from queuesim.brokers.redis.stream import EventStreamReader, StreamPage, event_id
from queuesim.core.job import Job, JobOptions, JobState, Keep, NewJob, Origin, OriginKind
from queuesim.oracles.run_view import Expectations, FinalState
from queuesim.results.recorder import Recorder
from queuesim.results.recording import Ending, Facts, FaultRow, Recording
from queuesim.runs.live.messages import Reports
from queuesim.runs.live.reconciliation import WorkerKill, account_for, judge_live, starts_by_server

FACTS = Facts("judged", "redis", 1, 10.0, 10.0)


def stream(*entries: tuple[float, str, int | str]) -> StreamPage:
    """A page of an event stream. Its entries: seconds, kind, job."""
    told = []
    for place, (time, kind, job) in enumerate(entries):
        name = ["name", "mail"] if kind == "added" else ["prev", "active"] if kind in ("stalled", "completed") else []
        told.append((f"{int(time * 1000)}-{place}", ["event", kind, "jobId", str(job), *name]))
    return StreamPage(told, True, event_id(*told[-1]))


def chronicle(recorder: Recorder) -> EventStreamReader:
    return EventStreamReader("events", recorder, lambda stamp: stamp / 1000)


def ran(recorder: Recorder, number: int, started: float, attempt: int = 1) -> None:
    """A worker reports an attempt that it lost."""
    job = Job(str(number), "mail", None, number=number, attempts_started=attempt, processed_on=started)
    recorder.unfinished("w", 0, job)


def reported(job_id: str, started: float) -> bytes:
    """A line in which a worker reports an attempt of 1 ms."""
    row = ["w", 0, job_id, "mail", 1, 1, started, started, started + 0.001, "Completed", None, "", None, False, 0.0]
    return json.dumps(["attempt", *row]).encode()


class Nobody:
    """Is told of nothing else."""

    def began(self, worker: str, time: float) -> None: ...

    def struck(self, fault: int) -> None: ...

    def died(self, worker: str, fault: int) -> None: ...


def test_an_attempt_that_is_reported_before_its_job_is_known_counts_for_that_job() -> None:
    """A handler of 1 ms ends before the event stream is read again."""
    recorder = Recorder()
    reader = chronicle(recorder)
    reports = Reports(recorder, reader.number_at, Nobody())
    reader.report(stream((0.5, "added", 1)))
    reports.note(reported("1", 1.0))
    reports.note(reported("own-id", 1.0))
    assert (recorder.attempt_count, reports.held) == (1, 1)
    reports.record_held(0)
    reader.report(stream((0.9, "added", "own-id"), (1.0, "active", "own-id")))
    reports.note(reported("too-late", 1.1))
    reports.record_held(1)
    assert recorder.recording(FACTS, {}).attempts["number"].tolist() == [1, 2]
    assert reports.held == 1


def test_attempts_of_an_id_that_is_used_twice_count_for_the_job_of_their_time() -> None:
    recorder = Recorder()
    reader = chronicle(recorder)
    reports = Reports(recorder, reader.number_at, Nobody())
    reports.note(reported("own-id", 1.0))
    reports.note(reported("own-id", 3.0))
    reader.report(stream((0.9, "added", "own-id"), (2.0, "removed", "own-id"), (2.9, "added", "own-id")))
    reports.record_held(reports.held)
    assert recorder.recording(FACTS, {}).attempts["number"].tolist() == [1, 2]


def test_an_attempt_began_when_the_server_says_so() -> None:
    recorder = Recorder()
    chronicle(recorder).report(
        stream((1, "added", 1), (1, "waiting", 1), (2, "active", 1), (4, "stalled", 1), (5, "active", 1))
    )
    ran(recorder, 1, 1.9)
    ran(recorder, 1, 4.7, attempt=2)
    ran(recorder, 2, 3.0)
    found = starts_by_server(recorder.recording(FACTS, {}))
    assert found[:2].tolist() == [2.0, 5.0]
    assert np.isnan(found[2])


def test_a_job_that_was_acknowledged_and_is_nowhere_is_lost() -> None:
    recorder = Recorder()
    reader = chronicle(recorder)
    reader.expect(["1", "2"], [NewJob("mail"), NewJob("mail")], 1.0)
    reader.report(stream((1, "added", 1), (1, "waiting", 1)))
    reader.report_expected()
    recording = recorder.recording(FACTS, {1: JobState.WAITING.value})
    evidence = FinalState(census={"waiting": [1]}, terms=recorder.terms)
    checks = {row.name: row for row in judge_live(recording, Expectations(options=recorder.options), evidence, {})}
    assert not checks["no job lost"].ok
    assert checks["no job lost"].detail == "job 2 is nowhere"


def test_an_add_whose_answer_was_lost_is_known_when_it_took_effect() -> None:
    recorder = Recorder()
    reader = chronicle(recorder)
    options = JobOptions(attempts=7)
    reader.suspect([NewJob("mail", options=options, origin=Origin(OriginKind.LOAD, "users"))], 0.99)
    reader.report(stream((1, "added", 1), (1, "waiting", 1)))
    recording = recorder.recording(FACTS, {})
    assert recorder.options == [options]
    assert recording.loads == ["users"]
    assert recording.jobs["added"].tolist() == [0.99]


def killed(*deaths: WorkerKill) -> Recording:
    """A job whose first attempt nobody reported."""
    recorder = Recorder()
    chronicle(recorder).report(
        stream((1, "added", 1), (1, "waiting", 1), (2, "active", 1), (4, "stalled", 1), (5, "active", 1))
    )
    ran(recorder, 1, 5.0, attempt=2)
    return account_for(recorder.recording(FACTS, {}), deaths, int)


def test_an_attempt_ends_when_its_worker_is_killed() -> None:
    recording = killed(WorkerKill(1.5, "early", ["1"]), WorkerKill(3.0, "w-1", ["1"]), WorkerKill(6.0, "late", ["1"]))
    row = recording.attempts[-1]
    assert (row["number"], row["attempt"], row["started"], row["ended"]) == (1, 1, 2.0, 3.0)
    assert recording.workers[row["worker"]] == "w-1 (killed)"


def test_of_one_that_others_killed_the_event_stream_tells() -> None:
    recording = killed()
    row = recording.attempts[-1]
    assert row["ended"] == 4.0
    assert recording.workers[row["worker"]] == "(killed)"


def test_a_worker_that_never_took_jobs_has_no_idle_slots() -> None:
    recorder = Recorder()
    chronicle(recorder).report(stream((1, "added", 1), (1, "waiting", 1)))
    recording = recorder.recording(FACTS, {1: JobState.WAITING.value})
    promises = Expectations(options=recorder.options, concurrency={"w": 1})
    evidence = FinalState(census={"waiting": [1]}, terms=recorder.terms)

    def waits(began: dict[str, float]) -> bool:
        return next(row.ok for row in judge_live(recording, promises, evidence, began) if "idle worker" in row.name)

    assert waits({})
    # the job waits for 8 s
    assert not waits({"w": 2.0})


@pytest.mark.parametrize(
    ("told", "kept", "honoured"),
    [
        ({1: 2.5, 2: 2.3}, 2, True),  # the first was sent earlier and took effect later, which its worker did not see
        ({1: 2.5, 2: 2.3}, 1, True),  # or its worker sent it again
        ({1: 2.1, 2: 2.3}, 2, True),
        ({1: 2.1, 2: 2.3}, 1, False),
    ],
)
def test_finished_jobs_are_ranked_by_when_their_ends_were_sent(
    told: dict[int, float], kept: int, honoured: bool
) -> None:
    """On a busy machine an outcome may be under way for longer than the one that is sent after it."""
    recorder = Recorder()
    ends = [(time, "completed", number) for number, time in sorted(told.items(), key=lambda entry: entry[1])]
    chronicle(recorder).report(
        stream(*((1.0, kind, number) for number in told for kind in ("added", "waiting", "active")), *ends)
    )
    for number, ended in ((1, 2.0), (2, 2.2)):
        job = Job(str(number), "mail", None, number=number, attempts_started=1, processed_on=1.0)
        recorder.interrupted("w", number, job, ended, Ending.OK)
    evidence = FinalState(census={"completed": [kept]}, terms=recorder.terms)
    promises = Expectations(options=recorder.options, keep_completed=Keep(1))
    rows = {row.name: row for row in judge_live(recorder.recording(FACTS, {}), promises, evidence, {})}
    assert rows["retention honoured"].ok == honoured


def test_a_run_whose_events_are_missing_is_not_judged() -> None:
    """Unless a fault of the run took them: each loss of the server's memory explains one gap behind it."""
    recorder = Recorder()
    chronicle(recorder).report(stream((1, "added", 1), (1, "waiting", 1)))
    recorder.faults.append(FaultRow("redis.restart", "", 3.0, 4.0, lost=math.inf))
    recording = recorder.recording(FACTS, {1: "waiting"})
    explained = judge_live(recording, Expectations(), FinalState(), {}, [4.5])
    assert any(row.judged for row in explained)
    for gaps in ([2.0], [4.5, 6.0]):
        rows = judge_live(recording, Expectations(), FinalState(), {}, gaps)
        assert [row.name for row in rows] == [row.name for row in explained]
        assert not any(row.judged for row in rows)
        assert f"before second {gaps[-1]:.3f}" in rows[0].detail
