"""The code blocks of a Markdown page, and how they are run: so that what the documentation shows stays true.

Comments in the lines before a block say what is special about it::

    <!-- not run: it needs a network -->      the reason is for readers of the source
    <!-- file: mail.py -->                    the block becomes this file, for the blocks after it
    <!-- exit code: 1 -->                     what the command ends with, if not with 0

A `text` block right after a command or Python is what that must print; "..." in it stands for any text.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from queuesim.scenario.model import Scenario

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])

FENCE = re.compile(
    r"^(?P<notes>(?:<!-- [^\n]*? -->\n)*)^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)

REST_OF_A_SCENARIO: dict[str, Any] = {
    "name": "example",
    "duration": "10m",
    "jobs": {"task-created": {"service": "100ms"}, "task-status-update": {"service": "50ms"}},
    "load": [{"name": "all-day", "constant": "1/s"}],
}
"""What a YAML block that shows a part of a scenario leaves out."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    """Where its text begins."""
    language: str
    text: str
    notes: tuple[str, ...]
    """The comments right before it."""
    follows: bool
    """Nothing but white space is between it and the block before it."""

    def noted(self, what: str) -> str:
        """What a comment says after ``what:``; "" if none says such a thing."""
        return dict(note.partition(": ")[::2] for note in self.notes).get(what, "")

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found, end = [], 0
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        follows = bool(found) and not text[end : match.start()].strip()
        notes = tuple(re.findall("<!-- (.*?) -->", match["notes"]))
        found.append(Block(page, line, match["language"], match["text"], notes, follows))
        end = match.end()
    return found


@dataclass(slots=True)
class Session:
    """A directory with the repository's scenarios, and one Python namespace, for all blocks of a page."""

    directory: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def run(self, block: Block) -> str | None:
        """Run a block and return what it printed; None for one that prints nothing by its nature."""
        name = block.noted("file")
        if name:
            (self.directory / name).write_text(block.text)
        if block.noted("not run") or block.language.startswith("{"):  # the latter is a directive of Sphinx
            return None
        if block.language == "python":
            return None if name else self._python(block)
        if block.language == "console":
            return self._commands(block)
        if block.language == "yaml":
            self._scenario(block)
            return None
        raise AssertionError(f"{block.place}: a block is python, console, yaml or text, not {block.language!r}")

    def _python(self, block: Block) -> str:
        """As a notebook's cell: the value of a last expression is shown."""
        tree = ast.parse(block.text, block.place)
        ast.increment_lineno(tree, block.line - 1)
        shown = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(tree, str(block.page), "exec"), self.namespace)
            if isinstance(shown, ast.Expr):
                value = eval(compile(ast.Expression(shown.value), str(block.page), "eval"), self.namespace)
                if value is not None:
                    output.write(f"{value}\n")
        return output.getvalue()

    def _commands(self, block: Block) -> str:
        """Every line that begins with a dollar sign is a command, run where Python's own programs are found first."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
        output = ""
        for line in block.text.splitlines():
            assert line.startswith("$ "), f"{block.place}: a line of a console block begins with '$ ': {line}"
            done = subprocess.run(
                line[2:], shell=True, cwd=self.directory, env=environment, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            expected = int(block.noted("exit code") or 0)
            assert done.returncode == expected, f"{block.place}: exit code {done.returncode}\n{done.stdout}"
            output += done.stdout
        return output

    def _scenario(self, block: Block) -> None:
        """A whole scenario, or a part of one, is one that would be accepted."""
        given = yaml.safe_load(block.text)
        Scenario.model_validate(REST_OF_A_SCENARIO | given, context={"file": True, "directory": self.directory})


def matches(expected: str, printed: str) -> bool:
    """Whether a text block shows what was printed; "..." stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in _trimmed(expected).split("..."))
    return re.fullmatch(pattern, _trimmed(printed), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    """Without white space at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
