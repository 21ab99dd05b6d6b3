"""What a job can be damaged to by another program: text of every wrong kind, keys of every foreign type."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa", "progress", "attemptsMade",
    "processedOn", "pb", "stc", "finishedOn", "returnvalue", "failedReason", "stacktrace", "history", "parent",
    "parentKey", "deid", "rjk", "tm", "unknown",
)  # fmt: skip
"""All that a job's hash may have, and one that nobody knows."""
KEYS = ("", ":lock", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful")
"""Ends of a job's keys."""
TYPES = ("ok", "fail", "retry", "echo")
"""Types of jobs: what their handlers do; see workers.py."""

DEEP = "[" * 1_000 + "]" * 1_000
VALUES = (
    "", "x", "null", "true", "[]", "{}", '"x"', "-1", "1.5", "-0.5", "1e3", "1e999", "-1e999", "nan", "NaN", "inf",
    "Infinity", "0x10", " 5", "5 ", "1_000", "\u0663", "9" * 20, "9" * 5_000, DEEP, "[" * 100_000, '{"a":' * 2_000,
    "[1e999]", "[null]", "[[]]", '{"a":1}', "{no json", "a\0b", "\udcff\udcfe", "\u2028", "\U0001f600",
    '"\\ud83d"', '{"attempts":1e999}', '{"attempts":"x"}', '{"attempts":[]}', '{"attempts":NaN}', '{"attempts":-1}',
    '{"backoff":5e400}',
    '{"backoff":[]}', '{"backoff":{"type":[],"delay":1}}', '{"backoff":{"type":"fixed","delay":{}}}',
    '{"removeOnFail":{"count":"x"}}', '{"removeOnFail":{"age":{}}}', '{"removeOnComplete":{"age":[],"limit":"x"}}',
    '{"removeOnComplete":{"count":1.5,"age":1e999,"limit":-1}}', '{"removeOnComplete":"x"}',
    '{"kl":"x"}', '{"kl":1e999}', '{"stackTraceLimit":{}}', '{"de":[1]}', '{"de":{"id":{}}}', '{"timestamp":"x"}',
    '{"timestamp":1e999}', '{"jobId":[[]]}', '{"priority":1e400}', '{"delay":NaN}', '{"opts":' + DEEP + "}",
)  # fmt: skip
"""Text of every wrong kind, as a server hands it over."""

FOREIGN = {
    "string": ("SET", "x"),
    "list": ("RPUSH", "x"),
    "set": ("SADD", "x"),
    "zset": ("ZADD", "1", "x"),
    "hash": ("HSET", "x", "y"),
    "stream": ("XADD", "*", "x", "y"),
}
"""By type, the command and the words with which a key of that type is made."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One hostile job: a field of its hash, or a key of it, and what it is set to."""

    type: str
    field: str = ""
    value: str = ""
    key: str | None = None
    """The end of the key that is of a foreign type, in place of a field."""
    foreign: str = ""

    def __str__(self) -> str:
        what = f"{self.field}={self.value[:40]!r}" if self.key is None else f"key {self.key!r} is a {self.foreign}"
        return f"{self.type}: {what}"


def damages(values: Sequence[str]) -> Iterator[Damage]:
    """Every field with every value, and every key with every type, for jobs of every type."""
    for name in TYPES:
        yield from (Damage(name, field, value) for field in FIELDS for value in values)
        yield from (Damage(name, key=key, foreign=foreign) for key in KEYS for foreign in FOREIGN)


def write_job(pipe: Any, base: str, job_id: str, name: str, damage: Damage | None = None) -> None:
    """Queue the commands with which another program would add a job, damaged or not, to the queue of `base`."""
    key = base + job_id
    fields = {
        "name": name,
        "data": '{"x":1}',
        "opts": '{"attempts":2}',
        "timestamp": str(int(time.time() * 1000)),
        "delay": "0",
        "priority": "0",
    }
    if damage is not None and damage.key is not None:
        if damage.key:
            pipe.hset(key, mapping=fields)
        command, *words = FOREIGN[damage.foreign]
        pipe.execute_command(command, key + damage.key, *words)
    else:
        if damage is not None:
            fields[damage.field] = damage.value
        pipe.hset(key, mapping={name: value.encode(errors="surrogateescape") for name, value in fields.items()})
    pipe.lpush(base + "wait", job_id)
