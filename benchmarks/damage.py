"""What a job can be damaged to by another program: text of every wrong kind, keys of every foreign type."""

from __future__ import annotations

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
