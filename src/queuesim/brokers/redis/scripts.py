"""The Lua scripts: each file of `lua` that says what it includes, put together once.

A file names those whose functions it calls: after `-- include:` the files that it always needs, after `-- rarely:`
those that few calls need. Functions of the latter are called by the name of their file, as `flows.child_failed`, and
are defined when the first of them is called. A server defines all other functions of a script anew at each call, which
costs as much as a third of the commands.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

INCLUDE = re.compile(r"^-- include: (.*)$", re.MULTILINE)
RARELY = re.compile(r"^-- rarely: (.*)$", re.MULTILINE)
FUNCTION = re.compile(r"^local function (\w+)", re.MULTILINE)
BASIS = "queue"
"""What all other files rest on."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it."""

    name: str
    text: str
    sha: str
    """SHA-1 of the text in hexadecimal: the name by which the server knows it once it is loaded (EVALSHA)."""


@cache
def script(name: str) -> Script:
    """The script `lua/<name>.lua` behind all that it includes, each once. Raises FileNotFoundError."""
    parts: dict[str, str] = {}
    _collect(name, parts)
    text = _nested(parts)
    # the name is all that SHA-1 is for here; Redis asks for it
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def names() -> Mapping[str, str]:
    """The names of all scripts by their SHA-1."""
    files_of = [file.name for file in (files(__package__) / "lua").iterdir()]
    return {script(name).sha: name for name in (file.removesuffix(".lua") for file in files_of)}


def _nested(parts: Mapping[str, str]) -> str:
    """The text of a script. All but its basis is one function within it: when Lua defines a function, it searches one
    by one for the variables of the function around it, but not for those of functions further out."""
    rest = [text for name, text in parts.items() if name != BASIS]
    if BASIS not in parts or not rest:
        return "\n".join(parts.values())
    return "\n".join([parts[BASIS], "return (function()", *rest, "end)()\n"])


def _collect(name: str, parts: dict[str, str]) -> None:
    """Add a file behind those that it needs, if it is not among the parts."""
    if name in parts:
        return
    text = (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    for other in _named(INCLUDE, text):
        _collect(other, parts)
    for other in _named(RARELY, text):
        if f"{other}, rarely" not in parts:
            parts[f"{other}, rarely"] = _deferred(other, parts)
    parts[name] = "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("--")) + "\n"


def _named(line: re.Pattern[str], text: str) -> Iterable[str]:
    found = line.search(text)
    return found[1].split(", ") if found else ()


def _deferred(name: str, parts: Mapping[str, str]) -> str:
    """A table of a file's functions. It defines them, and what they need, when the first of them is asked for."""
    needed = dict(parts)
    _collect(name, needed)
    texts = [text for part, text in needed.items() if part not in parts]
    functions = ", ".join(f"{function} = {function}" for function in FUNCTION.findall(needed[name]))
    return "\n".join([f"local {name} = rarely(function()", *texts, f"return {{ {functions} }}", "end)\n"])
