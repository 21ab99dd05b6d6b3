"""Families: what a job of a flow knows of its parent and of its children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from queuesim.core.job import JobOptions, JobRef, NewJob

OnFailure = Literal["wait", "fail", "continue", "ignore", "remove"]
"""What a child does to its parent when it fails for good; see flow.Flow.on_failure."""


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A job of a flow, as a broker adds it. Parents come before their children."""

    id: str
    queue: str
    name: str
    data: str
    options: JobOptions
    on_failure: OnFailure
    parent: JobRef | None
    has_children: bool

    def new_job(self) -> NewJob:
        """The job alone, as an observer is told of it: its id is in its options, wherever it comes from."""
        options = self.options if self.options.job_id is not None else self.options.named(self.id)
        return NewJob(self.name, self.data, options)


@dataclass(frozen=True, slots=True)
class Children:
    """The outcomes of a job's children so far, each by its queue and id, as ``queue:id``, in the order of these texts.
    Those that were removed, and those whose failure was to remove them (on_failure="remove"), are not among them."""

    values: Mapping[str, Any]
    """What those returned that completed."""
    ignored: Mapping[str, str]
    """Why those failed whose parent runs all the same (on_failure="continue" or "ignore")."""
    failed: Sequence[str]
    """Those that failed and fail their parent with them (on_failure="fail")."""
    pending: Sequence[str]
    """Those for which the parent waits: they have not ended, or failed and keep it waiting (on_failure="wait")."""
