"""The notebooks as they are kept: a question first, an answer in numbers last, and what they showed when they ran."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(request.param.read_text())["cells"]
    return found


def test_it_begins_with_a_question(cells: list[dict[str, Any]]) -> None:
    assert re.match(r"# [^\n]+\n\n\*\*[^*]+\?\*\*", "".join(cells[0]["source"]))


def test_it_ends_with_an_answer_in_numbers(cells: list[dict[str, Any]]) -> None:
    *_, heading, last = cells
    assert "".join(heading["source"]) == "## Answer"
    answer = "".join(text for output in last["outputs"] for text in output["text"])
    assert len(re.findall(r"\d", answer)) >= 5


def test_it_is_kept_as_it_ran_from_top_to_bottom(cells: list[dict[str, Any]]) -> None:
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "python tools/notebooks.py"
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    # a bar says nothing afterwards
    assert not [output for output in outputs if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]


def test_the_page_lists_them_all() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+\.ipynb)` \|", page, re.MULTILINE)) == {path.name for path in NOTEBOOKS}


def test_one_command_starts_jupyterlab_with_them() -> None:
    """The command is right: what it installs has JupyterLab, and the notebooks are below the folder that it opens."""
    page = (ROOT / "docs" / "notebooks.md").read_text()
    command = next(line for line in page.splitlines() if "jupyter lab" in line)
    *_, install, start = command.split(" && ")
    assert install.split()[1:] == ["install", "-q", "-c", "constraints.txt", "-e", "'.[examples]'"]
    assert start.split() == [".venv/bin/jupyter", "lab"]
    assert NOTEBOOKS[0].parent == ROOT / "notebooks"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "notebook" in re.findall(r"\w+", extras["examples"][0])
    assert any(line.startswith("jupyterlab") for line in extras["notebook"])
