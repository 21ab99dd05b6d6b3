"""Import paths of version 0.1 that were documented. For one release they work, and warn with the new path."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "queuesim."
MOVED = {
    "admin.administration": "admin.guard",
    "admin.keys": "admin.tokens",
    "admin.metering": "admin.metrics",
    "admin.serving": "admin.api",
    "analysis.compare": "recordings.compare",
    "analysis.fit": "recordings.fit",
    "analysis.interval": "experiments.interval",
    "analysis.observation": "recordings.compare",
    "analysis.sweep": "experiments.sweep",
    "analysis.theory": "theory",
    "analysis.validation": "theory.validation",
    "backoff": "core.job",
    "broker.base": "core.broker",
    "broker.memory": "brokers.memory",
    "broker.redis": "brokers.redis.broker",
    "broker.redis.fake": "brokers.redis.fake",
    "broker.redis.server": "brokers.redis.server",
    "check.findings": "check.check",
    "clock": "core.clock",
    "deadletters": "core.deadletters",
    "errors": "core.errors",
    "events": "core.events",
    "family": "core.job",
    "flow": "core.flow",
    "job": "core.job",
    "limits": "core.job",
    "live.embedded": "brokers.redis.embedded",
    "live.metrics": "service.status",
    "live.service": "service.service",
    "live.status": "service.status",
    "live.supervisor": "service.service",
    "metrics.analysis": "results.analysis",
    "metrics.calendar": "results.frames",
    "metrics.metric": "results.metrics",
    "metrics.plots": "results.plots",
    "metrics.report": "results.views.reports",
    "metrics.result": "results.result",
    "metrics.storage": "results.storage",
    "metrics.summary": "results.summary",
    "metrics.timeline": "results.timeline",
    "processor": "core.processor",
    "queue": "core.queue",
    "redrives": "core.deadletters",
    "retry": "core.retry",
    "scenario.faults.checks": "scenario.model",
    "scenario.file": "scenario.loading",
    "scenario.fleet": "runs.virtual.fleet",
    "scenario.handler_state": "runs.handler_state",
    "scenario.runner": "runs.run",
    "scenario.schema": "scenario.model",
    "scenario.variation": "scenario.loading",
    "schedule": "core.scheduler",
    "simulation.waiting": "simulation.environment",
    "tasks.delivery": "tasks.outbox",
    "tasks.errors": "tasks.model",
    "tasks.payloads": "tasks.model",
    "tasks.relay": "tasks.outbox",
    "testing.found": "testing.soak",
    "testing.oracles": "oracles",
    "testing.stock": "testing.soak",
    "worker": "core.worker",
}
"""The new place of each module, below the package."""
FOLDERS = {name.rpartition(".")[0] for name in MOVED} - {""}
"""What an import of one of them imports first."""


class Forwarding:
    """Finds and loads modules that have moved: each forwards to the new one.

    It is duck-typed: importlib.abc would take longer to import than this package.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How to load a module that no other finder knows."""
        old = name.removeprefix(PACKAGE)
        if not name.startswith(PACKAGE) or old not in MOVED | dict.fromkeys(FOLDERS):
            return None
        return ModuleSpec(name, self, is_package=old in FOLDERS)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Import the new module, and forward all names to it."""
        name = MOVED.get(module.__name__.removeprefix(PACKAGE))
        if name is None:
            return
        warnings.warn(f"{module.__name__} is now {PACKAGE}{name}", DeprecationWarning, stacklevel=2)
        new = import_module(PACKAGE + name)
        module.__getattr__ = lambda attribute: getattr(new, attribute)  # type: ignore[method-assign]
        module.__dir__ = lambda: dir(new)  # type: ignore[method-assign]


def install() -> None:
    """Let the import statement know of them, behind everything else."""
    if not any(isinstance(finder, Forwarding) for finder in sys.meta_path):
        sys.meta_path.append(Forwarding())
