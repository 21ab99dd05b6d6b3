"""queuesim: a wind tunnel for background job queues.

The same job processor that works a production queue runs unchanged in virtual time. See `Processor`, `run` and `load`.
The names below are loaded when they are first used, so that to import this package takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from queuesim.moved import install

if TYPE_CHECKING:
    from queuesim.core.deadletters import DeadLetters as DeadLetters
    from queuesim.core.errors import DelayedError as DelayedError
    from queuesim.core.errors import ErrorRule as ErrorRule
    from queuesim.core.errors import RateLimitError as RateLimitError
    from queuesim.core.errors import UnrecoverableError as UnrecoverableError
    from queuesim.core.errors import ValidationError as ValidationError
    from queuesim.core.flow import Flow as Flow
    from queuesim.core.flow import FlowProducer as FlowProducer
    from queuesim.core.job import Backoff as Backoff
    from queuesim.core.job import Deduplication as Deduplication
    from queuesim.core.job import Job as Job
    from queuesim.core.job import JobOptions as JobOptions
    from queuesim.core.job import JobState as JobState
    from queuesim.core.job import Keep as Keep
    from queuesim.core.job import RateLimit as RateLimit
    from queuesim.core.processor import Processor as Processor
    from queuesim.core.queue import Queue as Queue
    from queuesim.core.retry import RetryPolicy as RetryPolicy
    from queuesim.core.worker import Worker as Worker
    from queuesim.error import QueuesimError as QueuesimError
    from queuesim.experiments.sweep import sweep as sweep
    from queuesim.notebook import explore as explore
    from queuesim.notebook import load_ipython_extension as load_ipython_extension
    from queuesim.recordings.compare import compare as compare
    from queuesim.results.result import Result as Result
    from queuesim.results.result import load as load
    from queuesim.runs.run import run as run
    from queuesim.scenario.loading import vary as vary
    from queuesim.scenario.model import Scenario as Scenario
    from queuesim.simulation.environment import until as until

__version__ = "0.1.0"
install()

HOMES = {
    "Backoff": "core.job",
    "DeadLetters": "core.deadletters",
    "Deduplication": "core.job",
    "DelayedError": "core.errors",
    "ErrorRule": "core.errors",
    "Flow": "core.flow",
    "FlowProducer": "core.flow",
    "Job": "core.job",
    "JobOptions": "core.job",
    "JobState": "core.job",
    "Keep": "core.job",
    "Processor": "core.processor",
    "Queue": "core.queue",
    "QueuesimError": "error",
    "RateLimit": "core.job",
    "RateLimitError": "core.errors",
    "Result": "results.result",
    "RetryPolicy": "core.retry",
    "Scenario": "scenario.model",
    "UnrecoverableError": "core.errors",
    "ValidationError": "core.errors",
    "Worker": "core.worker",
    "compare": "recordings.compare",
    "explore": "notebook",
    "load": "results.result",
    "load_ipython_extension": "notebook",
    "run": "runs.run",
    "sweep": "experiments.sweep",
    "until": "simulation.environment",
    "vary": "scenario.loading",
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
