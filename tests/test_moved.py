"""Import paths of the version before: they work, and say where the module is now."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from queuesim.moved import MOVED


def test_every_new_path_exists() -> None:
    for name in sorted(set(MOVED.values())):
        import_module(f"queuesim.{name}")


@pytest.mark.parametrize(
    ("statement", "new"),
    [
        ("from queuesim.broker.memory import MemoryBroker", "queuesim.brokers.memory"),
        ("import queuesim.broker.redis.server as server; server.connect", "queuesim.brokers.redis.server"),
        ("from queuesim.testing.oracles import judge", "queuesim.oracles"),
        ("from queuesim.job import JobState", "queuesim.core.job"),
    ],
)
def test_an_old_path_works_and_warns_with_the_new_one(statement: str, new: str) -> None:
    """In a process of its own: a module is loaded once."""
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"<string>:1: DeprecationWarning: {statement.split()[1]} is now {new}" in done.stderr


def test_a_module_that_never_existed_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"queuesim\.brokr"):
        import_module("queuesim.brokr")
