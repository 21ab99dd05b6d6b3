"""Redis rolls nothing back: an error at any call of any script leaves no job in no state, and none in two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from injection import InjectingServer, places_of_jobs, troubles
from redis.exceptions import ResponseError
from redisservers import Clock

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.fake import FakeServer
from queuesim.brokers.redis.scripts import names
from queuesim.brokers.redis.server import RealServer, connect
from queuesim.core.broker import Completed, DeadLetter, Failed, Outcome, Postponed, Retried, Returned, Terms
from queuesim.core.flow import Flow, FlowProducer
from queuesim.core.job import Deduplication, Job, JobOptions, JobState, Keep, NewJob, RateLimit
from queuesim.core.scheduler import Every, Scheduler, advance, upsert
from queuesim.error import QueuesimError

NOW = 1_700_000_000.0
BASE = "bull:q:"
TERMS = Terms(1000.0, RateLimit(1000, 60.0), "w")
Operation = Callable[[], Awaitable[object]]


class Scene:
    """A queue with jobs in all states, and one operation to be done on it."""

    def __init__(self, place: InjectingServer) -> None:
        self.place = place
        self.broker = RedisBroker("q", place)  # type: ignore[arg-type]
        self._count = 0

    async def add(self, count: int = 1, name: str = "a", **options: Any) -> list[str]:
        return await self.broker.add([NewJob(name, "{}", JobOptions(**options)) for _ in range(count)], NOW)

    async def take(self, count: int) -> list[Job]:
        self._count += 1
        return (await self.broker.exchange([], count, TERMS, f"t:{self._count}", NOW)).jobs

    async def hand_in(self, outcomes: list[Outcome], take: int = 0, again: bool = False) -> Any:
        return await self.broker.exchange(outcomes, take, TERMS, "t:last", NOW + 5, again)

    async def finish(self, count: int, **options: Any) -> list[str]:
        """Jobs that completed."""
        await self.add(count, **options)
        jobs = await self.take(count)
        await self.broker.exchange([done(job) for job in jobs], 0, TERMS, "t:f", NOW)
        return [job.id for job in jobs]


def counts(job: Job) -> dict[str, int]:
    return {"attempt": job.attempts_started, "attempts_made": job.attempts_made + 1}


def done(job: Job, keep: Keep | None = None) -> Completed:
    return Completed(job.id, job.token, '"fine"', keep, **counts(job))


def failed(job: Job, letter: DeadLetter | None = None) -> Failed:
    return Failed(job.id, job.token, "boom", ("here",), None, letter, **counts(job))


def retried(job: Job, delay: float) -> Retried:
    history = {"attempt": 1, "message": "boom"}
    return Retried(job.id, job.token, delay, "boom", ("here",), history, **counts(job))


async def endings(scene: Scene) -> Operation:
    """Each kind of outcome in one exchange, which also promotes and takes."""
    for options in ({}, {"priority": 3}, {"lifo": True}, {"deduplication": Deduplication("d")}):
        await scene.add(2, **options)
    await scene.add(3)
    jobs = await scene.take(20)
    await scene.add(2, delay=1.0)
    await scene.add(1, delay=1.0, priority=2)
    await scene.add(4)
    letter = DeadLetter("dead", "{}")
    outcomes = [
        done(jobs[0]), failed(jobs[1], letter), retried(jobs[2], 0), retried(jobs[3], 9), done(jobs[4]),
        Postponed(jobs[5].id, jobs[5].token, 3.0, attempt=1), Returned(jobs[6].id, jobs[6].token, None, attempt=1),
        *(done(job) for job in jobs[7:]),
    ]  # fmt: skip
    return lambda: scene.hand_in(outcomes, 3)


async def retention(scene: Scene) -> Operation:
    """Ends with rules of retention of all kinds, which evict others."""
    await scene.finish(4)
    keeps = [Keep(2), Keep(0), Keep(age=0.0), Keep(1, 10.0)]
    await scene.add(4)
    jobs = await scene.take(4)
    return lambda: scene.hand_in([done(job, keep) for job, keep in zip(jobs, keeps, strict=True)])


async def kept_duplicate(scene: Scene) -> Operation:
    """An owner ends while the last duplicate is kept to run after it."""
    deduplication = Deduplication("d", keep_last_if_active=True)
    await scene.add(1, deduplication=deduplication)
    jobs = await scene.take(1)
    await scene.add(2, deduplication=deduplication)
    return lambda: scene.hand_in([done(job) for job in jobs])


async def _family(scene: Scene, rule: str) -> list[Job]:
    children = [Flow("child", queue="q", on_failure=rule), Flow("child", queue="q", on_failure=rule)]  # type: ignore[arg-type]
    await FlowProducer(scene.broker).add(Flow("parent", queue="q", children=children))  # type: ignore[arg-type]
    return await scene.take(2)


def family(rule: str) -> Callable[[Scene], Awaitable[Operation]]:
    async def scene_of(scene: Scene) -> Operation:
        first, second = await _family(scene, rule)
        return lambda: scene.hand_in([failed(first), done(second)])

    return scene_of


def _leaf(number: int, rule: str = "wait") -> Flow:
    return Flow("leaf", "q", None, JobOptions(job_id=f"leaf-{number}"), on_failure=rule)  # type: ignore[arg-type]


def families(operation: Callable[[RedisBroker], Awaitable[object]]) -> Callable[[Scene], Awaitable[Operation]]:
    """Trees whose parents wait, of two floors and of three."""

    async def scene_of(scene: Scene) -> Operation:
        producer = FlowProducer(scene.broker)  # type: ignore[arg-type]
        await producer.add(Flow("parent", "q", children=[_leaf(1)]))
        await producer.add(Flow("root", "q", children=[Flow("parent", "q", children=[_leaf(2)])]))
        return lambda: operation(scene.broker)

    return scene_of


def family_again(operation: Callable[[RedisBroker], Awaitable[object]]) -> Callable[[Scene], Awaitable[Operation]]:
    """A tree both of whose children failed."""

    async def scene_of(scene: Scene) -> Operation:
        flow = Flow("parent", "q", children=[_leaf(1, "fail"), _leaf(2, "ignore")])
        await FlowProducer(scene.broker).add(flow)  # type: ignore[arg-type]
        await scene.hand_in([failed(job) for job in await scene.take(2)])
        return lambda: operation(scene.broker)

    return scene_of


async def repeated(scene: Scene) -> Operation:
    """An exchange whose answer was lost is made again."""
    await scene.add(8)
    jobs = await scene.take(4)
    await scene.hand_in([done(job) for job in jobs], 3)
    return lambda: scene.hand_in([done(job) for job in jobs], 3, again=True)


async def limited(scene: Scene) -> Operation:
    await scene.add(3)
    (job,) = await scene.take(1)
    await scene.broker.set_concurrency(1, NOW)
    return lambda: scene.hand_in([Returned(job.id, job.token, 2.0, attempt=1)], 2)


def stalls(count: int) -> Callable[[Scene], Awaitable[Operation]]:
    async def scene_of(scene: Scene) -> Operation:
        await scene.add(count + 2)
        jobs = await scene.take(count + 2)
        await scene.broker.recover_stalled(0.001, 0, NOW)
        await scene.place.command("DEL", *(f"{BASE}{job.id}:lock" for job in jobs[:count]), f"{BASE}stalled-check")
        return lambda: scene.broker.recover_stalled(30.0, 0, NOW)

    return scene_of


async def adding(scene: Scene) -> Operation:
    deduplication = Deduplication("d", 9.0, extend=True, replace=True)
    await scene.add(1, delay=3.0, deduplication=deduplication)
    options = [
        {}, {}, {"job_id": "k"}, {"delay": 1.0}, {"priority": 3}, {"lifo": True}, {"deduplication": deduplication},
    ]  # fmt: skip
    jobs = [NewJob("a", "{}", JobOptions(**each)) for each in options]  # type: ignore[arg-type]
    return lambda: scene.broker.add(jobs, NOW)


async def adding_flow(scene: Scene) -> Operation:
    flow = Flow("parent", queue="q", children=[Flow("child", queue="q"), Flow("child", queue="q")])
    return lambda: FlowProducer(scene.broker).add(flow)  # type: ignore[arg-type]


async def _all_states(scene: Scene) -> None:
    await scene.finish(3)
    await scene.add(2, priority=4)
    await scene.add(3, delay=2.0, deduplication=Deduplication("d"))
    await scene.add(2, delay=2.0)
    await scene.add(2)


def on_all_states(operation: Callable[[RedisBroker], Awaitable[object]]) -> Callable[[Scene], Awaitable[Operation]]:
    async def scene_of(scene: Scene) -> Operation:
        await _all_states(scene)
        return lambda: operation(scene.broker)

    return scene_of


async def retrying_all(scene: Scene) -> Operation:
    """Failed jobs, each with a dead letter."""
    await scene.add(4)
    jobs = await scene.take(4)
    await scene.hand_in([failed(job, DeadLetter("dead", "{}")) for job in jobs])
    return lambda: scene.broker.retry_all(JobState.FAILED, None, NOW + 9)


async def obliteration(scene: Scene) -> Operation:
    await _all_states(scene)
    await scene.broker.pause(NOW)
    return lambda: scene.broker.obliterate(False, NOW)


async def resuming(scene: Scene) -> Operation:
    """BullMQ 5 moved the jobs of a paused queue to a list of their own."""
    await scene.add(3)
    await scene.broker.pause(NOW)
    await scene.place.command("RENAME", BASE + "wait", BASE + "paused")
    await scene.add(1)
    return lambda: scene.broker.resume(NOW)


async def renewing(scene: Scene) -> Operation:
    await scene.add(2)
    jobs = await scene.take(2)
    return lambda: scene.broker.renew([(job.id, job.token) for job in jobs], 30.0, NOW)


async def scheduling(scene: Scene) -> Operation:
    await upsert(scene.broker, Scheduler("s", Every(60.0), "a"), NOW)  # type: ignore[arg-type]
    return lambda: upsert(scene.broker, Scheduler("s", Every(30.0), "a"), NOW)  # type: ignore[arg-type]


async def advancing(scene: Scene) -> Operation:
    await upsert(scene.broker, Scheduler("s", Every(60.0), "a"), NOW)  # type: ignore[arg-type]
    (job,) = await scene.take(1)
    return lambda: advance(scene.broker, job, NOW)  # type: ignore[arg-type]


async def unscheduling(scene: Scene) -> Operation:
    await upsert(scene.broker, Scheduler("s", Every(60.0), "a"), NOW)  # type: ignore[arg-type]
    return lambda: scene.broker.remove_scheduler("s", NOW)


SCENES: dict[str, tuple[str, Callable[[Scene], Awaitable[Operation]]]] = {
    "endings": ("exchange", endings),
    "retention": ("exchange", retention),
    "kept duplicate": ("exchange", kept_duplicate),
    **{f"family, {rule}": ("exchange", family(rule)) for rule in ("fail", "continue", "ignore", "remove", "wait")},
    "repeated": ("exchange", repeated),
    "limited": ("exchange", limited),
    "a few stalls": ("recover", stalls(2)),
    "many stalls": ("recover", stalls(60)),
    "renewing": ("renew", renewing),
    "adding": ("add", adding),
    "adding a flow": ("add_flow", adding_flow),
    "retry": ("retry", on_all_states(lambda broker: broker.retry("2", JobState.COMPLETED, True, NOW))),
    "retry all": ("retry_all", on_all_states(lambda broker: broker.retry_all(JobState.COMPLETED, None, NOW))),
    "retry all that have letters": ("retry_all", retrying_all),
    "promote": ("promote", on_all_states(lambda broker: broker.promote("6", NOW))),
    "promote all": ("promote_all", on_all_states(lambda broker: broker.promote_all(NOW))),
    "change delay": ("change_delay", on_all_states(lambda broker: broker.change_delay("6", 9.0, NOW))),
    "change priority": ("change_priority", on_all_states(lambda broker: broker.change_priority("4", 1, True, NOW))),
    "unprioritize": ("change_priority", on_all_states(lambda broker: broker.change_priority("4", 0, False, NOW))),
    "remove": ("remove", on_all_states(lambda broker: broker.remove("6", NOW))),
    "clean": ("clean", on_all_states(lambda broker: broker.clean(0.0, 0, JobState.DELAYED, NOW + 9))),
    "drain": ("drain", on_all_states(lambda broker: broker.drain(True, NOW))),
    "obliterate": ("obliterate", obliteration),
    "children": ("children", on_all_states(lambda broker: broker.children("5"))),
    "removing a child": ("remove", families(lambda broker: broker.remove("leaf-1", NOW))),
    "cleaning children": ("clean", families(lambda broker: broker.clean(0.0, 0, JobState.WAITING, NOW + 9))),
    "draining children": ("drain", families(lambda broker: broker.drain(False, NOW))),
    "a child again": ("retry", family_again(lambda broker: broker.retry("leaf-1", JobState.FAILED, True, NOW))),
    "all children again": ("retry_all", family_again(lambda broker: broker.retry_all(JobState.FAILED, None, NOW))),
    "resume": ("pause", resuming),
    "pause": ("pause", on_all_states(lambda broker: broker.pause(NOW))),
    "settings": ("settings", on_all_states(lambda broker: broker.set_concurrency(3, NOW))),
    "limit": ("limit", on_all_states(lambda broker: broker.rate_limit(3.0, NOW))),
    "write": ("write", on_all_states(lambda broker: broker.log("5", "row", 1, NOW))),
    "list": ("list", on_all_states(lambda broker: broker.jobs(JobState.DELAYED, 0, -1, True))),
    "get": ("get", on_all_states(lambda broker: broker.get("5"))),
    "state": ("state", on_all_states(lambda broker: broker.state("5"))),
    "counts": ("counts", on_all_states(lambda broker: broker.counts())),
    "upsert a scheduler": ("upsert_scheduler", scheduling),
    "advance a scheduler": ("advance_scheduler", advancing),
    "remove a scheduler": ("remove_scheduler", unscheduling),
}
KEEPS_ALL = {"exchange", "recover", "renew", "retry", "retry_all", "promote", "promote_all", "change_delay",
             "change_priority", "pause", "settings", "limit", "write"}  # fmt: skip
"""Scripts after which every job is still there, but for what retention evicts."""


async def play(place: InjectingServer, name: str) -> tuple[int, list[str]]:
    """A scene again and again, with an error at each call of its script in turn. Returns how many calls there were and
    what was wrong after any of them."""
    script, scene_of = SCENES[name]
    found: list[str] = []
    target = 0
    while True:
        # after that many calls, only the loop over jobs of "many stalls" still goes on
        target += 1 if target < 80 else 23
        await place.command("FLUSHALL")
        operation = await scene_of(Scene(place))
        before = await places_of_jobs(place, BASE)
        place.name, place.target = script, target
        # a broker says what failed; what it leaves behind is the question
        with suppress(ResponseError, QueuesimError):
            await operation()
        place.target = 0
        if not await place.command("EXISTS", "injected"):
            return target - 1, found
        wrong = await troubles(place, BASE) + await troubles(place, "bull:dead:")
        if script in KEEPS_ALL and name != "retention":
            wrong += [f"job {job_id} is gone" for job_id in before.keys() - (await places_of_jobs(place, BASE)).keys()]
        found += [f"call {target}: {trouble}" for trouble in wrong]


def test_every_script_has_a_scene() -> None:
    parts = {"queue", "moves", "settling", "taking", "adding", "removal", "limiter", "locks", "flows", "listing",
             "restart", "scheduling", "paging", "ending", "exceptions",
             "fields"}  # fmt: skip
    assert {script for script, _ in SCENES.values()} == set(names().values()) - parts


@pytest.mark.parametrize("name", SCENES)
def test_an_error_at_any_call_on_fakeredis(name: str) -> None:
    clock = Clock()
    clock.now = NOW
    calls, found = asyncio.run(play(InjectingServer(FakeServer(clock)), name))
    assert calls > 0
    assert found == []


@pytest.mark.server
@pytest.mark.parametrize("name", SCENES)
def test_an_error_at_any_call_on_a_server(name: str, real_server: EmbeddedServer) -> None:
    async def program() -> tuple[int, list[str]]:
        place: RealServer = await connect(real_server.url)
        try:
            return await play(InjectingServer(place), name)
        finally:
            await place.close()

    calls, found = asyncio.run(program())
    assert calls > 0
    assert found == []
