"""The Lua scripts: each file of `lua` that says what it includes, put together once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

INCLUDE = re.compile(r"^-- include: (.*)$", re.MULTILINE)


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
    text = "\n".join(parts.values())
    # the name is all that SHA-1 is for here; Redis asks for it
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def names() -> Mapping[str, str]:
    """The names of all scripts by their SHA-1."""
    files_of = [file.name for file in (files(__package__) / "lua").iterdir()]
    return {script(name).sha: name for name in (file.removesuffix(".lua") for file in files_of)}


def _collect(name: str, parts: dict[str, str]) -> None:
    if name in parts:
        return
    text = (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    include = INCLUDE.search(text)
    for other in include[1].split(", ") if include else ():
        _collect(other, parts)
    parts[name] = "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("--")) + "\n"
