"""queuesim: a wind tunnel for background job queues.

The same job processor that works a production queue runs unchanged in virtual time. See `Processor`, `run` and `load`.
The names below are loaded when they are first used, so that to import this package takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuesim.analysis.compare import compare as compare
    from queuesim.analysis.sweep import sweep as sweep
    from queuesim.backoff import Backoff as Backoff
    from queuesim.deadletters import DeadLetters as DeadLetters
    from queuesim.errors import DelayedError as DelayedError
    from queuesim.errors import ErrorRule as ErrorRule
    from queuesim.errors import QueuesimError as QueuesimError
    from queuesim.errors import RateLimitError as RateLimitError
    from queuesim.errors import UnrecoverableError as UnrecoverableError
    from queuesim.errors import ValidationError as ValidationError
    from queuesim.flow import Flow as Flow
    from queuesim.flow import FlowProducer as FlowProducer
    from queuesim.job import Deduplication as Deduplication
    from queuesim.job import Job as Job
    from queuesim.job import JobOptions as JobOptions
    from queuesim.job import JobState as JobState
    from queuesim.limits import Keep as Keep
    from queuesim.limits import RateLimit as RateLimit
    from queuesim.metrics.result import Result as Result
    from queuesim.metrics.result import load as load
    from queuesim.notebook.explorer import explore as explore
    from queuesim.notebook.magic import load_ipython_extension as load_ipython_extension
    from queuesim.processor import Processor as Processor
    from queuesim.queue import Queue as Queue
    from queuesim.retry import RetryPolicy as RetryPolicy
    from queuesim.scenario.runner import run as run
    from queuesim.scenario.schema import Scenario as Scenario
    from queuesim.scenario.variation import vary as vary
    from queuesim.simulation.waiting import until as until
    from queuesim.worker import Worker as Worker

__version__ = "0.1.0"

HOMES = {
    "Backoff": "backoff",
    "DeadLetters": "deadletters",
    "Deduplication": "job",
    "DelayedError": "errors",
    "ErrorRule": "errors",
    "Flow": "flow",
    "FlowProducer": "flow",
    "Job": "job",
    "JobOptions": "job",
    "JobState": "job",
    "Keep": "limits",
    "Processor": "processor",
    "Queue": "queue",
    "QueuesimError": "errors",
    "RateLimit": "limits",
    "RateLimitError": "errors",
    "Result": "metrics.result",
    "RetryPolicy": "retry",
    "Scenario": "scenario.schema",
    "UnrecoverableError": "errors",
    "ValidationError": "errors",
    "Worker": "worker",
    "compare": "analysis.compare",
    "explore": "notebook.explorer",
    "load": "metrics.result",
    "load_ipython_extension": "notebook.magic",
    "run": "scenario.runner",
    "sweep": "analysis.sweep",
    "until": "simulation.waiting",
    "vary": "scenario.variation",
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
