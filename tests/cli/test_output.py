"""Whether a directory takes a result is known before the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from queuesim.cli.io import OutputError, prepare_output
from queuesim.extras import MissingExtraError


@pytest.mark.parametrize("path", ["new", "new/deep/deeper", "."])
def test_an_empty_directory_is_made_ready(tmp_path: Path, path: str) -> None:
    prepare_output(tmp_path / path)
    assert list((tmp_path / path).iterdir()) == []


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").touch()
    with pytest.raises(OutputError, match="holds other files: choose another directory, or --force"):
        prepare_output(tmp_path)
    prepare_output(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_a_result(tmp_path: Path) -> None:
    (tmp_path / "facts.json").touch()
    with pytest.raises(OutputError, match="holds a result already"):
        prepare_output(tmp_path)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="it is a file, not a directory"):
        prepare_output(tmp_path / "file", force=True)
    with pytest.raises(OutputError, match="file/below can't be written: Not a directory"):
        prepare_output(tmp_path / "file" / "below")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # the superuser, as whom tests may run, is refused nothing
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="can't be written: Permission denied"):
        prepare_output(tmp_path)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"-e '\.\[parquet\]'"):
        prepare_output(tmp_path / "new")
    assert not (tmp_path / "new").exists()
