"""Runs notebooks and stores their outputs in them: python tools/notebooks.py [--check] [NAME ...]; without names, all.

With ``--check`` nothing is stored. Exit code 1 then if a text that a notebook shows is not the stored one, with both.
What differs between runs without meaning is not stored: execution times, and progress bars.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import queuesim

FOLDER = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
MEASURED = {"live-against-simulation"}
"""Notebooks that measure in real time: their figures differ between runs. `--check` only executes them."""


def execute(path: Path) -> Any:
    """Run a notebook in its own kernel, in its directory. Raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """The notebook without what says nothing."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in _joined(cell.outputs) if not _is_transient(output)]
    return notebook


def _is_transient(output: Any) -> bool:
    """Whether an output is a widget or a progress bar, which is empty at its end and there only if a run takes long."""
    data = output.get("data", {})
    return WIDGET in data or (output.output_type == "display_data" and not any(data.values()))


def _joined(outputs: list[Any]) -> list[Any]:
    """Join what is printed in several pieces: where it was cut depends on timing."""
    found: list[Any] = []
    for output in outputs:
        if found and output.output_type == "stream" == found[-1].output_type and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def store(path: Path) -> list[str]:
    """Run a notebook and store its outputs."""
    nbformat.write(execute(path), path)
    return []


def check(path: Path) -> list[str]:
    """Run a notebook. The lines in which its texts differ from the stored ones."""
    stored = list(shown(nbformat.read(path, as_version=4)))
    now = list(shown(execute(path)))
    if path.stem in MEASURED:
        return []
    return list(difflib.unified_diff(stored, now, f"{path.name}, stored", f"{path.name}, now", lineterm="", n=1))


def shown(notebook: Any) -> Iterator[str]:
    """The lines of text that a notebook's cells show."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            for text in (output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")):
                yield from (f"cell {number}: {line[:200]}" for line in text.splitlines())


def compile_engine() -> None:
    """Have the compiled engine compiled before: otherwise the first notebook that needs it would say so."""
    load = [{"name": "some", "poisson": 1.0}]
    queuesim.run({"name": "one", "duration": 10.0, "jobs": {"a": {"service": 1.0}}, "load": load}, engine="compiled")


def main(arguments: list[str]) -> int:
    """Run those notebooks, or all. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    paths = [FOLDER / f"{name.removesuffix('.ipynb')}.ipynb" for name in options.names]
    paths = paths or sorted(FOLDER.glob("*.ipynb"))
    compile_engine()
    stale = False
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for path, differences in zip(paths, pool.map(check if options.check else store, paths), strict=True):
            stale = stale or bool(differences)
            sys.stderr.write("\n".join([f"{path.name}: {'differs' if differences else 'ok'}", *differences]) + "\n")
    if stale:
        sys.stderr.write("the stored outputs are stale: run python tools/notebooks.py\n")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
