"""What a queue has left in Redis, parsed, so that two programs' keys can be compared.

JSON is compared as what it says, sets and hashes without an order, sorted sets with their scores, and the event stream
without its ids, which the server may have given. Of an expiry only its presence counts here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from redis import Redis

JSON_FIELDS = ("data", "opts", "returnvalue", "stacktrace", "progress", "parent")
"""Fields of a job, and of events, that hold JSON text."""


def snapshot(client: Redis, queue: str, prefix: str = "bull") -> dict[str, Any]:
    """Every key of a queue, by what follows its name: {"type": ..., "value": ..., "expires": ...}."""
    base = f"{prefix}:{queue}:"
    keys = sorted(client.scan_iter(f"{base}*", count=10_000))
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.type(key)
        kinds = pipeline.execute()
        for key, kind in zip(keys, kinds, strict=True):
            READERS[kind](pipeline, key)
            pipeline.pttl(key)
        answers = pipeline.execute()
    found = {}
    for i, (key, kind) in enumerate(zip(keys, kinds, strict=True)):
        value = PARSERS.get(kind, _as_it_is)(_renamed(answers[2 * i], prefix))
        if value != {}:
            found[key.removeprefix(base)] = {"type": kind, "value": value, "expires": answers[2 * i + 1] > 0}
    return found


MEANT_TO_DIFFER = ("version", "missed", "options")
"""Which program opened the queue; and what only our job schedulers have, which Node's workers pass over."""
READERS: dict[str, Callable[[Any, str], Any]] = {
    "hash": lambda client, key: client.hgetall(key),
    "stream": lambda client, key: client.xrange(key),
    "string": lambda client, key: client.get(key),
    "list": lambda client, key: client.lrange(key, 0, -1),
    "set": lambda client, key: client.smembers(key),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
}


def _renamed(value: Any, prefix: str) -> Any:
    """Jobs of a flow name each other's keys, in any queue: those of both programs are to look the same."""
    if isinstance(value, str):
        return re.sub(rf"\b{re.escape(prefix)}:(?=\w)", "*:", value)
    if isinstance(value, dict):
        return {_renamed(key, prefix): _renamed(part, prefix) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_renamed(part, prefix) for part in value]
    return value


def _as_it_is(value: Any) -> Any:
    return value


def _hash(value: dict[str, str]) -> dict[str, Any]:
    return {name: field for name, field in _fields(value).items() if name not in MEANT_TO_DIFFER}


PARSERS: dict[str, Callable[[Any], Any]] = {
    "hash": _hash,
    "stream": lambda value: [
        event for event in (_fields(fields) for _, fields in value) if not (_replaced(event) or _old_name(event))
    ],
    "set": sorted,
    "zset": lambda value: [tuple(pair) for pair in value],
}


def _fields(fields: dict[str, str]) -> dict[str, Any]:
    parsed = {name: _json(text) if name in JSON_FIELDS else text for name, text in fields.items()}
    if isinstance(parsed.get("opts"), dict) and "repeatJobKey" in parsed["opts"]:
        parsed["opts"] = _of_scheduler(parsed["opts"])
    return parsed


def _replaced(event: dict[str, Any]) -> bool:
    """Ours tell when the pending job of a scheduler is removed with it, or replaced; Node's do so in silence."""
    return event["event"] == "removed" and str(event.get("jobId", "")).startswith("repeat:")


def _old_name(event: dict[str, Any]) -> bool:
    """BullMQ 5 tells of each deduplication twice, once by the name that it had before."""
    return event["event"] == "debounced"


def _of_scheduler(opts: dict[str, Any]) -> dict[str, Any]:
    """Of a scheduler's jobs Node gives the first one no attempts, and the others 0, which is the same. It repeats an
    offset if its user gave one; ours repeats the one that holds, which stands in the scheduler's hash."""
    repeat = {name: value for name, value in opts["repeat"].items() if name != "offset"}
    return {**opts, "repeat": repeat, "attempts": opts.get("attempts", 0)}


def _json(text: str) -> Any:
    try:
        return _without_empty_lists(json.loads(text))
    except ValueError:
        # an event's `data` may be plain text; whatever it is, both have to have the same
        return text


def _without_empty_lists(value: Any) -> Any:
    """Lua's cjson makes {} of an empty list: BullMQ's own scripts do so to the options of a job."""
    if isinstance(value, dict):
        return {key: _without_empty_lists(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_empty_lists(part) for part in value] or {}
    return value


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs, a line each, keys and fields by name."""
    lines = []
    for key in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(key), theirs.get(key)
        if one == other:
            continue
        if one is None or other is None or one["type"] != other["type"]:
            lines.append(f"{key}: ours {one}, Node's {other}")
        elif one["type"] == "hash":
            for name in sorted(one["value"].keys() | other["value"].keys()):
                mine, his = one["value"].get(name), other["value"].get(name)
                if mine != his:
                    lines.append(f"{key} {name}: ours {mine!r}, Node's {his!r}")
        elif one["value"] != other["value"]:
            lines.append(f"{key}: {_first_difference(one['value'], other['value'])}")
        if one is not None and other is not None and one["expires"] != other["expires"]:
            lines.append(f"{key}: ours {'expires' if one['expires'] else 'stays'}, Node's does not so")
    return lines


def _first_difference(ours: Any, theirs: Any) -> str:
    if not isinstance(ours, list):
        return f"ours {ours!r}, Node's {theirs!r}"
    different = next((i for i, (mine, his) in enumerate(zip(ours, theirs, strict=False)) if mine != his), None)
    place = min(len(ours), len(theirs)) if different is None else different
    return f"from entry {place} on, ours {ours[place : place + 5]}, Node's {theirs[place : place + 5]}"
