"""What attributes' docstrings say is in the JSON Schema, though pydantic does not read them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from queuesim.fields import attribute_docs
from queuesim.scenario.loading import json_schema
from queuesim.scenario.model import Scenario

SOURCE = '''
class Base:
    speed: float = 1.0
    """In jobs
    per second."""
    silent: int = 0
    other: int = 1


class Own(Base):
    speed: float
    """Another text."""
    size: int
    """How large."""
    def method(self):
        """No attribute."""


class Nothing(Base):
    pass
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "documented_attributes.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("documented_attributes")
    del sys.modules["documented_attributes"]


def test_docstrings_below_attributes_are_found(module: ModuleType) -> None:
    assert attribute_docs(module.Base) == {"speed": "In jobs\nper second."}


def test_a_class_has_those_of_its_bases_and_its_own_instead(module: ModuleType) -> None:
    assert attribute_docs(module.Own) == {"speed": "Another text.", "size": "How large."}
    assert attribute_docs(module.Nothing) == attribute_docs(module.Base)


def test_a_class_without_source_has_none() -> None:
    made = type("Made", (), {"__module__": "builtins"})
    assert attribute_docs(made) == {}


def test_the_schema_tells_what_keys_mean() -> None:
    properties = json_schema()["properties"]
    assert properties["seed"]["description"] == attribute_docs(Scenario)["seed"]
    untold = {key for key, value in properties.items() if "description" not in value and "$ref" not in value}
    assert untold == {"name", "description"}
