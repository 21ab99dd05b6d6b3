"""Scenario files: read and checked, with problems reported by file, line and path."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from queuesim.core.processor import JobType
from queuesim.error import QueuesimError
from queuesim.inputfile import InputFileError, read_input
from queuesim.scenario.model import Scenario, file_problems
from queuesim.scenario.processors import FactoryError, ProcessorImportError, processor_of
from queuesim.scenario.yaml import LARGEST, Document, DocumentError
from queuesim.text import Location, listing, nearest, retell, show, shown, unknown
from queuesim.units import parse_rate

Source = Scenario | Mapping[str, Any] | str | Path
"""What stands for a scenario: itself, a mapping with its keys, or the path of its file."""
Check = Callable[[Scenario], Iterable[tuple[Location, str]]]
"""Finds further problems of a scenario, each with its place in the document."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a scenario file."""

    file: str
    line: int | None
    """From 1; None if the file could not be read at all."""
    path: str
    """The keys that lead to it: ``load[0].poisson.rate``; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return shown(f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}")


class ScenarioError(QueuesimError):
    """A scenario file is not right. Its text has a line a problem, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(map(str, self.problems)))


MOST_PROBLEMS = 50
"""Maximum number of problems shown for one file."""


def load_scenario(path: str | Path, *, check_processor: bool = False, checks: Sequence[Check] = ()) -> Scenario:
    """The scenario in a file.

    Args:
        path: a YAML file; files that it names are relative to it.
        check_processor: also import the user's processor, if it names one.
        checks: what else to look for; `queuesim.runs.effort.size_problems` refuses what no machine can play.

    Raises:
        ScenarioError: the file can't be read, or has problems: the first 50 that were found.
    """
    return build_scenario(read_document(path), file=path, check_processor=check_processor, checks=checks)


def read_document(path: str | Path) -> Document:
    """The YAML document in a file, not validated yet. Raises ScenarioError if it can't be read or is not YAML."""
    try:
        text = read_input(Path(path), LARGEST).decode("utf-8-sig")
    except (InputFileError, UnicodeDecodeError) as error:
        message = str(error) if isinstance(error, InputFileError) else "it is not UTF-8 text"
        raise ScenarioError([Problem(str(path), None, "", message)]) from None
    return _document(text, str(path))


def parse_scenario(text: str, *, file: str | Path = "scenario", check_processor: bool = False) -> Scenario:
    """The scenario that a YAML text describes; `file` is what errors call it, and what other files are relative to.

    Raises:
        ScenarioError: the text has problems: the first 50 that were found.
    """
    return build_scenario(_document(text, str(file)), file=file, check_processor=check_processor)


def _document(text: str, name: str) -> Document:
    try:
        return Document(text)
    except DocumentError as error:
        raise ScenarioError([Problem(name, error.line, dotted(error.location), error.message)]) from None


def build_scenario(
    document: Document, *, file: str | Path, check_processor: bool = False, checks: Sequence[Check] = ()
) -> Scenario:
    """The scenario that a document describes; for the arguments see `load_scenario` and `parse_scenario`."""
    name, directory = str(file), Path(file).parent
    if not isinstance(document.value, dict):
        raise ScenarioError([Problem(name, 1, "", 'a scenario is a mapping, that begins with "name: ..."')])
    found: list[tuple[Location, str]] = []
    try:
        scenario = Scenario.model_validate(document.value, context={"file": True, "directory": directory})
    except ValidationError as error:
        found = _retold(error)
    else:
        found = list(file_problems(scenario))
        if check_processor:
            found += _processor_problems(scenario)
        if not found:
            found += [problem for check in checks for problem in check(scenario)]
    if found:
        raise ScenarioError(
            Problem(name, *_where(document, location), message) for location, message in found[:MOST_PROBLEMS]
        )
    return scenario


def as_scenario(source: Source, *, checks: Sequence[Check] = ()) -> Scenario:
    """A Scenario from whatever stands for one. `checks` are for one that comes from a file; see `load_scenario`."""
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return Scenario.model_validate(dict(source))
    return load_scenario(source, checks=checks)


def dotted(location: Location) -> str:
    """``load[0].poisson.rate``"""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(steps).removeprefix(".")


def _where(document: Document, location: Location) -> tuple[int, str]:
    line, way = document.locate(location)
    return line, dotted(way)


def _retold(error: ValidationError) -> list[tuple[Location, str]]:
    found: list[tuple[Location, str]] = []
    for detail in error.errors(include_url=False)[:MOST_PROBLEMS]:
        if detail["type"] == "problems":
            found += detail["ctx"]["found"]
        else:
            found.append(retell(detail, Scenario))
    return found


def _processor_problems(scenario: Scenario) -> list[tuple[Location, str]]:
    try:
        processor = processor_of(scenario)
    except (ProcessorImportError, FactoryError) as error:
        return [(("processor",), str(error))]
    if processor is None:
        return []
    found: list[tuple[Location, str]] = []
    places: dict[str, Location] = {name: ("jobs", name) for name in scenario.jobs}
    for i, entry in enumerate(scenario.load):
        recorded = entry.trace.jobs if entry.trace is not None else ()
        bare = [job.name for job in recorded if job.service is None]
        for name in [*(entry.jobs or ()), *bare]:
            places.setdefault(name, ("load", i, "trace" if entry.trace is not None else "jobs", name))
    for name, place in places.items():
        if name in processor.types and scenario.job(name).synthetic:
            found.append(((*place, "service"), f"{scenario.processor} has a handler for it: leave service out"))
        elif name not in processor.types and not scenario.job(name).synthetic:
            found.append((place, f"no service, and {unknown('handler', name, processor.types, 'handlers')}"))
        if name in processor.types and not scenario.job(name).synthetic:
            found += _data_problems(scenario, name, processor.types[name], place)
    return found


def _data_problems(scenario: Scenario, name: str, job_type: JobType, place: Location) -> Iterator[tuple[Location, str]]:
    """What a handler's model says of the data that the scenario gives to all jobs of its type."""
    if job_type.parse is None:
        return
    given = scenario.job(name).data
    data = {} if given is None else given
    try:
        # parsed from a copy: a model may keep, or change, what it is given
        job_type.parse(copy.deepcopy(data))
    except Exception as error:  # noqa: BLE001 - a validator of the user's may raise anything
        where = ("jobs", name, "data") if name in scenario.jobs else place
        yield where, f"every job of type {name} would fail: {error}{_meant(job_type.schema, data)}"


def _meant(schema: Any, data: Any) -> str:
    """The fields that keys of the data may have been meant for."""
    fields = getattr(schema, "model_fields", None) or getattr(schema, "__annotations__", {})
    if not isinstance(data, dict):
        return ""
    known = [getattr(field, "alias", None) or field_name for field_name, field in fields.items()]
    missing = [field_name for field_name in known if field_name not in data]
    hints = [f'; unknown field "{key}"{nearest(key, missing)}' for key in data if key not in known]
    return "".join(hints) if known else ""


# -- Overrides: values of a scenario file that are changed on the command line, as ``--set workers.concurrency=10``


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
        ScenarioError: it has another form.
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
        raise OverrideError(way, f'"{rest}" is not a path of keys with dots between them; keys: {listing(names)}')
    if way == ("jobs",) and after:
        # a new type of job is no change of a value: its name is probably wrong
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
        if blamed == list(problems) and self._changed:
            with_them = ", ".join(override.source for _, override in self._changed)
            return [replace(problem, message=f"{problem.message} (with {with_them})") for problem in problems]
        return blamed

    def _blame(self, problem: Problem) -> Problem:
        for place, override in reversed(self._changed):
            below = problem.path.removeprefix(dotted(place))
            if problem.path.startswith(dotted(place)) and (not below or below[0] in ".["):
                return Problem(f"{self.file}: {override.source}", None, problem.path, problem.message)
        return problem


def load_with(file: str | Path, overrides: Sequence[Override], *, checks: Sequence[Check] = ()) -> Scenario:
    """As `load_scenario`, with overrides; the processor is imported, too."""
    if not overrides:
        return load_scenario(file, check_processor=True, checks=checks)
    document = OverriddenDocument(file, overrides)
    try:
        return build_scenario(document, file=file, check_processor=True, checks=checks)
    except ScenarioError as error:
        raise ScenarioError(document.blame(error.problems)) from None


# -- Variations: a scenario with some of its values changed, for sweeps, explorers and a quick "what if"

LOAD = "load"
"""The path whose number multiplies all load, in place of replacing it."""


def vary(scenario: Source, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with other values at some paths, such as ``{"workers.concurrency": 10, "load": 1.5}``.

    Args:
        scenario: a Scenario, a mapping with its keys, or the path of a file, as `queuesim.run` takes it.
        changes: keys with dots between them, as ``queuesim run --set`` takes them; an entry of a list goes by its name
            or its position. The path ``load`` takes a factor for all arrival rates and for the size of every bulk.

    Raises:
        ValueError: a path leads nowhere, a value can't be there, or the load has an entry that can't be multiplied.
    """
    scenario = as_scenario(scenario)
    document = scenario.model_dump(mode="json", exclude_unset=True, by_alias=True)
    if len(document.get("workers", ())) == 1:
        document["workers"] = document["workers"][0]
    for path, value in changes.items():
        if path == LOAD:
            document["load"] = [_multiplied(entry, float(value)) for entry in document["load"]]
            continue
        try:
            Override(path, path, value).apply(document)
        except OverrideError as error:
            raise ValueError(f"{path}: {error}") from None
    # without the directory: the names of files have been resolved against it already
    try:
        varied = Scenario.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(f"{dotted(place)}: {message}" if place else message for place, message in _retold(error))
        raise ValueError(problems) from None
    varied._directory = scenario.directory
    return varied


def as_document(scenario: Scenario) -> dict[str, Any]:
    """A scenario as a document with the keys of a file, which `Scenario.model_validate` reads again.

    It can be stored beside a result: it has neither the data of jobs nor the address of a database, which may hold
    secrets, and names of files are relative to the current directory.
    """
    hidden = {"jobs": {name: {"data"} for name in scenario.jobs}, "overdue": {"database": {"url"}}}
    return scenario.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude=hidden)


def value_at(scenario: Scenario, path: str) -> Any:
    """What a scenario has at a path as `vary` takes it, defaults included, as JSON would have it.

    Raises:
        ValueError: the path leads nowhere.
    """
    place: Any = scenario.model_dump(mode="json", by_alias=True)
    if len(place["workers"]) == 1:
        place["workers"] = place["workers"][0]
    way: Location = ()
    rest = path
    while rest:
        try:
            step, rest = _step(place, rest, way)
        except OverrideError as error:
            raise ValueError(f"{path}: {error}") from None
        way = (*way, step)
        if isinstance(place, dict) and step not in place:
            raise ValueError(f"{path}: {unknown('key', str(step), place, 'keys')}")
        place = place[step]
    return place


def _multiplied(entry: dict[str, Any], factor: float) -> dict[str, Any]:
    """A load entry with its jobs multiplied."""
    for kind in ("constant", "poisson"):
        if kind in entry:
            return {**entry, kind: _rates(entry[kind], factor)}
    if "bulk" in entry:
        return {**entry, "bulk": {**entry["bulk"], "size": max(1, round(entry["bulk"]["size"] * factor))}}
    if "backlog" in entry:
        return {**entry, "backlog": max(1, round(entry["backlog"] * factor))}
    if factor == 1:
        return entry
    raise ValueError(f"load.{entry['name']}: what is recorded or closed can't be multiplied by {factor:g}")


def _rates(arrivals: Any, factor: float) -> Any:
    if isinstance(arrivals, Mapping):
        many = {"stages": [_rates(stage, factor) for stage in arrivals["stages"]]} if "stages" in arrivals else {}
        rates = {key: _rates(arrivals[key], factor) for key in ("rate", "target", "from") if key in arrivals}
        return {**arrivals, **many, **rates}
    return (parse_rate(arrivals) if isinstance(arrivals, str) else float(arrivals)) * factor


def json_schema() -> dict[str, Any]:
    """The JSON Schema of scenario files: what files may hold, with units, not what Python makes of it."""
    schema = Scenario.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
