"""Job schedulers on BullMQ's keys: the hash `repeat:<id>` and the sorted set `repeat`.

What only ours have, Node's workers pass over: the fields `missed` and `options`. For them to go on with a scheduler,
each job's opts say how it repeats.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.options import encode_deduplication, encode_options, milliseconds
from queuesim.broker.redis.place import Argument
from queuesim.errors import JobError
from queuesim.job import JobOptions, to_json
from queuesim.plain_options import from_plain, to_plain
from queuesim.schedule import Cron, Every, Missed
from queuesim.scheduler import Scheduler


class Scheduling(RedisQueue):
    """Storing schedulers, and adding their jobs one after another."""

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        """Store a scheduler and add its first job; see Broker.upsert_scheduler."""
        head: list[Argument] = [self._stamp(now), scheduler.id]
        arguments = [*head, *self._iteration(scheduler, due, now, 1), *self._fields(scheduler)]
        answer = await self._run("upsert_scheduler", arguments)
        if isinstance(answer, int):
            raise JobError(f"repeat:{scheduler.id}:{self._stamp(due)}", answer, "schedule")
        return str(answer)

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        """Add a scheduler's next job; see Broker.advance_scheduler."""
        scheduler = await self.scheduler(scheduler_id)
        if scheduler is None:
            return None
        head: list[Argument] = [self._stamp(now), scheduler_id, job_id]
        if due is None:
            await self._run("advance_scheduler", [*head, ""])
            return None
        arguments = [*head, *self._iteration(scheduler, due, now, scheduler.iterations + 1)]
        return await self._run("advance_scheduler", arguments) or None

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        """Remove a scheduler and its pending job; see Broker.remove_scheduler."""
        return bool(await self._run("remove_scheduler", (scheduler_id,)))

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        """The scheduler of that id; None if there is none."""
        flat = await self._place.command("HGETALL", f"{self._base}repeat:{scheduler_id}")
        fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        if not fields:
            return None
        score = await self._place.command("ZSCORE", f"{self._base}repeat", scheduler_id)
        return self._read(scheduler_id, fields, None if score is None else self._time(float(score)), score)

    async def schedulers(self) -> list[Scheduler]:
        """All of them, the one that is due first at the front."""
        ids = await self._place.command("ZRANGE", f"{self._base}repeat", 0, -1)
        found = [await self.scheduler(each) for each in ids]
        return sorted(
            (each for each in found if each is not None), key=lambda s: (math.inf if s.due is None else s.due, s.id)
        )

    # -- between the core and the keys

    def _iteration(self, scheduler: Scheduler, due: float, now: float, count: int) -> list[Argument]:
        options, stamp = scheduler.options, self._stamp(due)
        opts = json.loads(encode_options(replace(options, timestamp=None)))
        opts["delay"] = max(stamp - self._stamp(now), 0)
        opts["jobId"] = f"repeat:{scheduler.id}:{stamp}"
        opts["timestamp"] = self._stamp(now)
        opts["repeat"] = {**self._rule(scheduler), "count": count}
        opts["repeatJobKey"] = scheduler.id
        if isinstance(scheduler.schedule, Cron):
            opts["prevMillis"] = stamp
        deduplication = options.deduplication
        return [
            stamp,
            scheduler.name,
            scheduler.data,
            to_json(opts),
            options.priority,
            "1" if options.lifo else "",
            "" if deduplication is None else to_json(encode_deduplication(deduplication)),
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

    def _fields(self, scheduler: Scheduler) -> list[Argument]:
        opts = json.loads(encode_options(replace(scheduler.options, timestamp=None)))
        if not opts["attempts"]:
            del opts["attempts"]
        fields = {
            "name": scheduler.name,
            # of a cron line, too, though it has none (BullMQ 6.7)
            "offset": 0,
            **self._rule(scheduler),
            "missed": scheduler.missed.value,
            "options": to_json(to_plain(scheduler.options)),
        }
        # what says nothing is left out (BullMQ 6.7)
        if opts:
            fields["opts"] = to_json(opts)
        if scheduler.data != "{}":
            fields["data"] = scheduler.data
        return [item for pair in fields.items() for item in pair]

    def _read(self, scheduler_id: str, fields: dict[str, str], due: float | None, score: Any) -> Scheduler:
        """A scheduler from its hash, whoever wrote it."""
        schedule: Cron | Every
        if "pattern" in fields:
            schedule = Cron(fields["pattern"], fields.get("tz", "UTC"), self.origin)
        else:
            every = float(fields["every"]) / 1000
            schedule = Every(every, float(fields.get("offset", 0)) / 1000 % every, self.origin)
        start, end = (self._time(float(fields[name])) if name in fields else None for name in ("startDate", "endDate"))
        return Scheduler(
            scheduler_id,
            schedule,
            fields.get("name", ""),
            fields.get("data", "{}"),
            from_plain(json.loads(fields["options"])) if "options" in fields else JobOptions(),
            Missed(fields.get("missed", Missed.SKIP.value)),
            int(fields["limit"]) if "limit" in fields else None,
            start,
            end,
            int(fields.get("ic", 1)),
            due,
            None if score is None else f"repeat:{scheduler_id}:{int(float(score))}",
        )
