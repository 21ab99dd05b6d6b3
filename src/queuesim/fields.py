"""Field types with units: floats in Python (seconds, per second, fractions), strings with units in files.

The validation context ``{"file": True}`` says that the input comes from a file: there a bare number other than 0 is
refused, because its unit is unknown. In Python a float is in seconds or per second; strings are read there too.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
from collections.abc import Callable, Sized
from functools import cache
from itertools import pairwise
from numbers import Real
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from queuesim.text import listing, show
from queuesim.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    RATE_PATTERN,
    format_duration,
    format_rate,
    parse_duration,
    parse_percent,
    parse_rate,
)

UnitValidator = Callable[[Any, ValidationInfo], float]


def in_file(info: ValidationInfo) -> bool:
    """Whether the input comes from a scenario file."""
    return bool(info.context and info.context.get("file"))


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python or numpy; true and false are not."""
    return not isinstance(value, bool) and isinstance(value, Real)


def as_float(value: Any) -> float:
    """The nearest float to a real number; infinity for a whole number beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def refuse(problem: str) -> PydanticCustomError:
    """The error to raise for an input that is not right, in our own words."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem})


def _with_unit(noun: str, parse: Callable[[str], float], examples: tuple[str, str]) -> UnitValidator:
    """Reads text with `parse`, and plain numbers where they are clear."""
    units = [example.lstrip("0123456789.") for example in examples]

    def validate(value: Any, info: ValidationInfo) -> float:
        if isinstance(value, str):
            try:
                return parse(value)
            except ValueError as error:
                raise refuse(str(error)) from None
        if not is_number(value):
            raise refuse(f"{show(value)} is not a {noun}: write it as {examples[0]} or {examples[1]}")
        number = as_float(value)
        if not (number >= 0 and math.isfinite(number)):
            raise refuse(f"{show(value)} is not a {noun}: it must be 0 or more, and finite")
        if number and in_file(info):
            raise refuse(f"{show(value)} has no unit: write {show(value)}{units[0]} or {show(value)}{units[1]}")
        return number

    return validate


seconds = _with_unit("duration", parse_duration, ("30s", "30ms"))
"""Validates a duration of 0 or more."""

per_second = _with_unit("rate", parse_rate, ("60/min", "1.5/s"))
"""Validates a rate of 0 or more."""


def positive_seconds(value: Any, info: ValidationInfo) -> float:
    """Validates a duration above 0."""
    number = seconds(value, info)
    if not number > 0:
        raise refuse("it must be longer than 0")
    return number


def _schema(pattern: str, examples: list[str], description: str, *, zero: bool = True) -> WithJsonSchema:
    text = {"type": "string", "pattern": pattern, "examples": examples, "description": description}
    return WithJsonSchema({"anyOf": [text, {"const": 0}], "description": description} if zero else text)


_AS_DURATION = PlainSerializer(format_duration, return_type=str, when_used="json")
_DURATIONS = (DURATION_PATTERN, ["4h", "1h30m", "500ms"], "A duration: numbers with the units d, h, m, s, ms, us.")

Seconds = Annotated[float, PlainValidator(seconds), _AS_DURATION, _schema(*_DURATIONS)]
"""A duration of 0 or more."""

PositiveSeconds = Annotated[float, PlainValidator(positive_seconds), _AS_DURATION, _schema(*_DURATIONS, zero=False)]
"""A duration above 0."""

PerSecond = Annotated[
    float,
    PlainValidator(per_second),
    PlainSerializer(format_rate, return_type=str, when_used="json"),
    _schema(RATE_PATTERN, ["60/min", "1.5/s", "3/day"], "A rate: a number per s, min, h or day."),
]
"""A rate of 0 or more."""


def _probability(value: Any) -> float:
    if isinstance(value, str):
        try:
            number = parse_percent(value)
        except ValueError as error:
            raise refuse(str(error)) from None
    elif is_number(value):
        number = as_float(value)
    else:
        raise refuse(f"{show(value)} is not a probability: write a number from 0 to 1, or a percent")
    if not 0 <= number <= 1:
        raise refuse(f"{show(value)} is not a probability: it must be from 0 to 1 (0% to 100%)")
    return number


Probability = Annotated[
    float,
    PlainValidator(_probability),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": PERCENT_PATTERN}],
            "description": "A probability from 0 to 1, or a percent.",
        }
    ),
]
"""A fraction from 0 to 1."""

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number, 1 or more."""

CountFromZero = Annotated[int, Field(strict=True, ge=0)]
"""A whole number, 0 or more."""

Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""A number of 0 or more without a unit."""

T = TypeVar("T", bound=Sized)


def _not_empty(value: T) -> T:
    if not len(value):
        raise refuse("it can't be empty")
    return value


NOT_EMPTY = AfterValidator(_not_empty)
"""For lists and mappings. Unlike pydantic's min_length it does not count elements that are wrong as missing."""

Word = Annotated[str, Field(strict=True, min_length=1)]
"""Text that is not empty."""


# -- What the docstrings below attributes say, read from the source when someone asks


@cache
def attribute_docs(cls: type) -> dict[str, str]:
    """The docstrings of the annotated attributes of a class at the top of its module, and of its bases, by name."""
    docs = {name: text for base in reversed(cls.__bases__) for name, text in attribute_docs(base).items()}
    return docs | _docs_of(cls.__module__).get(cls.__qualname__, {})


@cache
def _docs_of(module: str) -> dict[str, dict[str, str]]:
    """Those of all classes at the top of a module, by class; nothing of a module that has no source."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {node.name: _docs_in(node) for node in classes}


def _docs_in(node: ast.ClassDef) -> dict[str, str]:
    return {
        attribute.target.id: inspect.cleandoc(below.value.value)
        for attribute, below in pairwise(node.body)
        if isinstance(attribute, ast.AnnAssign)
        and isinstance(attribute.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


# -- What the parts of a scenario have in common: they are closed, frozen, and may have a short form


class Section(BaseModel):
    """A mapping in a scenario file whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    short: ClassVar[str | None] = None
    """The key that a value other than a mapping stands for: ``backoff: 1s`` means ``backoff: {delay: 1s}``."""
    words: ClassVar[tuple[str, ...]] = ()
    """Single words that can stand for the whole."""
    choices: ClassVar[tuple[str, ...]] = ()
    """Keys of which exactly one must be there."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        """The long form of a short one."""
        if cls.short is None or value is None or isinstance(value, (dict, BaseModel)):
            return value
        return {cls.short: value}

    @model_validator(mode="after")
    def _choose(self) -> Any:
        if self.choices:
            chosen = [key for key in self.choices if getattr(self, key) is not None]
            if not chosen:
                raise refuse(f"exactly one of these keys is needed: {listing(self.choices)}")
            if len(chosen) > 1:
                raise refuse(f"only one of these keys is allowed: {listing(chosen)}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors of the short form and of the choice."""
        schema = handler(core)
        long = handler.resolve_ref_schema(schema)
        if cls.choices:
            long["oneOf"] = [{"required": [key]} for key in cls.choices]
        defaults = cls.model_construct().model_dump(mode="json", by_alias=True, exclude_none=True)
        docs = {field.alias or name: attribute_docs(cls).get(name) for name, field in cls.model_fields.items()}
        for key, value in long["properties"].items():
            if docs[key] is not None:
                value["description"] = docs[key]
            _as_in_files(value, defaults.get(key))
        if cls.short is not None:
            short = {key: value for key, value in long["properties"][cls.short].items() if key != "default"}
            mapping = dict(long)
            long.clear()
            long.update({key: mapping.pop(key) for key in ("title", "description") if key in mapping})
            long["anyOf"] = [short, *({"const": word} for word in cls.words), mapping]
        return schema


def or_single(schema: dict[str, Any]) -> None:
    """A list may be written as its only element."""
    array = dict(schema, minItems=1)
    about: dict[str, Any] = {key: array.pop(key) for key in ("description", "default") if key in array}
    schema.clear()
    schema.update({"anyOf": [array["items"], array], **about})


def _as_in_files(schema: dict[str, Any], default: Any) -> None:
    """A property as a file has it: left out rather than null, and its default with a unit."""
    schema.pop("title", None)
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if "anyOf" in schema and len(options) < len(schema["anyOf"]):
        schema.pop("anyOf")
        schema.update({**options[0], **schema} if len(options) == 1 else {"anyOf": options})
    schema.pop("default", None)
    if isinstance(default, (str, bool, int, float)):
        schema["default"] = default
