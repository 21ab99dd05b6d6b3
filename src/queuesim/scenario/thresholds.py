"""Thresholds: what a metric of a run must be, as "latency.p95 < 30s" says it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from queuesim.fields import in_file, is_number, refuse
from queuesim.results.metrics import COMPARISONS, METRICS, Metric, check_metric
from queuesim.text import listing, show, unknown
from queuesim.units import DURATION_PATTERN, format_duration, parse_duration, parse_percent, parse_rate

OPERATORS = ("<=", ">=", "==", "!=", "<", ">")

_TEXT = re.compile(rf"^\s*([A-Za-z_]+)(?:\.([A-Za-z0-9_.]+?))?\s*({'|'.join(OPERATORS)})\s*(\S.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Where:
    """The jobs that a threshold counts; None means all."""

    job: str | None = None
    load: str | None = None

    def chosen(self) -> dict[str, str]:
        """The restrictions, as a mapping with the keys job and load."""
        given = {"job": self.job, "load": self.load}
        return {key: name for key, name in given.items() if name is not None}


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a metric of a run must be."""

    metric: str
    statistic: str | None
    """Of a distribution or a level: "mean", "max", "p95", ...; None for a count or a rate."""
    operator: str
    """One of <, <=, >, >=, ==, !=."""
    limit: float
    """In seconds, per second, as a fraction, or plain, as the metric is."""
    where: Where = field(default_factory=Where)
    over: float | None = None
    """Seconds of a sliding window, in each of which it must hold; None: over the whole run."""
    abort: bool = False
    """End the run as soon as it fails."""
    written: str = ""
    """The limit as it was written: ``30s``."""

    @property
    def name(self) -> str:
        """The metric with its statistic: ``latency.p95``."""
        return dotted(self.metric, self.statistic)

    @property
    def condition(self) -> str:
        """``< 30s``."""
        return f"{self.operator} {self.written}"

    @property
    def text(self) -> str:
        """``latency.p95 < 30s``."""
        return f"{self.name} {self.condition}"

    def holds(self, value: float) -> bool:
        """Whether a measured value meets it; NaN, nothing measured, does not."""
        return not math.isnan(value) and bool(COMPARISONS[self.operator](value, self.limit))


def parse_threshold(text: str) -> Threshold:
    """A threshold of the form ``metric < limit`` or ``metric.statistic < limit``.

    Raises:
        ValueError: it has another form, or an unknown metric or statistic, or a limit in the wrong unit.
    """
    parts = _TEXT.match(text)
    if parts is None:
        raise ValueError(f'"{text}" is not a threshold: write it as lost == 0 or latency.p95 < 30s')
    name, statistic, operator, limit = parts.groups()
    metric = check_metric(name, statistic)
    return Threshold(name, statistic, operator, _limit(metric, limit), written=limit)


def dotted(name: str, statistic: str | None) -> str:
    """``latency.p95``, or a metric alone."""
    return name if statistic is None else f"{name}.{statistic}"


def _limit(metric: Metric, text: str) -> float:
    """The number that a limit stands for, in the metric's unit."""
    if metric.unit == "s":
        return parse_duration(text)
    if metric.unit == "1/s":
        return parse_rate(text)
    if metric.unit == "share" and text.endswith("%"):
        limit = parse_percent(text)
    else:
        try:
            limit = float(text)
        except ValueError:
            raise ValueError(f'"{text}" is not a number: {metric.name} has no unit') from None
        if not (math.isfinite(limit) and limit >= 0):
            raise ValueError(f"{text} must be 0 or more, and finite")
    if metric.unit == "share" and limit > 1:
        hint = f"write {text}%" if limit <= 100 and not text.endswith("%") else "it is 100% at most"
        raise ValueError(f"{text} is too large for {metric.name}: {hint}")
    return limit


# -- Thresholds as a scenario writes them: as text, or as a mapping that narrows one down

_NARROWING = ("where", "over", "abort")
"""Keys that a threshold's mapping can have beside the metric."""

_CONDITION = re.compile(rf"^\s*(?:([A-Za-z0-9_.]+?)\s*)?({'|'.join(OPERATORS)})\s*(\S.*?)\s*$")


def _parse_mapping(given: dict[str, Any], info: ValidationInfo) -> Threshold:
    metrics = [key for key in given if key not in _NARROWING]
    for key in metrics:
        if key.partition(".")[0] not in METRICS:
            raise refuse(unknown("metric", key.partition(".")[0], [*METRICS, *_NARROWING], "allowed here"))
    if len(metrics) != 1:
        raise refuse(f"a threshold has exactly one metric, not {len(metrics)}; known: {listing(METRICS)}")
    name = metrics[0]
    base, _, statistic = name.partition(".")
    condition = given[name]
    rest = _CONDITION.match(condition) if isinstance(condition, str) else None
    if rest is None or (statistic and rest[1]):
        raise refuse(f'{name}: {show(condition)} is not a condition: write it as "< 30s" or "p95 < 30s"')
    threshold = parse_threshold(f"{dotted(base, statistic or rest[1])} {rest[2]} {rest[3]}")
    abort = given.get("abort", False)
    if not isinstance(abort, bool):
        raise refuse(f"abort: {show(abort)} is neither true nor false")
    return replace(threshold, where=_where(given.get("where")), over=_over(given.get("over"), info), abort=abort)


def _where(given: Any) -> Where:
    if given is None:
        return Where()
    if isinstance(given, Where):
        return given
    if not isinstance(given, dict):
        raise refuse(f"where: {show(given)} is not a mapping with job or load")
    for key, value in given.items():
        if key not in ("job", "load"):
            raise refuse(f"where: {unknown('key', key, ['job', 'load'], 'allowed here')}")
        if not isinstance(value, str):
            raise refuse(f"where.{key}: {show(value)} is not a name")
    return Where(given.get("job"), given.get("load"))


def _over(given: Any, info: ValidationInfo) -> float | None:
    if given is None:
        return None
    if isinstance(given, str):
        seconds = parse_duration(given)
    elif is_number(given) and not in_file(info):
        seconds = float(given)
    else:
        raise refuse(f"over: {show(given)} is not a duration: write it as 5m or 30s")
    if not (seconds > 0 and math.isfinite(seconds)):
        raise refuse("over: a window must be longer than 0")
    return seconds


def _validate(value: Any, info: ValidationInfo) -> Threshold:
    try:
        if isinstance(value, Threshold):
            return value
        if isinstance(value, str):
            return parse_threshold(value)
        if isinstance(value, dict):
            return _parse_mapping(value, info)
    except ValueError as error:
        raise refuse(str(error)) from None
    raise refuse(f"{show(value)} is not a threshold: write it as lost == 0 or latency.p95 < 30s")


def _serialize(threshold: Threshold) -> Any:
    """The short form if it says everything."""
    where = threshold.where.chosen()
    if not where and threshold.over is None and not threshold.abort:
        return threshold.text
    written: dict[str, Any] = {threshold.name: threshold.condition}
    if where:
        written["where"] = where
    if threshold.over is not None:
        written["over"] = format_duration(threshold.over)
    if threshold.abort:
        written["abort"] = True
    return written


def _file_schema() -> dict[str, Any]:
    """What editors may offer and must refuse."""
    single = [metric.name for metric in METRICS.values() if not metric.statistics]
    several = [metric.name for metric in METRICS.values() if metric.statistics]
    operator = f"({'|'.join(OPERATORS)})"
    statistic = r"(mean|median|min|max|std|last|p[0-9]{1,3}(\.[0-9]+)?)"
    names = rf"({'|'.join(single)}|({'|'.join(several)})\.{statistic})"
    text = {
        "type": "string",
        "pattern": rf"^\s*{names}\s*{operator}\s*\S+\s*$",
        "examples": ["lost == 0", "success_rate >= 99%", "latency.p95 < 30s"],
        "description": "A condition on a metric of the whole run.",
    }
    properties: dict[str, Any] = {
        metric.name: {"type": "string", "description": metric.meaning, "pattern": operator}
        for metric in METRICS.values()
    }
    narrowing = {
        "where": {
            "type": "object",
            "description": "Only jobs of this type, or from this load entry.",
            "properties": {"job": {"type": "string"}, "load": {"type": "string"}},
            "additionalProperties": False,
        },
        "over": {"type": "string", "pattern": DURATION_PATTERN, "description": "In every window of this length."},
        "abort": {"type": "boolean", "description": "End the run as soon as it fails.", "default": False},
    }
    mapping = {
        "type": "object",
        "properties": properties | narrowing,
        "patternProperties": {rf"^{names}$": {"type": "string", "pattern": operator}},
        "additionalProperties": False,
        "examples": [{"latency": "p95 < 30s", "where": {"job": "task-created"}, "over": "5m"}],
    }
    return {"anyOf": [text, mapping]}


ThresholdField = Annotated[
    Threshold,
    PlainValidator(_validate),
    PlainSerializer(_serialize),
    WithJsonSchema(_file_schema()),
]
"""A threshold in a scenario: text or a mapping in a file, also a `Threshold` in Python."""


def describe(threshold: Threshold) -> str:
    """A threshold in words: ``latency.p95 < 30s of job task-created over 5m``."""
    parts = [threshold.text]
    for kind, chosen in (("job", threshold.where.job), ("load", threshold.where.load)):
        if chosen is not None:
            parts.append(f"of {kind} {chosen}")
    if threshold.over is not None:
        parts.append(f"over {format_duration(threshold.over)}")
    return " ".join(parts)
