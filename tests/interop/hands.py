"""Two hands that do the same to a queue: BullMQ's own, on Node, and ours, on a broker; and both at once, compared.

Times and durations are milliseconds here. Both clocks stand still between one `at` and the next.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from nodedriver import Js, Node, NodeError, NodeObject
from redis import Redis
from snapshot import differences, snapshot

from queuesim.core.broker import Broker, Completed, OnFailure, Outcome, Postponed, Reply, Returned, Terms
from queuesim.core.clock import set_clock
from queuesim.core.errors import JobError, QueueActiveError, QueueNotPausedError, UnrecoverableError
from queuesim.core.flow import Flow, FlowProducer
from queuesim.core.job import (
    KEEP_ALL,
    Backoff,
    Deduplication,
    Job,
    JobOptions,
    JobState,
    Keep,
    NewJob,
    RateLimit,
    to_json,
)
from queuesim.core.processor import Processor, failure
from queuesim.core.scheduler import Cron, Every, Scheduler, advance, upsert

T = TypeVar("T")
ORIGIN = 1_750_000_000_000
"""When `at(0)` is, in ms since the epoch."""
TRACE = "Error: and where it happened"
TOKEN = "token"
Limit = tuple[int, int]
"""Starts, and the window's length in ms."""
PARENTS = "parents"
"""The queue in which the parents of single children are."""
RULES: dict[OnFailure, dict[str, bool]] = {
    "wait": {},
    "fail": {"failParentOnFailure": True},
    "continue": {"continueParentOnFailure": True},
    "ignore": {"ignoreDependencyOnFailure": True},
    "remove": {"removeDependencyOnFailure": True},
}
"""What a child's failure does to its parent, and how Node's users write it."""


def tree(rule: OnFailure, child: Mapping[str, Any], parent: Mapping[str, Any]) -> Flow:
    """A parent p with the children a and b."""
    children = [Flow("child", "q", options=job_options(**{**child, "job_id": name}), on_failure=rule) for name in "ab"]
    return Flow("parent", "q", options=job_options(**{**parent, "job_id": "p"}), children=children)


class OurHand:
    """The broker, one job at a time."""

    def __init__(self, broker: Broker, runner: asyncio.Runner) -> None:
        self.broker = broker
        self._runner = runner
        self._jobs: dict[str, Job] = {}
        self.now = ORIGIN / 1000

    def forget(self) -> None:
        """The server has been emptied."""
        self._jobs.clear()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def at(self, milliseconds: int) -> None:
        """Let it be that time."""
        self.now = (ORIGIN + milliseconds) / 1000

    # -- producing

    def add(self, name: str = "job", data: Any = None, **options: Any) -> str:
        """Options are those of JobOptions, in ms."""
        return self.add_bulk(1, name, data, **options)[0]

    def add_bulk(self, count: int, name: str = "job", data: Any = None, **options: Any) -> list[str]:
        """So many of the same."""
        job = NewJob(name, to_json({} if data is None else data), job_options(**options))
        return self._run(self.broker.add([job] * count, self.now))

    def add_tree(self, rule: OnFailure = "wait", child: Mapping[str, Any] | None = None, **parent: Any) -> None:
        """The parent p with the children a and b."""
        self._add_flow(tree(rule, child or {}, parent))

    def add_child(self, parent: str, rule: OnFailure, name: str = "job", data: Any = None, **options: Any) -> str:
        """One child of a parent of its own, in the queue of parents. It needs an id."""
        child = Flow(name, self.broker.queue, data, job_options(**options), on_failure=rule)
        self._add_flow(Flow("parent", PARENTS, options=job_options(job_id=parent), children=[child]))
        return str(options["job_id"])

    def _add_flow(self, flow: Flow) -> None:
        async def add() -> None:
            set_clock(lambda: self.now)
            await FlowProducer(self.broker).add(flow)

        self._run(add())

    # -- working

    def take(
        self, token: str = TOKEN, limit: Limit | None = None, worker: str | None = None, lock: int = 30_000
    ) -> str | None:
        """Take one job. Its id."""
        return self._taken(self._exchange([], 1, token, limit, worker, lock))

    def complete(
        self, job_id: str, value: Any = None, token: str = TOKEN, fetch: bool = False, keep: Keep | None = None
    ) -> Any:
        """The next job's id with `fetch`; or the error code."""
        job = self._job(job_id, token)
        counts = {"attempt": job.attempts_started, "attempts_made": job.attempts_made + 1}
        return self._finish(Completed(job_id, token, to_json(value), keep, **counts), fetch)

    def fail(
        self,
        job_id: str,
        reason: str = "no",
        token: str = TOKEN,
        final: bool = False,
        fetch: bool = False,
        keep: Keep | None = None,
    ) -> Any:
        """Whether it runs again is decided as a worker would."""
        processor = Processor("p", keep_failed=keep)
        processor.stack_traces = False
        error = UnrecoverableError(reason) if final else Exception(reason)
        outcome = failure(processor, self._job(job_id, token), error, random.Random(0))
        return self._finish(replace(outcome, token=token, stacktrace=(TRACE,)), fetch)  # type: ignore[arg-type]

    def postpone(self, job_id: str, delay: int, token: str = TOKEN) -> Any:
        """As the handler asks for it."""
        job = self._job(job_id, token)
        return self._finish(
            Postponed(job_id, token, delay / 1000, attempt=job.attempts_started, attempts_made=job.attempts_made)
        )

    def put_back(self, job_id: str, token: str = TOKEN) -> Any:
        """Back in front of the others, as after a RateLimitError."""
        job = self._job(job_id, token)
        return self._finish(Returned(job_id, token, attempt=job.attempts_started, attempts_made=job.attempts_made))

    def renew(self, job_id: str, token: str = TOKEN, duration: int = 30_000) -> list[str]:
        """The ids of those that were lost."""
        return self._run(self.broker.renew([(job_id, token)], duration / 1000, self.now))

    def check_stalled(self, interval: int = 30_000, max_stalled: int = 1) -> list[str]:
        """Ids that went back."""
        return self._run(self.broker.recover_stalled(interval / 1000, max_stalled, self.now))

    # -- the queue

    def pause(self) -> None:
        self._run(self.broker.pause(self.now))

    def resume(self) -> None:
        self._run(self.broker.resume(self.now))

    def set_concurrency(self, limit: int | None) -> None:
        self._run(self.broker.set_concurrency(limit, self.now))

    def set_rate_limit(self, limit: Limit | None) -> None:
        self._run(self.broker.set_rate_limit(rate_limit(limit), self.now))

    def hold(self, duration: int) -> None:
        self._run(self.broker.rate_limit(duration / 1000, self.now))

    def is_limited(self, max_jobs: int) -> bool:
        return self._run(self.broker.rate_limit_ttl(max_jobs, self.now)) > 0

    def free(self) -> None:
        self._run(self.broker.clear_rate_limit(self.now))

    def drain(self, delayed: bool = False) -> None:
        self._run(self.broker.drain(delayed, self.now))

    def clean(self, grace: int, limit: int, state: JobState) -> list[str]:
        return sorted(self._run(self.broker.clean(grace / 1000, limit, state, self.now)))

    def obliterate(self, force: bool = False) -> Any:
        # Node's Queue does so by itself
        self.pause()
        try:
            return self._run(self.broker.obliterate(force, self.now))
        except (QueueNotPausedError, QueueActiveError):
            return "refused"

    def counts(self) -> dict[str, int]:
        return {str(state): count for state, count in self._run(self.broker.counts()).items()}

    # -- single jobs

    def retry(self, job_id: str, state: JobState = JobState.FAILED, reset: bool = False) -> Any:
        return self._code(self.broker.retry(job_id, state, reset, self.now))

    def retry_all(self, state: JobState = JobState.FAILED) -> None:
        self._run(self.broker.retry_all(state, None, self.now))

    def promote(self, job_id: str) -> Any:
        return self._code(self.broker.promote(job_id, self.now))

    def promote_all(self) -> None:
        self._run(self.broker.promote_all(self.now))

    def remove(self, job_id: str) -> Any:
        return "refused" if self._code(self.broker.remove(job_id, self.now)) else None

    def change_delay(self, job_id: str, delay: int) -> Any:
        return self._code(self.broker.change_delay(job_id, delay / 1000, self.now))

    def change_priority(self, job_id: str, priority: int, lifo: bool = False) -> Any:
        return self._code(self.broker.change_priority(job_id, priority, lifo, self.now))

    def release(self, deduplication_id: str) -> bool:
        return self._run(self.broker.release_deduplication(deduplication_id, self.now))

    def progress(self, job_id: str, progress: Any) -> Any:
        return self._code(self.broker.update_progress(job_id, to_json(progress), self.now))

    def update(self, job_id: str, data: Any) -> Any:
        return self._code(self.broker.update_data(job_id, to_json(data), self.now))

    def log(self, job_id: str, row: str, keep: int | None = None) -> Any:
        try:
            return self._run(self.broker.log(job_id, row, keep, self.now))
        except JobError as error:
            return error.code

    def state(self, job_id: str) -> str | None:
        return self._run(self.broker.state(job_id))

    # -- job schedulers

    def schedule(
        self, scheduler_id: str, data: Any = None, options: Mapping[str, Any] | None = None, **rule: Any
    ) -> Any:
        """Every so many ms, or by a pattern in a time zone. The first job's id, or the error code."""
        start, end = (None if rule.get(name) is None else rule[name] / 1000 for name in ("start", "end"))
        schedule: Cron | Every
        if "pattern" in rule:
            schedule = Cron(rule["pattern"], rule.get("zone", "UTC"))
        else:
            offset = rule.get("offset")
            schedule = Every(rule["every"] / 1000, None if offset is None else offset / 1000)
        scheduler = Scheduler(
            scheduler_id, schedule, "job", to_json({} if data is None else data), job_options(**(options or {})),
            limit=rule.get("limit"), start=start, end=end,
        )  # fmt: skip
        try:
            return self._run(upsert(self.broker, scheduler, self.now))
        except JobError as error:
            return error.code

    def unschedule(self, scheduler_id: str) -> bool:
        return self._run(self.broker.remove_scheduler(scheduler_id, self.now))

    # -- what these share

    def _exchange(
        self,
        outcomes: list[Outcome],
        take: int,
        token: str,
        limit: Limit | None = None,
        worker: str | None = None,
        lock: int = 30_000,
    ) -> Reply:
        terms = Terms(lock / 1000, rate_limit(limit), worker)
        return self._run(self.broker.exchange(outcomes, take, terms, token, self.now))

    def _taken(self, reply: Reply) -> str | None:
        if not reply.jobs:
            return None
        (job,) = reply.jobs
        self._jobs[job.id] = job
        if job.scheduler_id is not None:
            self._run(advance(self.broker, job, self.now))
        return job.id

    def _job(self, job_id: str, token: str) -> Job:
        """The job as it was taken, or as it is known otherwise to whoever holds a wrong token."""
        return self._jobs.get(job_id) or Job(job_id, "job", {}, token=token)

    def _finish(self, outcome: Outcome, fetch: bool = False) -> Any:
        reply = self._exchange([outcome], int(fetch), outcome.token)
        if reply.refused is not None:
            return reply.refused[0][1]
        return self._taken(reply) if fetch else None

    def _code(self, coroutine: Coroutine[Any, Any, Any]) -> int | None:
        try:
            self._run(coroutine)
        except JobError as error:
            return error.code
        return None


class NodeHand:
    """BullMQ on Node: the same, by its public classes. Connecting takes long, so one serves any number of tests."""

    def __init__(self, node: Node, queue: str, prefix: str) -> None:
        self._node = node
        self._name = queue
        self._settings = {"connection": node.connection, "prefix": prefix}
        # what it would write to `meta` by itself comes at any time, also after the server was emptied
        self.queue = node.new("Queue", queue, {**self._settings, "skipMetasUpdate": True})
        self.queue.waitUntilReady()
        self._producer: NodeObject | None = None
        self._workers: dict[str, NodeObject] = {}
        self._jobs: dict[str, NodeObject] = {}

    def forget(self) -> None:
        """The server has been emptied, of scripts as well: a producer of flows would not load them again."""
        self._jobs.clear()
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _add_flow(self, flow: Flow) -> None:
        if self._producer is None:
            self._producer = self._node.new("FlowProducer", self._settings)
        self._producer.add(node_flow(flow))

    def at(self, milliseconds: int) -> None:
        self._node.set_clock(ORIGIN + milliseconds)

    def add(self, name: str = "job", data: Any = None, **options: Any) -> str:
        job: NodeObject = self.queue.add(name, {} if data is None else data, node_options(job_options(**options)))
        return str(job.json["id"])

    def add_bulk(self, count: int, name: str = "job", data: Any = None, **options: Any) -> list[str]:
        one = {"name": name, "data": {} if data is None else data, "opts": node_options(job_options(**options))}
        return [job.json["id"] for job in self.queue.addBulk([one] * count)]

    def add_tree(self, rule: OnFailure = "wait", child: Mapping[str, Any] | None = None, **parent: Any) -> None:
        self._add_flow(tree(rule, child or {}, parent))

    def add_child(self, parent: str, rule: OnFailure, name: str = "job", data: Any = None, **options: Any) -> str:
        child = Flow(name, self._name, data, job_options(**options), on_failure=rule)
        self._add_flow(Flow("parent", PARENTS, options=job_options(job_id=parent), children=[child]))
        return str(options["job_id"])

    def take(
        self, token: str = TOKEN, limit: Limit | None = None, worker: str | None = None, lock: int = 30_000
    ) -> str | None:
        options: dict[str, Any] = {"lockDuration": lock}
        if limit is not None:
            options["limiter"] = {"max": limit[0], "duration": limit[1]}
        if worker is not None:
            options["name"] = worker
        taker = self._worker(**options)
        # what it remembers of earlier answers is no part of what it leaves
        self._node.run("Object.assign(args.taker, {limitUntil: 0, drained: false})", taker=taker)
        return self._taken(taker.getNextJob(token, {"block": False}))

    def complete(
        self, job_id: str, value: Any = None, token: str = TOKEN, fetch: bool = False, keep: Keep | None = None
    ) -> Any:
        job = self._job(job_id, removeOnComplete=node_worker_keep(keep))
        return self._finish(lambda: job.moveToCompleted(value, token, fetch), token, fetch)

    def fail(
        self,
        job_id: str,
        reason: str = "no",
        token: str = TOKEN,
        final: bool = False,
        fetch: bool = False,
        keep: Keep | None = None,
    ) -> Any:
        job = self._job(job_id, removeOnFail=node_worker_keep(keep))
        kind = "lib.UnrecoverableError" if final else "Error"
        error = Js(f"Object.assign(new {kind}({reason!r}), {{stack: {TRACE!r}}})")
        return self._finish(lambda: job.moveToFailed(error, token, fetch), token, fetch)

    def postpone(self, job_id: str, delay: int, token: str = TOKEN) -> Any:
        job, now = self._job(job_id), self._node.run("return Date.now()")
        return _code(lambda: job.moveToDelayed(now + delay, token))

    def put_back(self, job_id: str, token: str = TOKEN) -> Any:
        return _code(lambda: self._job(job_id).moveToWait(token))

    def renew(self, job_id: str, token: str = TOKEN, duration: int = 30_000) -> list[str]:
        lost: list[str] = self._worker().extendJobLocks([job_id], [token], duration)
        return lost

    def check_stalled(self, interval: int = 30_000, max_stalled: int = 1) -> list[str]:
        worker = self._worker(stalledInterval=interval, maxStalledCount=max_stalled)
        worker.listen()
        worker.moveStalledJobsToWait()
        return [entry[1] for entry in worker.heard("stalled")]

    def pause(self) -> None:
        self.queue.pause()

    def resume(self) -> None:
        self.queue.resume()

    def set_concurrency(self, limit: int | None) -> None:
        self.queue.removeGlobalConcurrency() if limit is None else self.queue.setGlobalConcurrency(limit)

    def set_rate_limit(self, limit: Limit | None) -> None:
        self.queue.removeGlobalRateLimit() if limit is None else self.queue.setGlobalRateLimit(*limit)

    def hold(self, duration: int) -> None:
        self.queue.rateLimit(duration)

    def is_limited(self, max_jobs: int) -> bool:
        return bool(self.queue.getRateLimitTtl(max_jobs) > 0)

    def free(self) -> None:
        self.queue.removeRateLimitKey()

    def drain(self, delayed: bool = False) -> None:
        self.queue.drain(delayed)

    def clean(self, grace: int, limit: int, state: JobState) -> list[str]:
        # what it calls the waiting jobs here
        kind = "wait" if state is JobState.WAITING else str(state)
        return sorted(self.queue.clean(grace, limit, kind))

    def obliterate(self, force: bool = False) -> Any:
        try:
            return self.queue.obliterate({"force": force})
        except NodeError:
            return "refused"

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.queue.getJobCounts()
        return counts

    def retry(self, job_id: str, state: JobState = JobState.FAILED, reset: bool = False) -> Any:
        options = {"resetAttemptsMade": True, "resetAttemptsStarted": True} if reset else {}
        return _code(lambda: self._known(job_id).retry(str(state), options))

    def retry_all(self, state: JobState = JobState.FAILED) -> None:
        self.queue.retryJobs({"state": str(state)})

    def promote(self, job_id: str) -> Any:
        code = _code(lambda: self._known(job_id).promote())
        # Node says -3, not delayed, of a job that is gone; ours says that it is gone
        return -1 if code == -3 and self._is_gone(job_id) else code

    def promote_all(self) -> None:
        self.queue.promoteJobs()

    def remove(self, job_id: str) -> Any:
        if self._is_gone(job_id):
            # to Node it has been removed; ours says that there is none
            return "refused"
        try:
            return None if self.queue.remove(job_id) == 1 else "refused"
        except NodeError:
            return "refused"

    def change_delay(self, job_id: str, delay: int) -> Any:
        return _code(lambda: self._known(job_id).changeDelay(delay))

    def change_priority(self, job_id: str, priority: int, lifo: bool = False) -> Any:
        return _code(lambda: self._known(job_id).changePriority({"priority": priority, "lifo": lifo}))

    def release(self, deduplication_id: str) -> bool:
        return bool(self.queue.removeDeduplicationKey(deduplication_id))

    def progress(self, job_id: str, progress: Any) -> Any:
        return _code(lambda: self._known(job_id).updateProgress(progress))

    def update(self, job_id: str, data: Any) -> Any:
        return _code(lambda: self._known(job_id).updateData(data))

    def log(self, job_id: str, row: str, keep: int | None = None) -> Any:
        return _code(lambda: self.queue.addJobLog(job_id, row, *([] if keep is None else [keep])), result=True)

    def state(self, job_id: str) -> str | None:
        state: str = self._known(job_id).getState()
        return None if state == "unknown" else state

    def schedule(
        self, scheduler_id: str, data: Any = None, options: Mapping[str, Any] | None = None, **rule: Any
    ) -> Any:
        names = {"zone": "tz", "start": "startDate", "end": "endDate"}
        repeat = {names.get(name, name): value for name, value in rule.items() if value is not None}
        if "pattern" in repeat:
            repeat.setdefault("tz", "UTC")
        job = {
            "name": "job",
            "data": {} if data is None else data,
            "opts": node_options(job_options(**(options or {}))),
        }
        try:
            made = self.queue.upsertJobScheduler(scheduler_id, repeat, job)
        except NodeError as error:
            return error.code if error.code is not None else str(error)
        return made.json["id"]

    def unschedule(self, scheduler_id: str) -> bool:
        return bool(self.queue.removeJobScheduler(scheduler_id))

    def _worker(self, **options: Any) -> NodeObject:
        key = repr(options)
        if key not in self._workers:
            self._workers[key] = self._node.new("Worker", self._name, None, {**self._settings, **options})
        return self._workers[key]

    def _job(self, job_id: str, **rule: Any) -> NodeObject:
        """The job as it was taken; or as a worker with a rule of retention has it."""
        rule = {name: keep for name, keep in rule.items() if keep is not None}
        if rule:
            return self._known(job_id, self._worker(**rule))
        return self._jobs.get(job_id) or self._known(job_id)

    def _known(self, job_id: str, worker: NodeObject | None = None) -> NodeObject:
        """The job as it is now, or one by its id alone where there is none."""
        code = "return await lib.Job.fromId(args.q, args.id) ?? new lib.Job(args.q, 'job', {}, {}, args.id)"
        job: NodeObject = self._node.run(code, q=worker or self.queue, id=job_id)
        return job

    def _is_gone(self, job_id: str) -> bool:
        return self.queue.getJob(job_id) is None

    def _taken(self, job: NodeObject | None) -> str | None:
        if job is None:
            return None
        self._jobs[job.json["id"]] = job
        return str(job.json["id"])

    def _finish(self, finish: Any, token: str, fetch: bool) -> Any:
        try:
            answer = finish()
        except NodeError as error:
            return error.code
        if not fetch or not answer:
            return None
        fields, job_id, *_ = answer
        return self._taken(self._worker().nextJobFromJobData(fields, job_id, token)) if job_id else None


def _code(call: Any, result: bool = False) -> Any:
    try:
        value = call()
    except NodeError as error:
        return error.code if error.code is not None else str(error)
    return value if result else None


CHANGING_NOTHING = ("at", "state", "counts", "is_limited")
LOOSENING = ("free", "set_concurrency", "set_rate_limit", "clean")
"""More may start after these: ours wakes an idle worker, where Node's waits until it looks again by itself."""
ENDS = ("complete", "fail", "postpone", "put_back")
"""The same is true of these while no more may be active over all workers."""


AT_ONCE = {"drain", "clean", "obliterate"}
"""These take the last children of many parents at one time."""


def without_order(keys: dict[str, Any]) -> dict[str, Any]:
    """What a queue of parents has left, whose children were removed at one time.

    Node looks at the newest child first, ours at the oldest.
    """
    keys = {name: dict(key) for name, key in keys.items()}
    if "wait" in keys:
        keys["wait"]["value"] = sorted(keys["wait"]["value"])
    return keys


@dataclass(frozen=True)
class Step:
    """What was done with both hands."""

    operation: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    answer: Any = None

    def __str__(self) -> str:
        words = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.options.items())]
        return f"both.{self.operation}({', '.join(words)})"


class Both:
    """Does everything with both hands, and holds what they leave against each other after every step."""

    def __init__(self, ours: OurHand, theirs: NodeHand, client: Redis, queue: str, prefixes: tuple[str, str]) -> None:
        self.ours = ours
        self.theirs = theirs
        self._client = client
        self._queue = queue
        self._prefixes = prefixes
        self.steps: list[Step] = []
        self.check()

    def restart(self) -> None:
        """Both from the beginning, on an empty server."""
        self._client.flushall()
        self.steps.clear()
        self.theirs.forget()
        self.ours.forget()
        self.theirs.at(0)
        self.ours.at(0)

    def __getattr__(self, operation: str) -> Any:
        if not hasattr(OurHand, operation):
            raise AttributeError(operation)

        def act(*args: Any, **options: Any) -> Any:
            self.steps.append(Step(operation, args, options))
            his = getattr(self.theirs, operation)(*args, **options)
            mine = getattr(self.ours, operation)(*args, **options)
            self.steps[-1] = Step(operation, args, options, mine)
            assert mine == his, f"{self.story()}\nours gives {mine!r}, Node's {his!r}"
            if operation in CHANGING_NOTHING:
                return mine
            if operation in LOOSENING or (operation in ENDS and self._limits_active()):
                self._wake_theirs()
            self.check()
            return mine

        return act

    def _limits_active(self) -> bool:
        return bool(self._client.hexists(f"{self._prefixes[0]}:{self._queue}:meta", "concurrency"))

    def _wake_theirs(self) -> None:
        ours, theirs = (f"{prefix}:{self._queue}:marker" for prefix in self._prefixes)
        if self._client.zscore(ours, "0") is not None:
            self._client.zadd(theirs, {"0": 0})

    def expire_lock(self, job_id: str) -> None:
        """As if nobody had renewed it in time."""
        self.steps.append(Step("expire_lock", (job_id,), {}))
        for prefix in self._prefixes:
            assert self._client.delete(f"{prefix}:{self._queue}:{job_id}:lock") == 1
        self.check()

    def expire(self, key: str) -> None:
        """As if the time-to-live of a key had passed."""
        self.steps.append(Step("expire", (key,), {}))
        for prefix in self._prefixes:
            assert self._client.pttl(f"{prefix}:{self._queue}:{key}") > 0
            self._client.delete(f"{prefix}:{self._queue}:{key}")

    def expire_marker(self) -> None:
        """As if an idle worker had taken it."""
        self.steps.append(Step("expire_marker", (), {}))
        for prefix in self._prefixes:
            self._client.delete(f"{prefix}:{self._queue}:marker")

    def check(self) -> None:
        """Both left the same."""
        found = differences(*self.each())
        done = {step.operation for step in self.steps}
        if "add_child" in done:
            mine, his = (snapshot(self._client, PARENTS, prefix) for prefix in self._prefixes)
            if done & AT_ONCE:
                mine, his = without_order(mine), without_order(his)
            found += [f"{PARENTS}: {line}" for line in differences(mine, his)]
        assert not found, "\n".join([self.story(), *found])

    def left(self) -> dict[str, Any]:
        """What both left."""
        return snapshot(self._client, self._queue, self._prefixes[0])

    def each(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ours left, and Node's, where they may differ."""
        ours, theirs = (snapshot(self._client, self._queue, prefix) for prefix in self._prefixes)
        return ours, theirs

    def events(self, *kinds: str) -> list[dict[str, str]]:
        """What both told, so far."""
        entries: list[dict[str, str]] = self.left()["events"]["value"]
        return [entry for entry in entries if not kinds or entry["event"] in kinds]

    def story(self) -> str:
        """All steps, as they can be pasted."""
        return "\n".join(map(str, self.steps))


# -- options


def job_options(**options: Any) -> JobOptions:
    """JobOptions from milliseconds."""
    for name in ("delay", "timestamp"):
        if name in options:
            options[name] = options[name] / 1000
    backoff = options.get("backoff")
    if backoff is not None:
        options["backoff"] = Backoff(**{**backoff, "delay": backoff["delay"] / 1000})
    deduplication = options.get("deduplication")
    if deduplication is not None:
        ttl = deduplication.get("ttl")
        options["deduplication"] = Deduplication(**{**deduplication, "ttl": None if ttl is None else ttl / 1000})
    return JobOptions(**options)


def rate_limit(limit: Limit | None) -> RateLimit | None:
    """A limit in seconds."""
    return None if limit is None else RateLimit(limit[0], limit[1] / 1000)


NODE_NAMES = {
    "job_id": "jobId",
    "keep_completed": "removeOnComplete",
    "keep_failed": "removeOnFail",
    "keep_logs": "keepLogs",
    "stack_trace_limit": "stackTraceLimit",
    "size_limit": "sizeLimit",
    "keep_last_if_active": "keepLastIfActive",
}


def node_options(options: Any) -> dict[str, Any]:
    """The same as Node's users write it: what is no default, in ms."""
    written = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if value == field.default:
            continue
        if isinstance(value, Backoff | Deduplication):
            value = node_options(value)
        elif isinstance(value, Keep):
            value = node_keep(value)
        elif field.name in ("delay", "timestamp", "ttl"):
            value = round(value * 1000)
        written[NODE_NAMES.get(field.name, field.name)] = value
    if isinstance(options, Backoff):
        written.setdefault("type", options.type)
    return written


def node_flow(flow: Flow) -> dict[str, Any]:
    """A tree as Node's FlowProducer takes it."""
    return {
        "name": flow.name,
        "queueName": flow.queue,
        "data": {} if flow.data is None else flow.data,
        "opts": node_options(flow.options) | RULES[flow.on_failure],
        "children": [node_flow(child) for child in flow.children],
    }


def node_keep(keep: Keep | None) -> Any:
    """A rule of retention."""
    if keep is None:
        return None
    if keep == KEEP_ALL:
        return False
    if keep.age is None:
        return True if keep.count == 0 else keep.count
    rule = {"age": keep.age, "limit": keep.limit}
    return rule if keep.count is None else {**rule, "count": keep.count}


def node_worker_keep(keep: Keep | None) -> Any:
    """The same as an option of a worker, which takes nothing but objects."""
    if keep is None:
        return None
    return {"count": -1} if keep == KEEP_ALL else {"count": keep.count} if keep.age is None else node_keep(keep)
