"""The search against handlers with bugs that users really write, and against correct ones.

    python -m benchmarks.userbugs -o reports/search.md
    python -m benchmarks.userbugs --examples 200 --correct 500      # a quick look, printed only

Each handler says what must hold. A bug is found when that is violated; the correct handlers, of different styles, must
survive. Each find is replayed in a fresh process by the command that it prints.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from platform import python_version
from typing import Any

import yaml
from benchmarks.sections import write_section

from queuesim import Backoff, DelayedError, Job, JobOptions, Processor, UnrecoverableError, always, at_end
from queuesim.runs.invariants import as_invariants, at_most_once, conserved, done_if_completed, exactly_once, in_order
from queuesim.runs.run import GIVEN, run
from queuesim.runs.trace import Tracer
from queuesim.scenario.processors import ProcessorFactory
from queuesim.testing.search import Account, Space, usual_kinds
from queuesim.testing.shrinking import is_scenario
from queuesim.testing.surviving import DidNotSurviveError, assert_survives

TITLE = "# Search\n\nHandlers with bugs that users write, and correct ones, under `assert_survives`.\n"


class Store:
    """What outlives processes: a database, say."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.begun: set[str] = set()
        self.done: set[str] = set()
        self.told: set[str] = set()
        self.log: list[tuple[str, int]] = []
        self.rows: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self.counts: Counter[str] = Counter()
        self.balances = {"a": 1000, "b": 1000}
        self.number = 0
        self.version = 0
        self.mixed: list[str] = []
        self.locks: dict[str, str] = {}


Make = Callable[[Store], Processor]


def q(**rules: Any) -> Processor:
    rules.setdefault("concurrency", 5)
    return Processor("q", defaults=JobOptions(attempts=3, backoff=Backoff("fixed", delay=1.0)), **rules)


# -- bugs


def charges_again(store: Store) -> Processor:
    """A charge, then a receipt that may fail: the retry charges again."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.1)
        store.effects.append(job.id)
        await asyncio.sleep(0.1)

    return p


def acknowledges_before_the_work(store: Store) -> Processor:
    """Hands the work to a background task, and returns."""
    p, tasks = q(), set()

    @p.job("a")
    async def a(job: Job) -> None:
        async def work() -> None:
            await asyncio.sleep(3.0)
            store.done.add(job.id)

        tasks.add(asyncio.create_task(work()))

    return p


def forgets_to_await(store: Store) -> Processor:
    p = q()

    async def save(job: str) -> None:
        await asyncio.sleep(0.1)
        store.done.add(job)

    @p.job("a")
    async def a(job: Job) -> None:
        save(job.id)  # type: ignore[unused-coroutine]

    return p


def marks_before_the_work(store: Store) -> Processor:
    """The store says "seen" before the work is done: the retry does nothing, and completes."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        if job.id in store.begun:
            return
        store.begun.add(job.id)
        await asyncio.sleep(0.3)
        store.done.add(job.id)

    return p


def checks_then_acts(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        user = str(job.number % 3)
        if user not in store.rows:
            await asyncio.sleep(0.05)
            store.rows[user] = {}
            store.effects.append(user)

    return p


def counts_across_a_yield(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.1)
        before = store.number
        await asyncio.sleep(0)
        store.number = before + 1
        store.effects.append(job.id)

    return p


def loses_updates(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        key = str(job.number % 2)
        row = dict(store.rows[key])
        await asyncio.sleep(0.04)
        store.rows[key] = {**row, job.id: 1}
        store.counts[key] += 1 - (job.id in row)

    return p


def swallows_errors(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        try:
            await asyncio.sleep(0.1)
            store.done.add(job.id)
        except Exception:  # noqa: BLE001 - that is the bug
            return

    return p


def postpones_for_ever(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.05)
        store.counts[job.id] += 1
        if job.number % 30 == 7:
            raise DelayedError(1.0)

    return p


def commits_then_tells(store: Store) -> Processor:
    """A crash between the two: the retry sees the commit, and returns."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        if job.id in store.done:
            return
        await asyncio.sleep(0.1)
        store.done.add(job.id)
        await asyncio.sleep(0.1)
        store.told.add(job.id)

    return p


def writes_without_a_fence(store: Store) -> Processor:
    """An attempt whose lock is gone writes over a later one."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        me = job.attempts_started
        await asyncio.sleep(2.0)
        store.log.append((job.id, me))

    return p


def locks_in_its_process(store: Store) -> Processor:
    """The lock is one of the process; the storage is shared by all."""
    p, lock = q(), asyncio.Lock()

    @p.job("a")
    async def a(job: Job) -> None:
        async with lock:
            before = store.number
            await asyncio.sleep(0.05)
            store.number = before + 1
            store.effects.append(job.id)

    return p


def remembers_in_its_process(store: Store) -> Processor:
    p, seen = q(), set()

    @p.job("a")
    async def a(job: Job) -> None:
        if job.id not in seen:
            seen.add(job.id)
            store.effects.append(job.id)
        await asyncio.sleep(0.5)

    return p


def leaks_a_slot(store: Store) -> Processor:
    """Takes one of two connections, and gives it back unless something fails in between."""
    p, pool = q(), asyncio.Semaphore(2)

    @p.job("a")
    async def a(job: Job) -> None:
        await pool.acquire()
        await asyncio.sleep(0.1)
        pool.release()

    return p


def flushes_in_batches(store: Store) -> Processor:
    p, buffer = q(), []

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.05)
        buffer.append(job.id)
        if len(buffer) >= 5:
            store.done.update(buffer)
            buffer.clear()

    return p


def swallows_cancellation(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        try:
            await asyncio.sleep(0.2)
            store.done.add(job.id)
        except asyncio.CancelledError:
            return

    return p


def handles_keys_out_of_order(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.1 if job.number % 2 else 0.3)
        store.log.append(("account", job.number))

    return p


def moves_in_two_steps(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        store.balances["a"] -= 1
        await asyncio.sleep(0.1)
        store.balances["b"] += 1

    return p


def tells_then_commits(store: Store) -> Processor:
    """The mail is sent, and then the transaction fails for good."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        store.told.add(job.id)
        await asyncio.sleep(0.1)
        store.done.add(job.id)

    return p


def trusts_attempts_made(store: Store) -> Processor:
    """Only a first attempt charges; but one that was cut off is not counted."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        if job.attempts_made == 0:
            store.effects.append(job.id)
        await asyncio.sleep(0.5)

    return p


def shields_its_work(store: Store) -> Processor:
    """The work goes on after its time is up, and the retry does it again."""
    p, tasks = q(), set()

    @p.job("a", timeout=1.0)
    async def a(job: Job) -> None:
        async def work() -> None:
            await asyncio.sleep(1.5 if job.attempts_made == 0 and job.number % 4 == 0 else 0.2)
            store.effects.append(job.id)

        task = asyncio.create_task(work())
        tasks.add(task)
        await asyncio.shield(task)

    return p


def trusts_the_wall_clock(store: Store) -> Processor:
    """Reserves until a time of day, which the clock may pass at once, and sells to the next."""
    p = q()

    @p.job("reserve")
    async def reserve(job: Job) -> None:
        seat = f"seat {job.number % 3}"
        if store.rows["until"].get(seat, 0) > time.time():
            return
        store.rows["until"][seat] = int(time.time()) + 3600
        store.effects.append(f"{seat} at {asyncio.get_running_loop().time() // 3600}")
        await asyncio.sleep(0.1)

    return p


def races_in_threads(store: Store) -> Processor:
    """Reads in the loop and writes in a thread."""
    p = q()

    @p.job("count")
    async def count(job: Job) -> None:
        number = store.number
        await asyncio.to_thread(setattr, store, "number", number + 1)
        store.done.add(job.id)

    return p


def sends_before_it_is_acknowledged(store: Store) -> Processor:
    """Is right unless a finished job is delivered once more."""
    p = q()

    @p.job("send")
    async def send(job: Job) -> None:
        await asyncio.sleep(0.1)
        store.effects.append(job.id)

    return p


def shares_a_global(store: Store) -> Processor:
    """The present customer is a variable of the module; jobs run side by side."""
    p = q()
    present = {"job": ""}

    @p.job("a")
    async def a(job: Job) -> None:
        present["job"] = job.id
        await asyncio.sleep(0.1)
        if present["job"] != job.id:
            store.mixed.append(f"job {job.id} wrote as job {present['job']}")

    return p


COUNTED = always(lambda s: s.number == len(s.effects), "the count is right")
BUGS: dict[str, tuple[Make, Any]] = {
    "charges again": (charges_again, at_most_once(lambda s: s.effects)),
    "acknowledges before the work": (acknowledges_before_the_work, done_if_completed(lambda s: s.done)),
    "forgets to await": (forgets_to_await, done_if_completed(lambda s: s.done)),
    "marks before the work": (marks_before_the_work, done_if_completed(lambda s: s.done)),
    "checks, then acts": (checks_then_acts, at_most_once(lambda s: s.effects)),
    "counts across a yield": (
        counts_across_a_yield,
        always(lambda s: s.number == len(s.effects), "the count is right"),
    ),
    "loses updates": (
        loses_updates,
        at_end(lambda s: all(len(s.rows[key]) >= n for key, n in s.counts.items()), "no update is lost"),
    ),
    "swallows errors": (swallows_errors, done_if_completed(lambda s: s.done)),
    "postpones for ever": (postpones_for_ever, always(lambda s: max(s.counts.values()) < 100, "no job runs for ever")),
    "commits, then tells": (commits_then_tells, done_if_completed(lambda s: s.told)),
    "writes without a fence": (writes_without_a_fence, in_order(lambda s: s.log)),
    "locks in its process": (locks_in_its_process, COUNTED),
    "remembers in its process": (remembers_in_its_process, at_most_once(lambda s: s.effects)),
    "leaks a slot": (leaks_a_slot, None),
    "flushes in batches": (flushes_in_batches, at_end(lambda s, run: set(run.completed) <= s.done, "all is flushed")),
    "swallows cancellation": (swallows_cancellation, done_if_completed(lambda s: s.done)),
    "handles keys out of order": (handles_keys_out_of_order, in_order(lambda s: s.log)),
    "moves in two steps": (moves_in_two_steps, conserved(lambda s: sum(s.balances.values()), 2000)),
    "tells, then commits": (tells_then_commits, at_end(lambda s, run: not s.told & set(run.failed), "no false news")),
    "trusts attempts made": (trusts_attempts_made, at_most_once(lambda s: s.effects)),
    "shields its work": (shields_its_work, at_most_once(lambda s: s.effects)),
    "trusts the wall clock": (trusts_the_wall_clock, at_most_once(lambda s: s.effects)),
    "races in threads": (races_in_threads, at_end(lambda s: s.number >= len(s.done), "no count is lost")),
    "sends before it is acknowledged": (sends_before_it_is_acknowledged, at_most_once(lambda s: s.effects)),
    "shares a global": (shares_a_global, always(lambda s: s.mixed, "nobody writes as another")),
}

# -- correct ones


def idempotent(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.1)
        if job.id not in store.done:
            store.done.add(job.id)
            store.effects.append(job.id)
        await asyncio.sleep(0.1)

    return p


def upserts(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.05)
        store.rows["all"][job.id] = job.number
        store.done.add(job.id)

    return p


def fenced(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        me = job.attempts_started
        await asyncio.sleep(2.0)
        if store.counts[job.id] <= me:
            store.counts[job.id] = me
            store.log.append((job.id, me))

    return p


def compares_and_swaps(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        while True:
            seen = store.version
            rows = {**store.rows["all"], job.id: 1}
            await asyncio.sleep(0.01)
            if store.version == seen:
                store.version, store.rows["all"] = seen + 1, rows
                store.done.add(job.id)
                return

    return p


def outbox(store: Store) -> Processor:
    """One transaction for the change and the message; both are told again by whoever comes later."""
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.1)
        store.done.add(job.id)
        store.begun.add(job.id)
        await asyncio.sleep(0.1)
        store.told |= store.begun & store.done

    return p


def with_a_semaphore(store: Store) -> Processor:
    p, pool = q(), asyncio.Semaphore(2)

    @p.job("a")
    async def a(job: Job) -> None:
        async with pool:
            await asyncio.sleep(0.1)
            store.done.add(job.id)

    return p


class WithState:
    """A class with a cache of its own, which a killed process loses without harm."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.cache: dict[str, int] = {}
        self.processor = q()
        self.processor.job("a")(self.handle)

    async def handle(self, job: Job) -> int:
        if job.id not in self.cache:
            await asyncio.sleep(0.1)
            self.cache[job.id] = job.number
        self.store.done.add(job.id)
        return self.cache[job.id]


def in_a_thread(store: Store) -> Processor:
    p = q()

    @p.job("a")
    def a(job: Job) -> None:
        store.done.add(job.id)

    return p


def gives_up_on_bad_data(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        await asyncio.sleep(0.05)
        if job.number % 5 == 0:
            raise UnrecoverableError("no such customer")
        store.done.add(job.id)

    return p


PRESENT: ContextVar[str] = ContextVar("present")


def keeps_its_context(store: Store) -> Processor:
    p = q()

    @p.job("a")
    async def a(job: Job) -> None:
        PRESENT.set(job.id)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(asyncio.sleep(0.05))
        if PRESENT.get() != job.id:
            store.mixed.append(job.id)
        store.done.add(job.id)

    return p


DONE = done_if_completed(lambda s: s.done)
CORRECT: dict[str, tuple[Make | type[WithState], Any]] = {
    "idempotent": (idempotent, [exactly_once(lambda s: s.effects), DONE]),
    "upserts": (upserts, [DONE, at_most_once(lambda s: list(s.rows["all"]))]),
    "fenced": (fenced, in_order(lambda s: s.log)),
    "compares and swaps": (compares_and_swaps, at_end(lambda s: s.done <= set(s.rows["all"]), "no update is lost")),
    "outbox": (outbox, done_if_completed(lambda s: s.told)),
    "with a semaphore": (with_a_semaphore, DONE),
    "a class with state": (WithState, DONE),
    "an ordinary function": (in_a_thread, DONE),
    "gives up on bad data": (gives_up_on_bad_data, DONE),
    "keeps its context": (keeps_its_context, [DONE, always(lambda s: s.mixed, "nobody writes as another")]),
}


class Named:
    """The functions of all invariants, under names by which another process finds them."""


def _name_invariants() -> None:
    for bug, (_, given) in {**BUGS, **CORRECT}.items():
        for number, invariant in enumerate(as_invariants(given)):
            key = f"{re.sub(r'[^a-z]+', '_', bug)}_{number}"
            invariant.check.__module__, invariant.check.__qualname__ = __name__, f"Named.{key}"
            setattr(Named, key, staticmethod(invariant.check))


_name_invariants()

# -- the report


def hunt(name: str, examples: int, directory: Path) -> str:
    """A row for one bug: whether it was found, how soon, how small, and whether its file replays."""
    make, invariant = BUGS[name]
    began = time.process_time()
    try:
        account = assert_survives(make, shared=Store, invariant=invariant, examples=examples, directory=directory)
    except DidNotSurviveError as error:
        found = time.process_time() - began
        saved = yaml.safe_load(error.path.read_text())
        number = next(line for line in str(error).splitlines() if line.startswith("found by example"))
        size = sum(entry.get("bulk", {}).get("size", 0) for entry in saved["load"])
        jobs = f"{size}" if size else "a steady load"
        workers = saved.get("workers", {})
        workers = workers[0] if isinstance(workers, list) else workers
        replays = replay(str(error).splitlines()[-1])
        return (
            f"| {name} | {number.split()[3].rstrip(',')} | {found:.1f} | {jobs} | {len(saved.get('faults', []))} "
            f"| {workers.get('count', 1)} | {'yes' if replays else 'NO'} |"
        )
    return f"| {name} | not in {account.examples} | {time.process_time() - began:.1f} | | | | |"


def replay(line: str) -> bool:
    """Whether the command at the end of a find's message fails in a fresh process as well."""
    words = shlex.split(line.removeprefix("replay: "))
    assert words[:2] == ["queuesim", "run"], line
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--quiet"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.returncode == 1


def spare(name: str, examples: int, directory: Path) -> str:
    """A row for one correct handler."""
    make, invariant = CORRECT[name]
    began = time.process_time()
    try:
        account = assert_survives(
            make, shared=Store, invariant=invariant, examples=examples, budget=None, directory=directory
        )
    except DidNotSurviveError as error:
        return f"| {name} | FOUND: {str(error).splitlines()[0]} | |"
    seconds = time.process_time() - began
    return f"| {name} | {account.examples:,} | {account.examples / seconds:.0f} |"


WITHOUT, INVARIANTS, ALL = "neither", "invariants", "invariants and coverage"


def overhead(examples: int) -> dict[str, float]:
    """Examples per second of a correct handler, by what is done beside playing."""
    make, invariant = CORRECT["idempotent"]
    factory, space = ProcessorFactory(make, Store), Space({"charge": {}}, 60.0, usual_kinds(), {"processor": GIVEN})
    rng, drawn = random.Random(1), []
    while len(drawn) < examples:
        example = space.draw(rng, None)
        if is_scenario(example):
            drawn.append(example)
    rates = dict.fromkeys((WITHOUT, INVARIANTS, ALL), 0.0)
    for _ in range(3):
        for what in rates:
            account, began = Account(), time.process_time()
            for example in drawn:
                tracer = Tracer() if what == ALL else None
                run(example, processor=factory, invariants=None if what == WITHOUT else invariant, tracer=tracer)
                if tracer is not None and tracer.recording is not None:
                    account.add(example, tracer.recording, tracer)
            rates[what] = max(rates[what], examples / (time.process_time() - began))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000, help="for each bug, at most, and 60 s")
    parser.add_argument("--correct", type=int, default=1000, help="for each correct handler")
    parser.add_argument("--overhead", type=int, default=200, help="examples with and without coverage and invariants")
    parser.add_argument("-o", "--output", type=Path, help="the report")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        bugs = "| bug | found by example | seconds | jobs | faults | workers | replays |\n" + "|---" * 7 + "|\n"
        for name in BUGS:
            bugs += hunt(name, args.examples, Path(place)) + "\n"
            print(bugs.splitlines()[-1], flush=True)
        spared = "| correct handler | examples | examples per second |\n|---|---:|---:|\n"
        for name in CORRECT:
            spared += spare(name, args.correct, Path(place)) + "\n"
            print(spared.splitlines()[-1], flush=True)
    cost = "| beside playing | examples per second |\n|---|---:|\n"
    cost += "".join(f"| {what} | {rate:.0f} |\n" for what, rate in overhead(args.overhead).items())
    print(cost)
    note = f"\nSeconds of processor time, to the find and its smallest form; {os.cpu_count()} cores.\n"
    if args.output:
        write_section(args.output, "Bugs that users write", bugs + note, TITLE)
        write_section(args.output, "Correct handlers", spared, TITLE)
        write_section(args.output, "Cost of coverage and invariants", cost, TITLE)
        command = f"Made by `python -m benchmarks.userbugs {shlex.join(sys.argv[1:])}` with Python {python_version()}."
        write_section(args.output, "Command", command, TITLE)


if __name__ == "__main__":
    # by its importable name, so that another process finds what its finds refer to
    from benchmarks import userbugs

    userbugs.main()
