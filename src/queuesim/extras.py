"""Extras: optional parts of the package, and the error that names the command which installs one."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from queuesim.errors import QueuesimError


class MissingExtraError(QueuesimError, ImportError):
    """An optional part was used that is not installed."""

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f'{purpose} need {module}, which is not installed: pip install "queuesim[{extra}]"')


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
