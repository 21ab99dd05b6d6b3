"""Overrides: values of a scenario file that are changed on the command line, as ``--set workers.concurrency=10``.

They are made in the document, before it is checked: what is wrong with one is told as what is wrong with a file is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from queuesim.scenario.document import Document, DocumentError
from queuesim.scenario.file import Problem, ScenarioError, build_scenario, dotted, load_scenario, read_document
from queuesim.scenario.schema import Scenario
from queuesim.scenario.wording import Location, listing, show, unknown


class OverrideError(Exception):
    """An override that can't be made, and where in the file it went wrong."""

    def __init__(self, location: Location, message: str) -> None:
        super().__init__(message)
        self.location = location


@dataclass(frozen=True, slots=True)
class Override:
    """A value for a place in a document."""

    source: str
    """As the command line has it: ``--set workers.concurrency=10``."""
    path: str
    """Keys with dots between them. An entry of a list goes by its position, from 0, or by its name."""
    value: Any

    def apply(self, document: Any) -> Location:
        """Set the value, and make the mappings on the way to it that are missing. Returns the first place that changed.

        Raises:
            OverrideError: the path leads nowhere.
        """
        place, rest = document, self.path
        way: Location = ()
        changed: Location | None = None
        while True:
            step, rest = _step(place, rest, way)
            way = (*way, step)
            if not rest:
                place[step] = self.value
                return changed or way
            if isinstance(place, dict) and place.get(step) is None:
                changed = changed or way
                place[step] = {}
            place = place[step]


def parse_set(text: str) -> Override:
    """What ``--set`` was given: ``key.path=value``, the value in YAML.

    Raises:
        ScenarioError: it is none.
    """
    source = f"--set {text}"
    path, equals, value = text.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise ScenarioError([Problem(source, None, "", "write it as KEY.PATH=VALUE, as in workers.concurrency=10")])
    if not value.strip():
        raise ScenarioError([Problem(source, None, "", 'the value is missing; "null" takes a key out')])
    try:
        return Override(source, path.strip(), Document(value).value)
    except DocumentError as error:
        raise ScenarioError([Problem(source, None, dotted(error.location), error.message)]) from None


def _step(place: Any, rest: str, way: Location) -> tuple[str | int, str]:
    """The next key or position of a path, and what of the path is left. The longest name wins: names may hold dots."""
    if not isinstance(place, (dict, list)):
        raise OverrideError(way, f'{show(place)} has no "{rest}" in it: set it as a whole, as {dotted(way)}=...')
    names = _names(place)
    for name in sorted(names, key=len, reverse=True):
        after = rest.removeprefix(name)
        if rest.startswith(name) and (not after or after[0] in ".["):
            return names[name], after.removeprefix(".")
    head, _, after = rest.partition(".")
    if isinstance(place, list):
        raise OverrideError(way, unknown("entry", head, _titles(place), "entries"))
    if not head or "[" in head:
        raise OverrideError(way, f'"{rest}" is no path of keys with dots between them; keys: {listing(names)}')
    if way == ("jobs",) and after:
        # a new type of job is no change of a value: more likely its name is wrong
        raise OverrideError(way, unknown("job", head, names, "jobs"))
    return head, after


def _names(place: dict[str, Any] | list[Any]) -> dict[str, str | int]:
    """The steps from a place, by what a path may call them."""
    if isinstance(place, dict):
        return {key: key for key in place}
    names: dict[str, str | int] = {}
    for i, title in enumerate(_titles(place)):
        names |= {str(i): i, f"[{i}]": i, title: i}
    return names


def _titles(entries: list[Any]) -> list[str]:
    """The names of a list's entries; the position, from 0, of one that has none."""
    given = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    return [name if isinstance(name, str) else str(i) for i, name in enumerate(given)]


class OverriddenDocument(Document):
    """The document in a file, with values changed after it was read.

    Raises:
        ScenarioError: the file is no document, or the path of an override leads nowhere.
    """

    def __init__(self, file: str | Path, overrides: Sequence[Override]) -> None:
        super().__init__(read_document(file).text)
        self.file = file
        self._changed: list[tuple[Location, Override]] = []
        for override in overrides if isinstance(self.value, dict) else ():
            try:
                self._changed.append((override.apply(self.value), override))
            except OverrideError as error:
                problem = Problem(f"{file}: {override.source}", None, dotted(error.location), str(error))
                raise ScenarioError([problem]) from None

    def locate(self, location: Location) -> tuple[int, Location]:
        """As the document does; what an override has brought is where it was put."""
        way = self._way(location)
        for place, _ in self._changed:
            if way[: len(place)] == place:
                return super().locate(place)[0], way
        return super().locate(location)

    def _way(self, location: Location) -> Location:
        """The steps of `location` that the changed document has."""
        value, way = self.value, []
        for step in location:
            if isinstance(value, dict) and step in value:
                value = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            elif isinstance(value, dict):
                continue
            else:
                break
            way.append(step)
        return tuple(way)

    def blame(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems, each placed at the override that it is in; if none is in one, any override may be at fault."""
        blamed = [self._blame(problem) for problem in problems]
        if blamed == list(problems):
            with_them = ", ".join(override.source for _, override in self._changed)
            return [replace(problem, message=f"{problem.message} (with {with_them})") for problem in problems]
        return blamed

    def _blame(self, problem: Problem) -> Problem:
        for place, override in reversed(self._changed):
            below = problem.path.removeprefix(dotted(place))
            if problem.path.startswith(dotted(place)) and (not below or below[0] in ".["):
                return Problem(f"{self.file}: {override.source}", None, problem.path, problem.message)
        return problem


def load_with(file: str | Path, overrides: Sequence[Override], *, no_limit: bool = False) -> Scenario:
    """The scenario in a file, with overrides; its processor is imported, too.

    Args:
        no_limit: also take a scenario that would play for more than a day, or need more than 64 GB of memory.

    Raises:
        ScenarioError: the file, or an override, has problems.
    """
    if not overrides:
        return load_scenario(file, check_processor=True, no_limit=no_limit)
    document = OverriddenDocument(file, overrides)
    try:
        return build_scenario(document, file=file, check_processor=True, no_limit=no_limit)
    except ScenarioError as error:
        raise ScenarioError(document.blame(error.problems)) from None
