"""What the docstrings below attributes say, read from the source when someone asks.

pydantic can do so too (``use_attribute_docstrings``), but it parses each class as it is made: that doubled the time
that the schema of scenarios takes to import, for texts that only the JSON Schema shows.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise


@cache
def attribute_docs(cls: type) -> dict[str, str]:
    """The docstrings of the annotated attributes of a class at the top of its module, and of its bases, by name."""
    docs = {name: text for base in reversed(cls.__bases__) for name, text in attribute_docs(base).items()}
    return docs | _docs_of(cls.__module__).get(cls.__qualname__, {})


@cache
def _docs_of(module: str) -> dict[str, dict[str, str]]:
    """Those of all classes at the top of a module, by class; nothing of a module that has no source."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {node.name: _docs_in(node) for node in classes}


def _docs_in(node: ast.ClassDef) -> dict[str, str]:
    return {
        attribute.target.id: inspect.cleandoc(below.value.value)
        for attribute, below in pairwise(node.body)
        if isinstance(attribute, ast.AnnAssign)
        and isinstance(attribute.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
