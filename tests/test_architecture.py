"""The shape of the package: no circles of imports, and every method documented.

The floors are in pyproject.toml; `lint-imports` checks them.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "queuesim"
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The module's name below the package, as ``core.broker``; the package itself is "" """
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_files_do_not_import_each_other_in_circles() -> None:
    layout = runpy.run_path(str(ROOT / "tools" / "layout"))
    groups = layout["components"](layout["import_graph"](layout["modules"]()))
    assert [group for group in groups if len(group) > 1] == []


def undocumented(tree: ast.Module) -> list[str]:
    """Public methods and properties without a docstring.

    One that a class of the package documents by the same name needs none: it is that method, for another class.
    """
    return [
        f"{owner.name}.{method.name}"
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef) and not owner.name.startswith("_")
        for method in owner.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        and not method.name.startswith("_")
        and ast.get_docstring(method) is None
    ]


def test_every_method_is_documented_somewhere() -> None:
    trees = {name_of(path): ast.parse(path.read_text()) for path in MODULES}
    documented = {
        node.name
        for tree in trees.values()
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node)
    }
    missing = [
        f"{module}: {name}"
        for module, tree in trees.items()
        for name in undocumented(tree)
        if name.partition(".")[2] not in documented
    ]
    assert not missing, "\n".join(missing)
