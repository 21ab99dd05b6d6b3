"""The task service: tasks in a database, jobs that leave when a transaction commits, and the overdue scan.

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuesim.tasks.cost import DatabaseModel as DatabaseModel
    from queuesim.tasks.handlers import task_processor as task_processor
    from queuesim.tasks.model import ConflictError as ConflictError
    from queuesim.tasks.model import Status as Status
    from queuesim.tasks.model import Task as Task
    from queuesim.tasks.model import TaskMissingError as TaskMissingError
    from queuesim.tasks.outbox import AfterCommit as AfterCommit
    from queuesim.tasks.outbox import Outbox as Outbox
    from queuesim.tasks.outbox import Relay as Relay
    from queuesim.tasks.overdue import OverdueScan as OverdueScan
    from queuesim.tasks.store import TaskStore as TaskStore
    from queuesim.tasks.task_service import TaskService as TaskService

HOMES = {
    "AfterCommit": "outbox",
    "ConflictError": "model",
    "DatabaseModel": "cost",
    "Outbox": "outbox",
    "OverdueScan": "overdue",
    "Relay": "outbox",
    "Status": "model",
    "Task": "model",
    "TaskMissingError": "model",
    "TaskService": "task_service",
    "TaskStore": "store",
    "task_processor": "handlers",
}
"""In which module each public name lives."""


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
