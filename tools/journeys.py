#!/usr/bin/env python3
"""The files that one has to know to follow something through the source, measured.

    tools/layout --journeys                      before (tools/journeys_before.json) and now
    python tools/journeys.py [TREE]              one tree, as JSON; another one: git worktree add --detach DIR e3d4090

A job in virtual time, a job on Redis: the files in which a function is called while a run of one job plays, from the
first `add` of a broker to the end of the recorder's `attempt`, and while the frame of attempts is built; the caller of
`add` included. The workers on Redis are tasks of the run's process, so that one trace sees both ends. What is imported,
loaded, validated or judged before or after is not the job's way. A run before this one has imported all that it needs.

overhead.pickup: the files in which a function has its value in an argument or a variable, or one step away: in a
public attribute, an item or an entry of one. VALUE, from a scenario file on, occurs nowhere else.

A kind of fault, a metric: the files that name one. A new one needs no more: tests/faults/test_registry.py and
tests/results/test_metric_table.py add one in a single place.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEFORE = Path(__file__).with_name("journeys_before.json")
# the job comes late enough that no moment of the run is VALUE
LOAD = {"name": "users", "bulk": {"size": 1, "at": "1s"}}
JOB = {"name": "one", "duration": "3s", "jobs": {"job": {"service": "100ms"}}, "load": [LOAD]}
VALUE, WRITTEN = 0.0123457, "12.3457ms"
NAMED = {
    "a kind of fault, handler.payload": r"handler\.payload|class \w*Payload\w*\(\w*Fault",
    "a metric, retry_amplification": "retry_amplification",
}

Names = set[str]


def is_function(code: CodeType) -> bool:
    """Not the code of a module or of a class, which runs at import."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


class JobTrace:
    """Notes the files of the functions that are called on a job's way."""

    def __init__(self, package: Path) -> None:
        self.package = str(package)
        self.files: Names = set()
        self.on = self.over = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(self.package):
            return
        if event == "call" and code.co_name == "add" and "/broker" in code.co_filename and not self.over:
            self.on = True
            self.note(frame.f_back)
        if event == "call" and self.on:
            self.note(frame)
        if event == "return" and code.co_name == "attempt" and code.co_filename.endswith("/recorder.py"):
            self.on, self.over = False, True

    def note(self, frame: FrameType | None) -> None:
        """Note the file of a function."""
        if frame is not None and frame.f_code.co_filename.startswith(self.package) and is_function(frame.f_code):
            self.files.add(frame.f_code.co_filename)


class ValueTrace(JobTrace):
    """Notes the files of the functions that hold VALUE, or its text."""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "return" and frame.f_code.co_filename.startswith(self.package):
            near = list(frame.f_locals.values())
            if any(is_value(each) or any(map(is_value, parts(each))) for each in near):
                self.note(frame)


def is_value(thing: object) -> bool:
    """Whether it is VALUE, as a number or as text."""
    return (type(thing) is float and thing == VALUE) or (type(thing) is str and thing == WRITTEN)


def parts(thing: object) -> list[object]:
    """The public attributes, items or entries of a thing."""
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple)):
        return list(thing)
    return [each for name, each in getattr(thing, "__dict__", {}).items() if not str(name).startswith("_")]


def traced(trace: JobTrace, call: Any) -> Names:
    """The files that a call leads through."""
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return trace.files


def measured(source: Path) -> dict[str, list[str]]:
    """The files of each journey, in the tree that is on the path."""
    import queuesim

    package = source / "queuesim"
    processor = queuesim.Processor()

    @processor.job("job")
    async def handle(job: Any) -> None:
        pass

    def play(backend: str, **options: Any) -> Names:
        def run() -> None:
            # the frame of attempts is the end of the way
            result = queuesim.run(JOB, backend, progress=False, **options)
            trace.on = True
            assert len(result.attempts) == 1

        trace = JobTrace(package)
        traced(trace, run)
        trace = JobTrace(package)
        return traced(trace, run)

    with TemporaryDirectory() as directory:
        file = Path(directory, "slow.yaml")
        file.write_text(json.dumps({**JOB, "overhead": {"pickup": WRITTEN}}))
        pickup = traced(ValueTrace(package), lambda: queuesim.run(file, progress=False))
    found = {
        "a job in virtual time": play("sim"),
        "a job on Redis": play("redis", redis_url="embedded", processor=processor),
        "overhead.pickup, from file to effect": pickup,
    }
    for title, pattern in NAMED.items():
        found[title] = {str(p) for p in package.rglob("*.py") if re.search(pattern, p.read_text(encoding="utf-8"))}
    return {title: sorted(str(Path(file).relative_to(package)) for file in files) for title, files in found.items()}


def of_tree(tree: Path) -> dict[str, list[str]]:
    """The files of each journey in a tree, measured by a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    own = ROOT / ".venv" / "bin" / "python"
    command = [own if own.exists() else sys.executable, __file__, str(tree), "--here"]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def show() -> None:
    """Print the journeys, before and now, and the files of today."""
    before, now = json.loads(BEFORE.read_text(encoding="utf-8")), of_tree(ROOT)
    print(f"\nfiles of a journey, at {before['commit']} and now")
    for title, files in now.items():
        print(f"  {title:40} {len(before['journeys'][title]):3} {len(files):3}   {', '.join(files)}")


if __name__ == "__main__":
    trees = [Path(word).resolve() for word in sys.argv[1:] if not word.startswith("--")] or [ROOT]
    if "--help" in sys.argv:
        print(__doc__)
    elif "--show" in sys.argv:
        show()
    else:
        print(json.dumps(measured(trees[0] / "src") if "--here" in sys.argv else of_tree(trees[0]), indent=1))
