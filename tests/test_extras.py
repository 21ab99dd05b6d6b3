"""Optional parts that are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from queuesim import extras
from queuesim.error import QueuesimError
from queuesim.extras import MissingExtraError, install_command, need


def test_what_is_there() -> None:
    assert need("json.decoder", "plot", "plots") is sys.modules["json.decoder"]


def test_what_is_missing_is_named_with_its_command() -> None:
    with pytest.raises(MissingExtraError, match=r"plots need no_such_module.*: pip install .*\[plot\]'") as caught:
        need("no_such_module.part", "plot", "plots")
    assert isinstance(caught.value, QueuesimError)
    assert isinstance(caught.value, ImportError)


def test_in_a_clone_the_command_is_that_of_the_clone() -> None:
    assert install_command("live") == "pip install -c constraints.txt -e '.[live]'"


def test_elsewhere_the_command_names_the_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    assert install_command("live") == "pip install 'queue-windtunnel[live]'"


def test_a_module_that_is_broken_inside_says_so_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_inside.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        need("broken_inside", "plot", "plots")
    assert not isinstance(caught.value, MissingExtraError)
