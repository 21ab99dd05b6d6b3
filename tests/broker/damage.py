"""What the fields of a job's hash can be damaged to, for tests of whoever reads jobs."""

from __future__ import annotations

FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa", "progress", "attemptsMade",
    "processedOn", "pb", "stc", "finishedOn", "returnvalue", "failedReason", "stacktrace", "history",
)  # fmt: skip
"""In the order in which the script `taking` tells them; the id follows."""

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


def row(job_id: str = "1", **fields: str | None) -> list[str | None]:
    """A job of good order that has run before, as the script tells it, but for these fields."""
    good: dict[str, str | None] = dict.fromkeys(FIELDS)
    good |= {
        "name": "a", "data": '{"x":1}', "opts": '{"attempts":3}', "timestamp": "1700000000000", "delay": "0",
        "priority": "0", "atm": "1", "ats": "2", "processedOn": "1700000001000", "pb": "w", "stc": "0",
        "failedReason": "boom", "stacktrace": '["here"]', "history": '[{"attempt":1}]',
    }  # fmt: skip
    return [*(good | fields).values(), job_id]
