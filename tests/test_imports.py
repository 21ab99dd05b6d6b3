"""What is loaded when: the package itself takes no time to import, and heavy libraries wait until they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import queuesim

HEAVY = {
    *("pandas", "matplotlib", "fastapi", "redis", "numpy", "pydantic", "simpy", "scipy", "pyarrow", "rich", "typer"),
    "jinja2",
}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `statement`."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_alone_loads_nothing_heavy() -> None:
    assert not loaded_by("import queuesim") & HEAVY


def test_the_queueing_core_loads_nothing_heavy() -> None:
    loaded = loaded_by("from queuesim import Backoff, Job, Processor, Queue, RateLimit, Worker")
    assert "queuesim" in loaded
    assert not loaded & HEAVY


def test_a_run_needs_neither_pandas_nor_matplotlib_until_its_frames_are_looked_at() -> None:
    scenario = {"name": "s", "duration": 1.0, "jobs": {"j": {"service": 0.1}}, "load": [{"name": "l", "backlog": 3}]}
    loaded = loaded_by(f"import queuesim; queuesim.run({scenario!r})")
    assert {"simpy", "numpy"} <= loaded
    assert not loaded & (HEAVY - {"numpy", "pydantic", "simpy"})


@pytest.mark.parametrize("name", sorted(queuesim.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(queuesim, name).__doc__
    assert name in dir(queuesim)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match="Prozessor"):
        queuesim.Prozessor
