"""Scenario files: read, checked, and their problems told with file, line and path."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from queuesim.errors import QueuesimError
from queuesim.escaping import shown
from queuesim.inputfile import InputFileError, read_input
from queuesim.processor import JobType
from queuesim.scenario.checks import file_problems
from queuesim.scenario.document import LARGEST, Document, DocumentError
from queuesim.scenario.reference import ProcessorImportError, load_processor
from queuesim.scenario.schema import Scenario
from queuesim.scenario.wording import Location, nearest, retell, unknown


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
"""Problems of one file that are shown; a file with more is no scenario, or has one mistake many times."""


def load_scenario(path: str | Path, *, check_processor: bool = False, no_limit: bool = False) -> Scenario:
    """The scenario in a file.

    Args:
        path: a YAML file; files that it names are relative to it.
        check_processor: also import the user's processor, if it names one.
        no_limit: also take a scenario that would play for more than a day, or need more than 64 GB of memory.

    Raises:
        ScenarioError: the file can't be read, or has problems: the first 50 that were found.
    """
    return build_scenario(read_document(path), file=path, check_processor=check_processor, no_limit=no_limit)


def read_document(path: str | Path) -> Document:
    """The YAML document in a file, not looked at yet.

    Raises:
        ScenarioError: the file can't be read, or is no YAML document.
    """
    path = Path(path)
    try:
        text = read_input(path, LARGEST).decode("utf-8-sig")
    except InputFileError as error:
        raise ScenarioError([Problem(str(path), None, "", str(error))]) from None
    except UnicodeDecodeError:
        raise ScenarioError([Problem(str(path), None, "", "it is not UTF-8 text")]) from None
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
    document: Document, *, file: str | Path, check_processor: bool = False, no_limit: bool = False
) -> Scenario:
    """The scenario that a document describes; `file` is what errors call it, and what other files are relative to.

    Args:
        check_processor: also import the user's processor, if it names one.
        no_limit: also take a scenario that would play for more than a day, or need more than 64 GB of memory.

    Raises:
        ScenarioError: the document has problems: the first 50 that were found.
    """
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
        if not found and not no_limit:
            found += _size_problems(scenario)
    if found:
        raise ScenarioError(_placed(document, name, location, message) for location, message in found[:MOST_PROBLEMS])
    return scenario


def dotted(location: Location) -> str:
    """``load[0].poisson.rate``"""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(steps).removeprefix(".")


def _placed(document: Document, file: str, location: Location, message: str) -> Problem:
    line, way = document.locate(location)
    return Problem(file, line, dotted(way), message)


def _retold(error: ValidationError) -> list[tuple[Location, str]]:
    found: list[tuple[Location, str]] = []
    for detail in error.errors(include_url=False)[:MOST_PROBLEMS]:
        if detail["type"] == "problems":
            found += detail["ctx"]["found"]
        else:
            found.append(retell(detail, Scenario))
    return found


def _size_problems(scenario: Scenario) -> Iterator[tuple[Location, str]]:
    from queuesim.check.effort import effort

    found = effort(scenario)
    if found.too_large:
        yield found.largest.place, found.refusal


def _processor_problems(scenario: Scenario) -> list[tuple[Location, str]]:
    if scenario.processor is None:
        return []
    try:
        processor = load_processor(scenario.processor, scenario.directory)
    except ProcessorImportError as error:
        return [(("processor",), str(error))]
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
