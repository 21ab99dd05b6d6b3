"""Variations: a scenario with some of its values changed, for sweeps, explorers and a quick "what if"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from queuesim.scenario.override import Override, OverrideError
from queuesim.scenario.schema import Scenario
from queuesim.units import parse_rate

if TYPE_CHECKING:
    from queuesim.scenario.runner import Source

LOAD = "load"
"""The path whose number multiplies all load, in place of replacing it."""


def vary(scenario: Source, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with other values at some paths, such as ``{"workers.concurrency": 10, "load": 1.5}``.

    Args:
        scenario: a Scenario, a mapping with its keys, or the path of a file, as `queuesim.run` takes it.
        changes: keys with dots between them, as ``queuesim run --set`` takes them; an entry of a list goes by its name
            or its position. The path ``load`` takes a factor for all arrival rates and for the size of every bulk.

    Raises:
        ValueError: a path leads nowhere, a value can't be there, or the load has an entry that can't be multiplied. A
            pydantic.ValidationError is one.
    """
    from queuesim.scenario.runner import as_scenario

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
    varied = Scenario.model_validate(document)
    varied._directory = scenario.directory
    return varied


def _multiplied(entry: dict[str, Any], factor: float) -> dict[str, Any]:
    """A load entry with so many times the jobs."""
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
