"""The cache of runs: what is found again, and what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuesim import Processor
from queuesim.experiments import cache as caching
from queuesim.experiments.cache import CacheError, NotCachedWarning, RunCache, key_of
from queuesim.experiments.executor import InProcess, play_all
from queuesim.experiments.replications import replicate
from queuesim.experiments.task import Measured, Playing, Task, play, tasks_of
from queuesim.scenario.loading import as_scenario

SMALL: dict[str, Any] = {
    "name": "small",
    "duration": "1m",
    "workers": {"concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": "500ms"}}},
    "load": [{"name": "users", "poisson": "3/s"}],
}
MEASURED = ("waiting.p95", "utilisation")


def tasks(count: int = 1, playing: Playing | None = None, **keys: Any) -> list[Task]:
    given = {"processor": "given:processor"} if playing is not None else {}
    return tasks_of(as_scenario({**given, **SMALL, **keys}), range(count), MEASURED, playing)


class Counting(InProcess):
    """Counts what it plays."""

    played = 0

    def play(self, tasks: Any) -> Iterator[tuple[int, Measured]]:
        for found in super().play(tasks):
            self.played += 1
            yield found


def test_what_was_measured_is_not_played_again(tmp_path: Path) -> None:
    executor, wanted = Counting(), tasks(4)
    with RunCache(tmp_path) as cache:
        first = play_all(wanted[:2], executor, cache)
    with RunCache(tmp_path) as cache:
        told: list[int] = []
        second = play_all(wanted, executor, cache, told.append)
        assert cache.found == 2
    assert executor.played == 4
    assert second[:2] == first
    assert second == play_all(wanted, InProcess())
    assert told == [2, 3, 4]


def test_an_interrupted_experiment_goes_on(tmp_path: Path) -> None:
    class Interrupted(Counting):
        def play(self, tasks: Any) -> Iterator[tuple[int, Measured]]:
            for found in super().play(tasks):
                yield found
                if self.played == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replicate(SMALL, 8, measured=MEASURED, executor=Interrupted(), cache=tmp_path)
    executor = Counting()
    found = replicate(SMALL, 8, measured=MEASURED, executor=executor, cache=tmp_path)
    assert executor.played == 5
    assert found.runs.equals(replicate(SMALL, 8, measured=MEASURED).runs)


def test_a_key_is_of_all_that_figures_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (same,) = tasks()
    others = [
        tasks(2)[1],
        tasks(duration="2m")[0],
        tasks(thresholds=["lost == 0"])[0],
        tasks(jobs={"mail": {"service": {"exponential": "501ms"}}})[0],
        tasks_of(as_scenario(SMALL), [0], ("waiting.p95",))[0],
        tasks_of(as_scenario(SMALL), [0], MEASURED, Playing(shuffle=True))[0],
        tasks_of(as_scenario(SMALL), [0], MEASURED, Playing(backend="fakeredis"))[0],
    ]
    keys = [key_of(task) for task in (same, *others)]
    assert len(set(keys)) == len(keys)
    # neither of how the scenario is written, nor of its own seed
    assert key_of(tasks(description="words", seed=9, queue={"attempts": 1})[0]) == keys[0]
    monkeypatch.setattr(caching, "source_version", lambda: "another")
    caching._code.cache_clear()
    assert key_of(same) != keys[0]
    caching._code.cache_clear()


def test_a_key_is_of_the_contents_of_the_scenarios_files(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    load = [{"name": "recorded", "trace": {"file": str(trace)}}]
    keys = []
    for text in ("name,added_ms\nmail,5\n", "name,added_ms\nmail,6\n", "name,added_ms\nmail,5\n"):
        trace.write_text(text)
        (task,) = tasks(load=load)
        keys.append(key_of(task))
        # the run sees the new file, too
        assert play(task).jobs == 1
    assert keys[0] == keys[2] != keys[1]


MODULE = """\
from queuesim import Processor
from {helper} import TIME

def make():
    processor = Processor("mail", concurrency=2)

    @processor.job("mail")
    async def mail(job):
        import asyncio
        await asyncio.sleep(TIME)

    return processor
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "cached_handlers.py").write_text(MODULE.format(helper="cached_helper"))
    (folder / "cached_helper.py").write_text("TIME = 0.1\n")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("cached_handlers", "cached_helper"):
        sys.modules.pop(name, None)


def test_a_key_is_of_the_source_of_own_code(own: Path) -> None:
    def key() -> str | None:
        return key_of(tasks(playing=Playing(processor="cached_handlers:make"), jobs={"mail": {}})[0])

    first = key()
    assert first is not None
    assert key() == first
    # a module that the processor's module imports
    (own / "cached_helper.py").write_text("TIME = 0.25\n")
    assert key() != first
    (own / "cached_helper.py").write_text("TIME = 0.1\n")
    assert key() == first


def test_own_code_without_a_module_is_not_cached_and_that_is_said(tmp_path: Path) -> None:
    processor = Processor("mail")

    @processor.job("mail")
    async def mail(job: object) -> None: ...

    executor = Counting()
    for _ in range(2):
        with pytest.warns(NotCachedWarning, match="module:attribute"):
            replicate(
                {**SMALL, "jobs": {}, "load": [{"name": "users", "poisson": "3/s", "jobs": {"mail": 1}}]},
                2,
                measured=MEASURED,
                processor=processor,
                executor=executor,
                cache=tmp_path,
            )
    assert executor.played == 4


def test_runs_that_look_outside_are_not_cached() -> None:
    with pytest.warns(NotCachedWarning, match="allow_io"):
        assert key_of(tasks_of(as_scenario({**SMALL, "allow_io": True}), [0], MEASURED)[0]) is None


def test_a_cache_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError):
        RunCache(tmp_path / "file")
    (tmp_path / "runs.sqlite").write_text("this is no database, and long enough to look at" * 100)
    with pytest.raises(CacheError):
        RunCache(tmp_path)


def test_a_damaged_row_is_said(tmp_path: Path) -> None:
    (task,) = tasks()
    with RunCache(tmp_path) as cache:
        cache.put(task, play(task))
        cache._database.execute("UPDATE runs SET measured = '{}'")
        with pytest.raises(CacheError, match=r"runs\.sqlite"):
            cache.get(task)
