"""The processors that scenarios name, and factories that make them anew for each life of each worker."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
from typing import Any

from queuesim.core.processor import Processor
from queuesim.error import QueuesimError
from queuesim.scenario.model import Scenario
from queuesim.text import listing, nearest

# -- References: ``module:attribute``


class ProcessorImportError(QueuesimError):
    """A processor can't be imported; the message says why, and what may have been meant."""


def load_processor(reference: str, directory: Path, *, shared: str | None = None) -> Processor:
    """The processor ``module:attribute``, or one that the function or class of that name makes, in modules that are
    imported anew.

    Args:
        directory: where the module is looked for first.
        shared: ``module:attribute`` of what makes the argument of such a function.

    Raises:
        ProcessorImportError: there is no such module or attribute, the module fails, or it is something else.
        FactoryError: the function failed, or returned something else.
    """
    factory = ProcessorFactory(reference, shared, directory)
    return factory.make(factory.make_shared())[0]


def processor_of(scenario: Scenario) -> Processor | None:
    """The processor that a scenario names, as by `load_processor`; None if it names none."""
    if scenario.processor is None:
        return None
    return load_processor(scenario.processor, scenario.directory, shared=scenario.shared)


def load_reference(reference: str, directory: Path) -> Any:
    """The object ``module:attribute``; the module is looked for in `directory`, then where Python looks, and then in
    the current directory.

    Raises:
        ProcessorImportError: there is no such module or attribute, or the module fails.
    """
    module_name, _, attribute = reference.partition(":")
    with _on_path(directory):
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
    return value


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
        raise ProcessorImportError(
            f'there is no module "{name}"{hint} modules in {directory}: {listing(modules)}'
        ) from None
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
def _on_path(directory: Path) -> Iterator[None]:
    first, last = str(directory.resolve()), str(Path.cwd())
    sys.path.insert(0, first)
    sys.path.append(last)
    # a module that was written after Python last looked into its directory
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(first)
        # the last one: it may be there for another reason too
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(last)]


_stamps: dict[Path, tuple[int, int]] = {}
"""Size and time of change of the user's files that were imported here."""


@contextmanager
def imported_anew() -> Iterator[None]:
    """In this block the user's own modules are imported anew, from their files as they are now. Afterwards those are
    there again that were before: what the user imported stays as it is."""
    for file in [file for file, stamp in _stamps.items() if _stamp(file) != stamp]:
        # its time in whole seconds and its size may be the same, and then the bytecode of before would be used
        Path(cache_from_source(str(file))).unlink(missing_ok=True)
        del _stamps[file]
    before = {name: module for name, module in sys.modules.items() if of_user(module)}
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for module in [module for module in sys.modules.values() if of_user(module)]:
            file = Path(str(module.__file__))
            _stamps[file] = _stamp(file)
        sys.modules.update(before)


def of_user(module: ModuleType) -> bool:
    """Whether a module is the user's own: neither of Python, nor of a library, nor of ours."""
    file = getattr(module, "__file__", None)
    package = module.__name__.partition(".")[0]
    if file is None or not file.endswith(".py") or package in NOT_OF_USERS:
        return False
    return not INSTALLED.intersection(Path(file).parts)


NOT_OF_USERS = frozenset({"queuesim", "__main__", "__mp_main__", *sys.stdlib_module_names})


# -- Factories

Check = Callable[..., Any]
Source = Processor | Callable[..., Any] | str
"""What makes processors: one that is at hand, a function or class that makes one, or ``module:attribute``."""


class FactoryError(QueuesimError):
    """A factory of processors, or of what they share, is wrong; the message says what to write."""


class FactoryWarning(UserWarning):
    """A factory returned the same object twice, so that a killed worker does not forget."""


class ProcessorFactory:
    """Makes the processors of runs.

    Args:
        source: one of

            - a Processor: the same object in every life of every worker;
            - a function that returns a new Processor. If it takes an argument, it gets what is shared;
            - a class whose instances have the Processor as their attribute `processor`. It is called as the function;
            - ``module:attribute`` of any of these: the module, and all other modules of the user's own that it imports,
              are imported afresh for each life.

            A function may also return a Processor with a check, a function without arguments: then both are made once
            for each run, and the check is an invariant at its end.
        shared: a function or class that makes what outlives processes, such as a store, once for each run; or
            ``module:attribute`` of one.
        directory: where modules are looked for first.

    Raises:
        FactoryError: `source` or `shared` can't be called, or their arguments do not fit.
        ProcessorImportError: a module can't be imported.
    """

    def __init__(self, source: Source, shared: Callable[[], Any] | str | None = None, directory: Path = Path()) -> None:
        self.source = source
        self.shared = shared
        self.directory = directory
        self._last_shared: Any = None
        if not isinstance(source, (Processor, str)) and not callable(source):
            raise FactoryError(
                f"a processor is a Processor, a function that makes one, or module:attribute, not {_a(source)}"
            )
        if shared is not None and not callable(shared) and not isinstance(shared, str):
            raise FactoryError(
                f"shared must be a function or class that makes the store anew for each run, not {_a(shared)}: "
                "write shared=lambda: ..."
            )

    @property
    def fresh(self) -> bool:
        """Whether each life gets a processor of its own."""
        return not isinstance(self.source, Processor)

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.reference or title(self.source)

    @property
    def reference(self) -> str | None:
        """``module:attribute`` under which another process finds it; None if there is no such name."""
        return reference_of(self.source)

    def make_shared(self) -> Any:
        """What outlives the processes of one run; None if nothing is shared.

        Raises:
            FactoryError: the user's function failed.
        """
        if self.shared is None:
            return None
        make = self.shared
        if isinstance(make, str):
            make = load_reference(make, self.directory)
        try:
            made = make()
        except Exception as error:
            raise FactoryError(f"shared, {title(make)}, failed: {type(error).__name__}: {error}") from error
        if made is not None and made is self._last_shared:
            warnings.warn(
                FactoryWarning(
                    f"shared, {title(make)}, returned the same {type(made).__name__} for two runs: what one run left "
                    "in it is seen by the next. Make a new one in it, or empty it there"
                ),
                stacklevel=2,
            )
        self._last_shared = made
        return made

    def make(self, shared: Any = None) -> tuple[Processor, Check | None]:
        """A processor, and the check that its function made with it, if it did.

        Raises:
            FactoryError: the user's function failed, or returned something else.
            ProcessorImportError: the module can't be imported.
        """
        source = self.source
        if isinstance(source, str):
            with imported_anew():
                source = _maker(source, self.directory)
        if isinstance(source, Processor):
            return source, None
        arguments = (shared,) if self._takes_shared(source) else ()
        try:
            made = source(*arguments)
        except Exception as error:
            raise FactoryError(f"{title(source)} failed: {type(error).__name__}: {error}") from error
        return _processor_of(made, source)

    def _takes_shared(self, make: Callable[..., Any]) -> bool:
        count = required(make)
        if count > 1:
            raise FactoryError(f"{title(make)} takes {count} arguments: it gets one at most, what is shared")
        if count == 1 and self.shared is None:
            raise FactoryError(
                f"{title(make)} takes an argument, what its processors share: say how it is made, as in shared=dict"
            )
        return count == 1 or (self.shared is not None and positional(make) > 0)


def _maker(reference: str, directory: Path) -> Processor | Callable[..., Any]:
    """The Processor of that name, or what makes one."""
    value = load_reference(reference, directory)
    if isinstance(value, Processor):
        return value
    if callable(value):
        make: Callable[..., Any] = value
        return make
    module = sys.modules[reference.partition(":")[0]]
    raise ProcessorImportError(
        f"{reference} is of type {type(value).__name__}, not Processor; "
        f"processors in {module.__name__}: {listing(_processors(module))}"
    )


def _processor_of(made: Any, source: Callable[..., Any]) -> tuple[Processor, Check | None]:
    check = None
    if isinstance(made, tuple) and len(made) == 2 and callable(made[1]):
        made, check = made
    made = getattr(made, "processor", made)
    if not isinstance(made, Processor):
        raise FactoryError(f"{title(source)} returned {_a(made)}: it must return a Processor, made inside of it")
    return made, check


def _a(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def title(source: Any) -> str:
    """What a message calls a function, class or reference."""
    if isinstance(source, functools.partial):
        source = source.func
    return source if isinstance(source, str) else str(getattr(source, "__qualname__", repr(source)))


def reference_of(source: Any) -> str | None:
    """``module:attribute`` under which another process finds an object; None if there is no such name."""
    if isinstance(source, str):
        return source
    module, name = getattr(source, "__module__", None), getattr(source, "__qualname__", "<")
    if module is None or module == "__main__" or "<" in name:
        return None
    return f"{module}:{name}" if load_attribute(sys.modules.get(module), name) is source else None


def load_attribute(owner: Any, path: str) -> Any:
    """An attribute by its dotted path; None if there is none."""
    for name in path.split("."):
        owner = getattr(owner, name, None)
    return owner


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # some of those in C say nothing of their arguments
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in parameters if parameter.kind in kinds]


def positional(function: Callable[..., Any]) -> int:
    """How many arguments a function may get by position."""
    return len(_parameters(function))


def required(function: Callable[..., Any]) -> int:
    """How many arguments a function must get."""
    return sum(parameter.default is parameter.empty for parameter in _parameters(function))
