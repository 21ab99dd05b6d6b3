"""The executor on a Dask cluster: the same figures, workers that die, a scheduler that restarts, and none at all."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dyinghandlers import SOURCE
from typer.testing import CliRunner

from queuesim.experiments.dask_cluster import ClusterError, Dask
from queuesim.experiments.executor import InProcess, WorkerDiedError
from queuesim.experiments.replications import replicate
from queuesim.experiments.task import Playing, SendError, Task, seeds_of, tasks_of
from queuesim.scenario.loading import as_scenario

pytestmark = [
    pytest.mark.slow,
    # of distributed itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SMALL: dict[str, Any] = {
    "name": "small",
    "duration": "2m",
    "workers": {"concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": "500ms"}}},
    "load": [{"name": "users", "poisson": "3/s"}],
    "faults": [{"worker.crash": {"at": "1m"}}],
}
MEASURED = ("waiting.p95", "utilisation")


def tasks(count: int, playing: Playing | None = None, **keys: Any) -> list[Task]:
    scenario = {**SMALL, **keys}
    if playing is not None:
        scenario |= {"processor": playing.processor, "jobs": {"mail": {}}}
    return tasks_of(as_scenario(scenario), seeds_of(1, count), MEASURED, playing)


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        self._run("scheduler", "--port", str(self.port), *common)
        while not self._answers():
            time.sleep(0.05)
        self._run("worker", self.address, "--nworkers", "2", "--nthreads", "1", *common)

    def _run(self, kind: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(self._folder)}
        with (self._folder / f"{kind}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", kind, *arguments],
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    env=environment,
                    start_new_session=True,
                )
            )

    def _answers(self) -> bool:
        assert self._processes[0].poll() is None, (self._folder / "scheduler.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        self._processes.clear()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    made.start()
    yield made
    made.stop()


HANDLERS = (
    SOURCE
    + """
def make_and_die():
    os.kill(os.getpid(), 9)
"""
)


def test_figures_are_the_same_also_when_a_worker_dies(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "on_cluster.py").write_text(HANDLERS.format(flag=tmp_path / "flag"))
    monkeypatch.syspath_prepend(tmp_path)
    with Dask(cluster.address, timeout=60) as executor:
        assert (executor.count, executor.remote) == (2, True)
        wanted = tasks(20)
        assert dict(executor.play(wanted)) == dict(InProcess().play(wanted))
        here = replicate(SMALL, 12, measured=MEASURED, until={"utilisation": "50%"})
        assert replicate(SMALL, 12, measured=MEASURED, until={"utilisation": "50%"}, executor=executor).runs.equals(
            here.runs
        )
        good, once = (tasks(4, Playing(processor=f"on_cluster:{name}")) for name in ("make", "make_and_die_once"))
        assert dict(executor.play(once)) == dict(InProcess().play(good))
        assert (tmp_path / "flag").exists()
        # sent in groups of several, of which one kills
        bad = tasks(1, Playing(processor="on_cluster:make_and_die"))[0]
        many = [*tasks(40, Playing(processor="on_cluster:make")), bad]
        with pytest.raises(WorkerDiedError, match=f"small with seed {bad.seed} "):
            list(executor.play(many))
        with pytest.raises(SendError):
            list(executor.play(tasks_of(as_scenario(SMALL), [1], MEASURED, Playing(shared=lambda: {"sent": 0}))))


def test_a_scheduler_that_restarts_gets_the_tasks_again(cluster: Cluster) -> None:
    wanted = tasks(40, duration="20m")
    with Dask(cluster.address, timeout=60) as executor:
        found = {}
        for place, measured in executor.play(wanted):
            found[place] = measured
            if len(found) == 3:
                restart = threading.Thread(target=lambda: (cluster.stop(), cluster.start()))
                restart.start()
        restart.join()
    assert found == dict(InProcess().play(wanted))


def test_the_command_line_plays_on_a_cluster(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from queuesim.cli.app import app

    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(
        "name: small\nduration: 1m\njobs: {mail: {service: 80ms}}\nload: [{name: users, poisson: 1/s}]\n"
    )
    while not _has_workers(cluster.address):
        time.sleep(0.1)
    options = ["--executor", "dask", "--address", cluster.address, "--replications", "2"]
    for command in (["run", "small.yaml"], ["sweep", "small.yaml", "--set", "load=1,2", "--measure", "throughput"]):
        done = CliRunner().invoke(app, [*command, *options])
        assert done.exit_code == 0, done.output


def _has_workers(address: str) -> bool:
    with contextlib.suppress(ClusterError), Dask(address, timeout=1):
        return True
    return False


def refused(address: str) -> str:
    with pytest.raises(ClusterError) as caught:
        Dask(address, timeout=1)
    return str(caught.value)


def test_a_cluster_that_cannot_be_reached_is_said() -> None:
    assert "can't be reached" in refused("tcp://127.0.0.1:1")
    assert "can't be reached" in refused("nowhere")


def test_a_cluster_without_workers_is_said(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    start: Callable[..., None] = made._run
    start("scheduler", "--port", str(made.port), "--host", "127.0.0.1", "--no-dashboard")
    try:
        while not made._answers():
            time.sleep(0.05)
        assert "no workers" in refused(made.address)
    finally:
        made.stop()
