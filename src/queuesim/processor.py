"""The processor: which handler runs which type of job, and under what rules. It knows neither clock nor backend."""

from __future__ import annotations

import asyncio
import difflib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from queuesim.backoff import BackoffStrategy
from queuesim.clock import is_virtual
from queuesim.errors import ErrorRule, ErrorRules, ValidationError
from queuesim.handler_threads import THREADS
from queuesim.job import Job, JobOptions
from queuesim.limits import Keep, RateLimit
from queuesim.retry import Retries, RetryPolicy

Handler = Callable[[Job], Awaitable[Any]] | Callable[[Job], Any]
"""Takes the job, returns any JSON value; a coroutine function, or an ordinary one that runs in a thread."""
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class JobType:
    """One type of job: its handler, the schema of its data and its time limit."""

    name: str
    handler: Handler
    parse: Callable[[Any], Any] | None = None
    """Turns JSON data into what the handler sees; raises ValidationError."""
    is_async: bool = True
    timeout: float | None = None
    """Seconds of the queue's clock after which an attempt is cancelled and fails with TimeoutError."""
    schema: Any = None
    """What `parse` makes of the data; None if it takes any."""

    @property
    def plain(self) -> bool:
        """Whether nothing is to be done but to await the handler."""
        return self.is_async and self.parse is None and self.timeout is None


class Processor:
    """Handlers for the jobs of one queue, with the rules that go with them.

    The same object runs in a simulation and on a live queue::

        processor = Processor("task-processing", concurrency=5, limiter=RateLimit(max=100, duration=60.0))

        @processor.job("task-created", data=TaskCreated)
        async def task_created(job: Job) -> None: ...

    Args:
        queue: the queue that its workers serve.
        concurrency: jobs that one worker runs at the same time.
        limiter: starts per window, over all workers of the queue.
        defaults: options for jobs that are added without any (attempts, backoff, ...).
        keep_completed: retention of completed jobs that have no rule of their own; None keeps all.
        keep_failed: the same for failed ones.
        dead_letters: name of the queue that gets jobs which failed for good; None: they only stay in `failed`.
        rules: how errors are categorised, before the default rules.
        retries: by category, what differs from the job's own attempts and backoff.
        backoff_strategy: custom backoff, before any other.
        max_started_attempts: a job that was started more often fails, stalls and postponements counted.
    """

    def __init__(
        self,
        queue: str = "default",
        *,
        concurrency: int = 1,
        limiter: RateLimit | None = None,
        defaults: JobOptions | None = None,
        keep_completed: Keep | None = None,
        keep_failed: Keep | None = None,
        dead_letters: str | None = None,
        rules: Sequence[ErrorRule] = (),
        retries: Mapping[str, RetryPolicy] | None = None,
        backoff_strategy: BackoffStrategy | None = None,
        max_started_attempts: int | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
        if ":" in queue:
            raise ValueError(f"a queue's name can't contain ':' ({queue!r}): it separates the parts of a Redis key")
        self.queue = queue
        self.concurrency = concurrency
        self.limiter = limiter
        self.defaults = defaults or JobOptions()
        self.keep_completed = keep_completed
        self.keep_failed = keep_failed
        self.dead_letters = dead_letters
        self.errors = ErrorRules(rules)
        self.retries = Retries(retries or {}, backoff_strategy, max_started_attempts)
        self.types: dict[str, JobType] = {}
        self.plain_handlers: dict[str, Callable[[Job], Awaitable[Any]]] = {}
        """By job type, the handlers that need nothing but to be awaited: `handle` does no more for them."""
        self.stack_traces = True
        """Whether failed attempts leave their stack traces in the job; to format one takes longer than a short job."""

    def __repr__(self) -> str:
        return f"<Processor {self.queue!r} concurrency={self.concurrency} jobs={sorted(self.types)}>"

    def job(self, name: str, *, data: Any = None, timeout: float | None = None) -> Callable[[H], H]:
        """Make the decorated function the handler of the job type `name`.

        Args:
            data: what the job's data must be: a pydantic model, a dataclass, a TypedDict or any type that pydantic
                knows. The handler finds it, parsed, in `job.data`. Data that does not fit never reaches the handler.
            timeout: seconds after which an attempt is cancelled. An ordinary function can't be: its attempt fails, and
                the function goes on in its thread.
        """

        def register(handler: H) -> H:
            if name in self.types:
                raise ValueError(f"{self!r} has a handler for {name!r} already: {self.types[name].handler!r}")
            parse = None if data is None else _parser(data)
            self.add(JobType(name, handler, parse, is_async(handler), timeout, data))
            return handler

        return register

    def add(self, job_type: JobType) -> None:
        """Know a type of jobs, in place of another one of its name."""
        self.types[job_type.name] = job_type
        self.plain_handlers.pop(job_type.name, None)
        if job_type.plain:
            self.plain_handlers[job_type.name] = job_type.handler

    async def handle(self, job: Job) -> Any:
        """Validate a job's data and run its handler. Raises ValidationError, and whatever the handler raises."""
        job_type = self.types.get(job.name)
        if job_type is None:
            raise ValidationError(self._no_handler(job.name))
        if job_type.parse is not None:
            job.data = job_type.parse(job.data)
        if job_type.timeout is not None:
            async with asyncio.timeout(job_type.timeout):
                return await call(job_type.handler, job)
        if job_type.is_async:
            return await job_type.handler(job)
        return await call(job_type.handler, job)

    def _no_handler(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.types, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"no handler for job type {name!r} (known: {', '.join(sorted(self.types)) or 'none'}){hint}"


async def call(handler: Handler, job: Job) -> Any:
    """Run a handler of either kind: a coroutine function here, an ordinary function in a thread. In virtual time, which
    stands still meanwhile, that too runs here."""
    result = handler(job) if is_virtual() or is_async(handler) else await THREADS.call(handler, job)
    return await result if inspect.isawaitable(result) else result


def is_async(handler: Handler) -> bool:
    """Whether a handler is a coroutine function, or an object that is called as one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _parser(schema: Any) -> Callable[[Any], Any]:
    """A function that turns JSON data into `schema`, by pydantic."""
    import pydantic

    adapter = pydantic.TypeAdapter(schema)

    def parse(data: Any) -> Any:
        try:
            return adapter.validate_python(data)
        except pydantic.ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}" for fault in error.errors()
            )
            raise ValidationError(f"invalid job data: {faults}") from None

    return parse
