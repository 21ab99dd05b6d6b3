"""What the fields of a job's hash can be damaged to, for tests of whoever reads jobs."""

from __future__ import annotations

FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa", "progress", "attemptsMade",
    "parentKey",
    "processedOn", "pb", "stc", "finishedOn", "returnvalue", "failedReason", "stacktrace", "history",
)  # fmt: skip
"""In the order in which the script `taking` tells them; the id follows."""


def row(job_id: str = "1", **fields: str | None) -> list[str | None]:
    """A job of good order that has run before, as the script tells it, but for these fields."""
    good: dict[str, str | None] = dict.fromkeys(FIELDS)
    good |= {
        "name": "a", "data": '{"x":1}', "opts": '{"attempts":3}', "timestamp": "1700000000000", "delay": "0",
        "priority": "0", "atm": "1", "ats": "2", "processedOn": "1700000001000", "pb": "w", "stc": "0",
        "failedReason": "boom", "stacktrace": '["here"]', "history": '[{"attempt":1}]',
    }  # fmt: skip
    return [*(good | fields).values(), job_id]
