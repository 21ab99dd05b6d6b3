"""What a run leaves behind in a processor's handlers: globals, closures, default arguments and objects that it changed.

A processor that is given as an object, or imported by the user, is the same object in every run. Its handlers see then
what an earlier run left. That can't be undone from here, so the user is told.
"""

from __future__ import annotations

import enum
import functools
import itertools
import random
import sys
import types
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from queuesim.core.processor import Processor

DEPTH = 4
"""How far containers and objects are looked into."""
LARGE = 1000
"""Of a container with more entries only their number is compared."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum)
INSTALLED = ("site-packages", "dist-packages")

_changed: weakref.WeakKeyDictionary[Processor, dict[str, Any]] = weakref.WeakKeyDictionary()
"""What runs have changed, by processor and name: its value before the first run that changed it."""


class HandlerStateWarning(UserWarning):
    """Handlers see what an earlier run left in them, so this run may differ from the first one."""


def warn_of_leftovers(processor: Processor, stacklevel: int) -> None:
    """Warn if an earlier run of this process has changed what the processor's handlers use."""
    names = leftovers(processor)
    if names:
        warnings.warn(
            HandlerStateWarning(
                f"the handlers of {processor.queue!r} keep state from an earlier run: {', '.join(names)}. Reset it "
                "before the run, or hand over a function that makes the processor, or its name as module:attribute: "
                "it is then made anew for each worker of each run"
            ),
            stacklevel=stacklevel + 1,
        )


def leftovers(processor: Processor) -> list[str]:
    """The names of what earlier runs have changed in the processor's handlers, and nobody has reset."""
    changed = _changed.get(processor)
    if not changed:
        return []
    now = snapshot(processor)
    return [name for name, value in changed.items() if now.get(name) != value]


@contextmanager
def watched(processor: Processor) -> Iterator[None]:
    """Note what a run changes in the processor's handlers."""
    before = snapshot(processor)
    try:
        yield
    finally:
        after = snapshot(processor)
        changed = {name: value for name, value in before.items() if after.get(name) != value}
        if changed:
            _changed[processor] = changed | _changed.get(processor, {})


def snapshot(processor: Processor) -> dict[str, Any]:
    """What the handlers refer to, by name, each in a form that can be compared later."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for job_type in processor.types.values():
        for name, value in _used(job_type.handler, seen):
            found.setdefault(name, _frozen(value, DEPTH))
    return found


def _used(handler: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The named values that a callable uses, and those of the functions of its module that it calls."""
    if id(handler) in seen:
        return
    seen.add(id(handler))
    if isinstance(handler, functools.partial):
        yield from ((f"arguments of {_title(handler.func)}", value) for value in (handler.args, handler.keywords))
        yield from _used(handler.func, seen)
    elif isinstance(handler, types.MethodType):
        yield f"self of {handler.__qualname__}", handler.__self__
        yield from _used(handler.__func__, seen)
    elif isinstance(handler, types.FunctionType):
        yield from _of_function(handler, seen)
    elif not isinstance(handler, (type, types.BuiltinFunctionType)) and callable(handler):
        yield f"self of {type(handler).__qualname__}", handler
        yield from _used(type(handler).__call__, seen)


def _of_function(function: types.FunctionType, seen: set[int]) -> Iterator[tuple[str, Any]]:
    title = _title(function)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield from _named(f"{name} (closure of {title})", cell.cell_contents, function, seen)
        except ValueError:
            continue  # nothing has been assigned to it yet
    yield f"default arguments of {title}", (function.__defaults__, function.__kwdefaults__)
    yield f"attributes of {title}", vars(function)
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield from _named(f"{function.__module__}.{name}", function.__globals__[name], function, seen)
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield from _used(wrapped, seen)


def _named(name: str, value: Any, user: types.FunctionType, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.FunctionType) and value.__module__ == user.__module__:
        yield from _used(value, seen)
    else:
        yield name, value


def _names(code: types.CodeType) -> set[str]:
    """The global names in a function's code and in that of the functions within it."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def _title(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function))).replace("<locals>.", "")


def _frozen(value: Any, depth: int) -> Any:
    """A form of a value that stays as it is when the value changes."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, (type, types.ModuleType, types.FunctionType, Processor)) or depth == 0:
        return id(value)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, itertools.count) or hasattr(value, "bit_generator"):
        return repr(value) if isinstance(value, itertools.count) else repr(value.bit_generator.state)
    if isinstance(value, (list, tuple, set, frozenset, deque, Mapping)):
        return _frozen_container(value, depth)
    if _of_user(type(value)):
        return _frozen_container(_attributes(value), depth)
    return id(value)


def _frozen_container(value: Any, depth: int) -> Any:
    if len(value) > LARGE:
        return len(value)
    if isinstance(value, Mapping):
        return tuple((_frozen(key, depth - 1), _frozen(one, depth - 1)) for key, one in list(value.items()))
    return tuple(_frozen(one, depth - 1) for one in list(value))


def _attributes(value: Any) -> dict[str, Any]:
    slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ()) if hasattr(value, name)]
    return {name: getattr(value, name) for name in slots} | dict(getattr(value, "__dict__", {}))


def _of_user(kind: type) -> bool:
    """Whether a class is the user's own: libraries change their objects whenever they are used."""
    package = kind.__module__.partition(".")[0]
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return package not in (*sys.stdlib_module_names, "queuesim") and not any(part in file for part in INSTALLED)
