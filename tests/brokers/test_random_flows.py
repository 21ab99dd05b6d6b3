"""Random flows over two queues: the same answers, events and states on every broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from brokerdriver import FACTORIES, Driver
from redisservers import Clock

from queuesim import Flow, FlowProducer, JobOptions
from queuesim.core.broker import Broker, Completed, Failed, Retried
from queuesim.core.clock import set_clock
from queuesim.core.job import Job, JobState, Keep, NewJob
from queuesim.error import QueuesimError

OTHERS = sorted(set(FACTORIES) - {"memory"})
QUEUES = ("tests", "leaves")
SHOWN = (
    "id", "name", "data", "options", "timestamp", "delay", "priority", "attempts_made", "attempts_started",
    "finished_on", "return_value", "failed_reason", "deferred_failure", "parent", "queue",
)  # fmt: skip
SEEDS, STEPS = 10, 100
Step = tuple[Any, ...]


class Plan:
    """Draws steps that mostly fit what is there: waiting jobs are taken, active ones end, finished ones are retried."""

    def __init__(self, seed: int, model: Hand) -> None:
        self.rng = random.Random(seed)
        self.model = model

    def step(self) -> Step:
        names = ("flow", "add", "take", "settle", "at", "else")
        (kind,) = self.rng.choices(names, (3, 1, 5, 8, 2, 4))
        drawn: Step = getattr(self, f"_{kind}")()
        return drawn

    def _queue(self) -> str:
        return self.rng.choice(QUEUES)

    def _options(self) -> JobOptions:
        rng = self.rng
        return JobOptions(
            attempts=rng.choice((0, 2)),
            delay=rng.choice((0.0, 0.0, 0.0, 0.5)),
            priority=rng.choice((0, 0, 0, 1, 2)),
            lifo=rng.random() < 0.2,
            job_id=rng.choice(("k", "a:b:c")) if rng.random() < 0.1 else None,
            keep_completed=self._keep(),
            keep_failed=self._keep(),
        )

    def _keep(self) -> Keep | None:
        return self.rng.choice((None, None, None, Keep(0), Keep(1), Keep(2), Keep(age=1.0)))

    def _tree(self, depth: int) -> Flow:
        rng = self.rng
        children = [self._tree(depth - 1) for _ in range(rng.randint(1, 3))] if depth > 0 else []
        rule = rng.choice(("wait", "fail", "continue", "ignore", "remove"))
        return Flow(f"level {depth}", self._queue(), None, self._options(), children, rule)

    def _flow(self) -> Step:
        return "flow", self._tree(self.rng.choice((1, 1, 1, 2)))

    def _add(self) -> Step:
        return "add", self._queue(), self._options()

    def _take(self) -> Step:
        return "take", self._queue(), self.rng.randint(1, 3)

    def _settle(self) -> Step:
        rng, name = self.rng, self._queue()
        queue, taken = self.model.queues[name], self.model.taken[name]
        active = set(queue.ids(JobState.ACTIVE))
        chosen = [place for place, job in enumerate(taken) if job.id in active or rng.random() < 0.05]
        places = rng.sample(chosen, min(len(chosen), rng.choice((1, 1, 2, 3))))
        ends = [(place, rng.choice("CCCFFFR"), self._keep()) for place in places]
        return "settle", name, ends, rng.choice((0, 0, 1, 2))

    def _at(self) -> Step:
        return "at", 125 * self.rng.choice((1, 2, 4, 8, 44))

    def _else(self) -> Step:
        rng, name = self.rng, self._queue()
        kind = rng.choice(
            ("promote", "remove", "remove", "retry", "retry", "restart", "retry_all", "promote_all", "pause", "resume",
             "resume", "again", "obliterate", "clean", "drain", "priority", "recover")
        )  # fmt: skip
        if kind in ("promote", "remove", "retry", "restart", "priority"):
            state = {"promote": JobState.DELAYED, "retry": JobState.FAILED, "restart": JobState.COMPLETED}.get(
                kind, rng.choice(list(JobState))
            )
            ids = self.model.queues[name].ids(state) or ["id-1"]
            return kind, name, rng.choice(ids), *((rng.randint(0, 2),) if kind == "priority" else ())
        if kind == "clean":
            return kind, name, rng.choice(("waiting", "failed", "completed", "delayed", "prioritized"))
        return (kind, name, rng.random() < 0.5) if kind == "drain" else (kind, name)


class Hand:
    """Does the steps on one place and shows all that can be seen of them."""

    def __init__(self, broker: Broker, runner: asyncio.Runner, clock: Clock) -> None:
        self.clock = clock
        self.queues = {name: Driver(broker.sibling(name), runner, clock) for name in QUEUES}
        numbers = count(1)
        self.producer = FlowProducer(broker, lambda: f"id-{next(numbers)}")
        self.taken: dict[str, list[Job]] = {name: [] for name in QUEUES}
        self.last: dict[str, tuple[list[Any], int]] = {}

    def do(self, step: Step) -> Any:
        action: Callable[..., Any] = getattr(self, f"_{step[0]}")
        try:
            answer = action(*step[1:])
        except QueuesimError as error:
            answer = repr(error)
        return step, answer, {name: self._look(queue) for name, queue in self.queues.items()}

    def _look(self, queue: Driver) -> Any:
        listed = {state.value: queue.ids(state) for state in JobState}
        counted = {state: len(ids) for state, ids in listed.items() if ids}
        jobs = [queue.get(job_id) for ids in listed.values() for job_id in ids]
        return queue.story(), listed, counted == queue.counts(), [self._show(queue, job) for job in jobs]

    @staticmethod
    def _show(queue: Driver, job: Job) -> Any:
        shown = {name: getattr(job, name) for name in SHOWN}
        children = queue.run(job.children())
        # the order of the texts, too
        return shown, list(children.values.items()), list(children.ignored.items()), children.failed, children.pending

    # -- steps

    def _at(self, later: int) -> None:
        self.clock.now += later / 1000

    def _flow(self, flow: Flow) -> Any:
        async def add() -> Any:
            set_clock(self.clock)
            return await self.producer.add(flow)

        return self.queues["tests"].run(add())

    def _add(self, name: str, options: JobOptions) -> Any:
        queue = self.queues[name]
        return queue.run(queue.broker.add([NewJob("alone", "{}", options)], queue.now))

    def _exchange(self, name: str, outcomes: list[Any], take: int, again: bool = False) -> Any:
        self.last[name] = (outcomes, take)
        reply = self.queues[name].exchange(outcomes, take, lock=5000, again=again)
        known = {(job.id, job.token) for job in self.taken[name]}
        self.taken[name] += [job for job in reply.jobs if (job.id, job.token) not in known]
        return [self._show(self.queues[name], job) for job in reply.jobs], [
            (outcome.job_id, code) for outcome, code in reply.refused or ()
        ]

    def _take(self, name: str, count: int) -> Any:
        return self._exchange(name, [], count)

    def _again(self, name: str) -> Any:
        return self._exchange(name, *self.last[name], again=True) if name in self.last else None

    def _settle(self, name: str, ends: list[tuple[int, str, Keep | None]], take: int) -> Any:
        outcomes = [self._outcome(self.taken[name][place], kind, keep) for place, kind, keep in ends]
        return self._exchange(name, outcomes, take)

    @staticmethod
    def _outcome(job: Job, kind: str, keep: Keep | None) -> Any:
        counts = {"attempt": job.attempts_started, "attempts_made": job.attempts_made + 1}
        if kind == "C":
            return Completed(job.id, job.token, f'{{"from":"{job.id}"}}', keep, **counts)
        if kind == "F":
            return Failed(job.id, job.token, f"{job.id} broke", (), keep, **counts)
        return Retried(job.id, job.token, 0.25, "bang", **counts)

    def _call(self, name: str, operation: str, *arguments: Any) -> Any:
        queue = self.queues[name]
        return queue.run(getattr(queue.broker, operation)(*arguments, queue.now))

    def _promote(self, name: str, job_id: str) -> None:
        self._call(name, "promote", job_id)

    def _remove(self, name: str, job_id: str) -> None:
        self._call(name, "remove", job_id)

    def _retry(self, name: str, job_id: str) -> None:
        self._call(name, "retry", job_id, JobState.FAILED, False)

    def _restart(self, name: str, job_id: str) -> None:
        self._call(name, "retry", job_id, JobState.COMPLETED, True)

    def _retry_all(self, name: str) -> Any:
        return self._call(name, "retry_all", JobState.FAILED, None)

    def _promote_all(self, name: str) -> Any:
        return self._call(name, "promote_all")

    def _pause(self, name: str) -> None:
        self._call(name, "pause")

    def _resume(self, name: str) -> None:
        self._call(name, "resume")

    def _obliterate(self, name: str) -> None:
        self._call(name, "obliterate", True)

    def _clean(self, name: str, state: str) -> Any:
        return self._call(name, "clean", 0.5, 0, JobState(state))

    def _drain(self, name: str, delayed: bool) -> None:
        self._call(name, "drain", delayed)

    def _priority(self, name: str, job_id: str, priority: int) -> None:
        self._call(name, "change_priority", job_id, priority, False)

    def _recover(self, name: str) -> Any:
        return self.queues[name].recover(2000, 1)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", OTHERS)
def test_flows_on_every_broker_are_as_in_memory(name: str, seed: int) -> None:
    played: list[Step] = [("at", 1000)]  # no stream has an entry of the instant 0
    with asyncio.Runner() as runner:

        def make(broker: str) -> Hand:
            clock = Clock()

            async def open_queue() -> Broker:
                return await FACTORIES[broker](clock)

            return Hand(runner.run(open_queue()), runner, clock)

        model, other = make("memory"), make(name)
        plan = Plan(seed, model)
        try:
            while len(played) <= STEPS:
                assert other.do(played[-1]) == model.do(played[-1]), played
                played.append(plan.step())
        finally:
            for hand in (model, other):
                runner.run(hand.producer.broker.close())
