"""Faults that only handlers of one's own feel: a wall clock that jumps, and jobs that are delivered again."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

import queuesim
from queuesim import Backoff, Job, JobOptions, Processor

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
Notes = list[tuple[str, float, float]]
"""The job's id, the loop's time, and seconds since the epoch by the wall clock."""


def make(notes: Notes) -> Processor:
    processor = Processor("q", defaults=JobOptions(attempts=2, backoff=Backoff("fixed", 1.0)))

    @processor.job("note")
    async def note(job: Job) -> None:
        moment, date = time.time() - EPOCH.timestamp(), (datetime.now(UTC) - EPOCH).total_seconds()
        assert moment == pytest.approx(date, abs=1e-5)
        notes.append((job.id, asyncio.get_running_loop().time(), round(moment, 6)))
        await asyncio.sleep(0.5)

    return processor


def play(notes: Notes, *faults: dict[str, Any], **keys: Any) -> Any:
    scenario = {
        "name": "handlers",
        "duration": 60.0,
        "drain": 600.0,
        "epoch": EPOCH.isoformat(),
        "jobs": {"note": {}},
        "workers": {"name": "w", "count": 2, "lock_duration": 5.0, "stalled_interval": 5.0},
        "load": [{"name": "steady", "constant": "1/s"}],
        "faults": list(faults),
        **keys,
    }
    return queuesim.run(scenario, processor=make, shared=lambda: notes)


def test_on_the_calendar_handlers_read_the_time_of_the_run() -> None:
    notes: Notes = []
    before = time.time()
    assert play(notes, calendar=True).ok
    assert len(notes) == 60
    assert all(wall == pytest.approx(virtual) for _, virtual, wall in notes)
    assert before <= time.time() < before + 60, "and afterwards the real time again"


def test_without_it_they_read_the_real_time() -> None:
    notes: Notes = []
    play(notes)
    assert all(abs(wall + EPOCH.timestamp() - time.time()) < 60 for _, _, wall in notes)


def test_the_wall_clock_jumps_and_jumps_back_and_the_queue_does_not_mind() -> None:
    notes: Notes = []
    result = play(notes, {"worker.wall-clock": {"at": 20.0, "for": 10.0, "skew": "-1h", "worker": "all"}})
    assert result.ok, result
    ahead = {virtual: wall - virtual for _, virtual, wall in notes}
    assert all(seconds == pytest.approx(-3600.0 if 20 <= virtual < 30 else 0.0) for virtual, seconds in ahead.items())
    assert [(row.target, row.detail) for row in result.faults.itertuples()] == [("w-1", "-3600 s"), ("w-2", "-3600 s")]


def test_one_workers_clock_jumps_and_its_successors_too() -> None:
    """The machine has the clock, not the process."""
    notes: Notes = []
    faults = (
        {"worker.wall-clock": {"at": 10.0, "for": 20.0, "skew": "1m", "worker": "w-1"}},
        {"worker.crash": {"at": 15.2, "restart": "1s", "worker": "w-1"}},
    )
    attempts = play(notes, *faults).attempts
    wrong = {virtual for _, virtual, wall in notes if wall - virtual > 1}
    assert wrong == {row.started for row in attempts.itertuples() if row.worker == "w-1" and 10 <= row.started < 30}
    assert any(virtual > 17 for virtual in wrong)


def test_a_clock_that_is_right_is_refused() -> None:
    with pytest.raises(ValueError, match="a skew of 0 is none"):
        play([], {"worker.wall-clock": {"at": 1.0, "for": 1.0, "skew": "0s"}})


@pytest.mark.parametrize("backend", ["sim", "fakeredis"])
def test_a_job_is_delivered_again_although_its_handler_has_finished(backend: str) -> None:
    notes: Notes = []
    scenario = {
        "name": "again",
        "duration": 30.0,
        "drain": 600.0,
        "jobs": {"note": {}},
        "workers": {"name": "w", "lock_duration": 5.0, "stalled_interval": 5.0},
        "load": [{"name": "once", "bulk": {"at": 0.0, "size": 1}}],
        "faults": [{"handler.redelivery": {"at": 0.0, "for": 2.0}}],
        "calendar": True,
    }
    result = queuesim.run(scenario, backend, processor=make, shared=lambda: notes)
    assert result.ok, result
    first, second = notes
    assert first[0] == second[0]
    assert second[1] > first[1] + 5.0, "not before its lock has ended"
    assert list(result.attempts["outcome"]) == ["lost", "ok"]
    assert result.attempts["ended"].iloc[0] == pytest.approx(0.5, abs=0.01)
