"""Every code block of the documentation runs, and prints what it is said to print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from codeblocks import PAGES, ROOT, Block, Session, blocks, matches


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A place to run a page in, from which nothing stays behind."""
    from matplotlib import pyplot

    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as for a user, who starts Python there
    monkeypatch.setenv("MPLBACKEND", "agg")
    loaded = set(sys.modules)
    with pyplot.rc_context(), pyplot.ioff():
        pyplot.switch_backend("agg")
        yield Session(tmp_path)
    pyplot.close("all")
    for name in set(sys.modules) - loaded:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run_and_print_what_is_shown(page: Path, session: Session) -> None:
    printed: str | None = None
    for block in blocks(page):
        if block.language != "text":
            printed = session.run(block)
        else:
            assert block.follows, f"{block.place}: what printed this must come right before it"
            assert printed is not None, f"{block.place}: the block before it prints nothing"
            assert matches(block.text, printed), (
                f"{block.place}: it shows\n{block.text}\nbut this was printed:\n{printed}"
            )


def block(language: str, text: str, note: str = "") -> Block:
    return Block(ROOT / "README.md", 1, language, text, (note,), follows=False)


@pytest.mark.parametrize(
    ("language", "text", "note", "complaint"),
    [
        ("console", "$ queuesim validate nowhere.yaml\n", "", "exit code 2"),
        ("console", "$ true\n", "exit code: 1", "exit code 0"),
        ("console", "queuesim validate\n", "", "begins with"),
        ("yaml", "quueue: {attempts: 3}\n", "", "quueue"),
        ("yaml", "duration: 5\n", "", "no unit"),
        ("python", "raise ValueError('no')\n", "", "no"),
        ("javascript", "1\n", "", "not 'javascript'"),
    ],
)
def test_a_wrong_block_fails(session: Session, language: str, text: str, note: str, complaint: str) -> None:
    with pytest.raises((AssertionError, ValueError), match=complaint):
        session.run(block(language, text, note))


def test_python_shows_its_last_value_as_a_notebook_does(session: Session) -> None:
    session.run(block("python", "x = 20\n"))
    assert session.run(block("python", "print('at')\nx + 1\n")) == "at\n21\n"


def test_a_file_is_there_for_later_blocks(session: Session) -> None:
    session.run(block("python", "answer = 42\n", "file: deep.py"))
    assert session.run(block("console", "$ python -c 'import deep; print(deep.answer)'\n")) == "42\n"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb\n", "a \nb\n\n", True),
        ("took ... s", "took 1.3 s\n", True),
        ("first\n...\nlast", "first\n1\n2\nlast\n", True),
        ("took ... s", "took 1.3 s\nbut failed", False),
        ("a", "b", False),
        ("a\n...", "a", False),
    ],
)
def test_matching(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
