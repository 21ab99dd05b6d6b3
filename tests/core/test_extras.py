"""Optional parts that are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from queuesim.errors import QueuesimError
from queuesim.extras import MissingExtraError, need


def test_what_is_there() -> None:
    assert need("json.decoder", "plot", "plots") is sys.modules["json.decoder"]


def test_what_is_missing_is_named_with_its_command() -> None:
    with pytest.raises(MissingExtraError, match=r'plots need no_such_module.*pip install "queuesim\[plot\]"') as caught:
        need("no_such_module.part", "plot", "plots")
    assert isinstance(caught.value, QueuesimError)
    assert isinstance(caught.value, ImportError)


def test_a_module_that_is_broken_inside_says_so_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_inside.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        need("broken_inside", "plot", "plots")
    assert not isinstance(caught.value, MissingExtraError)
