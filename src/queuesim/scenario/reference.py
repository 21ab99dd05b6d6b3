"""References to a user's own processor: ``module:attribute``, imported with the scenario's directory on the path."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from queuesim.errors import QueuesimError
from queuesim.processor import Processor
from queuesim.scenario.wording import listing, nearest


class ProcessorImportError(QueuesimError):
    """A processor can't be imported; the message says why, and what may have been meant."""


def load_processor(reference: str, directory: Path) -> Processor:
    """Import ``module:attribute``, looking in `directory` first.

    Raises:
        ProcessorImportError: there is no such module or attribute, the module fails, or it is no Processor.
    """
    module_name, _, attribute = reference.partition(":")
    with _first_on_path(directory):
        module = _import(module_name, directory)
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
