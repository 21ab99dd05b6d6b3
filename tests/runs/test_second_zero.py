"""Workers of a live run take jobs from second 0 on: whatever takes time comes before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import queuesim
from queuesim.runs.live.engine import LiveRun, server
from queuesim.scenario.model import Scenario

TRIES = 3
"""A machine that others use may be late once."""
FIRST: dict[str, Any] = {
    "name": "first",
    "duration": 1,
    "workers": {"count": 2, "concurrency": 5},
    "jobs": {"a": {"service": 0.01}},
    "load": [{"name": "one", "bulk": {"every": 10, "offset": 0.05, "size": 1}}],
}


def _cold_start() -> float:
    """Seconds in which this machine, as busy as it is now, starts Python with what a worker imports."""
    began = time.perf_counter()
    command = "import queuesim.runs.live.worker_process, redis.asyncio"
    subprocess.run([sys.executable, "-c", command], check=True)
    return time.perf_counter() - began


def _soon(measure: Callable[[], list[float]]) -> None:
    """Fail if each try takes longer than a third of a cold start: something is then imported or started too late."""
    tries = []
    for _ in range(TRIES):
        before, taken, after = _cold_start(), measure(), _cold_start()
        tries.append((min(taken), (before + after) / 2))
        if tries[-1][0] < tries[-1][1] / 3:
            return
    pytest.fail(f"(seconds until the first start, seconds of a cold start): {tries}")


def test_a_job_that_comes_at_once_starts_at_once() -> None:
    _soon(lambda: queuesim.run(FIRST, backend="redis", progress=False).jobs["waiting"].tolist())


def test_the_modules_of_a_user_are_imported_before_second_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import time\n\nimport queuesim\n\ntime.sleep(0.5)\nprocessor = queuesim.Processor()\n\n\n"
        "@processor.job('a')\nasync def a(job):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    scenario = {**FIRST, "processor": "slow_to_import:processor", "jobs": {"a": {}}}
    waits = [queuesim.run(scenario, backend="redis", progress=False).jobs["waiting"].iloc[0] for _ in range(TRIES)]
    assert min(waits) < 0.5


def test_all_workers_wait_for_the_word_when_second_0_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    ready: list[bool] = []
    real_open = LiveRun._open

    async def look_and_open(run: LiveRun) -> None:
        ready.extend(worker.alive and worker.ready.is_set() for worker in run.pool.workers)
        await real_open(run)

    monkeypatch.setattr(LiveRun, "_open", look_and_open)
    with server("embedded") as (address, private):
        asyncio.run(LiveRun(Scenario.model_validate(FIRST), address, seed=1, private=private).play())
    assert ready == [True, True]


def _gaps(faults: list[dict[str, Any]]) -> list[float]:
    """From when a crashed worker was to be there again until the first attempt of its new process, in seconds."""
    scenario = {
        **FIRST,
        "duration": 4,
        "workers": {"name": "w", "concurrency": 2, "lock_duration": 1, "stalled_interval": 0.5},
        "load": [{"name": "steady", "constant": 50}],
        "faults": faults,
    }
    result = queuesim.run(scenario, backend="redis", progress=False)
    starts = result.attempts["started"].to_numpy()
    return [float(min(starts[starts > moment]) - moment) for moment in result.faults["ended"]]


def test_a_replacement_takes_jobs_at_once() -> None:
    faults = [{"worker.crash": {"at": 1, "restart": 0.5}}, {"worker.crash": {"at": 2.5, "restart": 0.5}}]
    _soon(lambda: _gaps(faults))


def test_a_worker_that_is_added_takes_jobs_at_once() -> None:
    scenario = {
        **FIRST,
        "duration": 3,
        "workers": {"name": "w", "concurrency": 1},
        "jobs": {"a": {"service": 0.5}},
        "load": [{"name": "many", "backlog": 40}],
        "faults": [{"worker.scale": {"at": 1, "to": 2}}],
    }

    def gap() -> list[float]:
        result = queuesim.run(scenario, backend="redis", progress=False)
        added = result.attempts[result.attempts["worker"] != "w"]
        return [float(added["started"].min() - result.faults["began"].iloc[0])]

    _soon(gap)


def test_a_live_run_finds_nothing_wrong_with_its_own_clock(caplog: pytest.LogCaptureFixture) -> None:
    assert queuesim.run(FIRST, backend="redis", redis_url="embedded", progress=False).ok
    assert [record.getMessage() for record in caplog.records] == []
