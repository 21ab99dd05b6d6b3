"""One attempt: whatever the handler does is the job's outcome, and the worker lives on."""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
import random
from itertools import pairwise
from typing import Any

import pytest
from workbench import Bench, now

from queuesim.core.broker import Completed, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.errors import (
    DatabaseError,
    DelayedError,
    ErrorRule,
    NetworkError,
    RateLimitError,
    UnrecoverableError,
    ValidationError,
)
from queuesim.core.job import Backoff, Job, JobOptions, JobState, Keep, RateLimit, Unreadable
from queuesim.core.processor import Processor, attempt
from queuesim.core.retry import RetryPolicy
from queuesim.simulation.runner import run

THREE = JobOptions(attempts=3, backoff=Backoff("fixed", 2.0))


def judge(handler: Any, options: JobOptions = THREE, **rules: Any) -> Outcome:
    """The outcome of one attempt at a job with this handler."""
    processor = Processor("q", **rules)
    processor.job("job")(handler)
    job = Job("1", "job", {}, options, token="t:1", attempts_started=1, processed_on=0.0)
    return run(attempt(processor, job, random.Random(0)))


def raising(error: BaseException) -> Any:
    async def handler(job: Job) -> None:
        raise error

    return handler


def returning(value: Any) -> Any:
    async def handler(job: Job) -> Any:
        return value

    return handler


# -- returning


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (7, "7"), ({"a": [1.5, None]}, '{"a":[1.5,null]}'), ("ü", '"ü"'), (False, "false")],
)
def test_a_json_value_completes(value: Any, text: str) -> None:
    outcome = judge(returning(value), keep_completed=Keep(count=3))
    assert outcome == Completed("1", "t:1", text, Keep(count=3), attempt=1, attempts_made=1)


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, b"bytes", cycle(), deep(), {"a": {(1, 2): 3}}])
def test_what_is_no_json_fails_at_once_for_the_work_was_done(value: Any) -> None:
    outcome = judge(returning(value))
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("the handler returned something that is not JSON")
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.category, outcome.error.retryable) == ("ResultError", "Validation", False)


# -- raising


def test_an_error_is_retried_with_its_reason_and_trace() -> None:
    outcome = judge(raising(RuntimeError("boom")))
    assert isinstance(outcome, Retried)
    assert (outcome.delay, outcome.reason, outcome.history) == (2.0, "boom", None)
    assert "RuntimeError: boom" in outcome.stacktrace[0]


@pytest.mark.parametrize("error", [ValidationError("bad"), UnrecoverableError("bad"), ValueError("bad")])
def test_an_error_that_no_retry_helps_fails_at_once(error: Exception) -> None:
    outcome = judge(raising(error), keep_failed=Keep(count=5))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.keep) == ("bad", Keep(count=5))


@pytest.mark.parametrize("error", [RuntimeError(), asyncio.CancelledError(), BaseException()])
def test_an_error_without_a_message_is_named_by_its_type(error: BaseException) -> None:
    outcome = judge(raising(error))
    assert isinstance(outcome, Retried)
    assert outcome.reason == type(error).__name__


class Fatal(BaseException):
    """An error outside Exception."""


@pytest.mark.parametrize("error", [Fatal("x"), asyncio.CancelledError("x"), ExceptionGroup("x", [ValueError()])])
def test_errors_outside_exception_are_outcomes_too(error: BaseException) -> None:
    assert isinstance(judge(raising(error)), Retried)


def test_a_deep_recursion_is_an_outcome() -> None:
    async def handler(job: Job) -> None:
        await handler(job)

    assert isinstance(judge(handler), Retried)


def test_a_handler_that_cancels_a_task_of_its_own_merely_fails() -> None:
    async def handler(job: Job) -> None:
        child = asyncio.ensure_future(asyncio.sleep(60.0))
        child.cancel()
        await child

    assert isinstance(judge(handler), Retried)


def test_an_interrupt_ends_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        judge(raising(KeyboardInterrupt()))


def test_sys_exit_is_the_failure_of_its_job_and_is_retried() -> None:
    outcome = judge(raising(SystemExit(3)), JobOptions(attempts=2))
    assert isinstance(outcome, Retried)
    assert outcome.reason == "the handler called sys.exit(3)"
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.category) == ("HandlerExitError", "Unknown")


def test_a_generator_exit_of_the_handler_is_a_failure_of_its_job() -> None:
    outcome = judge(raising(GeneratorExit("mine")))
    assert isinstance(outcome, Retried)
    assert outcome.reason == "mine"


def test_closing_the_coroutine_of_an_attempt_gets_through() -> None:
    processor = Processor("q")
    processor.job("job")(lambda job: asyncio.sleep(60.0))

    async def program() -> None:
        coroutine = attempt(processor, Job("1", "job", {}), random.Random(0))
        contextvars.copy_context().run(coroutine.send, None)
        coroutine.close()
        with pytest.raises(RuntimeError, match="cannot reuse"):
            coroutine.send(None)

    run(program())


def test_cancelling_the_attempt_from_outside_gets_through() -> None:
    async def program() -> None:
        processor = Processor("q")
        processor.job("job")(lambda job: asyncio.sleep(60.0))
        task = asyncio.ensure_future(attempt(processor, Job("1", "job", {}), random.Random(0)))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(program())


# -- steering


@pytest.mark.parametrize("duration", [None, 5.0])
def test_a_rate_limit_error_returns_the_job(duration: float | None) -> None:
    assert judge(raising(RateLimitError(duration))) == Returned("1", "t:1", duration, attempt=1)


def test_a_rate_limit_error_of_another_make_is_known_by_its_message() -> None:
    assert judge(raising(RuntimeError("bullmq:rateLimitExceeded"))) == Returned("1", "t:1", None, attempt=1)


def test_a_delayed_error_postpones_the_job() -> None:
    assert judge(raising(DelayedError(7.5))) == Postponed("1", "t:1", 7.5, attempt=1)


# -- rules that are broken themselves


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def bad_strategy(made: int, error: BaseException) -> float:
    raise ZeroDivisionError("in the strategy")


def bad_rule(error: BaseException) -> bool:
    raise ZeroDivisionError("in the rule")


@pytest.mark.parametrize(
    ("error", "rules", "told"),
    [
        (RuntimeError("boom"), {"backoff_strategy": bad_strategy}, "in the strategy"),
        (RuntimeError("boom"), {"rules": [ErrorRule(bad_rule, "Mine")]}, "in the rule"),
        (MuteError(), {}, "no words"),
    ],
)
def test_a_users_rule_that_breaks_fails_the_job_and_says_so(error: Exception, rules: dict[str, Any], told: str) -> None:
    outcome = judge(raising(error), dead_letters="dead", **rules)
    assert isinstance(outcome, Failed)
    assert type(error).__name__ in outcome.reason
    assert told in outcome.reason
    assert outcome.dead_letter is not None


# -- attempts that never reach the handler


@pytest.mark.parametrize(
    ("fields", "rules", "reason"),
    [
        ({"deferred_failure": "job stalled more than allowable limit"}, {}, "job stalled more than allowable limit"),
        ({"attempts_started": 3}, {"max_started_attempts": 2}, "job started more than allowable limit"),
    ],
)
def test_a_job_that_was_given_up_fails_before_its_handler(
    fields: dict[str, Any], rules: dict[str, Any], reason: str
) -> None:
    processor = Processor("q", **rules)
    reached = []
    processor.job("job")(lambda job: reached.append(job))
    job = Job("1", "job", {}, JobOptions(attempts=9), token="t:1")
    for name, value in fields.items():
        setattr(job, name, value)
    outcome = run(attempt(processor, job, random.Random(0)))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, reached) == (reason, [])


# -- a worker's whole story


def story(
    handler: Any, *, seconds: float = 100.0, options: JobOptions = THREE, data: Any = None, **rules: Any
) -> Bench:
    """Let a worker work on one job for a while."""

    async def program() -> Bench:
        bench = Bench(**rules)
        bench.handle(handler, data=data)
        await bench.queue.add("job", options=options)
        async with bench.working():
            await asyncio.sleep(100.0)
        return bench

    return run(program())


async def failing(job: Job) -> None:
    await asyncio.sleep(0.5)
    raise RuntimeError("boom")


def test_three_attempts_are_three_runs_with_exact_backoff() -> None:
    options = JobOptions(attempts=3, backoff=Backoff("exponential", 2.0))
    bench = story(failing, options=options)
    assert bench.starts["1"] == [0.0, 2.5, 7.0]
    assert [type(outcome) for outcome in bench.outcomes] == [Retried, Retried, Failed]


@pytest.mark.parametrize(("attempts", "runs"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_attempts_are_runs(attempts: int, runs: int) -> None:
    bench = story(failing, options=JobOptions(attempts=attempts))
    assert bench.starts["1"] == [i * 0.5 for i in range(runs)]


def test_jitter_stays_within_its_bounds_and_a_seed_replays_it() -> None:
    options = JobOptions(attempts=6, backoff=Backoff("exponential", 4.0, jitter=0.5))

    def gaps(seed: int) -> list[float]:
        async def program() -> list[float]:
            bench = Bench()
            bench.handle(failing)
            await bench.queue.add("job", options=options)
            async with bench.working(rng=random.Random(seed)):
                await asyncio.sleep(1000.0)
            starts = bench.starts["1"]
            return [later - earlier - 0.5 for earlier, later in pairwise(starts)]

        return run(program())

    first = gaps(1)
    assert first == gaps(1)
    assert first != gaps(2)
    for made, gap in enumerate(first, start=1):
        assert 0.5 * 4.0 * 2 ** (made - 1) - 0.0011 <= gap < 4.0 * 2 ** (made - 1)


def test_policies_by_category() -> None:
    async def handler(job: Job) -> None:
        raise (DatabaseError if job.id == "1" else NetworkError)("boom")

    async def program() -> Bench:
        policies = {
            "Database": RetryPolicy(attempts=4, backoff=Backoff("fixed", 1.0)),
            "Network": RetryPolicy(retry=False),
        }
        bench = Bench(retries=policies)
        bench.handle(handler)
        for _ in range(2):
            await bench.queue.add("job", options=THREE)
        async with bench.working():
            await asyncio.sleep(100.0)
        return bench

    assert run(program()).starts == {"1": [0.0, 1.0, 2.0, 3.0], "2": [0.0]}


def test_a_custom_strategy_by_a_worker() -> None:
    bench = story(failing, options=JobOptions(attempts=4), backoff_strategy=lambda made, error: made * 10.0)
    assert bench.starts["1"] == [0.0, 10.5, 31.0, 61.5]


def test_a_strategy_that_says_minus_one_gives_up() -> None:
    bench = story(failing, options=JobOptions(attempts=4), backoff_strategy=lambda made, error: -1)
    assert bench.starts["1"] == [0.0]
    assert len(bench.failures) == 1


def test_invalid_data_fail_once_and_no_handler_sees_them() -> None:
    bench = story(failing, data=dict[str, int], options=JobOptions(attempts=5))
    assert len(bench.starts["1"]) == 5, "an empty object is valid"

    async def program() -> Bench:
        bench = Bench()
        bench.handle(failing, data=dict[str, int])
        await bench.queue.add("job", {"n": "x"}, attempts=5)
        async with bench.working():
            await asyncio.sleep(10.0)
        return bench

    bench = run(program())
    assert bench.starts == {}
    (failure,) = bench.failures
    assert "invalid job data: n: " in failure.reason


def test_an_unknown_type_fails_once() -> None:
    async def program() -> None:
        bench = Bench()
        bench.handle(failing)
        await bench.queue.add("jbo", attempts=5)
        async with bench.working():
            await asyncio.sleep(10.0)
        (failure,) = bench.failures
        assert "did you mean 'job'" in failure.reason
        assert await bench.counts() == {"failed": 1}

    run(program())


def test_a_handler_that_hangs_is_cut_off_and_retried() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1000.0, timeout=3.0)
        await bench.queue.add("job", attempts=2)
        async with bench.working():
            await asyncio.sleep(100.0)
        assert [(row.started, row.ended) for row in bench.rows] == [(0.0, 3.0), (3.0, 6.0)]
        (failure,) = bench.failures
        assert failure.error is not None
        assert (failure.reason, failure.error.category) == ("TimeoutError", "Network")

    run(program())


def test_rate_limited_starts_count_towards_the_limit_of_starts() -> None:
    """Run against BullMQ 6.7.0: with a limit of 2 the third start fails, and no handler sees it."""

    async def handler(job: Job) -> None:
        await asyncio.sleep(1.0)
        raise RateLimitError

    bench = story(handler, max_started_attempts=2, limiter=RateLimit(100, 1.0))
    assert bench.starts["1"] == [0.0, 1.0]
    assert [type(outcome) for outcome in bench.outcomes] == [Returned, Returned, Failed]


@pytest.mark.parametrize("nuisance", [Fatal("x"), asyncio.CancelledError(), RecursionError(), StopAsyncIteration()])
def test_a_worker_outlives_every_handler(nuisance: BaseException) -> None:
    async def program() -> None:
        bench = Bench()

        async def handler(job: Job) -> None:
            await asyncio.sleep(1.0)
            if job.id == "1":
                raise nuisance

        bench.handle(handler)
        await bench.queue.add_bulk([("job", None)] * 3)
        async with bench.working():
            await asyncio.sleep(10.0)
        assert await bench.counts() == {"completed": 2, "failed": 1}
        assert (await bench.queue.get_state("1"), bench.starts["3"]) == (JobState.FAILED, [2.0])
        assert now() == 10.0

    run(program())


# -- jobs that can't be read, errors that can't be told


def unreadable_job() -> Job:
    job = Job("1", "job", None, JobOptions(attempts=9), token="t:1", raw_data="{no json")
    job.unreadable = (Unreadable("data", "not valid JSON"),)
    return job


def test_a_job_that_can_not_be_read_fails_for_good_with_the_reason_before_its_handler() -> None:
    processor = Processor("q", dead_letters="dead")
    reached: list[Job] = []
    processor.job("job")(reached.append)
    outcome = run(attempt(processor, unreadable_job(), random.Random(0)))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "job 1 can't be read: data is not valid JSON. Correct its hash and retry it."
    assert reached == []
    # the letter has the data as the text that they are
    assert outcome.dead_letter is not None
    assert json.loads(outcome.dead_letter.data)["data"] == "{no json"


def test_a_deferred_failure_is_honoured_before_anything_that_can_not_be_read() -> None:
    job = unreadable_job()
    job.deferred_failure = "job stalled more than allowable limit"
    outcome = run(attempt(Processor("q", dead_letters="dead"), job, random.Random(0)))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "job stalled more than allowable limit"


class BrokenError(Exception):
    """Nothing can be told of it."""

    def __str__(self) -> str:
        raise BrokenError

    __repr__ = __str__


@pytest.mark.parametrize("error", [BrokenError(), ValueError("half \ud83d"), ValueError("\ud83d" * 3, BrokenError())])
def test_an_error_that_can_not_be_told_or_stored_is_a_failure_of_its_job(error: Exception) -> None:
    outcome = judge(raising(error), dead_letters="dead")
    assert isinstance(outcome, Failed | Retried)
    outcome.reason.encode()
    "".join(outcome.stacktrace).encode()
    if isinstance(outcome, Failed):
        assert outcome.dead_letter is not None
        outcome.dead_letter.data.encode()


def test_half_an_emoji_in_a_result_is_replaced_and_the_job_says_so() -> None:
    outcome = judge(returning({"text": "half \ud83d"}))
    assert isinstance(outcome, Completed)
    assert outcome.value == '{"text":"half \ufffd"}'
    assert "1 lone surrogate was replaced by U+FFFD" in outcome.note


@pytest.mark.parametrize("row", [{"omitted": "x"}, {"redriven": 1, "origin": object()}])
def test_a_history_that_no_letter_can_hold_is_left_out_of_it(row: dict[str, Any]) -> None:
    job = Job("1", "job", {}, JobOptions(), token="t:1", raw_data="{}")
    job.history = [{"attempt": 1}, *[row] * 200]
    processor = Processor("q", dead_letters="dead")
    processor.job("job")(raising(ValueError("boom")))
    outcome = run(attempt(processor, job, random.Random(0)))
    assert isinstance(outcome, Failed)
    assert outcome.dead_letter is not None
    assert [each["message"] for each in json.loads(outcome.dead_letter.data)["history"]] == ["boom"]
