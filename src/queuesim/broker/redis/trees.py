"""Flows on Redis: trees of jobs, on BullMQ's own keys."""

from __future__ import annotations

import json
from collections.abc import Sequence

from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.options import encode_options, milliseconds
from queuesim.broker.redis.place import Argument
from queuesim.family import Children, FlowRow
from queuesim.job import parse_json_or_text, to_json

RULES = {"fail": "fpof", "continue": "cpof", "ignore": "idof", "remove": "rdof"}
"""BullMQ's short names of what a child's failure does."""


class Trees(RedisQueue):
    """Adding flows, and what became of children."""

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add a tree of jobs; see Broker.add_flow."""
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
            flag = {} if rule is None else {rule: True}
            queue = f"{self.prefix}:{row.parent.queue}"
            opts |= {"parent": {"id": row.parent.id, "queue": queue}, **flag}
            parent_key = f"{queue}:{row.parent.id}"
            parent = to_json({"id": row.parent.id, "queueKey": queue, **flag})
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

    async def children(self, job_id: str) -> Children:
        """What became of a job's children; see Broker.children."""
        values, ignored, failed, pending = await self._run("children", (job_id,))
        return Children(
            {key: parse_json_or_text(value) for key, value in self._by_child(values)},
            dict(self._by_child(ignored)),
            sorted(map(self._child, failed)),
            sorted(map(self._child, pending)),
        )

    def _by_child(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Fields and values of a hash, by child."""
        return sorted((self._child(key), value) for key, value in zip(words[::2], words[1::2], strict=True))

    def _child(self, key: str) -> str:
        return key.removeprefix(f"{self.prefix}:")
