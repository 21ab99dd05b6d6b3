"""Text for people: numbers and durations, lists of names, and names of unknown origin made safe to show."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails


# -- Text: durations, rates, shares and counts as people read them

COUNTED = {
    "jobs": ("job", "jobs"),
    "jobs added": ("job was added", "jobs were added"),
    "jobs completed": ("job completed", "jobs completed"),
    "jobs failed": ("job failed", "jobs failed"),
    "jobs unfinished": ("job had not finished", "jobs had not finished"),
    "jobs removed": ("job was removed", "jobs were removed"),
    "jobs lost": ("job was lost", "jobs were lost"),
    "dead letters": ("dead letter", "dead letters"),
    "attempts": ("attempt", "attempts"),
    "retries": ("retry", "retries"),
    "stalls": ("stall", "stalls"),
    "violations": ("violation", "violations"),
}
"""What a value with such a unit says of one thing, and of several."""


def measured(value: float, unit: str) -> str:
    """A measured value with its unit: 45.6589 "s" is "45.7 s", 0.031 "share" is "3.1 %", 12 "jobs lost" is "12 jobs
    were lost"; NaN is "nothing to measure"."""
    if math.isnan(value):
        return "nothing to measure"
    if unit == "s":
        return readable(value)
    if unit == "1/s":
        return rate(value)
    if unit == "share":
        return percent(value)
    number = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    one, several = COUNTED.get(unit, (unit, unit))
    return f"{number} {one if value == 1 else several}".rstrip()


UNITS = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds in each unit."""


def readable(seconds: float) -> str:
    """About three digits and a unit: 0.00123 is "1.23 ms", 93.5 is "93.5 s", 120 is "2 min"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size < 0.9995:
        return "0 s" if size == 0 else f"{seconds * 1000:.3g} ms"
    if size < 99.95 and size != 60:
        return f"{seconds:.3g} s"
    if size < 3599.5:
        return _two(seconds, 60, "min", 1, "s")
    return _two(seconds, 3600, "h", 60, "min") if size < 172_800 else _two(seconds, 86_400, "d", 3600, "h")


def brief(seconds: float) -> str:
    """Three digits and a unit, for a narrow column: "16.6us", "1.23ms", "93.5s", "12.5m", "3.2h"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size == 0:
        return "0s"
    limits = (("us", 0.0009995), ("ms", 0.9995), ("s", 99.95), ("m", 5997.0), ("h", 172_800.0), ("d", math.inf))
    unit = next(unit for unit, limit in limits if size < limit)
    return f"{_digits(seconds / UNITS[unit])}{unit}"


def rate(per_second: float) -> str:
    """A rate per second, minute or hour, whichever makes it a number of one or more: "1.5/s", "3/min"."""
    for seconds, unit in ((1.0, "s"), (60.0, "min")):
        if per_second * seconds >= 1 or per_second == 0:
            return f"{_digits(per_second * seconds)}/{unit}"
    return "–" if math.isnan(per_second) else f"{_digits(per_second * 3600)}/h"


def percent(share: float) -> str:
    """A share in percent, never rounded up to 100: "99.99 %"; NaN is a dash."""
    if math.isnan(share):
        return "–"
    if 0.995 <= share < 1:
        return f"{math.floor(share * 100_000) / 1000:g} %"
    return f"{share * 100:.3g} %"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _two(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    whole, rest = divmod(round(abs(seconds) / small), large // small)
    sign = "-" if seconds < 0 else ""
    return f"{sign}{whole} {large_unit}" + (f" {rest} {small_unit}" if rest else "")


def counted(number: int, noun: str) -> str:
    """A number and what it counts: "1 job", "2,000 jobs", "3 batches"."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('ch') else 's'}"


# -- Our words for what is wrong with an input: values as files write them, nearest names, pydantic's errors retold

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


# -- Text of unknown origin, made safe to show: names, messages and paths that a file, a user or a handler supplied

WIDE_SPACE = "\u3000"
"""Between Japanese and Chinese words. Other spaces than this and the plain one look like a plain one, and are not."""
JOINERS = "\u200c\u200d"
"""Invisible, but spelling needs them: in Persian, in Indian scripts and in emoji."""


def shown(text: object) -> str:
    r"""The text on one line, with every character escaped that a terminal, a page or a reader would obey.

    These are control characters (escape sequences, line ends, tabs), overrides of the writing direction and other
    invisible formatting, line and paragraph separators, lone surrogates and unassigned or private characters. They are
    written as in Python: ``\x1b``, ``\n``, ``\u202e``. The plain space, letters and symbols of every
    script stay as they are; a no-break space does not, for nobody would see why a name is unknown.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(char if _harmless(char) else _escape(char) for char in plain)


def well_formed(text: str) -> tuple[str, int]:
    """The text with every lone surrogate replaced by U+FFFD, and how many there were.

    A lone surrogate is half of a character pair: half an emoji, cut off. UTF-8 has no bytes for it, so that no server,
    file or terminal takes such a text.
    """
    return (text, 0) if text.isascii() else _SURROGATE.subn("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def shown_lines(text: object) -> str:
    """A text of several lines, each as `shown` has it."""
    return "\n".join(shown(line) for line in str(text).split("\n"))


def as_markdown(text: object) -> str:
    """A text on one line of Markdown that is read as it is: no markup, no cell's end, no formula.

    GitHub reads ``$a$`` as a formula and ``@name`` as a call for a user, and no backslash stops it: an element of
    their own for the signs does, see "Writing mathematical expressions" in its documentation.
    """
    text = re.sub(r"[\\`*_<>\[\]|#~&!]", r"\\\g<0>", shown(text))
    # what would begin a list, or underline a title, at the start of a line
    text = re.sub(r"^(\s*\d*)([-+=.)])", r"\1\\\2", text)
    return re.sub(r"\$|(?<!\w)@(?=\w)", r"<span>\g<0></span>", text)


def as_file_name(text: object, most: int = 100) -> str:
    """A name that may stand in a file's name on every system: letters, digits, ``-``, ``_`` and dots inside, at most so
    many characters; all else becomes ``_``."""
    kept = "".join(char if char.isalnum() or char in "-_." else "_" for char in str(text))[:most]
    return kept.strip(".") or "_"


def _harmless(char: str) -> bool:
    return char.isprintable() or char in JOINERS or char == WIDE_SPACE


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
