"""The processor: registering handlers, validating data."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from typing_extensions import TypedDict

from queuesim.core.errors import ValidationError
from queuesim.core.job import Job
from queuesim.core.processor import Processor
from queuesim.simulation.runner import run


class Model(pydantic.BaseModel):
    task: int
    tags: list[str] = []


@dataclass
class Plain:
    task: int


class Dictionary(TypedDict):
    task: int


def handle(processor: Processor, name: str, data: Any) -> Any:
    return run(processor.handle(Job("1", name, data)))


def echo(processor: Processor, **options: Any) -> None:
    @processor.job("echo", **options)
    async def handler(job: Job) -> Any:
        return job.data


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Model, Model(task=1)),
        (Plain, Plain(1)),
        (Dictionary, {"task": 1}),
        (dict[str, int], {"task": 1}),
        (None, {"task": 1}),
    ],
)
def test_data_are_parsed_into_their_schema(schema: Any, expected: Any) -> None:
    processor = Processor()
    echo(processor, data=schema)
    assert handle(processor, "echo", {"task": 1}) == expected


@pytest.mark.parametrize("data", [{}, {"task": "x"}, {"task": 1, "tags": [1]}, None, [], "text"])
def test_invalid_data_never_reach_the_handler(data: Any) -> None:
    processor = Processor()
    reached = []
    processor.job("job", data=Model)(lambda job: reached.append(job))
    with pytest.raises(ValidationError, match="invalid job data"):
        handle(processor, "job", data)
    assert reached == []


def test_every_fault_is_named_with_its_place() -> None:
    processor = Processor()
    echo(processor, data=Model)
    with pytest.raises(ValidationError) as caught:
        handle(processor, "echo", {"task": "x", "tags": [1]})
    assert "task: " in str(caught.value)
    assert "tags.0: " in str(caught.value)


def test_a_handler_may_be_an_ordinary_function() -> None:
    processor = Processor()
    processor.job("job")(lambda job: 42)
    assert handle(processor, "job", {}) == 42


def test_registering_returns_the_handler_unchanged() -> None:
    processor = Processor()

    async def handler(job: Job) -> None: ...

    assert processor.job("job")(handler) is handler


def test_two_handlers_for_one_type_are_refused() -> None:
    processor = Processor()
    echo(processor)
    with pytest.raises(ValueError, match="has a handler for 'echo' already"):
        echo(processor)


def test_an_unknown_type_is_named_with_the_likeliest_one() -> None:
    processor = Processor()
    echo(processor)
    with pytest.raises(ValidationError, match=r"no handler for job type 'ehco' \(known: echo\); did you mean 'echo'\?"):
        handle(processor, "ehco", {})
    with pytest.raises(ValidationError, match=r"\(known: none\)$"):
        handle(Processor(), "job", {})


def test_a_timeout_cancels_the_handler() -> None:
    processor = Processor()
    cancelled = []

    @processor.job("slow", timeout=2.0)
    async def slow(job: Job) -> None:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            cancelled.append(asyncio.get_running_loop().time())
            raise

    with pytest.raises(TimeoutError):
        handle(processor, "slow", {})
    assert cancelled == [2.0]


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": -1},
        {"queue": "a:b"},
        {"queue": ""},
        {"queue": "half \ud83d"},
        {"dead_letters": "a:b"},
    ],
)
def test_what_a_processor_can_not_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"concurrency|a queue's name"):
        Processor(**options)


def test_it_prints_itself() -> None:
    processor = Processor("mail", concurrency=5)
    echo(processor)
    assert repr(processor) == "<Processor 'mail' concurrency=5 jobs=['echo']>"
