"""How many schedules of the generic soak it takes to find each bug of the museum, and each fault that is planted.

    python -m benchmarks.detection -o reports/detection.md
    python -m benchmarks.detection "lost wake up" bull-1148      # only these, printed

No schedule is made for a bug: they are drawn as `queuesim soak` draws them. Takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from statistics import median

import pytest
from benchmarks.planted import PLANTED

from queuesim.testing.soak import attempt, drawn, play_on

sys.path.append(str(Path(__file__).parents[1] / "tests" / "museum"))

from bugs import EXHIBITS

MOST = 100
"""Schedules after which a bug counts as not found."""
DURATION = 60.0
FEWER = {"delivered twice": 3}
"""Seeds for bugs with which a run takes minutes."""
BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    **{name: bug for name, (bug, _) in EXHIBITS.items()},
    **PLANTED,
}


@dataclass(frozen=True, slots=True)
class Detection:
    """How a bug was found."""

    schedules: int | None
    """None: it was not."""
    problems: tuple[str, ...] = ()
    """What told of it."""


def detect(name: str, seed: int, most: int = MOST) -> Detection:
    """Play schedules with a bug until one fails."""
    for number in range(most):
        with pytest.MonkeyPatch.context() as patch:
            BUGS[name](patch)
            _, wrong = attempt(drawn(seed, number, DURATION), play_on("sim", shuffle=False))
        if wrong:
            return Detection(number + 1, tuple(wrong))
    return Detection(None)


def medians(found: dict[str, list[Detection]]) -> dict[str, float]:
    """By bug, the median number of schedules to a find; one that was not found counts as one more than were played."""
    return {
        name: median(MOST + 1 if one.schedules is None else one.schedules for one in detections)
        for name, detections in found.items()
    }


def table(found: dict[str, list[Detection]], before: Mapping[str, float]) -> str:
    """A row for each bug: schedules in the median and at most, and which checks found it."""
    lines = ["| bug | with seed 1 | median | at most | median before | found by |", "|---|---:|---:|---:|---:|---|"]
    middle = medians(found)
    for name, detections in found.items():
        counts = [detection.schedules for detection in detections]
        most = f"not in {MOST}" if None in counts else str(max(count for count in counts if count is not None))
        checks = Counter(problem for detection in detections for problem in set(detection.problems))
        by = ", ".join(f"{check} {count}" for check, count in checks.most_common(4))
        first = counts[0] or f"not in {MOST}"
        lines.append(f"| {name} | {first} | {middle[name]:g} | {most} | {before.get(name, nan):g} | {by} |")
    known = [name for name in found if name in before]
    if known:
        faster = median(before[name] / middle[name] for name in known)
        lines += ["", f"The median over all bugs of the ratio of medians, before to now, is {faster:.2g}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bugs", nargs="*", metavar="BUG", help=f"of {', '.join(BUGS)}; all if left out")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--before", type=Path, help="medians of an earlier version, as --medians writes them")
    parser.add_argument("--medians", type=Path, help="where to write the medians, as JSON")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.bugs) - set(BUGS):
        parser.error(f"no bug {', '.join(sorted(unknown))}: choose from {', '.join(BUGS)}")
    found = {}
    for name in arguments.bugs or BUGS:
        seeds = min(arguments.seeds, FEWER.get(name, arguments.seeds))
        found[name] = [detect(name, seed) for seed in range(1, seeds + 1)]
        print(f"{name}: {[one.schedules for one in found[name]]}", file=sys.stderr, flush=True)
    if arguments.medians:
        arguments.medians.write_text(json.dumps(medians(found), indent=1) + "\n")
    before = json.loads(arguments.before.read_text()) if arguments.before else {}
    text = (
        "# Bugs that the soak finds\n\n"
        f"Made by `python -m benchmarks.detection {shlex.join(sys.argv[1:])}`. Each bug "
        "is planted in queuesim. The table shows how many schedules `queuesim soak --duration 60s` plays until "
        f"one fails, over {arguments.seeds} seeds, and how often each check found it. The first nine are from "
        f"[the museum](../docs/museum.md).\n\n{table(found, before)}\n"
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
