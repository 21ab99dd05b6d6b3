from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from queuesim.scenario.loading import ScenarioError, json_schema, parse_scenario
from queuesim.scenario.yaml import Document

ROOT = Path(__file__).parents[2]

MINIMAL = """\
name: x
duration: 1h
jobs:
  a: {service: 80ms}
  b: {service: {lognormal: {mean: 120ms, p95: 400ms}}}
load:
  - {name: l, poisson: 60/min}
"""


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda path: path.name)
def test_the_scenarios_that_come_with_the_project_fit(validator: Any, path: Path) -> None:
    validator.validate(Document(path.read_text()).value)


GOOD = [
    "",
    "workers: {count: 2}",
    "workers: [{count: 2, name: fast}, {start: 1m}]",
    "drain: true",
    "drain: 10m",
    "warmup: 0",
    "queue: {backoff: 1s, keep: {completed: all, failed: {age: 1h}}, dead_letter: false}",
    "queue: {backoff: {type: exponential, delay: 1s, jitter: 50%}, retry: {network: {attempts: 5}}}",
    "thresholds: [lost == 0, {latency: p95 < 30s, over: 5m}, {latency.p95: < 30s, abort: true}]",
    "processor: handlers:processor",
    "overhead: {attempt: 1.1ms}",
]

BAD = [
    "wrokers: {count: 2}",
    "workers: {count: 0}",
    "workers: []",
    "workers: {lock_duration: 30}",
    "warmup: 5",
    "warmup: 5 min",
    "seed: -1",
    "queue: {backoff: {type: linear, delay: 1s}}",
    "queue: {keep: {completed: some}}",
    "queue: {rate_limit: {max: 5}}",
    "thresholds: [latncy.p95 < 30s]",
    "thresholds: [latency < 30s]",
    "thresholds: [{lateny: p95 < 30s}]",
    "processor: handlers",
    "overhead: {attempt: 1.1}",
]


@pytest.mark.parametrize("more", GOOD)
def test_it_accepts_what_the_loader_accepts(validator: Any, more: str) -> None:
    text = MINIMAL + more
    parse_scenario(text)
    validator.validate(Document(text).value)


@pytest.mark.parametrize("more", BAD)
def test_it_refuses_what_the_loader_refuses(validator: Any, more: str) -> None:
    text = MINIMAL + more
    with pytest.raises(ScenarioError):
        parse_scenario(text)
    assert not validator.is_valid(Document(text).value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("60/min", "60"),
        ("60/min", "60 per minute"),
        ("poisson: 60/min", "poisson: 60/min, constant: 3/s"),
        ("poisson: 60/min", "poison: 60/min"),
        ("80ms", "80"),
        ("80ms", "{constant: 80ms, exponential: 80ms}"),
        ("80ms", "80ms, errors: {database: 1.5}"),
        ("80ms", "80ms, errors: {databse: 0.5}"),
        ("80ms", "80ms, priority: 2097152"),
        (", p95: 400ms", ""),
        ("duration: 1h", ""),
    ],
)
def test_it_refuses_a_change_that_the_loader_refuses(validator: Any, old: str, new: str) -> None:
    text = MINIMAL.replace(old, new, 1)
    with pytest.raises(ScenarioError):
        parse_scenario(text)
    assert not validator.is_valid(Document(text).value)


def test_it_describes_files_and_not_what_python_makes_of_them() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["duration"]["type"] == "string"
    assert schema["$defs"]["WorkerSettings"]["properties"]["lock_duration"]["default"] == "30s"
    assert schema["$defs"]["WorkerSettings"]["properties"]["limiter"]["description"]
