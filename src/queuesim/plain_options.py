"""Options of a job as plain JSON, for whoever keeps them: without those that have their default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from queuesim.backoff import Backoff
from queuesim.job import Deduplication, JobOptions
from queuesim.limits import Keep

PARTS = {"backoff": Backoff, "keep_completed": Keep, "keep_failed": Keep, "deduplication": Deduplication}
"""Options that are made of several values."""


def to_plain(options: JobOptions) -> dict[str, Any]:
    """The options that differ from their default."""
    default = asdict(JobOptions())
    return {key: value for key, value in asdict(options).items() if value != default[key]}


def from_plain(plain: Mapping[str, Any]) -> JobOptions:
    """The options that `to_plain` wrote."""
    return JobOptions(**{key: PARTS[key](**value) if key in PARTS and value else value for key, value in plain.items()})
