"""The processor: which handler runs which type of job, and under what rules. It knows neither clock nor backend."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import os
import random
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from queuesim.core.broker import Completed, DeadLetter, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.clock import is_virtual
from queuesim.core.errors import (
    UNKNOWN,
    AbandonedError,
    DelayedError,
    ErrorInfo,
    ErrorRule,
    ErrorRules,
    FailedChildrenError,
    HandlerExitError,
    PendingChildrenError,
    RateLimitError,
    ResultError,
    UnreadableJobError,
    ValidationError,
)
from queuesim.core.job import (
    RUNNING_JOB,
    BackoffStrategy,
    Job,
    JobOptions,
    Keep,
    RateLimit,
    check_queue_name,
    encode_json,
)
from queuesim.core.retry import Retries, RetryPolicy
from queuesim.core.storable import mended, storable

RATE_LIMITED = "bullmq:rateLimitExceeded"
"""BullMQ recognises a rate-limit error by this message."""
INCOMPLETE: dict[int, type[PendingChildrenError | FailedChildrenError]] = {
    -4: PendingChildrenError,
    -9: FailedChildrenError,
}
"""By the code with which a completion is refused: the error that fails the attempt (BullMQ 6.7)."""

Call = tuple[Context, Callable[[Any], Any], Any, Callable[[Any, BaseException | None], None]]
"""A call in a thread: its context, function and argument, and the callback for its result or error."""


class HandlerThreads:
    """Daemon threads for handlers that are ordinary functions, as many as there are calls at one time. They hold up
    neither the event loop nor the renewal of locks.

    `asyncio.to_thread` has too few for a worker of high concurrency. A program also waits for its threads when it ends,
    so that a handler which never returns would keep a worker from ending.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def forget(self) -> None:
        """In a forked process: none of the threads is there."""
        self._reset()

    async def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function in a thread, in a copy of the present context. Returns and raises what it does.

        If the caller is cancelled, the function goes on, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if not ended.done():
                # not set_exception, which takes no StopIteration
                ended.set_result((value, error))

        def report(value: Any, error: BaseException | None) -> None:
            # nobody waits on a closed loop
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, value, error)

        self._submit((copy_context(), function, argument, report))
        value, error = await ended
        try:
            if error is not None:
                raise error
            return value
        finally:
            # the error's traceback holds this frame
            del error

    def _submit(self, call: Call) -> None:
        self._calls.put(call)
        if not self._idle.acquire(blocking=False):
            self._count += 1
            threading.Thread(target=self._work, name=f"queuesim handler {self._count}", daemon=True).start()

    def _work(self) -> None:
        while True:
            context, function, argument, report = self._calls.get()
            try:
                value, error = context.run(function, argument), None
            except BaseException as raised:  # noqa: BLE001 - the handler may raise anything
                value, error = None, raised
            report(value, error)
            # hold nothing of this call while waiting for the next
            del context, function, argument, report, value, error
            self._idle.release()


THREADS = HandlerThreads()
"""The threads of this process."""
os.register_at_fork(after_in_child=THREADS.forget)


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
        for name in (queue,) if dead_letters is None else (queue, dead_letters):
            check_queue_name(name)
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
        """Add a type of jobs, in place of another one of its name."""
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


# -- one attempt: run the handler and decide on the outcome, without broker and clock


async def attempt(processor: Processor, job: Job, rng: random.Random) -> Outcome:
    """Run the job's handler once. Whatever it does becomes the outcome; only cancellation from outside is raised.

    Args:
        rng: where jitter of the backoff is drawn from.
    """
    try:
        RUNNING_JOB.set(job)
        if job.deferred_failure:
            raise AbandonedError(job.deferred_failure)
        if job.unreadable:
            raise UnreadableJobError(job.id, job.unreadable)
        abandoned = processor.retries.started_too_often(job)
        if abandoned:
            raise AbandonedError(abandoned)
        plain = processor.plain_handlers.get(job.name)
        value = await (processor.handle(job) if plain is None else plain(job))
        text = "null" if value is None else _result(value)
        completed = Completed(
            job.id, job.token, text, processor.keep_completed, job.attempts_started, job.attempts_made + 1
        )
        return completed if value is None else mended(completed)
    except KeyboardInterrupt:
        raise
    except GeneratorExit as error:
        if RUNNING_JOB.get(None) is not job:
            # nobody runs this attempt any more: its coroutine is being closed
            raise
        return judge(processor, job, error, rng)
    except SystemExit as error:
        return judge(processor, job, _exit(error), rng)
    except asyncio.CancelledError as error:
        if _cancelled_from_outside():
            raise
        return judge(processor, job, error, rng)
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything
        return judge(processor, job, error, rng)


def _exit(error: SystemExit) -> HandlerExitError:
    exited = HandlerExitError(f"the handler called sys.exit({error.code!r})")
    exited.__cause__ = error
    return exited


def judge(processor: Processor, job: Job, error: BaseException, rng: random.Random) -> Outcome:
    """The outcome of a failed attempt, even if a user's own rule, backoff strategy or error message raises an error."""
    try:
        return mended(failure(processor, job, error, rng))
    except Exception as fault:  # noqa: BLE001
        reason = f"{type(error).__name__}, and then {type(fault).__name__} while it was judged: {_message(fault)}"
        info = ErrorInfo(type(error).__name__, UNKNOWN, retryable=False)
        letter = _dead_letter(processor, job, reason, info)
        return storable(_failed(processor, job, reason, _traceback(processor, fault), letter, info))


def _message(error: BaseException) -> str:
    """The error's message, even if the error's own code fails."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001
        return f"(no message: {type(fault).__name__})"


def _traceback(processor: Processor, error: BaseException) -> tuple[str, ...]:
    """The formatted traceback as the one row of a stacktrace; no row if it is not wanted or can't be formatted."""
    if not processor.stack_traces:
        return ()
    try:
        return ("".join(traceback.format_exception(error)),)
    except Exception:  # noqa: BLE001 - the error's own code runs here
        return ()


def failure(processor: Processor, job: Job, error: BaseException, rng: random.Random) -> Outcome:
    """The outcome of a job whose handler raised `error`."""
    started, made = job.attempts_started, job.attempts_made
    if isinstance(error, DelayedError):
        return Postponed(job.id, job.token, error.delay, attempt=started, attempts_made=made)
    if isinstance(error, RateLimitError) or str(error) == RATE_LIMITED:
        hold = getattr(error, "duration", None)
        return Returned(job.id, job.token, hold, attempt=started, attempts_made=made)
    info = processor.errors.describe(error)
    reason = str(error) or info.type
    stacktrace = _traceback(processor, error)
    delay = processor.retries.delay(job, error, info, rng)
    if delay is not None:
        entry = _history(job, info, reason) if processor.dead_letters else None
        return Retried(
            job.id, job.token, delay, reason, stacktrace, entry, info, attempt=started, attempts_made=made + 1
        )
    return _failed(processor, job, reason, stacktrace, _dead_letter(processor, job, reason, info), info)


def _failed(
    processor: Processor,
    job: Job,
    reason: str,
    stacktrace: tuple[str, ...],
    letter: DeadLetter | None,
    info: ErrorInfo,
) -> Failed:
    keep, started, made = processor.keep_failed, job.attempts_started, job.attempts_made + 1
    return Failed(job.id, job.token, reason, stacktrace, keep, letter, info, attempt=started, attempts_made=made)


def _result(value: Any) -> str:
    try:
        return encode_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"the handler returned something that is not JSON: {error}") from None


def _cancelled_from_outside() -> bool:
    """True if the worker cancels this task; a handler that was merely unlucky in its own tasks is a failure."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _history(job: Job, info: ErrorInfo, reason: str) -> dict[str, Any]:
    return {
        "attempt": job.attempts_made + 1,
        "started": job.processed_on,
        "worker": job.processed_by,
        "type": info.type,
        "category": info.category,
        "retryable": info.retryable,
        "message": reason,
    }


def _dead_letter(processor: Processor, job: Job, reason: str, info: ErrorInfo) -> DeadLetter | None:
    """The job's dead letter, if the processor has dead letters: the job as it was added, and its history."""
    if not processor.dead_letters:
        return None
    from queuesim.core.deadletters import describe

    last = _history(job, info, reason)
    try:
        letter = describe(processor.queue, job, reason, [*job.history, last])
    except (TypeError, ValueError, AttributeError, RecursionError):
        # another program wrote a history that no letter can hold
        letter = describe(processor.queue, job, reason, [last])
    return DeadLetter(processor.dead_letters, letter)
