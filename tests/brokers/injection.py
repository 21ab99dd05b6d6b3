"""Errors injected into our scripts: at any one of their calls of Redis, by its number."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from queuesim.brokers.redis.scripts import Script
from queuesim.brokers.redis.server import Argument, RedisServer

PRELUDE = """
local redis = (function(real, target)
  local calls = 0
  local function hit()
    calls = calls + 1
    if calls == target then real.call("SET", "injected", calls) end
    return calls == target
  end
  return {
    call = function(...)
      if hit() then error("ERR injected") end
      return real.call(...)
    end,
    pcall = function(...)
      if hit() then return { err = "ERR injected" } end
      return real.pcall(...)
    end,
    error_reply = real.error_reply, status_reply = real.status_reply, sha1hex = real.sha1hex, log = real.log,
  }
end)(redis, %d)
"""
"""What goes before a script: its `redis` fails at one call, whether it would read or write."""


class InjectingServer:
    """Another place, whose scripts of one name fail at their call number `target` (from 1) while there is one."""

    def __init__(self, place: RedisServer) -> None:
        self.place = place
        self.name = ""
        self.target = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        if self.target and script.name == self.name:
            text = PRELUDE % self.target + script.text
            script = Script(script.name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
        return await self.place.run(script, key, arguments)


LISTS = ("wait", "active", "paused")
SETS = ("prioritized", "delayed", "completed", "failed", "waiting-children")


async def places_of_jobs(place: RedisServer, base: str) -> dict[str, list[str]]:
    """By id, where each job of a queue is: those that have a hash, and those that stand somewhere without one."""
    found: dict[str, list[str]] = {}
    for name in LISTS:
        for job_id in await place.command("LRANGE", base + name, 0, -1):
            found.setdefault(job_id, []).append(name)
    for name in SETS:
        for job_id in await place.command("ZRANGE", base + name, 0, -1):
            found.setdefault(job_id, []).append(name)
    for key in await place.command("KEYS", base + "*"):
        job_id = key.removeprefix(base)
        if await _is_job(place, key, job_id):
            found.setdefault(job_id, [])
    return found


async def _is_job(place: RedisServer, key: str, job_id: str) -> bool:
    """Whether a key is a job's hash: those of a queue and of its schedulers have other fields."""
    if job_id == "meta" or job_id.startswith("dn:"):
        return False
    fields = await place.command("EXISTS", key) and await place.command("TYPE", key)
    if fields != "hash":
        return False
    return bool(await place.command("HEXISTS", key, "timestamp"))


async def troubles(place: RedisServer, base: str) -> list[str]:
    """Jobs of a queue that are in no state, or in two."""
    found = []
    for job_id, names in (await places_of_jobs(place, base)).items():
        times = Counter(names)
        if not names:
            found.append(f"job {job_id} is in no state")
        elif len(names) > 1:
            found.append(f"job {job_id} is in {', '.join(times.elements())}")
    return found
