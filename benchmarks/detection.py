"""How many schedules of the generic soak it takes to find each bug of the museum, and each fault that is planted.

    python -m benchmarks.detection -o reports/detection.md
    python -m benchmarks.detection "lost wake up" bull-1148      # only these, printed

No schedule is made for a bug: they are drawn as `queuesim soak` draws them. Takes some minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.planted import PLANTED

from queuesim.testing.soak import attempt, drawn, play_on

sys.path.append(str(Path(__file__).parents[1] / "tests" / "museum"))

from bugs import EXHIBITS

MOST = 100
"""Schedules after which a bug counts as not found."""
DURATION = 60.0
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


def table(found: dict[str, Detection]) -> str:
    lines = ["| bug | schedules | found by |", "|---|---|---|"]
    for name, detection in found.items():
        count = f"not in {MOST}" if detection.schedules is None else str(detection.schedules)
        lines.append(f"| {name} | {count} | {', '.join(detection.problems)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bugs", nargs="*", metavar="BUG", help=f"of {', '.join(BUGS)}; all if left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.bugs) - set(BUGS):
        parser.error(f"no bug {', '.join(sorted(unknown))}: choose from {', '.join(BUGS)}")
    found = {}
    for name in arguments.bugs or BUGS:
        found[name] = detect(name, arguments.seed)
        print(f"{name}: {found[name]}", file=sys.stderr)
    text = (
        "# Bugs that the soak finds\n\nMade by `python -m benchmarks.detection -o reports/detection.md`. Each bug is "
        "planted in queuesim. The table shows the number of schedules that "
        f"`queuesim soak --seed {arguments.seed} --duration 60s` plays until one fails. "
        f"The first nine are from [the museum](../docs/museum.md).\n\n{table(found)}\n"
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
