"""A YAML document that remembers the line of every key. It holds what JSON can say: no dates, no tags, no NaN."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from queuesim.scenario.wording import Location

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Knows the scalars of YAML 1.2's core schema alone: `no` is text here, 1:30 and 2025-01-01 too."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as the base has it


DEEPEST = 100
"""So deep can lists and mappings be nested."""

_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


class DocumentError(Exception):
    """The text is no document. `line` counts from 1."""

    def __init__(self, line: int, location: Location, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.location = location
        self.message = message


@dataclass
class Document:
    """A YAML document.

    Args:
        text: the whole document.

    Raises:
        DocumentError: its YAML is broken, empty or more than one document; a key is there twice or is no text; a value
            is something that JSON can't say.
    """

    text: str
    value: Any = field(init=False)
    """What it says: dicts, lists, text, numbers, booleans and None."""

    def __post_init__(self) -> None:
        root = _compose(self.text)
        if root is None:
            raise DocumentError(1, (), "the file is empty")
        self._root = root
        self.value = _Builder().build(root, ())

    def locate(self, location: Location) -> tuple[int, Location]:
        """The line of the place nearest to `location` that the document has, and where that is.

        A step that the document does not have ends the way; but the position in a list of one is passed over where the
        element stands alone.
        """
        node, line, way = self._root, self._root.start_mark.line + 1, []
        for step in location:
            if isinstance(node, MappingNode):
                entries = {key.value: (key, value) for key, value in _entries(node)}
                if step not in entries:
                    if isinstance(step, int):
                        continue
                    break
                key, node = entries[step]
                line = key.start_mark.line + 1
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
            way.append(step)
        return line, tuple(way)


def _compose(text: str) -> Node | None:
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node: Node | None = loader.get_single_node()
        finally:
            loader.dispose()
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        column = f" (column {mark.column + 1})" if mark else ""
        raise DocumentError(line, (), f"broken YAML: {error.problem or error.context}{column}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 1
        raise DocumentError(line, (), f"broken YAML: {error.reason}") from None


def _check_depth(text: str) -> None:
    """Before nodes are made, for that is recursive in C and would end in a crash, not in an error."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise DocumentError(line, (), f"it is nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _entries(node: MappingNode) -> list[tuple[ScalarNode, Node]]:
    """The keys and values of a mapping, merged ones (<<) first, so that its own come later and win."""
    merged: list[tuple[ScalarNode, Node]] = []
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                merged[:0] = _entries(source) if isinstance(source, MappingNode) else []
    return merged + [(key, value) for key, value in node.value if key.tag != f"{_TAG}merge"]


class _Builder:
    """Turns nodes into values, and looks for what a scenario can't hold."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def build(self, node: Node, location: Location) -> Any:
        line = node.start_mark.line + 1
        if isinstance(node, ScalarNode):
            return _scalar(node, location)
        if id(node) in self._open:
            raise DocumentError(line, location, "an alias that contains itself")
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            raise DocumentError(line, location, f"the tag {node.tag} means nothing here")
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.build(child, (*location, i)) for i, child in enumerate(node.value)]
            return self._mapping(node, location)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Node, location: Location) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                shown = f'"{key.value}"' if isinstance(key, ScalarNode) else "this one"
                raise DocumentError(line, location, f"a key must be text: put {shown} in quotes")
            if key.value in seen:
                message = f"the key is there twice, first in line {seen[key.value]}"
                raise DocumentError(line, (*location, key.value), message)
            seen[key.value] = line
        assert isinstance(node, MappingNode)
        return {key.value: self.build(value, (*location, key.value)) for key, value in _entries(node)}


def _scalar(node: ScalarNode, location: Location) -> Any:
    line = node.start_mark.line + 1
    text = node.value
    kind = node.tag.removeprefix(_TAG)
    try:
        if kind == "null":
            return None
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int":
            return int(text)
        if kind == "float":
            # Python reads inf and nan without YAML's dot
            number = float(text.replace(".", "") if text[-1:].isalpha() else text)
            if math.isfinite(number):
                return number
            raise DocumentError(line, location, f"{text} is not a finite number")
        if kind in ("str", "merge"):
            return text
    except (ValueError, KeyError):
        raise DocumentError(line, location, f'"{text}" is no {kind}') from None
    raise DocumentError(line, location, f"the tag {node.tag} means nothing here")
