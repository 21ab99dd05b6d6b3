"""What can go wrong in handlers, in the database behind them and at producers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from queuesim.scenario.faults.timing_schema import Likely, Timing
from queuesim.scenario.service_schema import ServiceTime
from queuesim.scenario.unit_schema import Count, Word, refuse
from queuesim.scenario.wording import show

Category = Literal["database", "validation", "network", "unknown"]

SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(rf"^\s*([0-9]+(?:\.[0-9]+)?)\s*({'|'.join(SIZES)})\s*$")


def _bytes(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    size = int(float(found[1]) * SIZES[found[2]]) if found else 0
    if size < 1:
        raise refuse(f"{show(value)} is not a size: write it as 10MB or 512KiB")
    return size


Size = Annotated[
    int,
    PlainValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _SIZE.pattern}, {"type": "integer", "minimum": 1}]}),
]
"""A size in bytes."""


class HandlerFault(Likely):
    """A fault of handlers."""

    job: Word | None = None
    """Which type of jobs; all if left out."""


class HandlerError(HandlerFault):
    """Attempts fail, after they took their time."""

    category: Category = "unknown"
    """What kind of error they fail with."""


class Hang(HandlerFault):
    """Attempts don't end by themselves."""

    lasts: ServiceTime | None = None
    """How long they hang; for ever if left out."""


class Slow(HandlerFault):
    """Attempts take longer."""

    delay: ServiceTime
    """How much longer."""


class PoisonJobs(HandlerFault):
    """Some jobs fail at every attempt while it lasts: which, is decided by their numbers."""

    category: Category = "unknown"
    """What kind of error they fail with."""


class Payload(HandlerFault):
    """Jobs with much data. Workers that hold too much of it at once are killed for want of memory."""

    size: Size
    """Of one such job's data in a worker's memory."""
    memory: Size
    """What a worker may hold at once."""
    restart: ServiceTime = ServiceTime(constant=1.0)
    """How long until the successor of a killed worker runs."""


class DatabaseOutage(HandlerFault):
    """The database refuses connections: attempts, and the transactions on overdue tasks, fail at once."""


class SlowQueries(HandlerFault):
    """Queries take longer."""

    delay: ServiceTime
    """How much longer, all of an attempt's together, or each transaction on overdue tasks."""


class ExhaustedPool(HandlerFault):
    """Few connections are left: who finds none waits for one, and fails after the time-out."""

    size: Count
    """Connections that are left, over all workers."""
    timeout: ServiceTime = ServiceTime(constant=30.0)
    """How long an attempt waits for a connection."""


class Deadlock(HandlerFault):
    """The database aborts a transaction, at its end: nothing was written."""


class LostCommit(HandlerFault):
    """A transaction is committed, but the answer is lost: the handler fails, its work is done."""


class ProducerFault(Likely):
    """A fault of producers."""

    load: Word | None = None
    """Which load entry; all if left out."""


class Duplicates(ProducerFault):
    """A producer adds a job twice."""


class RetryAfterLostAnswer(ProducerFault):
    """The answer to an add is lost after it took effect, and the producer adds the jobs again a moment later."""

    pause: ServiceTime = ServiceTime(constant=1.0)
    """How much later."""


class Burst(Timing):
    """Many jobs at once, beside the load."""

    size: Count
    """How many."""
    load: Word | None = None
    """Of which load entry's jobs; needed if there are several."""
