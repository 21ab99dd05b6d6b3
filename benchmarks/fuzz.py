"""Hostile jobs under real worker processes on real servers: each field of a job's hash is set to each wrong value.

    python -m benchmarks.fuzz -o reports/fuzz.md
    python -m benchmarks.fuzz --servers redis-7.0 --values 5      # a quick look, printed only

Each hostile job stands between good ones, so that they are taken in one exchange and end in another. What ran is
counted in a file to which handlers append, and where a job is by the lists of the server; the package judges nothing.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.damage import FIELDS, FOREIGN, KEYS, VALUES, Damage, damages, write_job
from benchmarks.sections import write_section
from benchmarks.workers import LISTS, SERVERS, Work, Workers, places, runs

AT_ONCE = 200
"""Hostile jobs of one wave, and as many good ones."""
WORKERS = 2
QUEUE = "fuzz"
PATIENCE = 240.0
"""Seconds that a wave may take to end."""


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


# -- the campaign


class Campaign:
    """Waves of hostile jobs on one server."""

    def __init__(self, server: str, client: Any, out: Path) -> None:
        self.findings = Findings(server)
        self._client = client
        self._out = out
        self._base = f"bull:{QUEUE}:"
        self._count = 0

    def wave(self, wave: Sequence[Damage], workers: Workers) -> None:
        """Add a wave's jobs at one moment and wait until all of them ended."""
        hostile: dict[str, Damage] = {}
        good: list[str] = []
        pipe = self._client.pipeline(transaction=True)
        for damage in wave:
            self._count += 1
            write_job(pipe, self._base, f"g{self._count}", "ok")
            good.append(f"g{self._count}")
            hostile[f"h{self._count}"] = damage
            write_job(pipe, self._base, f"h{self._count}", damage.type, damage)
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

    def _is_busy(self) -> bool:
        return any(self._client.llen(self._base + name) for name in LISTS) or bool(
            self._client.zcard(self._base + "prioritized")
        )

    def _judge(self, good: Sequence[str], hostile: dict[str, Damage]) -> None:
        where = places(self._client, self._base)
        ran = runs(self._out)
        findings = self.findings
        for job_id in good:
            if where.get(job_id) != ["completed"]:
                findings.unfinished.append(f"good job {job_id} is in {where.get(job_id)}")
            if ran[job_id] != 1:
                findings.repeated.append(f"good job {job_id} ran {ran[job_id]} times")
        for job_id, damage in hostile.items():
            found = where.get(job_id, [])
            # its own options may have it removed when it ends
            gone = not found and not self._client.exists(self._base + job_id)
            findings.fates["removed" if gone else ", ".join(found) or "no state"] += 1
            if len(found) > 1 or (not found and not gone) or (gone and damage.field != "opts"):
                findings.stateless.append(f"{damage}: {job_id} is in {found}")
            elif set(found) & {"wait", "active", "prioritized"}:
                findings.unfinished.append(f"{damage}: {job_id} is in {found}")
        self._out.unlink(missing_ok=True)
        self._client.delete(*(self._base + name for name in ("completed", "failed", "delayed")))


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
        staff = Workers(Work(embedded.url, str(folder / "ran"), QUEUE), workers)
        stack.callback(staff.close)
        campaign = Campaign(server, client, folder / "ran")
        everything = list(damages(values))
        random.Random(1).shuffle(everything)
        for first in range(0, len(everything), AT_ONCE):
            campaign.wave(everything[first : first + AT_ONCE], staff)
        campaign.findings.deaths = staff.deaths
        if staff.deaths:
            print(staff.log())
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
