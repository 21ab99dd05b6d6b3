"""References to a user's own processor: ``module:attribute``, imported with the scenario's directory on the path."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

from queuesim.errors import QueuesimError
from queuesim.processor import Processor
from queuesim.scenario.wording import listing, nearest


class ProcessorImportError(QueuesimError):
    """A processor can't be imported; the message says why, and what may have been meant."""


@dataclass(slots=True)
class _Imported:
    """A module below a scenario's directory that was imported here, for a processor."""

    module: ModuleType
    file: Path
    stamp: tuple[int, int]
    """Size and time of change of its file."""
    played: bool = False
    """Whether a run has used it, and may have left something in it."""


_imported: dict[str, _Imported] = {}
"""By name. What the user imported otherwise is not among them: it is his, and stays as it is."""


def load_processor(reference: str, directory: Path, *, for_run: bool = False) -> Processor:
    """Import ``module:attribute``, looking in `directory` first.

    Modules below `directory` that an earlier call imported are imported again if a file of theirs has changed since.

    Args:
        for_run: for a run, which is to see nothing that an earlier one left in these modules: they are imported again
            after each.

    Raises:
        ProcessorImportError: there is no such module or attribute, the module fails, or it is no Processor.
    """
    module_name, _, attribute = reference.partition(":")
    _forget(directory, for_run)
    before = set(sys.modules)
    with _first_on_path(directory):
        module = _import(module_name, directory)
    _remember(set(sys.modules) - before, directory)
    for imported in _imported.values():
        imported.played = imported.played or for_run
    value: object = module
    for name in attribute.split("."):
        if not hasattr(value, name):
            offered = _processors(module)
            hint = nearest(attribute, offered) or ";"
            raise ProcessorImportError(
                f'module {module_name} has no "{attribute}"{hint} processors in it: {listing(offered)}'
            )
        value = getattr(value, name)
    if not isinstance(value, Processor):
        raise ProcessorImportError(
            f"{reference} is a {type(value).__name__}, not a Processor; "
            f"processors in {module_name}: {listing(_processors(module))}"
        )
    return value


def _forget(directory: Path, for_run: bool) -> None:
    """Forget the modules below a directory that are to be imported again: all of them, for they refer to each other."""
    below = directory.resolve()
    mine = {name: one for name, one in _imported.items() if one.file.is_relative_to(below)}
    changed = [one for one in mine.values() if _stamp(one.file) != one.stamp]
    if not changed and not (for_run and any(one.played for one in mine.values())):
        return
    for one in changed:
        # its time in whole seconds and its size may be the same, and then the bytecode of before would be used
        Path(cache_from_source(str(one.file))).unlink(missing_ok=True)
    for name, one in mine.items():
        del _imported[name]
        if sys.modules.get(name) is one.module:
            del sys.modules[name]


def _remember(names: set[str], directory: Path) -> None:
    below = directory.resolve()
    for name in names:
        module = sys.modules.get(name)
        origin = getattr(module, "__file__", None)
        if module is None or origin is None:
            continue
        file = Path(origin).resolve()
        if file.is_relative_to(below) and file.suffix == ".py" and not INSTALLED.intersection(file.parts):
            _imported[name] = _Imported(module, file, _stamp(file))


def _stamp(file: Path) -> tuple[int, int]:
    """Size and time of change; zeros for a file that is gone."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Directories of libraries, which are never imported again, even where they are below a scenario's directory."""


def _import(name: str, directory: Path) -> ModuleType:
    local = [path for path in (directory / f"{name}.py", directory / name / "__init__.py") if path.is_file()]
    loaded = sys.modules.get(name)
    if loaded is not None and local:
        origin = getattr(loaded, "__file__", None)
        if origin is None or Path(origin).resolve() != local[0].resolve():
            raise ProcessorImportError(
                f"another module {name} is loaded already, from {origin or 'Python itself'}: rename {local[0]}"
            )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ProcessorImportError(_failure(name, error)) from error
        modules = sorted(path.stem for path in directory.glob("*.py"))
        hint = nearest(name, modules) or ";"
        raise ProcessorImportError(f'there is no module "{name}"{hint} in {directory}: {listing(modules)}') from None
    except (Exception, SystemExit) as error:
        raise ProcessorImportError(_failure(name, error)) from error


def _failure(name: str, error: BaseException) -> str:
    """What a module failed with, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError):
        return f"module {name} can't be imported: {error.filename}:{error.lineno}: {error.msg}"
    return f"module {name} can't be imported: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"


def _processors(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, Processor)]


@contextmanager
def _first_on_path(directory: Path) -> Iterator[None]:
    entry = str(directory.resolve())
    sys.path.insert(0, entry)
    # a module that was written after Python last looked into its directory
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
