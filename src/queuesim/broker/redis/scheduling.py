"""Job schedulers on BullMQ's keys: the hash `repeat:<id>` and the sorted set `repeat`.

The template of a scheduler's jobs is BullMQ's: `name`, `data` and `opts` of the hash. What is in `opts` that only the
other end knows goes on from job to job all the same. What only ours have, Node's workers pass over: the field `missed`.
For them to go on with a scheduler, each job's opts say how it repeats.

BullMQ before version 6 also had repeatable jobs (the option `repeat` of `Queue.add`). Their hash only says when they
repeat, and has no field `offset`: name, data and opts are those of the present job, from which the next is made.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.options import decode_options, encode_options, milliseconds
from queuesim.broker.redis.place import Argument
from queuesim.containment import log
from queuesim.errors import JobError
from queuesim.job import JobOptions, to_json
from queuesim.schedule import Cron, Every, Missed, ScheduleError
from queuesim.scheduler import Scheduler

logger = logging.getLogger("queuesim.broker")

OF_ONE_JOB = ("jobId", "delay", "timestamp", "repeat", "prevMillis", "repeatJobKey")
"""Of a job's opts, what is no part of the template."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A scheduler as it is stored."""

    scheduler: Scheduler
    template: Mapping[str, Any]
    """The opts of its jobs, also those that we don't know."""
    rule: Mapping[str, Any]
    """The option `repeat` of its jobs."""


class Scheduling(RedisQueue):
    """Storing schedulers, and adding their jobs one after another."""

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        """Store a scheduler and add its first job; see Broker.upsert_scheduler."""
        head: list[Argument] = [self._stamp(now), scheduler.id]
        template = json.loads(encode_options(replace(scheduler.options, timestamp=None, delay=0.0)))
        stored = Stored(scheduler, template, self._rule(scheduler))
        arguments = [*head, *self._iteration(stored, due, now, 1), *_fields(stored)]
        answer = await self._run("upsert_scheduler", arguments)
        if isinstance(answer, int):
            raise JobError(f"repeat:{scheduler.id}:{self._stamp(due)}", answer, "schedule")
        return str(answer)

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        """Add a scheduler's next job; see Broker.advance_scheduler."""
        stored = await self._stored(scheduler_id)
        if stored is None:
            return None
        head: list[Argument] = [self._stamp(now), scheduler_id, job_id]
        if due is None:
            await self._run("advance_scheduler", [*head, ""])
            return None
        arguments = [*head, *self._iteration(stored, due, now, stored.scheduler.iterations + 1)]
        answer = await self._run("advance_scheduler", arguments)
        if isinstance(answer, int):
            raise JobError(f"repeat:{scheduler_id}:{self._stamp(due)}", answer, "schedule")
        return str(answer) or None

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        """Remove a scheduler and its pending job; see Broker.remove_scheduler."""
        return bool(await self._run("remove_scheduler", (scheduler_id,)))

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        """The scheduler of that id; None if there is none. Raises ScheduleError if it can't be read."""
        stored = await self._stored(scheduler_id)
        return None if stored is None else stored.scheduler

    async def schedulers(self) -> list[Scheduler]:
        """All of them, the one that is due first at the front. Those that can't be read are left out and logged."""
        found = []
        for scheduler_id in await self._place.command("ZRANGE", f"{self._base}repeat", 0, -1):
            try:
                scheduler = await self.scheduler(scheduler_id)
            except ScheduleError as error:
                log(logger, logging.WARNING, "queue %s: %s", self.queue, error)
                continue
            if scheduler is not None:
                found.append(scheduler)
        return sorted(found, key=lambda s: (math.inf if s.due is None else s.due, s.id))

    # -- between the core and the keys

    def _iteration(self, stored: Stored, due: float, now: float, count: int) -> list[Argument]:
        scheduler, stamp = stored.scheduler, self._stamp(due)
        opts = {
            "attempts": 0,
            **stored.template,
            "delay": max(stamp - self._stamp(now), 0),
            "jobId": f"repeat:{scheduler.id}:{stamp}",
            "timestamp": self._stamp(now),
            "repeat": {**stored.rule, "count": count},
            "repeatJobKey": scheduler.id,
        }
        if isinstance(scheduler.schedule, Cron):
            opts["prevMillis"] = stamp
        deduplication = scheduler.options.deduplication
        return [
            stamp,
            scheduler.name,
            scheduler.data,
            to_json(opts),
            scheduler.options.priority,
            "1" if scheduler.options.lifo else "",
            "" if deduplication is None else deduplication.id,
        ]

    def _rule(self, scheduler: Scheduler) -> dict[str, Any]:
        """When it repeats, as BullMQ says it."""
        schedule = scheduler.schedule
        rule: dict[str, Any]
        if isinstance(schedule, Cron):
            rule = {"pattern": schedule.line, "tz": schedule.zone}
        else:
            rule = {"every": milliseconds(schedule.seconds), "offset": milliseconds(schedule.offset or 0.0)}
        bounds = {"startDate": scheduler.start, "endDate": scheduler.end}
        rule |= {name: self._stamp(time) for name, time in bounds.items() if time is not None}
        return rule if scheduler.limit is None else {**rule, "limit": scheduler.limit}

    async def _stored(self, scheduler_id: str) -> Stored | None:
        flat = await self._place.command("HGETALL", f"{self._base}repeat:{scheduler_id}")
        fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        score = await self._place.command("ZSCORE", f"{self._base}repeat", scheduler_id)
        if not fields and score is None:
            return None
        try:
            if not fields:
                raise ScheduleError("it is a repeatable job of BullMQ 4 or older: add a job scheduler in its place")
            # a worker of BullMQ 5.81 counts in `ic` for those, too
            if not {"ic", "offset"} <= fields.keys() and score is not None:
                return await self._read_repeatable(scheduler_id, fields, int(float(score)))
            return self._read(scheduler_id, fields, None if score is None else int(float(score)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise ScheduleError(f"scheduler {scheduler_id} can't be read: {reason}") from error

    def _read(self, scheduler_id: str, fields: Mapping[str, str], stamp: int | None) -> Stored:
        """A scheduler from its hash, whoever wrote it."""
        template = _template(fields.get("opts", "{}"))
        start, end = (self._time(float(fields[name])) if name in fields else None for name in ("startDate", "endDate"))
        scheduler = Scheduler(
            scheduler_id,
            self._schedule(fields),
            fields.get("name", ""),
            fields.get("data", "{}"),
            _options(template),
            Missed(fields.get("missed", Missed.SKIP.value)),
            int(fields["limit"]) if "limit" in fields else None,
            start,
            end,
            int(fields.get("ic", 1)),
            None if stamp is None else self._time(stamp),
            None if stamp is None else f"repeat:{scheduler_id}:{stamp}",
        )
        rule = self._rule(scheduler)
        if "pattern" in fields and "tz" not in fields:
            # Node reads it in its own machine's zone: it is left to that
            del rule["tz"]
        return Stored(scheduler, template, rule)

    async def _read_repeatable(self, key: str, fields: Mapping[str, str], stamp: int) -> Stored:
        """A repeatable job of BullMQ 5, from its hash and its present job."""
        job_id = f"repeat:{key}:{stamp}"
        name, data, text = await self._place.command("HMGET", self._base + job_id, "name", "data", "opts")
        opts = _object(text or "{}")
        rule, template = dict(opts.get("repeat") or {}), _template(text or "{}")
        scheduler = Scheduler(
            key,
            self._schedule(fields),
            name or fields.get("name", ""),
            data or "{}",
            _options(template),
            limit=None if rule.get("limit") is None else int(rule["limit"]),
            end=self._time(float(fields["endDate"])) if "endDate" in fields else None,
            iterations=int(rule.get("count") or 1),
            due=self._time(stamp),
            pending=job_id,
        )
        return Stored(scheduler, template, rule)

    def _schedule(self, fields: Mapping[str, str]) -> Cron | Every:
        if "pattern" in fields:
            return Cron(fields["pattern"], fields.get("tz", "UTC"), self.origin)
        every, offset = float(fields["every"]), float(fields.get("offset", 0))
        return Every(every / 1000, offset % every / 1000 if every > 0 else 0.0, self.origin)


def _fields(stored: Stored) -> list[Argument]:
    """A scheduler's hash, in a flat list."""
    scheduler = stored.scheduler
    opts = {key: value for key, value in stored.template.items() if (key, value) != ("attempts", 0)}
    fields = {
        "name": scheduler.name,
        # of a cron line, too, though it has none (BullMQ 6.7)
        "offset": 0,
        **stored.rule,
        "missed": scheduler.missed.value,
    }
    # what says nothing is left out (BullMQ 6.7)
    if opts:
        fields["opts"] = to_json(opts)
    if scheduler.data != "{}":
        fields["data"] = scheduler.data
    return [item for pair in fields.items() for item in pair]


def _template(text: str) -> dict[str, Any]:
    """What the jobs of a scheduler have in common, of the opts of one of them."""
    return {key: value for key, value in _object(text).items() if key not in OF_ONE_JOB}


def _options(template: Mapping[str, Any]) -> JobOptions:
    try:
        return decode_options(to_json(template))
    except ValueError as error:
        raise ValueError(f"its opts: {error}") from error


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"opts is not an object: {text[:100]}")
    return value
