"""Wrong input, end to end: exit code 2 and one message that says where, what is allowed and what was meant."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

PROCESSORS = """\
from queuesim import Processor

processor = Processor("mail")
"""


@pytest.fixture(autouse=True)
def beside(small: Path) -> Iterator[None]:
    """What the wrong scenarios name."""
    Path("processors.py").write_text(PROCESSORS)
    Path("broken.py").write_text('raise RuntimeError("no database")\n')
    Path("trace.csv").write_text("at_ms,nam\n1,task-created\n")
    yield
    for name in ("processors", "broken"):
        sys.modules.pop(name, None)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a command that was refused."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize(
    ("instead_of", "line", "message"),
    [
        pytest.param(
            "load:",
            "worker: {count: 2}\nload:",
            'small.yaml:7: worker: unknown key; did you mean "workers"? allowed here: name, description, seed, ',
            id="unknown key",
        ),
        pytest.param(
            "60/min",
            "60/mn",
            'small.yaml:9: load[0].poisson: "60/mn" is not a rate: ',
            id="wrong unit of a rate",
        ),
        pytest.param(
            "80ms",
            "80msec",
            'small.yaml:6: jobs.task-created.service: "80msec" is not a duration: ',
            id="wrong unit of a duration",
        ),
        pytest.param(
            "60/min",
            "-60/min",
            'small.yaml:9: load[0].poisson: "-60/min" is not a rate: it can\'t be negative',
            id="negative rate",
        ),
        pytest.param(
            "poisson: 60/min",
            "trace: trace.csv",
            'small.yaml:9: load[0].trace: trace.csv:1: column "name" is missing; did you mean "nam"? '
            "there are: at_ms, nam",
            id="missing trace column",
        ),
        pytest.param(
            "seed: 3",
            "processor: procesors:processor",
            'small.yaml:2: processor: there is no module "procesors"; did you mean "processors"? in .: ',
            id="no such module",
        ),
        pytest.param(
            "seed: 3",
            "processor: processors:procesor",
            'small.yaml:2: processor: module processors has no "procesor"; did you mean "processor"? '
            "processors in it: processor",
            id="no such attribute",
        ),
        pytest.param(
            "seed: 3",
            "processor: broken:processor",
            "small.yaml:2: processor: module broken can't be imported: RuntimeError: no database (",
            id="module that fails",
        ),
        pytest.param(
            "lost == 0",
            "latancy.p95 < 3s",
            'small.yaml:11: thresholds[0]: unknown metric "latancy"; did you mean "latency"? known: ',
            id="unknown metric",
        ),
        pytest.param(
            "service: 80ms",
            "weight: .nan",
            "small.yaml:6: jobs.task-created.weight: .nan is not a finite number",
            id="NaN",
        ),
    ],
)
def test_scenario(queuesim: Command, invoke: Command, small: Path, instead_of: str, line: str, message: str) -> None:
    text = small.read_text()
    assert instead_of in text
    small.write_text(text.replace(instead_of, line))
    told = refused(queuesim("run", "small.yaml"))
    assert told.startswith(message)
    assert refused(invoke("validate", "small.yaml")) == told


def test_all_problems_are_told_a_line_each(invoke: Command, small: Path) -> None:
    small.write_text(small.read_text().replace("80ms", "80").replace("60/min", "60"))
    done = invoke("run", small)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["small.yaml:6", "small.yaml:9"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "file.yaml: no such file"),
        (b"", "file.yaml:1: the file is empty"),
        (b"a: [\n", "file.yaml:2: broken YAML: "),
        (b"- a\n", 'file.yaml:1: a scenario is a mapping, that begins with "name: ..."'),
        (b"\xff\x00\x80", "file.yaml: it is not UTF-8 text"),
        (b"a: 1\na: 2\n", "file.yaml:2: a: the key is there twice, first in line 1"),
    ],
)
def test_file(invoke: Command, content: bytes | None, message: str) -> None:
    if content is not None:
        Path("file.yaml").write_bytes(content)
    assert refused(invoke("run", "file.yaml")).startswith(message)
    # with something to change in it, it is read another way
    assert refused(invoke("run", "file.yaml", "--set", "seed=1")).startswith(message)


def test_a_directory_is_no_scenario(queuesim: Command, tmp_path: Path) -> None:
    assert refused(queuesim("run", tmp_path)) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "rabbit"], 'there is no backend "rabbit"; choose from: sim'),
        (["--set", "load.user.poisson=1/s"], "small.yaml: --set load.user.poisson=1/s: load: unknown entry "),
        (["--set", "seed"], "--set seed: write it as KEY.PATH=VALUE"),
        (["--processor", "nowhere:processor"], "small.yaml: --processor nowhere:processor: processor: there is no "),
        (["--processor", "processors"], 'small.yaml: --processor processors: processor: "processors" is not a '),
        (["-o", "small.yaml"], "small.yaml can't be the output: it is a file, not a directory"),
        (["-o", "small.yaml/result"], "small.yaml/result can't be written: Not a directory"),
    ],
)
def test_option(invoke: Command, arguments: list[str], message: str) -> None:
    assert refused(invoke("run", "small.yaml", *arguments)).startswith(message)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--seed", "x"],
        ["--handler-limit", "0"],
        ["--handler-limit", "nan"],
        ["--allow-io", "host:http"],
        ["--sede", "1"],
        ["another.yaml"],
    ],
)
def test_usage(invoke: Command, small: Path, arguments: list[str]) -> None:
    done = invoke("run", small, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: queuesim run" in done.stderr
    assert arguments[0].removeprefix("-") in done.stderr


@pytest.mark.parametrize("command", ["show", "plot"])
def test_no_result(invoke: Command, command: str) -> None:
    assert refused(invoke(command, "nowhere")) == "nowhere is no stored result: there is no such directory"
    assert refused(invoke(command, ".")) == ". is no stored result: it holds no facts.json"
