"""Invariants: asked after each attempt or at the end, and named in all reports."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import queuesim
from queuesim import Job, Processor
from queuesim.results.recording import StopReason
from queuesim.results.result import Result
from queuesim.results.views.digest import checks
from queuesim.runs.invariants import InvariantError, always, as_invariants, at_end, eventually
from queuesim.scenario.model import BackendError

Store = Counter[str]


def make(store: Store) -> Processor:
    """Counts its attempts; every fifth job is counted twice."""
    processor = Processor("q")

    @processor.job("pay")
    async def pay(job: Job) -> None:
        await asyncio.sleep(0.5)
        store[job.id] += 2 if job.number % 5 == 0 else 1

    return processor


def play(invariants: Any, backend: str = "sim") -> Result:
    scenario = {
        "name": "paid",
        "duration": 20.0,
        "drain": True,
        "jobs": {"pay": {}},
        "load": [{"name": "steady", "constant": 1.0}],
    }
    return queuesim.run(scenario, backend, processor=make, shared=Counter, invariants=invariants)


def once(store: Store) -> list[str]:
    """No job is paid twice.

    Whatever happens.
    """
    return [f"job {job} was paid {count} times" for job, count in store.items() if count > 1]


def row(result: Result, name: str) -> dict[str, Any]:
    return dict(result.checks.set_index("check").loc[name])


def test_a_violation_at_the_end_fails_the_run_in_the_users_words() -> None:
    result = play(once)
    found = row(result, "No job is paid twice")
    assert (found["kind"], found["status"], found["limit"]) == ("invariant", "failed", "at the end")
    assert found["detail"].startswith("job 5 was paid 2 times; job 10 was paid 2 times; job 15 was paid 2 times")
    assert found["at"] == result.facts.duration
    assert not result.ok
    words = "No job is paid twice (at the end): violated at"
    assert words in "\n".join(line.text for line in checks(result))


def test_one_that_must_always_hold_ends_the_run_at_the_attempt_that_violates_it() -> None:
    result = play(always(once))
    found = row(result, "No job is paid twice")
    assert (found["limit"], found["detail"]) == ("always", "job 5 was paid 2 times")
    stopped = result.facts.stopped
    assert stopped is not None
    assert stopped.reason is StopReason.INVARIANT
    fifth = result.attempts.set_index("job").loc[5]
    assert stopped.at == found["at"] == fifth["ended"]
    assert not result.facts.stopped.stuck


def test_one_that_must_hold_once() -> None:
    three, hundred = eventually(lambda store: len(store) == 3), eventually(lambda store: len(store) > 99)
    result = play({"three are paid": three, "a hundred": hundred})
    assert row(result, "three are paid")["status"] == "passed"
    assert row(result, "a hundred")["detail"] == "it does not hold"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [(None, None), (True, None), ("", None), ([], None), (False, "it does not hold"), ("wrong", "wrong"),
     (iter("abcd"), "a; b; c and 1 more"), ({"x"}, "x")],
)  # fmt: skip
def test_what_answers_mean(answer: Any, detail: str | None) -> None:
    found = row(play(at_end(lambda: answer, "mine")), "mine")
    assert found["ok"] == (detail is None)
    assert found["detail"] == (detail or "")


def test_an_assertion_may_fail() -> None:
    def balanced(store: Store, run: Any) -> None:
        assert sum(store.values()) == len(run.completed), f"{sum(store.values())} paid for {len(run.jobs)} jobs"

    def bare() -> None:
        raise AssertionError

    result = play([balanced, bare])
    assert row(result, "balanced")["detail"] == "24 paid for 20 jobs"
    assert re.fullmatch(r"assertion failed: \S+\.py:\d+: raise AssertionError", row(result, "bare")["detail"])


def test_the_run_so_far() -> None:
    seen: list[tuple[float, int, int]] = []

    def note(store: Store, run: Any) -> None:
        seen.append((run.time, len(run.completed), sum(run.attempts.values())))
        if run.result is None:
            with pytest.raises(AttributeError, match="while it goes on; ask for it at_end"):
                _ = run.jobs
        else:
            assert len(run.jobs) == len(run.completed)

    play([always(note), at_end(note)])
    assert [count for _, count, _ in seen[:-2]] == list(range(1, 21))
    assert seen[0] == (1.5, 1, 1)


def test_an_invariant_that_raises_says_where_and_ends_the_run() -> None:
    def broken(store: Store) -> bool:
        return bool(store["x"] / 0)

    for when in (always, at_end):
        with pytest.raises(InvariantError, match=r"'broken' raised ZeroDivisionError: .*\d+: return bool"):
            play(when(broken))
    with pytest.raises(InvariantError, match="'invariant' returned 3: return true, false, a message, or a list"):
        play(lambda: 3)
    with pytest.raises(TypeError, match="an invariant is a function, or always"):
        as_invariants([5])  # type: ignore[list-item]


def test_a_scenario_names_its_invariants(tmp_path: Path) -> None:
    (tmp_path / "paid_module.py").write_text(
        "from collections import Counter as Store\n"
        "from queuesim import Processor\n"
        "def make(store):\n"
        "    processor = Processor('q')\n"
        "    @processor.job('pay')\n"
        "    async def pay(job):\n"
        "        store[job.id] += 1 + (job.number == 3)\n"
        "    return processor\n"
        "def once(store):\n"
        "    return max(store.values(), default=0) <= 1\n"
        "def some(store):\n"
        "    return len(store) > 1\n"
    )
    path = tmp_path / "paid.yaml"
    path.write_text(
        "name: paid\nduration: 20s\ndrain: true\nprocessor: paid_module:make\nshared: paid_module:Store\n"
        "jobs: {pay: {}}\nload: [{name: steady, constant: 1/s}]\n"
        "invariants: [{always: paid_module:once}, {eventually: paid_module:some}, paid_module:some]\n"
    )
    result = queuesim.run(path)
    checks = result.checks[result.checks["kind"] == "invariant"]
    assert checks["check"].tolist() == ["once", "some", "some"]
    assert checks["status"].tolist() == ["failed", "passed", "passed"]
    assert math.isnan(checks["value"].iloc[0])
    assert result.facts.stopped is not None


def test_a_live_run_asks_at_the_end_only() -> None:
    with pytest.raises(BackendError, match="on the backend redis an invariant can only be asked at the end"):
        play(always(once), backend="redis")
