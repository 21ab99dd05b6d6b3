"""Judging costs the same per job however many there are, also where each job has options of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from queuesim.core.job import Backoff, JobOptions
from queuesim.oracles import ORACLES
from queuesim.oracles.run_view import Expectations, FinalState, RunView, groups
from queuesim.results.recording import Recording
from queuesim.runs.virtual.engine import record
from queuesim.scenario.model import Scenario

FEW, MANY = 1_000, 8_000


def traced(directory: Path, count: int) -> tuple[Recording, Expectations, FinalState]:
    """A run of so many jobs, half of which fail once, as its oracles get it; each job has options of its own."""
    file = directory / f"{count}.csv"
    rows = [f"{n * 50},mail,10,{n % 3},{n % 4 * 1000},{'network' if n % 2 else ''}" for n in range(count)]
    file.write_text("\n".join(["added_ms,name,service_ms,priority,delay_ms,fail_1", *rows]))
    scenario = Scenario.model_validate(
        {
            "name": "traced",
            "duration": count * 0.05,
            "drain": True,
            "queue": {"attempts": 2, "backoff": {"type": "fixed", "delay": 1.0}},
            "workers": {"concurrency": 5},
            "jobs": {"mail": {"service": 0.01}},
            "load": [{"name": "recorded", "trace": str(file)}],
        }
    )
    recording = record(scenario, 1)
    own = [JobOptions(2, Backoff("fixed", 1.0), job_id=f"job-{n}") for n in range(count)]
    return recording, Expectations(options=own, concurrency={"w": 5}), FinalState(terms=range(count))


def seconds_a_job(directory: Path, count: int) -> float:
    """The least processor time of three judgements."""
    run = traced(directory, count)
    times = []
    for _ in range(3):
        case, began = RunView(*run), time.process_time()
        for oracle in ORACLES:
            oracle(case)
        times.append((time.process_time() - began) / count)
    return min(times)


def test_judging_costs_the_same_per_job(tmp_path: Path) -> None:
    # going through all jobs once for each of them would make it eight times as much
    assert seconds_a_job(tmp_path, MANY) < 3 * seconds_a_job(tmp_path, FEW)


def test_witnesses_are_those_of_the_options_that_were_used_first(tmp_path: Path) -> None:
    recording, promises, evidence = traced(tmp_path, 60)
    attempts = next(oracle for oracle in ORACLES if oracle.__name__ == "attempts")
    assert attempts(RunView(recording, promises, evidence)).ok
    # of one kind of options more attempts were made than are allowed, of the other kind fewer
    options = [replace(each, attempts=1 if n % 4 == 1 else 3) for n, each in enumerate(promises.options)]
    row = attempts(RunView(recording, replace(promises, options=options), evidence))
    numbers = [number for number in range(2, 61) if number % 4 == 2]
    assert row.value == 2 * len(numbers)
    assert row.detail == (
        "job 2 had attempt 2 of 1; job 2 was retried after attempt 1, Network; job 6 had attempt 2 of 1; ..."
    )


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2), st.integers(-(2**40), 2**40)), min_size=1))
def test_groups_are_the_different_rows(rows: list[tuple[int, int, int]]) -> None:
    columns = np.array(rows, dtype=np.int64).T
    different, which = groups(*columns)
    assert different.tolist() == [list(row) for row in sorted(set(rows))]
    assert [tuple(row) for row in different[which].tolist()] == rows
