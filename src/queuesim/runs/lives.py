"""The processors of a run: one for each life of each worker.

What a process remembers (globals, locks, caches) ends with it. So a simulated worker that starts gets a processor of
its own, and only what is declared as shared, such as a database, outlives it.
"""

from __future__ import annotations

import warnings
from copy import copy
from dataclasses import replace
from typing import Any

from queuesim.core.job import Job
from queuesim.core.processor import JobType, Processor
from queuesim.scenario.processors import FactoryWarning, ProcessorFactory
from queuesim.simulation.process import CURRENT, Process


class Lives:
    """The processors of one run: one for each life of each worker.

    Raises what `ProcessorFactory.make` and `make_shared` raise.
    """

    def __init__(self, factory: ProcessorFactory) -> None:
        self._factory = factory
        self.shared = factory.make_shared()
        """What outlives processes; None if nothing is shared."""
        self._first, self.check = factory.make(self.shared)
        self._unused: Processor | None = self._first
        self._of: dict[str, Processor] = {}
        """By the names of processes: a worker's successor has its name, and nothing of the worker runs any more."""
        self._warned = False
        self.prototype = self._dispatching() if self.several else self._first
        """Stands for all of them: each attempt runs in the processor of its worker's life."""

    @property
    def several(self) -> bool:
        """Whether each life has a processor of its own."""
        return self._factory.fresh and self.check is None

    def begin(self, process: Process, assembled: Processor) -> Processor:
        """The processor of a worker that starts.

        Args:
            assembled: the prototype with what the scenario and its faults add to it.
        """
        if not self.several:
            return assembled
        made, self._unused = self._unused or process.run(self._make), None
        self._of[process.name] = made
        processor = copy(assembled)
        # errors are recognised by the classes of this life's modules
        processor.errors = made.errors
        processor.retries = replace(made.retries, policies=assembled.retries.policies)
        return processor

    def _make(self) -> Processor:
        made, _ = self._factory.make(self.shared)
        # a name may be that of a library's processor, whose modules are not imported anew
        if made is self._first and not self._warned and not isinstance(self._factory.source, str):
            self._warned = True
            warnings.warn(
                FactoryWarning(
                    f"{self._factory.name} returned the same Processor twice, so that a worker knows what a killed one "
                    "knew: make the Processor, and all that its handlers remember, inside of it"
                ),
                stacklevel=2,
            )
        return made

    def _here(self) -> Processor:
        process = CURRENT.get(None)
        return self._first if process is None else self._of.get(process.name, self._first)

    def _dispatching(self) -> Processor:
        """A copy of the first processor whose handlers are those of the life in which they are called."""
        prototype = copy(self._first)
        prototype.types, prototype.plain_handlers = {}, {}
        for job_type in self._first.types.values():
            prototype.add(self._dispatch(job_type))
        return prototype

    def _dispatch(self, job_type: JobType) -> JobType:
        name, here = job_type.name, self._here

        async def handle(job: Job) -> Any:
            return await here().types[name].handler(job)

        def handle_plainly(job: Job) -> Any:
            return here().types[name].handler(job)

        def parse(data: Any) -> Any:
            own = here().types[name].parse
            return data if own is None else own(data)

        return replace(
            job_type,
            handler=handle if job_type.is_async else handle_plainly,
            parse=None if job_type.parse is None else parse,
        )
