"""Runs notebooks and writes what they show back into them: python tools/notebooks.py [NAME ...]; without names, all.

What differs from run to run without saying anything is left out: when cells ran, and progress bars, which are gone when
a run is over.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run a notebook in a kernel of its own, in its folder. Raises CellExecutionError, and writes nothing then."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    nbformat.write(tidied(notebook), path)


def tidied(notebook: Any) -> Any:
    """The notebook without what says nothing."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in _joined(cell.outputs) if WIDGET not in output.get("data", {})]
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """What is printed in several goes is one text: how it was cut depends on the moment."""
    found: list[Any] = []
    for output in outputs:
        if found and output.output_type == "stream" == found[-1].output_type and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def main(names: list[str]) -> None:
    """Run those notebooks, or all."""
    for path in [FOLDER / f"{name.removesuffix('.ipynb')}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        execute(path)
        sys.stderr.write(f"{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
