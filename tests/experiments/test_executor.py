"""Executors: the same figures wherever runs are played, processes that die, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dyinghandlers import SOURCE

from queuesim import Processor
from queuesim.experiments.executor import InProcess, Processes, TaskError, WorkerDiedError, executor_for
from queuesim.experiments.figures import check_figure
from queuesim.experiments.task import (
    Measured,
    Playing,
    SendError,
    Task,
    document_of,
    fast,
    play,
    seeds_of,
)
from queuesim.scenario.loading import as_scenario
from queuesim.scenario.model import BackendError
from queuesim.scenario.processors import FactoryError

SMALL: dict[str, Any] = {
    "name": "small",
    "duration": "5m",
    "warmup": "30s",
    "workers": {"concurrency": 2},
    "queue": {"attempts": 3, "backoff": {"type": "exponential", "delay": "1s"}},
    "jobs": {"mail": {"service": {"exponential": "500ms"}, "errors": {"network": 0.1}}},
    "load": [{"name": "steady", "poisson": "3/s"}],
    "faults": [{"worker.crash": {"at": "1m"}}],
    "thresholds": ["latency.p95 < 3s", "lost == 0"],
}
MEASURED = ("latency.p95", "waiting.mean", "utilisation", "drained", "stalled")
OWN = {key: value for key, value in SMALL.items() if key != "faults"} | {"jobs": {"mail": {}}}


def tasks(scenario: dict[str, Any], count: int, **options: Any) -> list[Task]:
    chosen = as_scenario({"processor": "given:processor", **scenario} if options.get("playing") else scenario)
    return [Task(document_of(chosen), "", "", seed, MEASURED, **options) for seed in seeds_of(1, count)]


@pytest.fixture
def two() -> Iterator[Processes]:
    with Processes(2) as executor:
        yield executor


def test_figures_are_the_same_in_this_process_and_in_others(two: Processes) -> None:
    wanted = tasks(SMALL, 5)
    here = dict(InProcess().play(wanted))
    assert dict(two.play(wanted)) == here
    assert sorted(here) == [0, 1, 2, 3, 4]
    assert len({found.figures["waiting.mean"] for found in here.values()}) == 5
    # the processes stay for what comes next
    assert dict(two.play(wanted[:1])) == {0: here[0]}


def test_the_compiled_engine_measures_the_same() -> None:
    scenario = {key: value for key, value in SMALL.items() if key != "faults"}
    (slow,) = tasks(scenario, 1)
    (quick,) = tasks(scenario, 1, fast=True)
    found, same = play(slow), play(quick)
    assert (found.engine, same.engine) == ("virtual", "compiled")
    assert found == same
    # what it can't play is played by the virtual loop
    assert play(tasks(SMALL, 1, fast=True)[0]).engine == "virtual"


def test_many_small_runs_are_compiled_and_few_are_not() -> None:
    scenario = as_scenario(SMALL)  # 900 jobs
    assert fast(scenario, 100)
    assert not fast(scenario, 5)


def test_what_was_measured_survives_json() -> None:
    found = play(tasks({**SMALL, "load": [{"name": "none", "bulk": {"size": 1, "at": "1s"}}]}, 1)[0])
    assert found.figures["waiting.mean"] != found.figures["waiting.mean"]  # the only job is of the warm-up
    assert Measured.from_json(found.as_json()) == found


def test_seeds_are_the_same_however_many_are_wanted() -> None:
    assert seeds_of(7, 3) == seeds_of(7, 10)[:3]
    assert len(set(seeds_of(7, 1000)) | set(seeds_of(8, 1000))) == 2000


MODULE = (
    SOURCE
    + """
def make_and_die():
    os._exit(7)

def fail():
    raise RuntimeError("no such store")

def vanish():
    class Local(Exception):
        pass
    raise Local("can't be sent")
"""
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "own_handlers.py").write_text(MODULE.format(flag=tmp_path / "flag"))
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_handlers"
    sys.modules.pop("own_handlers", None)


def test_own_handlers_are_sent_by_reference(module: str, two: Processes) -> None:
    by_name = tasks(OWN, 3, playing=Playing(processor=f"{module}:make"))
    here = dict(InProcess().play(by_name))
    assert here[0].jobs > 500
    assert dict(two.play(by_name)) == here
    import own_handlers  # type: ignore[import-not-found]

    assert dict(two.play(tasks(OWN, 3, playing=Playing(processor=own_handlers.make)))) == here


def test_what_cannot_be_sent_is_refused_before_anything_is_played(two: Processes) -> None:
    for playing, name in (
        (Playing(processor=lambda: Processor("mail")), "processor"),
        (Playing(processor=Processor("mail")), "processor"),
        (Playing(shared=lambda: {"sent": 0}), "shared"),
        (Playing(invariants=[lambda: True]), "invariants"),
    ):
        with pytest.raises(SendError, match=f"^{name}, .*module:attribute"):
            list(two.play(tasks(OWN, 1, playing=playing)))
    # a function that is found by its name can be sent
    Playing(shared=dict).check_sendable()


def test_a_task_whose_process_died_is_played_again(module: str, two: Processes) -> None:
    wanted = tasks(OWN, 4, playing=Playing(processor=f"{module}:make_and_die_once"))
    found = dict(two.play(wanted))
    assert found == dict(InProcess().play(tasks(OWN, 4, playing=Playing(processor=f"{module}:make"))))


def test_a_task_that_kills_each_process_is_named(module: str, two: Processes) -> None:
    good, bad = (tasks(OWN, 3, playing=Playing(processor=f"{module}:{name}")) for name in ("make", "make_and_die"))
    with pytest.raises(WorkerDiedError, match=rf"small with seed {bad[1].seed} .*2 times.*code 7"):
        list(two.play([good[0], bad[1], good[2]]))
    # it is of use again
    assert len(list(two.play(good))) == 3


def test_errors_come_back(module: str, two: Processes) -> None:
    with pytest.raises(FactoryError, match="no such store"):
        list(two.play(tasks(OWN, 1, playing=Playing(processor=f"{module}:fail"))))
    with pytest.raises((FactoryError, TaskError), match="can't be sent"):
        list(two.play(tasks(OWN, 1, playing=Playing(processor=f"{module}:vanish"))))


def test_an_executor_is_given_by_a_number_of_processes(two: Processes) -> None:
    with executor_for(None) as here:
        assert (here.count, here.remote) == (1, False)
    with executor_for(3) as others:
        assert (others.count, others.remote) == (3, True)
    with executor_for(two) as same:
        assert same is two
    with pytest.raises(ValueError, match="not 0"), executor_for(0):
        pass


def test_what_cannot_be_measured_or_played_is_refused() -> None:
    for name in ("drained", "drained@60", "latency.p95", "lost"):
        check_figure(name)
    with pytest.raises(ValueError, match="latency"):
        check_figure("latancy.p95")
    with pytest.raises(BackendError):
        Playing(backend="redis")


SCRIPT = """\
import sys
from queuesim.experiments.executor import Processes
from queuesim.experiments.task import Task, document_of
from queuesim.scenario.loading import as_scenario
scenario = as_scenario({
    "name": "long", "duration": "100h", "workers": {"concurrency": 5},
    "jobs": {"mail": {"service": "100ms"}}, "load": [{"name": "steady", "poisson": "30/s"}],
    "faults": [{"worker.crash": {"at": "1m"}}],
})
# without a guard: what the processes are started for must not run this again
executor = Processes(2)
tasks = [Task(document_of(scenario), "", "", seed, ()) for seed in range(10)]
executor._dispatch(tasks, __import__("collections").deque(range(2)))
print(*(worker.process.pid for worker in executor._workers), flush=True)
for worker in executor._workers:
    worker.place = None
    worker.connection.send(tasks[0])
list(executor.play(tasks))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_all_processes_at_once_and_none_of_them_says_a_word(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
