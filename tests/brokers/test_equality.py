"""Any sequence of operations gives the same answers, events and states on every broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from brokerdriver import FACTORIES, Driver, new_job
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redisservers import Clock

from queuesim.core.broker import Broker, Completed, DeadLetter, Failed, Postponed, Retried, Returned
from queuesim.core.job import Deduplication, Job, JobState, Keep, RateLimit
from queuesim.error import QueuesimError

OTHERS = sorted(set(FACTORIES) - {"memory"})
STATES = (
    JobState.WAITING,
    JobState.PRIORITIZED,
    JobState.DELAYED,
    JobState.ACTIVE,
    JobState.COMPLETED,
    JobState.FAILED,
)

SHOWN = (
    "id",
    "name",
    "data",
    "options",
    "timestamp",
    "delay",
    "priority",
    "attempts_made",
    "attempts_started",
    "processed_on",
    "processed_by",
    "stalled_count",
    "finished_on",
    "return_value",
    "failed_reason",
    "deferred_failure",
    "progress",
)
"""Of a job."""

Step = tuple[Any, ...]

milliseconds = st.integers(0, 40).map(lambda steps: steps * 125)
some_id = st.integers(1, 6).map(str) | st.sampled_from(("k", "l"))
deduplications = st.builds(
    Deduplication,
    st.sampled_from(("x", "y")),
    ttl=st.none() | st.sampled_from((1.0, 3.0)),
    extend=st.booleans(),
    replace=st.booleans(),
    reschedule=st.booleans(),
    keep_last_if_active=st.booleans(),
)
keeps = st.none() | st.builds(Keep, count=st.none() | st.integers(0, 3), age=st.none() | st.sampled_from((1.0, 2.5)))
additions = st.sampled_from(({}, {"lifo": True}, {"priority": 1})) | st.fixed_dictionaries(
    {},
    optional={
        "delay": milliseconds,
        "priority": st.integers(0, 3),
        "lifo": st.booleans(),
        "attempts": st.integers(0, 3),
        "job_id": st.sampled_from(("k", "l")),
        "deduplication": deduplications,
        "keep_completed": keeps,
        "stack_trace_limit": st.integers(0, 2),
    },
)
limiters = st.none() | st.builds(RateLimit, st.integers(1, 3), st.sampled_from((1.0, 2.0)))
adding = st.tuples(st.just("add"), st.lists(additions, min_size=1, max_size=3))
taking = st.tuples(st.just("take"), st.integers(1, 3), limiters)
settling = st.tuples(
    st.just("settle"),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from("CFDRPBH"), milliseconds, keeps), min_size=1, max_size=3),
    st.integers(0, 2),
    limiters,
)
seldom = st.one_of(
    st.tuples(st.just("again")),
    st.tuples(st.just("renew"), st.integers(0, 5)),
    st.tuples(st.just("recover")),
    st.tuples(st.sampled_from(("promote", "remove", "retry", "restart", "progress", "log")), some_id),
    st.tuples(st.just("priority"), some_id, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("delay"), some_id, milliseconds),
    st.tuples(st.sampled_from(("pause", "resume", "promote_all", "retry_all", "hold", "clear", "release"))),
    st.tuples(st.just("concurrency"), st.none() | st.integers(1, 3)),
    st.tuples(st.just("rate"), limiters),
    st.tuples(st.just("clean"), milliseconds, st.integers(0, 2), st.sampled_from(STATES)),
    st.tuples(st.just("drain"), st.booleans()),
)
# what a queue is for happens more often than what people do to it
KINDS = {
    "add": adding,
    "take": taking,
    "settle": settling,
    "at": st.tuples(st.just("at"), milliseconds),
    "else": seldom,
}
steps = st.sampled_from(("add",) * 4 + ("take",) * 3 + ("settle",) * 4 + ("at",) * 2 + ("else",) * 4).flatmap(
    lambda kind: KINDS[kind]
)


class Hand:
    """Does the steps on one broker and tells all that can be seen of them."""

    def __init__(self, queue: Driver) -> None:
        self.queue = queue
        self.broker: Broker = queue.broker
        self.taken: list[Job] = []
        self.last: tuple[Any, ...] | None = None

    def do(self, step: Step) -> Any:
        """The step's answer, or its error; then what happened and where everything is."""
        action: Callable[..., Any] = getattr(self, f"_{step[0]}")
        try:
            answer = action(*step[1:])
        except QueuesimError as error:
            answer = repr(error)
        return step, answer, self.queue.story(), self._look()

    def _look(self) -> Any:
        listed = {state: self.queue.ids(state) for state in STATES}
        jobs = [self.queue.get(job_id) for ids in listed.values() for job_id in ids]
        return listed, [self._show(job) for job in jobs], self.queue.run(self.broker.is_paused())

    @staticmethod
    def _show(job: Job) -> Any:
        return {name: getattr(job, name) for name in SHOWN} | {
            "stacktrace": list(job.stacktrace),
            "history": list(job.history),
        }

    # -- steps

    def _at(self, later: int) -> None:
        self.queue.at(round(self.queue.now * 1000) + later)

    def _add(self, jobs: list[dict[str, Any]]) -> list[str]:
        return self.queue.run(self.broker.add([new_job(**options) for options in jobs], self.queue.now))

    def _exchange(self, outcomes: list[Any], take: int, limiter: RateLimit | None, again: bool = False) -> Any:
        reply = self.queue.exchange(outcomes, take, limiter=limiter, lock=5000, again=again)
        self.last = (outcomes, take, limiter)
        self.taken += [
            job for job in reply.jobs if not any(job.token == other.token for other in self.taken if other.id == job.id)
        ]
        refused = [(outcome.job_id, code) for outcome, code in reply.refused or ()]
        limited = reply.limited_until
        return [self._show(job) for job in reply.jobs], limited, reply.next_due, refused

    def _take(self, count: int, limiter: RateLimit | None) -> Any:
        return self._exchange([], count, limiter)

    def _settle(self, choices: list[tuple[int, str, int, Keep | None]], take: int, limiter: RateLimit | None) -> Any:
        chosen = {index % len(self.taken): choice for index, *choice in choices} if self.taken else {}
        outcomes = [self._outcome(self.taken[index], *choice) for index, choice in chosen.items()]
        return self._exchange(outcomes, take, limiter)

    @staticmethod
    def _outcome(job: Job, kind: str, later: int, keep: Keep | None) -> Any:
        counts = {"attempt": job.attempts_started, "attempts_made": job.attempts_made + (kind in "CFDR")}
        if kind == "C":
            return Completed(job.id, job.token, '"done"', keep, **counts)
        if kind in "FD":
            letter = DeadLetter("dead", "{}") if kind == "D" else None
            return Failed(job.id, job.token, "boom", ("trace",), keep, letter, **counts)
        if kind == "R":
            return Retried(job.id, job.token, later / 1000, "bang", ("trace",), {"attempt": 1}, **counts)
        if kind == "P":
            return Postponed(job.id, job.token, later / 1000, **counts)
        return Returned(job.id, job.token, later / 1000 if kind == "H" else None, **counts)

    def _again(self) -> Any:
        return None if self.last is None else self._exchange(*self.last, again=True)

    def _renew(self, index: int) -> Any:
        return self.queue.renew(self.taken[index % len(self.taken)], 5000) if self.taken else None

    def _recover(self) -> list[str]:
        return self.queue.recover(2000, 1)

    def _call(self, name: str, *arguments: Any) -> Any:
        return self.queue.run(getattr(self.broker, name)(*arguments, self.queue.now))

    def _promote(self, job_id: str) -> None:
        self._call("promote", job_id)

    def _remove(self, job_id: str) -> None:
        self._call("remove", job_id)

    def _retry(self, job_id: str) -> None:
        self._call("retry", job_id, JobState.FAILED, False)

    def _restart(self, job_id: str) -> None:
        self._call("retry", job_id, JobState.COMPLETED, True)

    def _progress(self, job_id: str) -> None:
        self._call("update_progress", job_id, '{"half":true}')

    def _log(self, job_id: str) -> Any:
        return self._call("log", job_id, "row", 2), self.queue.run(self.broker.logs(job_id))

    def _priority(self, job_id: str, priority: int, lifo: bool) -> None:
        self._call("change_priority", job_id, priority, lifo)

    def _delay(self, job_id: str, delay: int) -> None:
        self._call("change_delay", job_id, delay / 1000)

    def _pause(self) -> None:
        self._call("pause")

    def _resume(self) -> None:
        self._call("resume")

    def _promote_all(self) -> Any:
        return self._call("promote_all")

    def _retry_all(self) -> Any:
        return self._call("retry_all", JobState.FAILED, None)

    def _hold(self) -> Any:
        self._call("rate_limit", 1.0)
        return self._call("rate_limit_ttl", 2)

    def _clear(self) -> None:
        self._call("clear_rate_limit")

    def _release(self) -> Any:
        return self._call("release_deduplication", "x")

    def _concurrency(self, limit: int | None) -> None:
        self._call("set_concurrency", limit)

    def _rate(self, limit: RateLimit | None) -> None:
        self._call("set_rate_limit", limit)

    def _clean(self, grace: int, limit: int, state: JobState) -> Any:
        return self._call("clean", grace / 1000, limit, state)

    def _drain(self, delayed: bool) -> None:
        self._call("drain", delayed)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OTHERS)
def test_every_broker_does_as_the_one_in_memory_does(name: str) -> None:
    runner = asyncio.Runner()

    def make(broker: str) -> Hand:
        clock = Clock()

        async def open_queue() -> Broker:
            return await FACTORIES[broker](clock)

        return Hand(Driver(runner.run(open_queue()), runner, clock))

    @settings(
        # fakeredis takes ten times as long as a server
        max_examples=max(settings().max_examples // (4 if name == "fakeredis" else 1), 12),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
        deadline=None,
    )
    @given(st.lists(steps, min_size=10, max_size=40))
    def play(sequence: list[Step]) -> None:
        model, other = make("memory"), make(name)
        try:
            # a server's clock begins with the test's, but no stream has an entry of the instant 0
            for step in [("at", 1000), *sequence]:
                assert other.do(step) == model.do(step)
        finally:
            for hand in (model, other):
                runner.run(hand.broker.close())

    with runner:
        play()
