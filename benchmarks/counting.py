"""Campaigns of kills that are judged by counting: lines that handlers appended to a file, and what the server lists.

Producers add good jobs by the package and, in between, hostile ones as another program would. Worker processes or the
server are killed by SIGKILL meanwhile. The package's recorder and its oracles take no part.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.damage import VALUES, Damage, damages, write_job
from benchmarks.workers import SERVERS, UNFINISHED, Line, Work, Workers, lines, places

QUEUE = "count"
BASE = f"bull:{QUEUE}:"
HOSTILE = 200
"""One job in so many is hostile."""
RATE = 75.0
"""Jobs a second."""
WORKERS, SLOTS = 4, 5
PATIENCE = 180.0
"""Seconds that all jobs may take to end after the last was added."""
STORED = 1.0
"""Seconds in which an outcome that a handler gave is stored, if the server is there."""
CATCH_UP = 0.5
"""Seconds in which workers reach a server that is back."""
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is killed, when, and how workers are set."""

    fault: str
    """`kills` of workers or `restarts` of the server."""
    moments: Sequence[float]
    """Seconds after the first job was added."""
    duration: float
    """Seconds in which jobs are added."""
    lock: float
    interval: float
    down: float
    """Seconds until the successor or the server is started."""
    seed: int = 1


@dataclass
class Counts:
    """What a campaign came to."""

    server: str = ""
    faults: int = 0
    struck: int = 0
    """Kills of workers that ran jobs."""
    seconds: float = 0.0
    away: float = 0.0
    """Longest time without a server, in seconds; see `longest_away`."""
    added: int = 0
    """Good jobs whose add was acknowledged."""
    again: int = 0
    """Adds that were made again, for the answer got lost, and found the job there."""
    ran: int = 0
    runs: int = 0
    cut: int = 0
    """Runs without an end, in a process that was killed."""
    hostile: int = 0
    hostile_ended: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    """Where the hostile jobs are in the end."""
    said_twice: int = 0
    """Good jobs whose handler came to its end twice: killed, or cut off from the server, before that was stored."""
    lost: list[str] = field(default_factory=list)
    """Good jobs whose handler never came to its end, or that the server does not have as completed."""
    twice: list[str] = field(default_factory=list)
    """Jobs that the server said twice to have completed."""
    stateless: list[str] = field(default_factory=list)
    two_states: list[str] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)
    """Good jobs that ran once more than errors and kills explain, or ended otherwise than well."""
    deaths: int = 0
    """Worker processes that ended by themselves."""
    left: int = 0
    """Jobs that wait or run when the patience is over."""

    @property
    def troubles(self) -> list[str]:
        """Everything that must not be, a line each."""
        found = [*self.lost, *self.twice, *self.stateless, *self.two_states, *self.disturbed]
        if self.hostile_ended != self.hostile:
            found.append(f"{self.hostile - self.hostile_ended} hostile jobs did not end")
        if self.deaths:
            found.append(f"{self.deaths} workers ended by themselves")
        if self.left:
            found.append(f"{self.left} jobs are left")
        return found


def count(plan: Plan, server: str) -> Counts:
    """Play a campaign on a kind of server and count."""
    from queuesim.brokers.redis.embedded import EmbeddedServer

    with ExitStack() as stack:
        embedded = stack.enter_context(
            EmbeddedServer(SERVERS[server], options=DURABLE if plan.fault == "restarts" else None)
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work = Work(embedded.url, str(folder / "ran"), QUEUE, SLOTS, plan.lock, plan.interval, max_stalled=1000)
        workers = Workers(work, WORKERS, spares=3 if plan.fault == "kills" else 0)
        stack.callback(workers.close)
        campaign = Campaign(plan, embedded, workers)
        asyncio.run(campaign.play())
        counts = judged(campaign.done, lines(folder / "ran"), embedded.url)
        counts.server, counts.deaths = server, workers.deaths
        if counts.troubles:
            print(workers.log())
        return counts


@dataclass
class Done:
    """What a campaign itself has done."""

    good: list[str] = field(default_factory=list)
    """Jobs whose add was acknowledged."""
    hostile: dict[str, Damage] = field(default_factory=dict)
    again: int = 0
    killed: dict[int, float] = field(default_factory=dict)
    """When each worker process was killed, by its id."""
    downs: list[tuple[float, float]] = field(default_factory=list)
    """When the server was away."""
    seconds: float = 0.0


class Campaign:
    """One run: adds jobs, kills, waits until all have ended."""

    def __init__(self, plan: Plan, server: Any, workers: Workers) -> None:
        self.done = Done(killed=workers.killed)
        self._plan = plan
        self._server = server
        self._workers = workers
        self._rng = random.Random(f"{plan.seed}/{plan.fault}")
        self._begun = 0.0

    async def play(self) -> None:
        """All of it."""
        from redis.asyncio import Redis

        from queuesim import Queue
        from queuesim.brokers.redis.broker import RedisBroker
        from queuesim.brokers.redis.server import connect

        async with AsyncExitStack() as stack:
            place = await connect(self._server.url)
            stack.push_async_callback(place.close)
            queue = Queue(RedisBroker(QUEUE, place))
            client = await stack.enter_async_context(Redis.from_url(self._server.url))
            # every completion is to be found in the stream
            await client.hset(BASE + "meta", "opts.maxLenEvents", 10_000_000)
            await self._all_work()
            self._begun = time.time()
            faults = asyncio.create_task(self._strike())
            await self._produce(queue, client)
            await faults
            await self._end(client)
            self.done.seconds = time.time() - self._begun

    async def _all_work(self) -> None:
        """Return when all workers have begun."""
        while not self._workers.all_work():
            self._workers.look()
            await asyncio.sleep(0.1)

    # -- adding

    async def _produce(self, queue: Any, client: Any) -> None:
        everything = list(damages(VALUES))
        moment, number = 0.0, 0
        async with asyncio.TaskGroup() as adds:
            while (moment := moment + self._rng.expovariate(RATE)) < self._plan.duration:
                await asyncio.sleep(max(self._begun + moment - time.time(), 0.0))
                number += 1
                if self._rng.random() < 1 / HOSTILE:
                    adds.create_task(self._add_hostile(client, f"h{number}", self._rng.choice(everything)))
                else:
                    adds.create_task(self._add_good(queue, f"g{number}"))

    async def _add_good(self, queue: Any, job_id: str) -> None:
        """Until the answer is there. The id is the job's own: added again, it is found."""
        from queuesim import Backoff
        from queuesim.core.errors import BrokerUnavailableError

        while True:
            try:
                added = await queue.add("job", {"x": 1}, job_id=job_id, attempts=5, backoff=Backoff("exponential", 0.1))
            except BrokerUnavailableError:
                await asyncio.sleep(0.05)
                continue
            self.done.good.append(job_id)
            self.done.again += not added.added
            return

    async def _add_hostile(self, client: Any, job_id: str, damage: Damage) -> None:
        """As another program would; a mark in the same transaction tells whether one whose answer got lost was made."""
        from redis.exceptions import RedisError

        mark = f"added:{job_id}"
        while True:
            try:
                if not await client.exists(mark):
                    async with client.pipeline(transaction=True) as pipe:
                        write_job(pipe, BASE, job_id, damage.type, damage)
                        pipe.set(mark, 1)
                        pipe.zadd(BASE + "marker", {"0": 0})
                        await pipe.execute()
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
                continue
            self.done.hostile[job_id] = damage
            return

    # -- killing

    async def _strike(self) -> None:
        for moment in self._plan.moments:
            await asyncio.sleep(max(self._begun + moment - time.time(), 0.0))
            self._workers.look()
            await (self._kill() if self._plan.fault == "kills" else self._restart())

    async def _kill(self) -> None:
        await self._all_work()
        index = self._rng.randrange(WORKERS)
        self._workers.kill(index)
        await asyncio.sleep(self._plan.down)
        self._workers.replace(index)

    async def _restart(self) -> None:
        begun = time.time()
        await asyncio.to_thread(self._server.crash)
        await asyncio.sleep(self._plan.down)
        await asyncio.to_thread(self._server.start)
        self.done.downs.append((begun, time.time()))

    async def _end(self, client: Any) -> None:
        """Return when no job waits or runs, or the patience is over."""
        deadline = time.monotonic() + PATIENCE
        while await self._unfinished(client) and time.monotonic() < deadline:
            self._workers.look()
            await asyncio.sleep(0.1)

    async def _unfinished(self, client: Any) -> int:
        async with client.pipeline(transaction=True) as pipe:
            for name in UNFINISHED:
                (pipe.llen if name in ("wait", "active", "paused") else pipe.zcard)(BASE + name)
            return sum(await pipe.execute())


# -- counting


def judged(done: Done, told: Sequence[Line], url: str) -> Counts:
    """What the file and the server say of a campaign."""
    from redis import Redis

    with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape") as client:
        where = places(client, BASE)
        completed = Counter(
            fields["jobId"] for _, fields in client.xrange(BASE + "events") if fields["event"] == "completed"
        )
        kept = {job_id for job_id in done.hostile if client.exists(BASE + job_id)}
    counts = Counts(
        faults=len(done.killed) or len(done.downs),
        seconds=done.seconds,
        away=longest_away(done.downs),
        added=len(done.good),
        again=done.again,
        hostile=len(done.hostile),
        left=sum(bool(set(names) & set(UNFINISHED)) for names in where.values()),
        twice=[f"{job_id} completed {n} times" for job_id, n in completed.items() if n > 1],
    )
    _count_runs(counts, done, told)
    _count_ends(counts, done, told, where)
    _count_states(counts, done, where, kept)
    return counts


def longest_away(downs: Sequence[tuple[float, float]]) -> float:
    """The longest time in which the server was away, or there for less than `CATCH_UP` seconds at a time."""
    longest, since, until = 0.0, 0.0, float("-inf")
    for begun, ended in downs:
        since = begun if begun - until >= CATCH_UP else since
        until = ended
        longest = max(longest, until - since)
    return longest


def _count_runs(counts: Counts, done: Done, told: Sequence[Line]) -> None:
    good = set(done.good)
    attempts: dict[str, list[list[Line]]] = defaultdict(list)
    for line in told:
        if line.job in good and line.what == "run":
            attempts[line.job].append([line])
        elif line.job in good:
            # of the last run in its process: no process runs a job twice at a time
            next(run for run in reversed(attempts[line.job]) if run[0].pid == line.pid).append(line)
    all_runs = [run for of_job in attempts.values() for run in of_job]
    cut = [run for run in all_runs if len(run) == 1 and run[0].pid in done.killed]
    counts.ran, counts.runs, counts.cut = len(attempts), len(all_runs), len(cut)
    counts.struck = len({run[0].pid for run in cut})
    for job_id, of_job in attempts.items():
        unexplained = [run for run in of_job[:-1] if not _explains_another(run, done)]
        counts.disturbed += [f"{job_id} ran again after {run}" for run in unexplained]


def _explains_another(run: Sequence[Line], done: Done) -> bool:
    """Whether a job has to run again after this run: an error, or a kill before its outcome was stored."""
    last = run[-1]
    killed = done.killed.get(last.pid)
    if last.what == "error" or (killed is not None and (last.what == "run" or killed - last.time < STORED)):
        return True
    return any(begun - STORED < last.time < ended for begun, ended in done.downs)


def _count_ends(counts: Counts, done: Done, told: Sequence[Line], where: dict[str, list[str]]) -> None:
    ended = Counter(line.job for line in told if line.what == "end")
    for job_id in done.good:
        counts.said_twice += ended[job_id] > 1
        places_of_it = where.get(job_id)
        if places_of_it == ["failed"]:
            counts.disturbed.append(f"{job_id} failed")
        elif not ended[job_id] or "completed" not in (places_of_it or ()):
            counts.lost.append(
                f"{job_id}: its handler ended {ended[job_id]} times, the server has the job in {places_of_it}"
            )


def _count_states(counts: Counts, done: Done, where: dict[str, list[str]], kept: set[str]) -> None:
    for job_id in (*done.good, *done.hostile):
        names = where.get(job_id, [])
        if len(names) > 1:
            counts.two_states.append(f"{job_id} is in {names}")
        # its own options may have a hostile job removed when it ends
        gone = not names and job_id in done.hostile and job_id not in kept
        if not names and not gone:
            counts.stateless.append(f"{job_id} is in no state")
        if job_id in done.hostile:
            counts.fates["removed" if gone else ", ".join(names) or "no state"] += 1
            counts.hostile_ended += gone or names in (["completed"], ["failed"])


ROWS = {
    "faults": lambda each: each.faults,
    "of these, while the worker ran jobs": lambda each: each.struck,
    "seconds": lambda each: each.seconds,
    "longest time without a server, or with one for less than 0.5 s at a time, in s": lambda each: each.away,
    "good jobs added": lambda each: each.added,
    "adds made again, for the answer got lost, that found the job there": lambda each: each.again,
    "good jobs that ran": lambda each: each.ran,
    "runs of them": lambda each: each.runs,
    "runs cut off": lambda each: each.cut,
    "good jobs whose handler ended twice, as the first end could not be stored": lambda each: each.said_twice,
    "hostile jobs added": lambda each: each.hostile,
    "hostile: completed": lambda each: each.fates["completed"],
    "hostile: failed": lambda each: each.fates["failed"],
    "hostile: removed by their own options": lambda each: each.fates["removed"],
    "**lost**": lambda each: len(each.lost),
    "**completed twice**": lambda each: len(each.twice),
    "**in no state**": lambda each: len(each.stateless),
    "**in two states**": lambda each: len(each.two_states),
    "**hostile jobs that did not end**": lambda each: each.hostile - each.hostile_ended,
    "**good jobs disturbed**": lambda each: len(each.disturbed),
    "**workers that ended by themselves**": lambda each: each.deaths,
    "**left at the end**": lambda each: each.left,
}


LONGEST = "longest time"


def table(found: Sequence[Counts], *, of_workers: bool) -> str:
    """The figures of a campaign, a column a server."""
    head = "| | " + " | ".join(each.server for each in found) + " |\n|---|" + "---:|" * len(found)
    rows = [
        f"| {name} | " + " | ".join(f"{value(each):,.{1 if name.startswith(LONGEST) else 0}f}" for each in found) + " |"
        for name, value in ROWS.items()
        if not name.startswith((LONGEST,) if of_workers else ("of these", "runs cut"))
    ]
    return "\n".join([head, *rows])
