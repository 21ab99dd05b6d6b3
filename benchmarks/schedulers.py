"""Random job schedulers, with the same disturbances on every broker: none may stop, run a tick twice, or differ.

    python -m benchmarks.schedulers -o reports/schedulers.md
    python -m benchmarks.schedulers --schedulers 100 --ticks 50 --fake 20 --real 0

Each scheduler has a random interval or cron line, offset, time zone, calendar origin, start moment and rule for missed
ticks. It is picked up in time or late, is upserted anew as by a deploy, and its worker dies between the start of a job
and the next tick. In virtual time memory and fakeredis play the same; intervals are also compared with whole numbers
here that know nothing of `queuesim.core.scheduler`. In real time workers on Redis run beside BullMQ's on Node, with
the same rules; what either skipped because a worker came too late for it is counted, and not as a difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.sections import write_section

from queuesim import Processor, Queue, Worker
from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.fake import FakeServer
from queuesim.brokers.redis.server import connect
from queuesim.core.broker import Broker, Completed, Terms
from queuesim.core.clock import set_clock
from queuesim.core.job import Deduplication, Job, JobOptions, Keep
from queuesim.core.scheduler import Cron, Every, Missed, Scheduler, advance, upsert, whole_ms

HERE = Path(__file__).parent
Runs = dict[str, list[tuple[int, int]]]
"""Of each scheduler the ticks that ran, and when each was started, in ms since the epoch."""
QUEUE, ID = "ticks", "s"
LOCK = 30.0
TERMS = Terms(LOCK)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Auckland")
LINES = (
    "* * * * *", "*/7 * * * *", "30 */3 * * *", "0 9 * * 1-5", "15 2 * * *", "30 1 * * 0", "0 0 1 * *", "0 0 29 2 *",
    "*/13 * * * * *", "5 30 4 * * *", "0 12 L * *",
)  # fmt: skip
EPOCH = 1_735_689_600.0
"""2025-01-01."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at one tick."""

    late: float = 0.0
    """Seconds after it was due that a worker takes it."""
    deploy: bool = False
    """Before that the scheduler is upserted once more."""
    crash: bool = False
    """The worker dies between the start and the next tick, and the job stalls."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One scheduler and all that happens to it."""

    scheduler: Scheduler
    origin: float
    moment: float
    steps: Sequence[Step]


@dataclass(slots=True)
class Played:
    """The ticks that ran, in ms since the epoch, and when each was started."""

    ticks: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stopped: str = ""


def draw(rng: random.Random, ticks: int) -> Plan:
    """A random scheduler."""
    origin = rng.choice((0.0, EPOCH, EPOCH + round(rng.uniform(0, 4e7), 3), EPOCH + rng.uniform(0, 4e7)))
    moment = rng.choice((0.0, float(rng.randrange(100_000)), round(rng.uniform(0, 1e5), 3), rng.uniform(0, 1e5)))
    schedule = _schedule(rng, origin)
    deduplication = Deduplication("d", ttl=rng.choice((None, 1.0, 1e6))) if rng.random() < 0.2 else None
    options = JobOptions(attempts=rng.randrange(4), keep_completed=Keep(0), deduplication=deduplication)
    start = moment + round(rng.uniform(0, 1e4), 3) if rng.random() < 0.1 else None
    missed = rng.choice(list(Missed))
    scheduler = Scheduler(ID, schedule, "tick", "{}", options, missed, start=start)
    return Plan(scheduler, origin, moment, [_step(rng, schedule) for _ in range(ticks)])


def _schedule(rng: random.Random, origin: float) -> Cron | Every:
    if rng.random() < 0.15:
        return Cron(rng.choice(LINES), rng.choice(ZONES), origin)
    interval = rng.choice((rng.randrange(1, 1000), rng.randrange(1, 100_000), 1000 * rng.randrange(1, 100_000)))
    offset = None if rng.random() < 0.5 else rng.randrange(interval) / 1000
    return Every(interval / 1000, offset, origin)


def _step(rng: random.Random, schedule: Cron | Every) -> Step:
    chance = rng.random()
    if chance < 0.85:
        return Step()
    length = schedule.seconds if isinstance(schedule, Every) else 3600.0
    late = rng.choice((0.001, 0.0004, length, rng.uniform(0, 5 * length)))
    return Step(late, deploy=chance > 0.95, crash=0.90 < chance < 0.95)


async def play(broker: Broker, plan: Plan, clock: list[float]) -> Played:
    """Play a plan on a broker: what workers ask of it, at chosen times. `clock` holds the time."""
    clock[0] = plan.moment
    await upsert(broker, plan.scheduler, plan.moment)
    played, origin, taken = Played(), plan.origin, 0
    for step in plan.steps:
        present = await broker.scheduler(ID)
        if present is None or present.due is None:
            played.stopped = "there is no scheduler"
            return played
        clock[0] = max(clock[0], present.due) + step.late
        if step.deploy:
            await upsert(broker, plan.scheduler, clock[0])
            # a cron line's late tick is skipped by that
            present = await broker.scheduler(ID)
            assert present is not None
            assert present.due is not None
            clock[0] = max(clock[0], present.due)
        for again in (True, False) if step.crash else (False,):
            taken += 1
            reply = await broker.exchange([], 1, TERMS, f"t{taken}", clock[0])
            if not reply.jobs:
                played.stopped = f"no job at {clock[0]}, though one is due at {present.due}"
                return played
            if again:
                for _ in range(2):
                    clock[0] += 2 * LOCK
                    await broker.recover_stalled(LOCK, 1000, clock[0])
        (job,) = reply.jobs
        due = (await broker.scheduler(ID)).due  # type: ignore[union-attr]
        played.ticks.append(whole_ms(due, origin))  # type: ignore[arg-type]
        played.starts.append(whole_ms(clock[0], origin))
        await advance(broker, job, clock[0])
        await broker.exchange([Completed(job.id, job.token)], 0, TERMS, f"t{taken}", clock[0])
    return played


def faults(plan: Plan, played: Played) -> list[str]:
    """What is wrong with ticks by themselves."""
    found = [f"stopped after {len(played.ticks)} ticks: {played.stopped}"] if played.stopped else []
    for before, after in zip(played.ticks, played.ticks[1:], strict=False):
        if after <= before:
            found.append(f"doubled: {after} comes after {before}")
    if isinstance(plan.scheduler.schedule, Every):
        found += _faults_of_interval(plan, played)
    return found


def _faults_of_interval(plan: Plan, played: Played) -> list[str]:
    """In whole numbers: each tick is the next one, or where that was missed what the rule for missed ticks says."""
    interval, found = round(plan.scheduler.schedule.seconds * 1000), []  # type: ignore[union-attr]
    for n, (tick, start) in enumerate(zip(played.ticks, played.starts, strict=True)):
        if n + 1 == len(played.ticks):
            break
        expected = tick + interval
        if plan.scheduler.missed is not Missed.ALL and expected < start:
            latest = tick + (start - tick) // interval * interval
            expected = latest if plan.scheduler.missed is Missed.LATEST else latest + interval
        if played.ticks[n + 1] != expected:
            found.append(f"after {tick}, started at {start}: {played.ticks[n + 1]}, not {expected}")
    return found


async def play_memory(plan: Plan) -> Played:
    """On a queue in memory."""
    return await play(MemoryBroker(QUEUE), plan, [0.0])


async def play_fake(plan: Plan) -> Played:
    """On fakeredis."""
    clock = [0.0]
    place = FakeServer(lambda: clock[0])
    try:
        return await play(RedisBroker(QUEUE, place, origin=plan.origin), plan, clock)
    finally:
        await place.close()


@dataclass(slots=True)
class Figures:
    """What came out."""

    schedulers: int = 0
    ticks: int = 0
    stopped: int = 0
    doubled: int = 0
    differing: int = 0
    late: int = 0
    """Ticks that were skipped since the one before was started too late."""
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember an example."""
        if len(self.notes) < 10:
            self.notes.append(text)


def virtual(seed: int, schedulers: int, ticks: int, fake: int, fake_ticks: int) -> tuple[Figures, Figures]:
    """In virtual time: all on memory, and the first `fake` of them on fakeredis, too, for their first `fake_ticks`."""
    memory, redis = Figures(), Figures()

    async def program() -> None:
        for n in range(schedulers):
            plan = draw(random.Random(f"{seed}/{n}"), ticks)
            played = await play_memory(plan)
            _count(memory, f"scheduler {n}", plan, played)
            if n < fake:
                short = Plan(plan.scheduler, plan.origin, plan.moment, plan.steps[:fake_ticks])
                other = await play_fake(short)
                _count(redis, f"scheduler {n} on fakeredis", short, other)
                if (other.ticks, other.starts) != (played.ticks[:fake_ticks], played.starts[:fake_ticks]):
                    redis.differing += 1
                    redis.note(f"scheduler {n} ({plan.scheduler.schedule}) differs on fakeredis")

    asyncio.run(program())
    return memory, redis


def _count(figures: Figures, name: str, plan: Plan, played: Played) -> None:
    figures.schedulers += 1
    figures.ticks += len(played.ticks)
    found = faults(plan, played)
    figures.stopped += bool(played.stopped)
    figures.doubled += any(fault.startswith("doubled") for fault in found)
    figures.differing += any(fault.startswith("after") for fault in found)
    for fault in found[:1]:
        figures.note(f"{name} ({plan.scheduler.schedule}): {fault}")


# -- in real time


def rules_of(seed: int, count: int) -> dict[str, dict[str, Any]]:
    """Rules as upsertJobScheduler takes them. Intervals have an offset: without one they begin when they are made."""
    rng = random.Random(f"{seed}/rules")
    rules: dict[str, dict[str, Any]] = {}
    for n in range(count):
        if rng.random() < 0.2:
            rules[f"s{n}"] = {"pattern": f"*/{rng.randrange(1, 5)} * * * * *", "tz": rng.choice(ZONES)}
        else:
            every = rng.randrange(400, 4000)
            rules[f"s{n}"] = {"every": every, "offset": rng.randrange(1, every)}
    return rules


async def _ours(url: str, rules: dict[str, dict[str, Any]], seconds: float) -> Runs:
    set_clock(time.time)
    place = await connect(url)
    ticks: Runs = {scheduler_id: [] for scheduler_id in rules}
    processor = Processor("ours", concurrency=50, keep_completed=Keep(0))

    @processor.job("tick")
    async def tick(job: Job) -> None:
        _, scheduler_id, due = job.id.split(":")
        ticks[scheduler_id].append((int(due), int(time.time() * 1000)))

    workers = [Worker(processor, RedisBroker("ours", place), name=f"w{n}", clock=time.time) for n in range(2)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    queue = Queue(RedisBroker("ours", place))
    for scheduler_id, rule in rules.items():
        cron = "pattern" in rule
        schedule = Cron(rule["pattern"], rule["tz"]) if cron else Every(rule["every"] / 1000, rule["offset"] / 1000)
        await queue.upsert_scheduler(scheduler_id, schedule, "tick")
    await asyncio.sleep(seconds)
    for worker in workers:
        await worker.close()
    await asyncio.gather(*running)
    await place.close()
    return ticks


def real(seed: int, schedulers: int, seconds: float) -> tuple[Figures, Figures]:
    """Our workers and Node's at the same time, on one server. A tick that one of them was late for is not compared."""
    rules = rules_of(seed, schedulers)
    with EmbeddedServer(port=0) as server:
        command = ["node", str(HERE / "contenders" / "schedulers_node.mjs"), server.tcp_url, str(seconds)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdin is not None
            node.stdin.write(json.dumps(rules))
            node.stdin.close()
            ours = asyncio.run(_ours(server.tcp_url, rules, seconds))
            assert node.stdout is not None
            theirs = json.loads(node.stdout.readline())
    return _compared(rules, ours, theirs), _compared(rules, theirs, theirs)


def _compared(rules: dict[str, dict[str, Any]], ours: Runs, theirs: Runs) -> Figures:
    figures = Figures(len(rules), sum(map(len, ours.values())))
    both = [(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True) if a and b]
    first = max(max(a[0][0], b[0][0]) for a, b in both)
    last = min(min(a[-1][0], b[-1][0]) for a, b in both)
    for scheduler_id, rule in rules.items():
        mine, others = ours[scheduler_id], theirs[scheduler_id]
        ticks = [{tick for tick, _ in runs if first <= tick <= last} for runs in (mine, others)]
        name = f"{scheduler_id} {rule}"
        if not mine or mine[-1][0] < last - 2 * rule.get("every", 5000):
            figures.stopped += 1
            figures.note(f"{name} stopped")
        if len({tick for tick, _ in mine}) < len(mine):
            figures.doubled += 1
            figures.note(f"{name} doubled")
        lacking = [(tick, mine) for tick in ticks[1] - ticks[0]] + [(tick, others) for tick in ticks[0] - ticks[1]]
        unexcused = [tick for tick, runs in lacking if not _was_late(tick, runs)]
        figures.late += len(lacking) - len(unexcused)
        if unexcused:
            figures.differing += 1
            figures.note(f"{name}: only one has {sorted(unexcused)[:5]}")
    return figures


def _was_late(tick: int, runs: list[tuple[int, int]]) -> bool:
    """Whether the tick before this one was started after this one was due, which skips it."""
    return any(before < tick < started for before, started in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedulers", type=int, default=10_000, help="in virtual time, in memory")
    parser.add_argument("--ticks", type=int, default=1000)
    parser.add_argument("--fake", type=int, default=10_000, help="how many of them on fakeredis, too")
    parser.add_argument("--fake-ticks", type=int, default=1000)
    parser.add_argument("--real", type=int, default=200, help="in real time on Redis, beside Node; 0: none")
    parser.add_argument("--seconds", type=float, default=60.0, help="of real time")
    parser.add_argument("-o", "--output", type=Path, help="the report")
    args = parser.parse_args()
    began = time.perf_counter()
    memory, fake = virtual(args.seed, args.schedulers, args.ticks, args.fake, args.fake_ticks)
    rows = {"memory": memory, "fakeredis": fake}
    if args.real:
        rows["Redis, real time"], rows["Node, real time"] = real(args.seed, args.real, args.seconds)
    text = (
        "| where | schedulers | ticks | stopped | doubled | differing | skipped because late |\n" + "|---" * 7 + "|\n"
    )
    for where, f in rows.items():
        text += f"| {where} | {f.schedulers} | {f.ticks} | {f.stopped} | {f.doubled} | {f.differing} | {f.late} |\n"
    text += f"\n`python -m benchmarks.schedulers {shlex.join(sys.argv[1:])}`\n"
    text += f"\nSeed {args.seed}; {time.perf_counter() - began:.0f} s on {os.cpu_count()} cores.\n"
    for where, f in rows.items():
        text += "".join(f"\n- {where}: {note}" for note in f.notes)
    print(text)
    if args.output:
        title = "# Job schedulers\n\nRandom job schedulers run with the same disturbances on every broker.\n"
        write_section(args.output, "Stopped, doubled, differing", text, title)


if __name__ == "__main__":
    main()
