"""Extras: optional parts of the package, and the error that names the command which installs one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from queuesim.error import QueuesimError

DISTRIBUTION = "queue-windtunnel"
"""What pip calls this package. On the index the name `queuesim` belongs to another project."""
ROOT = Path(__file__).parents[2]
"""The clone, where the package is used from one."""


class MissingExtraError(QueuesimError, ImportError):
    """An optional part was used that is not installed."""

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} need {module}, which is not installed: {install_command(extra)}")


def install_command(extra: str) -> str:
    """The command that adds an extra to this installation.

    In a clone that is pip with the clone's pinned versions, to be run in its directory. Elsewhere it is the
    distribution's name: pip finds the package installed and adds what the extra needs, so this works without an index
    that has the package.
    """
    if (ROOT / "pyproject.toml").is_file() and (ROOT / "constraints.txt").is_file():
        return f"pip install -c constraints.txt -e '.[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def need(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module. `purpose` is a plural noun: what can't be done without it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(module.partition(".")[0], extra, purpose) from error
