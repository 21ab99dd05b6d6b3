"""A YAML document that remembers the line of every key. It holds what JSON can say: no dates, no tags, no NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from queuesim.text import Location

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Knows the scalars of YAML 1.2's core schema alone: `no` is text here, 1:30 and 2025-01-01 too."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as the base has it


DEEPEST = 100
"""Levels to which lists and mappings can be nested, aliases and merged keys included."""

LARGEST = 4_000_000
"""Characters of a document at most."""

MOST_VALUES = 200_000
"""Keys and values of a document at most, after aliases and merged keys have been put in. A document of a few lines can
stand for billions of them."""

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
    """The text is not a document. `line` counts from 1."""

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
        DocumentError: its YAML is broken, empty or more than one document; a key is there twice or is not text; a value
            is something that JSON can't say; it is too large, or is so once its aliases are put in.
    """

    text: str
    value: Any = field(init=False)
    """What it says: dicts, lists, text, numbers, booleans and None."""

    def __post_init__(self) -> None:
        root = _compose(self.text)
        if root is None:
            raise DocumentError(1, (), "the file is empty")
        self._root = root
        builder = _Builder()
        self.value = builder.build(root, ())
        self._entries = builder.entries

    def locate(self, location: Location) -> tuple[int, Location]:
        """The line of the place nearest to `location` that the document has, and where that is.

        A step that the document does not have ends the way; but the position in a list of one is passed over where the
        element stands alone.
        """
        node, line, way = self._root, self._root.start_mark.line + 1, []
        for step in location:
            if isinstance(node, MappingNode):
                entries = self._entries(node)
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
    if len(text) > LARGEST:
        raise DocumentError(1, (), f"it is too large: {len(text):,} characters, and the most is {LARGEST:,}")
    try:
        _check_size(text)
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
    except UnicodeError:
        # half of a surrogate pair, which the parser in C can't encode
        line = next(n for n, part in enumerate(text.split("\n"), start=1) if _SURROGATE.search(part))
        raise DocumentError(line, (), "broken YAML: half of a surrogate pair is not a character") from None


_SURROGATE = re.compile("[\ud800-\udfff]")


def _check_size(text: str) -> None:
    """Depth and number of nodes, before nodes are made: that is recursive in C and would end in a crash."""
    depth, nodes = 0, 0
    for event in yaml.parse(text, _Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if nodes > MOST_VALUES:
                raise _too_many(line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _too_deep(line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_many(line: int) -> DocumentError:
    return DocumentError(line, (), f"it has more than {MOST_VALUES:,} values, counted with aliases and merged keys")


def _too_deep(line: int) -> DocumentError:
    return DocumentError(line, (), f"it is nested more than {DEEPEST} deep")


Entries = dict[str, tuple[ScalarNode, Node]]
"""The keys of a mapping, each with its node and the node of its value."""


class _Builder:
    """Turns nodes into values, and looks for what a scenario can't hold."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._merged: dict[int, Entries] = {}
        self._values = 0

    def build(self, node: Node, location: Location) -> Any:
        """The value of a node, with all that is in it."""
        line = node.start_mark.line + 1
        self._spend(1, line)
        if isinstance(node, ScalarNode):
            return _scalar(node, location)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            raise DocumentError(line, location, f"the tag {node.tag} is not supported: remove it")
        with self._within(node, location):
            if isinstance(node, SequenceNode):
                return [self.build(child, (*location, i)) for i, child in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            self._check_keys(node, location)
        # merged mappings may contain one another without end: looked for before the mapping counts as open
        entries = self.entries(node, location)
        with self._within(node, location):
            return {name: self.build(value, (*location, name)) for name, (_, value) in entries.items()}

    def entries(self, node: MappingNode, location: Location = ()) -> Entries:
        """The keys and values of a mapping: merged ones (<<) first, its own after them, which win."""
        known = self._merged.get(id(node))
        if known is not None:
            return known
        found: Entries = {}
        with self._within(node, location):
            # of several merged mappings the first wins
            for source in reversed(_merged_nodes(node)):
                merged = self.entries(source, location)
                self._spend(len(merged), node.start_mark.line + 1)
                found |= merged
        for key, value in node.value:
            if key.tag != f"{_TAG}merge":
                found[key.value] = (key, value)
        self._merged[id(node)] = found
        return found

    @contextmanager
    def _within(self, node: Node, location: Location) -> Iterator[None]:
        """While a list or a mapping is looked into."""
        line = node.start_mark.line + 1
        if id(node) in self._open:
            raise DocumentError(line, location, "an alias that contains itself")
        if len(self._open) >= DEEPEST:
            raise _too_deep(line)
        self._open.add(id(node))
        try:
            yield
        finally:
            self._open.discard(id(node))

    def _spend(self, values: int, line: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise _too_many(line)

    def _check_keys(self, node: MappingNode, location: Location) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                named = f'"{_short(key.value)}"' if isinstance(key, ScalarNode) else "this one"
                raise DocumentError(line, location, f"a key must be text: put {named} in quotes")
            if key.value in seen:
                message = f"the key is there twice, first in line {seen[key.value]}"
                raise DocumentError(line, (*location, key.value), message)
            seen[key.value] = line
            if key.tag == f"{_TAG}merge" and not _mergeable(value):
                raise DocumentError(line, (*location, key.value), "only a mapping or a list of mappings can be merged")


def _mergeable(node: Node) -> bool:
    parts = node.value if isinstance(node, SequenceNode) else [node]
    return all(isinstance(part, MappingNode) for part in parts)


def _merged_nodes(node: MappingNode) -> list[MappingNode]:
    """The mappings that a mapping merges (<<), in the order of the file."""
    found: list[MappingNode] = []
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            parts = value.value if isinstance(value, SequenceNode) else [value]
            found += [part for part in parts if isinstance(part, MappingNode)]
    return found


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


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
            raise DocumentError(line, location, f"{_short(text)} is not a finite number")
        if kind in ("str", "merge"):
            return text
    except (ValueError, KeyError):
        raise DocumentError(line, location, f'"{_short(text)}" is not a valid {kind}') from None
    raise DocumentError(line, location, f"the tag {node.tag} is not supported: remove it")
