"""A state machine over a queue: any sequence of operations, checked against invariants.

Subclass QueueMachine with a `make_broker` of your own, and use its `TestCase`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import Broker, Completed, Failed, Outcome, Retried, Terms
from queuesim.core.job import Job, JobOptions, JobState, NewJob
from queuesim.extras import need

need("hypothesis", "test", "strategies")

from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule  # noqa: E402

T = TypeVar("T")

LOCK = 10.0
PLACES = list(JobState)


class QueueMachine(RuleBasedStateMachine):
    """Adds, takes, settles and repeats; no job may vanish, be in the queue twice, or run beyond its limit."""

    taken: Bundle[tuple[Job, str]] = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.broker = self.run(self.make_broker())
        self.now = 0.0
        self.added: set[str] = set()
        self.exchanges = 0
        self.last: tuple[list[Outcome], int, Terms, str] | None = None
        self.held: dict[str, str] = {}

    async def make_broker(self) -> Broker:
        """A new, empty queue."""
        return MemoryBroker("machine")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run one operation to its end."""
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        """Let go of the loop."""
        self.run(self.broker.close())
        self.runner.close()

    # -- what may happen

    @rule(count=st.integers(1, 3), delay=st.sampled_from([0.0, 0.0, 5.0]), priority=st.sampled_from([0, 0, 1, 7]))
    def add(self, count: int, delay: float, priority: int) -> None:
        options = JobOptions(attempts=3, delay=delay, priority=priority)
        self.last = None  # made again, it would take what it did not find the first time
        self.added.update(self.run(self.broker.add([NewJob("job", "{}", options)] * count, self.now)))

    @rule(target=taken, take=st.integers(1, 3))
    def take(self, take: int) -> Any:
        return multiple(*self._exchange([], take))

    @rule(target=taken, one=consumes(taken), how=st.sampled_from(["complete", "fail", "retry", "put off"]))
    def settle(self, one: tuple[Job, str], how: str) -> Any:
        """Report the outcome of a taken job, and take another."""
        job, _ = one
        counts: Any = {"attempt": job.attempts_started, "attempts_made": job.attempts_made + 1}
        outcome: Outcome
        if how == "complete":
            outcome = Completed(job.id, job.token, "null", None, **counts)
        elif how == "fail":
            outcome = Failed(job.id, job.token, "boom", (), **counts)
        else:
            delay = 0.0 if how == "retry" else 4.0
            outcome = Retried(job.id, job.token, delay, "boom", (), **counts)
        return multiple(*self._exchange([outcome], 1))

    @rule()
    def repeat_the_last_exchange(self) -> None:
        """Its answer was lost, so it is made again: nothing may change."""
        if self.last is None:
            return
        outcomes, take, terms, token = self.last
        before = self._census()
        reply = self.run(self.broker.exchange(outcomes, take, terms, token, self.now, True))
        assert self._census() == before, "an exchange that was repeated at once changed something"
        assert {job.id for job in reply.jobs} == {id for id, held in self.held.items() if held == token}

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Delays end and locks expire."""
        self.now += seconds
        self.last = None

    @rule()
    def check_stalled(self) -> None:
        """Look for jobs whose lock is gone."""
        self.run(self.broker.recover_stalled(1.0, 3, self.now))
        self.last = None

    def _exchange(self, outcomes: list[Outcome], take: int) -> list[tuple[Job, str]]:
        self.exchanges += 1
        token, terms = f"t:{self.exchanges}", Terms(LOCK, None, "worker")
        reply = self.run(self.broker.exchange(outcomes, take, terms, token, self.now))
        self.last = (outcomes, take, terms, token)
        if len(reply.jobs) < take:
            # a repeated exchange may take what it did not find the first time; here there is nothing
            assert not self.run(self.broker.counts()).get(JobState.WAITING, 0)
        for job in reply.jobs:
            self.held[job.id] = token
        return [(job, token) for job in reply.jobs]

    # -- what must always be true

    def _census(self) -> dict[str, list[str]]:
        return {state: sorted(job.id for job in self.run(self.broker.jobs(state, 0, -1, True))) for state in PLACES}

    @invariant()
    def every_job_is_in_one_state(self) -> None:
        """None vanished, and none is in the queue twice."""
        found = [job_id for ids in self._census().values() for job_id in ids]
        assert sorted(found) == sorted(self.added)

    @invariant()
    def counts_are_right(self) -> None:
        """The queue counts what it has."""
        counts = self.run(self.broker.counts())
        assert {state: len(ids) for state, ids in self._census().items() if ids} == {
            state: count for state, count in counts.items() if count
        }
