"""The search: finds the bugs that users write, spares handlers without one, and explains what it found."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import queuesim
from queuesim import Backoff, Job, JobOptions, Processor
from queuesim.runs.invariants import always, at_most_once, conserved, done_if_completed, exactly_once, in_order
from queuesim.runs.trace import NOTED, Place, Tracer
from queuesim.scenario.processors import FactoryWarning
from queuesim.testing.search import phases_met
from queuesim.testing.surviving import DidNotSurviveError, assert_survives


def retried(**rules: Any) -> Processor:
    return Processor("q", defaults=JobOptions(attempts=3, backoff=Backoff("fixed", 1.0)), **rules)


class Ledger:
    """What outlives processes."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.done: set[str] = set()
        self.balances = {"a": 100, "b": 100}
        self.log: list[tuple[str, int]] = []
        self.rows: dict[str, int] = {}


def charges_again(ledger: Ledger) -> Processor:
    """Charges, and then does something that may fail; the retry charges again."""
    processor = retried()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        await asyncio.sleep(0.1)
        ledger.effects.append(job.id)
        await asyncio.sleep(0.1)

    return processor


def charges_once(ledger: Ledger) -> Processor:
    """The same, but the ledger knows what was charged."""
    processor = retried()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        await asyncio.sleep(0.1)
        if job.id not in ledger.done:
            ledger.done.add(job.id)
            ledger.effects.append(job.id)
        await asyncio.sleep(0.1)

    return processor


def remembers_in_its_process(ledger: Ledger) -> Processor:
    processor, seen = retried(), set()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        if job.id not in seen:
            seen.add(job.id)
            ledger.effects.append(job.id)
        await asyncio.sleep(0.5)

    return processor


def marks_before_the_work(ledger: Ledger) -> Processor:
    processor, seen = retried(), set()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        if job.id in seen:
            return
        seen.add(job.id)
        await asyncio.sleep(0.3)
        ledger.done.add(job.id)

    return processor


def moves_in_two_steps(ledger: Ledger) -> Processor:
    processor = retried()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        ledger.balances["a"] -= 1
        await asyncio.sleep(0.1)
        ledger.balances["b"] += 1

    return processor


def writes_late(ledger: Ledger) -> Processor:
    """An attempt that lost its lock writes over a later one."""
    processor = retried()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        me = job.attempts_started
        await asyncio.sleep(2.0)
        ledger.log.append((job.id, me))

    return processor


BUGS = {
    "charges again": (charges_again, at_most_once(lambda ledger: ledger.effects)),
    "charges again, exactly": (charges_again, exactly_once(lambda ledger: ledger.effects)),
    "memory of a process": (remembers_in_its_process, at_most_once(lambda ledger: ledger.effects)),
    "marks first": (marks_before_the_work, done_if_completed(lambda ledger: ledger.done)),
    "moves in two steps": (moves_in_two_steps, conserved(lambda ledger: sum(ledger.balances.values()), 200)),
    "zombie": (writes_late, in_order(lambda ledger: ledger.log)),
}


@pytest.mark.parametrize(("make", "invariant"), BUGS.values(), ids=BUGS)
def test_a_bug_is_found_made_small_and_explained(make: Any, invariant: Any, tmp_path: Path) -> None:
    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives(make, shared=Ledger, invariant=invariant, directory=tmp_path, budget=None)
    text = str(caught.value)
    assert text.startswith(f"{invariant.title} ("), "the user's words come first"
    assert re.search(r"what happened:\n(.*\n)? +0s  job \d [(]pay[)] is added", text)
    assert "test_search.py:" in text
    assert "NOT DETERMINISTIC" not in text
    saved = yaml.safe_load(caught.value.path.read_text())
    assert len(saved.get("faults", [])) <= 1
    assert saved["load"] == [{"name": "once", "bulk": {"at": "0s", "size": 1}}] or saved["load"][0]["bulk"]["size"] <= 5
    again = queuesim.run(caught.value.path, processor=make, shared=Ledger, invariants=invariant)
    assert not again.ok


def test_the_correct_handler_survives_and_the_account_says_what_was_tried() -> None:
    account = assert_survives(
        charges_once, shared=Ledger, invariant=at_most_once(lambda ledger: ledger.effects), examples=60, budget=None
    )
    assert account.examples == 60
    text = str(account)
    assert re.search(r"test_search.py:\d+  await asyncio.sleep[(]0.1[)]: failed, lost, ok, retried", text)
    assert re.search(r"\n +struck +waiting +first attempt +between attempts +later attempt +finished\n", text)
    assert re.search(r"\n  await.cancel( +[1-9]\d*){6}\n", text)
    assert {"fifo", "random", "pct-1", "pct-2", "pct-3"} == set(account.orders)


def test_a_find_of_functions_at_the_top_of_a_module_replays_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(
        "import asyncio\nfrom collections import Counter\nfrom queuesim import Job, JobOptions, Processor\n"
        "Store = Counter\n"
        "def make(store):\n"
        "    processor = Processor('shop', defaults=JobOptions(attempts=2))\n"
        "    @processor.job('pay')\n"
        "    async def pay(job: Job):\n"
        "        store[job.id] += 1\n"
        "        await asyncio.sleep(0.1)\n"
        "    return processor\n"
        "class Stock:\n"
        "    pass\n"
        "def once(store):\n"
        "    '''nobody pays twice'''\n"
        "    return [f'job {job} paid {count} times' for job, count in store.items() if count > 1]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import shop  # type: ignore[import-not-found]

    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives("shop:make", shared="shop:Store", invariant=always(shop.once), directory=Path("found"))
    text = str(caught.value)
    assert text.startswith("nobody pays twice (always): violated at ")
    assert text.endswith(f"replay: queuesim run {caught.value.path.as_posix()}")
    found = row_of(queuesim.run(caught.value.path))
    assert (found["check"], found["status"]) == ("nobody pays twice", "failed")


def row_of(result: queuesim.Result) -> dict[str, Any]:
    checks = result.checks
    return dict(checks[checks["kind"] == "invariant"].iloc[0])


def test_awaits_and_types_that_were_never_reached_are_named() -> None:
    def make() -> Processor:
        processor = retried()

        @processor.job("pay")
        async def pay(job: Job) -> None:
            await asyncio.sleep(0.1)
            if job.number > 10**6:
                await asyncio.sleep(0.2)

        @processor.job("refund")
        async def refund(job: Job) -> None:
            await asyncio.sleep(0.1)

        return processor

    account = assert_survives(
        make,
        {"pay": {}, "refund": {"weight": 0}},
        examples=5,
        load=[{"name": "once", "bulk": {"at": 0.0, "size": 3}}],
        budget=None,
    )
    assert [place.code for place in account.awaits_not_reached()] == ["await asyncio.sleep(0.2)"]
    never = str(account).splitlines()[-1]
    assert "jobs of the type refund" in never
    assert "jobs of the type pay" not in never
    assert never.endswith("await asyncio.sleep(0.2)")


@pytest.mark.parametrize(
    ("began", "ended", "phases"),
    [
        (0.5, 0.5, {"waiting"}),
        (1.2, 1.3, {"first attempt"}),
        (1.2, 2.5, {"first attempt", "between attempts"}),
        (2.5, 2.5, {"between attempts"}),
        (3.5, math.inf, {"later attempt", "finished"}),
        (5.0, 5.0, {"finished"}),
    ],
)
def test_a_fault_meets_jobs_in_the_phases_that_they_are_in_meanwhile(
    began: float, ended: float, phases: set[str]
) -> None:
    """One job, added at 0, runs from 1 to 2 and from 3 to 4."""

    def make() -> Processor:
        processor = Processor("q", defaults=JobOptions(attempts=2, backoff=Backoff("fixed", 1.0)))

        @processor.job("pay")
        async def pay(job: Job) -> None:
            await asyncio.sleep(1.0)
            if job.attempts_started == 1:
                raise ConnectionError

        return processor

    tracer = Tracer()
    load = [{"name": "once", "bulk": {"at": 0.0, "size": 1}}]
    scenario = {"name": "one", "duration": 10.0, "jobs": {"pay": {"delay": 1.0}}, "load": load}
    queuesim.run(scenario, processor=make, tracer=tracer)
    assert tracer.recording is not None
    assert set(phases_met(tracer.recording, began, ended)) == phases


# -- what goes wrong with a search


def test_a_handler_that_draws_by_itself_is_reported_as_not_deterministic(tmp_path: Path) -> None:
    drawn = itertools.count()

    def make() -> Processor:
        processor = retried()

        @processor.job("pay")
        async def pay(job: Job) -> None:
            await asyncio.sleep(0.1 + random.Random(next(drawn)).random())

        return processor

    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives(make, invariant=lambda: False, directory=tmp_path, budget=None)
    text = str(caught.value)
    assert "NOT DETERMINISTIC: two runs of this scenario differ in row " in text
    assert "Likely causes: random without a stream of its own" in text


def test_a_handler_that_never_awaits_is_named() -> None:
    def make() -> Processor:
        processor = retried()

        @processor.job("pay")
        async def pay(job: Job) -> None:
            return None

        return processor

    text = str(assert_survives(make, examples=10, budget=None))
    assert "none: the handlers never await, so that nothing can happen in the middle of them" in text
    assert "never reached: " in text


def test_an_endless_handler_ends_with_the_budget() -> None:
    def make() -> Processor:
        processor = retried(concurrency=5)

        @processor.job("pay")
        async def pay(job: Job) -> None:
            for _ in itertools.count():
                await asyncio.sleep(0.001)

        return processor

    account = assert_survives(make, examples=10, budget=1.0, drain=1e6, duration=60.0, faults=["redis.latency"])
    assert account.cut == 1
    assert account.examples < 10


@pytest.mark.parametrize("wrong", [{"budget": 0}, {"examples": 0}, {"duration": -1.0}])
def test_nothing_to_search_with_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be above 0, not .*: the search could play nothing"):
        assert_survives(charges_once, shared=Ledger, **wrong)


def test_the_search_goes_on_with_a_factory_that_returns_the_same_object_twice() -> None:
    processor = charges_once(Ledger())
    with pytest.warns(FactoryWarning, match="returned the same Processor twice"):
        account = assert_survives(lambda: processor, examples=20, budget=None)
    assert account.examples == 20


def test_the_search_goes_on_with_a_store_that_is_not_made_anew() -> None:
    ledger = Ledger()
    with pytest.warns(FactoryWarning, match="returned the same Ledger for two runs"):
        account = assert_survives(charges_once, shared=lambda: ledger, examples=20, budget=None)
    assert account.examples == 20
    assert Counter(ledger.effects)


def test_the_first_awaits_of_an_attempt_are_noted_and_all_are_counted() -> None:
    """A handler that polls for ever would hold up the search: noting takes longer than the await."""
    tracer = Tracer()

    def make() -> Processor:
        processor = Processor("shop")

        @processor.job("pay")
        async def pay(job: Job) -> None:
            for _ in range(NOTED + 100):
                await asyncio.sleep(0)

        return processor

    scenario = {
        "name": "s",
        "duration": 5.0,
        "jobs": {"pay": {}},
        "load": [{"name": "l", "bulk": {"at": 0.0, "size": 2}}],
    }
    queuesim.run(scenario, processor=make, tracer=tracer)
    assert len(tracer.steps) == 2 * NOTED
    assert {step.number for step in tracer.steps} == {1, 2}
    assert tracer.awaits == 2 * (NOTED + 100)


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("/work/shop.py", "shop.py:7"),
        ("/tmp/ipykernel_4711/1673550782.py", "cell:7"),
        ("<ipython-input-3-5c2ab>", "cell:7"),
    ],
)
def test_a_line_of_a_notebook_is_said_to_be_in_a_cell(file: str, shown: str) -> None:
    """The names of the files that a kernel makes of cells say nothing."""
    assert str(Place(file, 7)) == shown
