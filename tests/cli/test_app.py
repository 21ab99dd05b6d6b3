"""The application as a whole: help, version, what it loads, and how it is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import queuesim as package
from queuesim.cli import main
from queuesim.cli.app import COMMANDS

Command = Callable[..., "subprocess.CompletedProcess[str]"]
NAMES = [command.__name__ for command in COMMANDS]


def loaded_by(*arguments: str) -> set[str]:
    """The top-level modules that a command has loaded when it ends."""
    code = (
        "import atexit, sys\n"
        "from queuesim.cli import main\n"
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr))\n"
        f"sys.argv = ['queuesim', *{arguments!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_loads_nothing_but_typer() -> None:
    heavy = {"pydantic", "pandas", "numpy", "simpy", "rich", "yaml", "pyarrow", "matplotlib", "scipy", "asyncio"}
    loaded = loaded_by("--help")
    assert "typer" in loaded
    assert not loaded & heavy


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_loads_nothing_of_ours(name: str) -> None:
    # typer itself uses pydantic for a command's parameters, in its newer versions
    assert not loaded_by(name, "--help") & {"pandas", "numpy", "simpy", "rich", "yaml", "pyarrow", "matplotlib"}


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(invoke: Command, flag: str) -> None:
    done = invoke(flag)
    assert done.returncode == 0
    for name in ("run", "validate", "schema", "compare", "show", "plot", "init"):
        assert f"\n  {name} " in done.stdout
    assert "Examples:\n    queuesim init\n" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_that_name_it(invoke: Command, name: str) -> None:
    done = invoke(name, "--help")
    assert done.returncode == 0
    _, found, examples = done.stdout.partition("  Examples:\n")
    assert found
    lines = examples.strip().splitlines()
    assert all(line.strip().startswith(f"queuesim {name}") for line in lines)
    assert lines


def test_version(invoke: Command) -> None:
    done = invoke("--version")
    assert (done.returncode, done.stdout) == (0, f"queuesim {package.__version__}\n")


def test_without_a_command_it_shows_the_help(invoke: Command) -> None:
    done = invoke()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_a_mistyped_command_is_told_the_nearest(queuesim: Command) -> None:
    done = queuesim("rnu")
    assert done.returncode == 2
    assert "run" in done.stderr.partition("Did you mean")[2]


def test_the_script_starts_the_same(queuesim: Command) -> None:
    (script,) = entry_points(group="console_scripts", name="queuesim")
    assert script.load() is main
    assert queuesim("--help").stdout.startswith("Usage: queuesim ")


def test_names_that_the_terminal_lacks_are_no_failure(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    small.write_text(small.read_text().replace("name: small", "name: größe→"), encoding="utf-8")
    command = [sys.executable, "-W", "error", "-m", "queuesim", "validate", str(small)]
    done = subprocess.run(command, capture_output=True, encoding="latin-1", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("small.yaml: ok: größe?, ")
