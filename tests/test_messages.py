"""What users read when something is wrong: each message is made by its real route and compared with messages.yaml.

messages.yaml has a section for each route below, with the input of each case and its message. To add a case, write its
input with an empty message; after a change of messages run

    pytest tests/test_messages.py --update-messages

and read the difference. Other tests assert the class of an error, its place and what it names, not the sentence.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from queuesim.cli.app import app
from queuesim.error import QueuesimError
from queuesim.inputfile import read_column
from queuesim.scenario.load import read_trace
from queuesim.scenario.loading import Override, OverrideError, parse_scenario
from queuesim.scenario.processors import load_processor
from queuesim.units import parse_duration, parse_percent, parse_rate

GOLDEN = Path(__file__).with_name("messages.yaml")
MESSAGES: dict[str, dict[str, str]] = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
SLOW = ("finding", "health check")
CASES = [
    pytest.param(section, case, id=f"{section}: {case}"[:100], marks=[pytest.mark.slow] if section in SLOW else [])
    for section, messages in MESSAGES.items()
    for case in messages
]
ROUTES: dict[str, Callable[[str], str]] = {}


def route(function: Callable[[str], str]) -> Callable[[str], str]:
    """Register a function that makes the message of a case, as the section of its name."""
    ROUTES[function.__name__.replace("_", " ")] = function
    return function


def refusal(function: Callable[..., object], *arguments: Any, kinds: Any = (QueuesimError, ValueError)) -> str:
    """The text of the error that a call raises."""
    with pytest.raises(kinds) as caught:
        function(*arguments)
    return str(caught.value)


# -- The routes

SCENARIO = """\
name: x
duration: 1h
jobs:
  a: {service: 80ms}
  task-created: {service: {exponential: 1s}}
load:
  - name: l
    poisson: 60/min
"""

FILES = {
    "small.yaml": SCENARIO,
    "list.yaml": "[1]\n",
    "binary.yaml": "\0",
    "damaged.yaml": SCENARIO.replace("80ms", "fast"),
    "mailing.py": "from queuesim import Processor\nprocessor = Processor('mail')\nother = 5\n",
    "importing.py": "import nowhere_to_be_found\n",
    "dividing.py": "x = 1\n1 / 0\n",
    "leaving.py": "raise SystemExit(3)\n",
    "unparsable.py": "x = 1\ndef\n",
    "times.csv": "ms\n100\n",
    "bare.csv": "name,at_ms\na,5\nb,6\n",
    "typed.py": """\
from pydantic import BaseModel
from queuesim import Processor
processor = Processor("p")
class Letter(BaseModel):
    address: str
    copies: int = 1
@processor.job("typed", data=Letter)
async def typed(job): ...
""",
    "full/facts.json": "{}",
    "diary/monday.txt": "",
    "empty/.keep": "",
}
"""The files of the current directory. Recorded paths begin with HERE."""


@route
def duration(case: str) -> str:
    return refusal(parse_duration, case)


@route
def rate(case: str) -> str:
    return refusal(parse_rate, case)


@route
def percent(case: str) -> str:
    return refusal(parse_percent, case)


@route
def text_of_a_scenario(case: str) -> str:
    """The whole text. What comes behind "broken YAML" differs between parsers."""
    message = refusal(parse_scenario, case.replace("DEEP", "[" * 101))
    start, broken, _ = message.partition("broken YAML: ")
    return start + broken.rstrip()


@route
def change_of_a_scenario(case: str) -> str:
    """OLD => NEW."""
    old, _, new = case.partition(" => ")
    assert old in SCENARIO
    return refusal(lambda: parse_scenario(SCENARIO.replace(old, new, 1), check_processor=True))


@route
def section_of_a_scenario(case: str) -> str:
    """A top key, which is added or replaced."""
    key = case.partition(":")[0]
    kept = yaml.safe_load(SCENARIO)
    kept.pop(key, None)
    return refusal(parse_scenario, f"{case}\n{yaml.safe_dump(kept)}")


@route
def service_time(case: str) -> str:
    return refusal(parse_scenario, SCENARIO.replace("80ms", case))


@route
def threshold(case: str) -> str:
    return refusal(parse_scenario, f"{SCENARIO}thresholds:\n- {case}\n")


@route
def load_entry(case: str) -> str:
    return refusal(parse_scenario, SCENARIO.partition("load:")[0] + f"load:\n- {{name: l, {case}}}\n")


@route
def fault(case: str) -> str:
    return refusal(
        parse_scenario,
        "name: checked\nduration: 10m\njobs: {mail: {service: 1s}, invoice: {service: 1s}}\n"
        "workers: [{name: west, count: 2}, {name: east}]\n"
        "load: [{name: users, constant: 1/s}, {name: shops, constant: 1/s}]\n"
        f"faults:\n  - {case}\n",
    )


@route
def trace(case: str) -> str:
    Path("trace.csv").write_text(case)
    return refusal(read_trace, Path("trace.csv"))


@route
def column(case: str) -> str:
    """COLUMN: TEXT, or TEXT alone for a file without a header."""
    name, colon, text = case.partition(": ")
    Path("column.csv").write_text(text if colon else case)
    return refusal(read_column, Path("column.csv"), name if colon else None)


@route
def override(case: str) -> str:
    """The location, as a tuple, and the message."""
    document = {
        "workers": {"concurrency": 5},
        "queue": None,
        "jobs": {"send.mail": {"weight": 1}, "send": {"weight": 2}},
        "load": [{"name": "office-hours", "poisson": 1}, {"name": "overdue.batch", "poisson": 2}, {"poisson": 3}],
    }
    with pytest.raises(OverrideError) as caught:
        Override("", case, 9).apply(document)
    return f"{caught.value.location}: {caught.value}"


@route
def processor(case: str) -> str:
    return refusal(load_processor, case, Path())


@route
def stored_job(case: str) -> str:
    """FIELD=VALUE of the hash in Redis; a field alone is missing."""
    from damage import row
    from queuesim.brokers.redis.codec import decode_job

    field, equals, value = case.partition("=")
    (found,) = decode_job(row(**{field: value if equals else None}), None).unreadable
    assert found.field == field
    return str(found)


@route
def python(case: str) -> str:
    """An expression."""
    import numpy as np

    import queuesim
    from queuesim import Processor, theory
    from queuesim.core import job, scheduler
    from queuesim.experiments import interval
    from queuesim.simulation import random as distributions

    names = {"np": np, "queuesim": queuesim, "Processor": Processor}
    for module in (theory, interval, distributions, job, scheduler):
        names |= vars(module)
    return refusal(eval, case, names)


@route
def command(case: str) -> str:
    """What a command writes to stderr. It ends with exit code 2, and prints nothing else."""
    done = CliRunner().invoke(app, shlex.split(case), prog_name="queuesim")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr.partition("\nError: ")[2] or done.stderr


@route
def admin_request(case: str) -> str:
    """METHOD PATH BODY as an administrator: the status and the body of the answer."""
    from adminbench import AdminBench, with_bench

    method, path, body = [*case.split(" ", 2), ""][:3]

    async def scene(bench: AdminBench) -> str:
        rest = {"content": body, "headers": {"content-type": "application/json"}} if body else {}
        answer = await bench.call(method, path, **rest)
        problem = {key: value for key, value in answer.json().items() if key != "correlation_id"}
        return f"{answer.status_code} {problem}"

    return str(with_bench(scene))


@route
def finding(case: str) -> str:
    """The name of a file in scenarios/check: what `queuesim check` finds in it."""
    from queuesim.check.check import examine
    from queuesim.scenario.loading import load_scenario

    scenario = load_scenario(Path(__file__).parents[1] / "scenarios" / "check" / case, check_processor=True)
    own = None if scenario.processor is None else load_processor(scenario.processor, scenario.directory)
    return "\n".join(f"{each.key}: {each.name}: {each.message}" for each in examine(scenario, own))


@route
def health_check(case: str) -> str:
    """Keys of a scenario that is healthy without them: the health checks that do not pass when it has run."""
    import queuesim

    healthy = {
        "name": "small",
        "duration": "10m",
        "workers": {"concurrency": 2},
        "jobs": {"mail": {"service": "100ms"}},
        "load": [{"name": "users", "constant": "1/s"}],
    }
    checks = queuesim.run({**healthy, **yaml.safe_load(case)}, progress=False).checks
    wrong = checks[(checks["kind"] == "health") & (checks["status"] != "passed")]
    return "\n".join(f"{row.check}: {row.status}: {row.detail}" for row in wrong.itertuples())


# -- The test


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        Path(tmp_path, name).parent.mkdir(exist_ok=True)
        Path(tmp_path, name).write_bytes(b"\xff" if text == "\0" else text.encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUEUESIM_ADMIN_SECRET", "s" * 32)
    for helpers in ("brokers", "admin"):
        monkeypatch.syspath_prepend(GOLDEN.with_name(helpers))
    before = set(sys.modules)
    yield tmp_path
    for name in {Path(each).stem for each in FILES} - before:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def updated(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, str]] | None]:
    """Where new messages go, with --update-messages; the file is written at the end."""
    if not request.config.getoption("--update-messages"):
        yield None
        return
    assert not hasattr(request.config, "workerinput"), "--update-messages needs one process: leave -n out"
    yield MESSAGES
    GOLDEN.write_text(written(MESSAGES), encoding="utf-8")


@pytest.mark.parametrize(("section", "case"), CASES)
def test_message(section: str, case: str, here: Path, updated: dict[str, dict[str, str]] | None) -> None:
    message = ROUTES[section](case).replace(str(here), "HERE").rstrip("\n")
    if updated is not None:
        updated[section][case] = message
    assert message == MESSAGES[section][case]


def written(messages: dict[str, dict[str, str]]) -> str:
    """The text of messages.yaml."""
    parts = []
    for section, cases in messages.items():
        parts.append(f"\n{section}:\n")
        for case, message in cases.items():
            lines = message.split("\n")
            text = "|-\n" + "\n".join(f"      {line}" for line in lines) if len(lines) > 1 else scalar(message)
            parts.append(f"  {scalar(case)}:\n    {text}\n")
    return "# See test_messages.py. Written by: pytest tests/test_messages.py --update-messages\n" + "".join(parts)


def scalar(text: str) -> str:
    """A text as YAML in one line."""
    return yaml.safe_dump(text, width=10**6, allow_unicode=True, default_style='"' if "\n" in text else None).split(
        "\n"
    )[0]


def test_the_file_is_as_it_would_be_written(request: pytest.FixtureRequest) -> None:
    """So that no case is there twice."""
    if not request.config.getoption("--update-messages"):
        assert GOLDEN.read_text(encoding="utf-8") == written(MESSAGES)
