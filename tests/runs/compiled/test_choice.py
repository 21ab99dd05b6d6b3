"""Which engine plays, why, and what of it is shown and stored."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numba.core.errors import NumbaError

import queuesim
from queuesim.results.engines import TEXTS, EngineKind, NotCompiled
from queuesim.results.recording import StopReason
from queuesim.results.views import digest
from queuesim.runs import choice
from queuesim.runs.choice import EngineError
from queuesim.runs.compiled import engine as compiled_engine
from queuesim.runs.compiled import kernel
from queuesim.runs.compiled.reasons import UnplayableError
from queuesim.runs.trace import Tracer

LOGGER = logging.getLogger("queuesim")


def scenario(**changes: Any) -> dict[str, Any]:
    """A small scenario that the compiled engine plays."""
    return {
        "name": "plain",
        "duration": 30.0,
        "jobs": {"a": {"service": {"constant": 0.5}}},
        "load": [{"name": "even", "constant": 1.0}],
        **changes,
    }


def job(**changes: Any) -> dict[str, Any]:
    """The scenario with another type of job."""
    return scenario(jobs={"a": {"service": {"constant": 0.5}, **changes}})


@pytest.fixture(autouse=True)
def small_runs_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here does not depend on how many jobs a run has."""
    monkeypatch.setattr(choice, "SMALL", 0)


def test_the_compiled_engine_is_chosen_by_itself() -> None:
    facts = queuesim.run(scenario()).facts
    assert (facts.engine, facts.not_compiled) == (EngineKind.COMPILED, None)


def test_a_small_run_is_left_to_the_virtual_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SMALL", 31)
    assert queuesim.run(scenario()).facts.not_compiled is NotCompiled.SMALL
    assert queuesim.run(scenario(), engine="compiled").facts.engine is EngineKind.COMPILED


def test_the_virtual_loop_can_be_asked_for() -> None:
    facts = queuesim.run(scenario(), engine="virtual").facts
    assert (facts.engine, facts.not_compiled) == (EngineKind.VIRTUAL, NotCompiled.ASKED)


UNPLAYED = {
    NotCompiled.FAULTS: scenario(faults=[{"worker.crash": {"at": 5.0}}]),
    NotCompiled.ORDER: scenario(order="random"),
    NotCompiled.CALENDAR: scenario(calendar=True),
    NotCompiled.BLOCKING: job(blocking={"constant": 0.1}),
    NotCompiled.ABORT: scenario(thresholds=[{"latency": "p95 < 30s", "abort": True}]),
    NotCompiled.TICK: scenario(overhead={"tick": 0.1}),
    NotCompiled.LOCKS: scenario(workers={"lock_duration": 1.0, "lock_renew": 2.0}),
    NotCompiled.SLOW_TIMEOUT: {**job(timeout=2.0), "overhead": {"attempt": 0.1}},
    NotCompiled.RETENTION_BY_AGE: scenario(queue={"keep": {"completed": {"age": 10.0}}}),
    # what the run itself shows
    NotCompiled.ATTEMPTS: {**job(errors={"network": 1.0}, service=0.001), "queue": {"attempts": 1100}},
    NotCompiled.LONG_DRAIN: {**job(delay=172_800.0), "drain": True},
    NotCompiled.STANDSTILL: scenario(overhead={"pickup": 50.0}, drain=0.5),
}


@pytest.mark.parametrize("why", UNPLAYED, ids=str)
def test_the_virtual_loop_plays_the_rest(why: NotCompiled) -> None:
    facts = queuesim.run(UNPLAYED[why]).facts
    assert (facts.engine, facts.not_compiled) == (EngineKind.VIRTUAL, why)
    with pytest.raises(UnplayableError) as caught:
        queuesim.run(UNPLAYED[why], engine="compiled")
    assert caught.value.reason is why


def test_handlers_invariants_tracers_and_other_backends_need_the_virtual_loop() -> None:
    processor = queuesim.Processor()

    @processor.job("a")
    async def handle(job: queuesim.Job) -> None: ...

    found = [
        queuesim.run(scenario(), processor=processor),
        queuesim.run(scenario(), invariants=[lambda: True]),
        queuesim.run(scenario(), shuffle=True),
        queuesim.run(scenario(), tracer=Tracer()),
        queuesim.run(scenario(), backend="fakeredis"),
    ]
    assert [result.facts.not_compiled for result in found] == [
        NotCompiled.PROCESSOR,
        NotCompiled.INVARIANTS,
        NotCompiled.ORDER,
        NotCompiled.TRACER,
        NotCompiled.BACKEND,
    ]


def test_every_reason_has_a_text() -> None:
    assert set(TEXTS) == set(NotCompiled)


@pytest.mark.parametrize("backend", ["sim", "redis"])
def test_an_engine_that_there_is_not_is_refused(backend: str) -> None:
    with pytest.raises(EngineError):
        queuesim.run(scenario(), backend, engine="steam" if backend == "sim" else "compiled")


def test_without_numba_the_virtual_loop_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert queuesim.run(scenario()).facts.not_compiled is NotCompiled.NO_NUMBA


def test_where_numba_fails_the_virtual_loop_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise NumbaError("no")

    monkeypatch.setattr(kernel, "play", fail)
    result = queuesim.run(scenario())
    assert result.facts.not_compiled is NotCompiled.BROKEN_NUMBA
    assert len(result.jobs) == 30


def test_facts_are_stored_and_shown(tmp_path: Path) -> None:
    result = queuesim.run(scenario(), engine="virtual")
    result.to_parquet(tmp_path)
    again = queuesim.load(tmp_path)
    assert (again.facts.engine, again.facts.not_compiled) == (EngineKind.VIRTUAL, NotCompiled.ASKED)
    assert digest.engine(again) == f"virtual engine: {NotCompiled.ASKED.text}"
    assert NotCompiled.ASKED.text in result.to_html()


def test_results_of_other_versions_are_read(tmp_path: Path) -> None:
    queuesim.run(scenario()).to_parquet(tmp_path)
    path = tmp_path / "facts.json"
    text = json.loads(path.read_text())
    del text["sha256"], text["facts"]["engine"]
    text["facts"]["not_compiled"] = "a reason of later days"
    path.write_text(json.dumps(text))
    facts = queuesim.load(tmp_path).facts
    assert (facts.engine, facts.not_compiled) == (None, None)


def test_progress_is_reported_and_ctrl_c_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_engine, "STEPS", 100)
    seen: list[tuple[float, int]] = []

    def progress(time: float, ended: int) -> None:
        seen.append((time, ended))
        if time > 500.0:
            signal.raise_signal(signal.SIGINT)

    result = queuesim.run(scenario(duration=2000.0), progress=progress)
    assert result.facts.engine is EngineKind.COMPILED
    assert result.facts.stopped is not None
    assert result.facts.stopped.reason is StopReason.INTERRUPTED
    assert 500.0 < result.facts.duration < 1000.0
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert 0 < seen[-1][1] <= len(result.jobs)


PLAY = """
import logging, queuesim
logging.basicConfig(format="%(message)s")
print(queuesim.run({scenario!r}, engine="compiled").facts.engine)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_use_says_that_it_compiles_and_the_next_finds_it_compiled(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PLAY.format(scenario=scenario())],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        )
        assert done.stdout == "compiled\n"
        texts.append(done.stderr)
    assert texts[0].count("compiling") == 1
    assert texts[1] == ""
