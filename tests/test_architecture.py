"""The shape of the package: which part may import which, and that all of it is documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "queuesim"
MODULES = sorted(SOURCE.rglob("*.py"))

CORE = (
    "attempt", "backoff", "clock", "containment", "deadletters", "errors", "events", "exchange", "family", "flow",
    "handler_threads", "job", "limits", "persistence", "pipeline", "plain_options", "processor", "queue", "redrives",
    "retry", "schedule", "scheduler", "storable", "worker",
)  # fmt: skip
"""The queueing core: it knows no backend, only the protocol that all brokers follow."""

OUTER = (
    "broker", "simulation", "scenario", "metrics", "analysis", "live", "tasks", "admin", "check", "evaluation",
    "notebook", "testing", "cli",
)  # fmt: skip
"""All that the core knows nothing of."""

FORBIDDEN = {
    **dict.fromkeys((*CORE, "escaping", "extras", "inputfile", "units"), OUTER),
    "broker": ("simulation", "scenario", "metrics", "analysis", "live", "tasks", "notebook", "cli"),
    "simulation": ("broker", "scenario", "metrics", "analysis", "live", "tasks", "notebook", "cli"),
    "metrics": ("scenario", "analysis", "live", "tasks", "notebook", "cli"),
    "live": ("scenario", "simulation", "metrics", "analysis", "tasks", "notebook", "cli"),
    "tasks": ("broker", "scenario", "metrics", "analysis", "live", "admin", "check", "evaluation", "notebook", "cli"),
    "admin": ("check", "evaluation", "simulation", "scenario", "metrics", "analysis", "notebook", "cli"),
    "scenario": ("analysis", "admin", "notebook", "cli"),
    "analysis": ("notebook", "cli"),
    "check": ("analysis", "admin", "live", "evaluation", "notebook", "cli"),
    "evaluation": ("notebook", "cli"),
    "notebook": ("cli",),
    "testing": ("notebook", "cli"),
}
"""What a part of the package may not import: the arrows between the parts point one way."""

ALLOWED = {"broker.base"}
"""The protocol itself is no backend."""


def name_of(path: Path) -> str:
    """The module's name below the package, as ``broker.base``; the package itself is "" """
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules of the package that a module imports, at any place in it, for type checkers or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative imports hide which part is imported"
            # what is imported from a package may be a module of it
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name.removeprefix("queuesim.") for name in names if name.startswith("queuesim."))


def violations(name: str, text: str) -> list[str]:
    """The imports of a module that go against the arrows."""
    part = name.partition(".")[0]
    forbidden = FORBIDDEN.get(part, ())
    return [
        f"{name} imports {target}"
        for target in dict.fromkeys(imports(ast.parse(text)))
        if target.partition(".")[0] in forbidden
        and not any(target == allowed or target.startswith(f"{allowed}.") for allowed in ALLOWED)
    ]


def test_arrows_point_one_way() -> None:
    found = [line for path in MODULES for line in violations(name_of(path), path.read_text())]
    assert not found, "\n".join(found)


def test_every_part_has_a_place_in_the_picture() -> None:
    parts = {name_of(path).partition(".")[0] for path in MODULES} - {"", "cli", "__main__"}
    assert parts == set(FORBIDDEN) & parts
    assert set(CORE) <= parts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job", "from queuesim.brokers.memory import MemoryBroker"),
        ("job", "from queuesim import simulation"),
        ("worker", "def f():\n    import queuesim.results.result"),
        ("broker.memory.state", "if TYPE_CHECKING:\n    from queuesim.scenario.model import Scenario"),
        ("simulation.loop", "from queuesim.brokers.memory import MemoryBroker"),
        ("metrics.result", "from queuesim.scenario import runner"),
        ("scenario.runner", "from queuesim.cli.run import run"),
        ("live.embedded", "from queuesim.runs.run import run"),
        ("broker.memory.state", "from queuesim.brokers.redis.embedded import EmbeddedServer"),
        ("metrics.result", "from queuesim.notebook import explore"),
        ("analysis.sweep", "from queuesim.notebook import magic"),
        ("worker", "from queuesim.oracles import judge"),
    ],
)
def test_an_arrow_that_points_the_other_way_is_found(name: str, text: str) -> None:
    assert violations(name, text)


def test_the_protocol_of_brokers_may_be_imported_by_the_core() -> None:
    assert not violations("worker", "from queuesim.core.broker import Broker")


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
