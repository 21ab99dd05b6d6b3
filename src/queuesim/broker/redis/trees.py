"""Flows on Redis: trees of jobs, on BullMQ's own keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.options import encode_options, milliseconds
from queuesim.broker.redis.place import Argument
from queuesim.flow import FlowRow
from queuesim.job import to_json

RULES = {"fail": "fpof", "continue": "cpof", "ignore": "idof", "remove": "rdof"}
"""BullMQ's short names of what a child's failure does."""


class Trees(RedisQueue):
    """Adding flows, and what became of children."""

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add a tree of jobs; see flow.FlowBroker."""
        words: list[Argument] = [self._stamp(now)]
        for row in rows:
            words += self._row(row)
        taken: int = await self._run("add_flow", words)
        return taken

    def _row(self, row: FlowRow) -> tuple[Argument, ...]:
        options, rule = row.options, RULES.get(row.on_failure)
        opts = json.loads(encode_options(options, self.origin if options.timestamp is not None else 0.0))
        parent_key = parent = ""
        if row.parent is not None:
            queue, job_id = row.parent
            flag = {} if rule is None else {rule: True}
            opts |= {"parent": {"id": job_id, "queue": f"{self.prefix}:{queue}"}, **flag}
            parent_key = f"{self._base_of(queue)}{job_id}"
            parent = to_json({"id": job_id, "queueKey": f"{self.prefix}:{queue}", **flag})
        return (
            self._base_of(row.queue),
            row.id,
            row.name,
            row.data,
            to_json(opts),
            "" if options.timestamp is None else self._stamp(options.timestamp),
            milliseconds(options.delay),
            options.priority,
            "1" if options.lifo else "",
            parent_key,
            parent,
            "1" if row.has_children else "",
        )

    async def children_values(self, job_id: str) -> Mapping[str, Any]:
        """What the children returned that have completed; see flow.FlowBroker."""
        words = await self._place.command("HGETALL", f"{self._base}{job_id}:processed")
        pairs = zip(words[::2], words[1::2], strict=True)
        return {key.removeprefix(f"{self.prefix}:"): json.loads(value) for key, value in pairs}
