"""Our words for what is wrong with an input: values as files write them, nearest names, pydantic's errors retold."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]
"""The path of keys and positions that leads to a value."""


def show(value: Any) -> str:
    """A value as a scenario file would write it, short enough for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, (str, bool)):
        return _short(json.dumps(value, ensure_ascii=False))
    if isinstance(value, int) and value.bit_length() > 10_000:
        return "a number of more than 3,000 digits"
    return _short(f"{int(value)}" if isinstance(value, float) and value.is_integer() else f"{value}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(word: str, known: Iterable[str], *, quote: bool = True) -> str:
    """``; did you mean "workers"?`` if one of `known` is near `word`, otherwise nothing."""
    names = list(known)
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), lower, n=1) or [
        name for name in lower if min(len(name), len(word)) >= 3 and (name in word.lower() or word.lower() in name)
    ]
    if not near:
        return ""
    name = lower[near[0]]
    return f'; did you mean "{name}"?' if quote else f"; did you mean {name}?"


COMPARED, LISTED = 1000, 30
"""Names that are looked through for the one that was meant, and names that a message lists."""


def _abridged(names: list[str]) -> str:
    if len(names) <= LISTED:
        return listing(names)
    return f"{listing(names[:LISTED])} and {'' if len(names) < COMPARED else 'at least '}{len(names) - LISTED:,} more"


def listing(names: Iterable[str]) -> str:
    """Names in a row; "none" if there are none."""
    return ", ".join(names) or "none"


def unknown(what: str, word: str, known: Iterable[str], known_as: str = "known") -> str:
    """``unknown job "task-craeted"; did you mean "task-created"? known: ...``"""
    names = list(islice(known, COMPARED))
    hint = nearest(word, names) or ";"
    return f'unknown {what} "{word}"{hint} {known_as}: {_abridged(names)}'


def retell(error: ErrorDetails, root: type[BaseModel]) -> tuple[Location, str]:
    """Where a pydantic error belongs, and what it says in our words.

    Args:
        error: an entry of ``ValidationError.errors()``.
        root: the model that was validated, to tell which keys a place allows.
    """
    location, kind, value = error["loc"], error["type"], error["input"]
    context = error.get("ctx", {})
    if kind == "refused":
        return location, error["msg"]
    if kind == "missing":
        return location[:-1], f'"{location[-1]}" is missing'
    if kind == "extra_forbidden":
        key = str(location[-1])
        allowed = _keys_at(root, location[:-1])
        return location, f"unknown key{nearest(key, allowed) or ';'} allowed here: {listing(allowed)}"
    if kind in _WANTED:
        return location, f"{show(value)} is not {_WANTED[kind]}"
    if kind in _BOUNDS:
        bound = next(context[name] for name in ("ge", "gt", "le", "lt") if name in context)
        return location, f"{show(value)} is {_BOUNDS[kind]} {show(bound)}"
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", '"')
        options = [part.strip('" ') for part in expected.replace(" or ", ",").split(",")]
        hint = nearest(value, options) if isinstance(value, str) else ""
        return location, f"{show(value)} is not {expected}{hint}"
    if kind == "string_too_short":
        return location, "it can't be empty"
    # the wording of a ValueError from our own code, else pydantic's: an error type that no field here has
    message = error["msg"].removeprefix("Value error, ")
    return location, message[:1].lower() + message[1:]


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (in quotes, if it looks like a number)",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
}

_BOUNDS = {
    "greater_than": "too small: it must be above",
    "greater_than_equal": "too small: the least is",
    "less_than": "too large: it must be below",
    "less_than_equal": "too large: the most is",
}


def _keys_at(root: type[BaseModel], location: Location) -> list[str]:
    """The keys that the model at `location` knows, as files write them."""
    model = _model_at(root, location)
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _model_at(root: type[BaseModel], location: Location) -> type[BaseModel] | None:
    model: Any = root
    for step in location:
        if _is_model(model):
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = _plain(fields.get(str(step)))
        else:
            # an element of a list, or a value of a mapping: their type is the last argument but for ...
            model = _plain([argument for argument in get_args(model) if argument is not ...][-1])
    return model if _is_model(model) else None


def _plain(annotation: Any) -> Any:
    """An annotation without Annotated and without None."""
    if hasattr(annotation, "__metadata__"):
        return _plain(annotation.__origin__)
    if type(None) in get_args(annotation):
        return _plain(next(argument for argument in get_args(annotation) if argument is not type(None)))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and get_origin(annotation) is None and hasattr(annotation, "model_fields")
