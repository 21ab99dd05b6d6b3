"""The cache: what runs measured before, so that an interrupted experiment goes on and a repeated one takes no time."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import json
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from queuesim import __version__
from queuesim.error import QueuesimError
from queuesim.experiments.task import Measured, Playing, Task, digest_of, scenario_of
from queuesim.runs.invariants import Invariant
from queuesim.scenario.model import Scenario
from queuesim.scenario.processors import (
    FactoryError,
    ProcessorFactory,
    ProcessorImportError,
    imported_anew,
    load_reference,
    of_user,
    reference_of,
)

FILE = "runs.sqlite"
"""The file in the cache's directory."""
FORMAT = 1
"""Part of every key: what older versions stored is not found any more."""
MOST_FILES = 5000
"""Source files that are read for the digest of own code; with more of them it is not cached."""
BUILTIN = (builtins,)
"""Modules without a file that change with Python alone."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes into the same file."""


class CacheError(QueuesimError):
    """The cache can't be used."""


class NotCachedWarning(UserWarning):
    """Runs are played that can't be cached."""


class RunCache:
    """What runs have measured, in a file of a directory. Several processes may use it at a time.

    A run is found by everything that its figures depend on: the version of queuesim and its source, the scenario with
    the contents of the files that it names, the seed, what is measured, and the source of code of the user's own.

    Raises:
        CacheError: the directory or its file can't be used.
    """

    def __init__(self, directory: str | Path) -> None:
        self.file = Path(directory) / FILE
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._database = _opened(self.file)
        except (OSError, sqlite3.Error) as error:
            raise CacheError(f"{self.file} can't be used as a cache: {error}") from None
        self.found = 0
        """Runs that were in it."""

    def get(self, task: Task) -> Measured | None:
        """What a run has measured before; None if it is not known.

        Raises:
            CacheError: the file is damaged.
        """
        key = key_of(task)
        if key is None:
            return None
        try:
            row = self._database.execute("SELECT measured FROM runs WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            measured = Measured.from_json(row[0])
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            raise CacheError(f"{self.file} is damaged: remove it ({error})") from None
        self.found += 1
        return measured

    def put(self, task: Task, measured: Measured) -> None:
        """Note what a run has measured. Raises CacheError if it can't be written."""
        key = key_of(task)
        if key is None:
            return
        try:
            self._database.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (key, measured.as_json()))
        except sqlite3.Error as error:
            raise CacheError(f"{self.file} can't be written: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # a run that is lost with the machine's power is played again
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, measured TEXT NOT NULL)")
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextlib.contextmanager
def cache_in(directory: str | Path | None) -> Iterator[RunCache | None]:
    """The cache in a directory, or none. Raises CacheError."""
    if directory is None:
        yield None
        return
    with RunCache(directory) as found:
        yield found


# -- Keys


def key_of(task: Task) -> str | None:
    """Under which a run is stored; None if it can't be, which a NotCachedWarning says once."""
    code = None if task.keep is not None else _code(_Same(task.playing), task.scenario, task.directory)
    if code is None:
        return None
    rest = json.dumps([_canonical(task.scenario, task.directory), task.files, task.seed, task.measured, code])
    return hashlib.sha256(rest.encode()).hexdigest()


@lru_cache(maxsize=64)
def _canonical(document: str, directory: str) -> str:
    """A digest of a scenario, with all defaults written out. What only names it is not part of it."""
    scenario = _parsed(document, directory)
    written = scenario.model_dump(mode="json", by_alias=True, exclude={"description", "seed"})
    # the order of keys is part of it: job types are drawn in it
    return hashlib.sha256(json.dumps(written).encode()).hexdigest()


def _parsed(document: str, directory: str) -> Scenario:
    return scenario_of(Task(document, directory, "", 0, ()))


@cache
def source_version() -> str:
    """The version, and a digest of the package's source: a clone changes without a new version."""
    package = Path(__file__).parents[1]
    files = sorted(file for ending in ("*.py", "*.lua") for file in package.rglob(ending))
    return f"{FORMAT} {__version__} {digest_of(files)}"


class _Same:
    """Options of runs as a key of a table: equal only to the very same object."""

    def __init__(self, playing: Playing) -> None:
        self.playing = playing

    def __hash__(self) -> int:
        return id(self.playing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.playing is self.playing


@lru_cache(maxsize=64)
def _code(same: _Same, document: str, directory: str) -> str | None:
    """A digest of what plays the runs: this package, options, and code of the user's own. None: it is unknown."""
    scenario, playing = _parsed(document, directory), same.playing
    if playing.allow_io or scenario.allow_io:
        _warn("what handlers read outside of the process may be different next time (allow_io)")
        return None
    own = ""
    references = list(_references(scenario, playing))
    if references:
        if None in references:
            _warn(
                "own code that is not in a module can't be compared with that of before: write it as module:attribute"
            )
            return None
        found = _source(tuple(str(each) for each in references), Path(directory))
        if found is None:
            _warn(f"the source of {references[0]} can't be found")
            return None
        own = found
    return json.dumps([source_version(), playing.backend, playing.shuffle, playing.handler_limit, references, own])


def _warn(reason: str) -> None:
    warnings.warn(NotCachedWarning(f"these runs are not cached: {reason}"), stacklevel=2)


def _references(scenario: Scenario, playing: Playing) -> Iterator[str | None]:
    """``module:attribute`` of all code of the user's own; None for what has none."""
    for given, named in ((playing.processor, scenario.processor), (playing.shared, scenario.shared)):
        if given is not None or named is not None:
            yield _reference(named if given is None else given)
    for entry in scenario.invariants:
        yield entry.reference
    for _, invariant in playing.own_objects:
        if isinstance(invariant, Invariant):
            yield invariant.reference


def _reference(given: Any) -> str | None:
    return given.reference if isinstance(given, ProcessorFactory) else reference_of(given)


def _source(references: tuple[str, ...], directory: Path) -> str | None:
    """A digest of the modules of the user's own that are imported with some objects, and of all files beside them: an
    import within a function would not be seen otherwise. None: a module has no file, or there are too many."""
    with imported_anew():
        try:
            for reference in references:
                load_reference(reference, directory)
        except (ProcessorImportError, FactoryError):
            # the run will say what is wrong
            return None
        modules = [module for module in sys.modules.values() if of_user(module)]
        # one of a library or of Python, too, if it is what was named
        modules += [sys.modules[reference.partition(":")[0]] for reference in references]
    paths = [getattr(module, "__file__", None) for module in modules]
    if not all(path is not None or module in BUILTIN for path, module in zip(paths, modules, strict=True)):
        return None
    folders = {Path(path).resolve().parent for path in paths if path is not None}
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return digest_of(files) if len(files) <= MOST_FILES else None
