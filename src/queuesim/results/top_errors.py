"""The top errors of a run: its failed attempts, grouped by job type, error type and message, as plain data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from queuesim.results.recording import Ending, Recording, RunFrames, rows_of

if TYPE_CHECKING:
    import pandas as pd


Codes = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]

LOST = "lost attempt"
"""The error type of an attempt that ended without an error of its own: it lost the lock of its job."""
LOST_MESSAGE = "the lock of the job was lost: its worker was killed, stalled, or cut off from Redis"

VARYING = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # UUID
    r"|0x[0-9a-fA-F]+"
    r"|(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}(?![a-zA-Z])"  # hash, or a long number
    r"|[0-9]+(?:[.,:][0-9]+)*"
)
"""Parts of a message that differ from job to job: ids, addresses, numbers."""

ELLIPSIS = "…"


def template(message: str) -> str:
    """A message without its numbers and ids, so that messages that differ in nothing else are one error."""
    return VARYING.sub(ELLIPSIS, message)


@dataclass(frozen=True, slots=True)
class TopError:
    """Failed attempts of one job type with the same error."""

    error_type: str
    """Name of the exception's class, or LOST."""
    category: str
    name: str
    """The job type."""
    message: str
    """In full; if the attempts' messages differ in numbers or ids, these are replaced by an ellipsis."""
    count: int
    """Attempts."""
    jobs: int
    """Different jobs."""
    failed: int
    """Attempts of these after which the job failed for good."""
    first: float
    """When the first of these attempts ended, in seconds since the run began."""


@dataclass(slots=True)
class FailedAttempts:
    """What grouping needs to know of failed attempts: a column each, codes that point into tables of names."""

    job: Codes
    name: Codes
    """-1: unknown."""
    error: Codes
    message: Codes
    ended: Times
    final: Codes
    """1: the job failed for good; 0: it did not."""
    names: Sequence[str]
    errors: Sequence[tuple[str, str]]
    """(type, category)."""
    messages: Sequence[str]


def group_errors(attempts: FailedAttempts) -> list[TopError]:
    """Attempts grouped by job type, error and message template: the most frequent error first."""
    patterns: dict[str, int] = {}
    of_message = np.array([patterns.setdefault(template(text), len(patterns)) for text in attempts.messages] or [0])
    keys = np.column_stack((attempts.name, attempts.error, of_message[attempts.message]))
    if not len(keys):
        return []
    groups, place = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(place.ravel(), kind="stable")
    bounds = np.flatnonzero(np.diff(place.ravel()[order])) + 1
    found = [_group(attempts, rows, groups[i]) for i, rows in enumerate(np.split(order, bounds))]
    return sorted(found, key=lambda error: (-error.count, error.first, error.name, error.error_type, error.message))


def _group(attempts: FailedAttempts, rows: Codes, key: Codes) -> TopError:
    kind, category = attempts.errors[int(key[1])]
    texts = np.unique(attempts.message[rows])
    message = attempts.messages[int(texts[0])]
    return TopError(
        error_type=kind,
        category=category,
        name=attempts.names[int(key[0])] if key[0] >= 0 else "",
        message=message if len(texts) == 1 else template(message),
        count=len(rows),
        jobs=len(np.unique(attempts.job[rows])),
        failed=int(attempts.final[rows].sum()),
        first=float(attempts.ended[rows].min()),
    )


def errors_of_recording(recording: Recording) -> list[TopError]:
    """The errors of a bare recording, warm-up included."""
    attempts = recording.attempts
    failed = attempts[(attempts["error"] > 0) | (attempts["ending"] == Ending.LOST)]
    if not len(failed):
        return []
    jobs = recording.jobs[np.argsort(recording.jobs["number"], kind="stable")]
    row = rows_of(np.ascontiguousarray(jobs["number"]), np.ascontiguousarray(failed["number"]))
    name = np.append(jobs["name"].astype(np.int64), -1)[row]
    lost = failed["error"] == 0
    return group_errors(
        FailedAttempts(
            job=failed["number"].astype(np.int64),
            name=name,
            error=failed["error"].astype(np.int64),
            message=np.where(lost, len(recording.messages), failed["message"]).astype(np.int64),
            ended=failed["ended"].astype(np.float64),
            final=(failed["ending"] == Ending.FAILED).astype(np.int64),
            names=recording.names,
            # code 0 is no error: here, a lost attempt
            errors=[(LOST, ""), *((kind, category) for kind, category, _ in recording.errors[1:])],
            messages=[*recording.messages, LOST_MESSAGE],
        )
    )


def errors_of_result(frames: RunFrames, warmup: bool = False) -> list[TopError]:
    """The errors of a result, read from its frames. Jobs of the warm-up are left out unless `warmup` is true."""
    attempts, jobs = frames.attempts, frames.jobs
    chosen = (attempts["error_type"].notna() | (attempts["outcome"] == "lost")).to_numpy()
    if not warmup:
        measured = np.append(~jobs["warmup"].to_numpy(), False)
        chosen = chosen & measured[rows_of(jobs["job"].to_numpy(), attempts["job"].to_numpy())]
    failed = attempts[chosen]
    if not len(failed):
        return []
    lost = failed["error_type"].isna().to_numpy()
    pairs, error = _pairs(failed)
    messages = [*failed["message"].cat.categories, "", LOST_MESSAGE]
    message = failed["message"].cat.codes.to_numpy().astype(np.int64)
    message = np.where(message < 0, len(messages) - 2, message)
    return group_errors(
        FailedAttempts(
            job=failed["job"].to_numpy().astype(np.int64),
            name=failed["name"].cat.codes.to_numpy().astype(np.int64),
            error=np.where(lost, len(pairs), error),
            message=np.where(lost, len(messages) - 1, message),
            ended=failed["ended"].to_numpy(),
            final=(failed["outcome"] == "failed").to_numpy().astype(np.int64),
            names=list(failed["name"].cat.categories),
            errors=[*pairs, (LOST, "")],
            messages=messages,
        )
    )


def _pairs(failed: pd.DataFrame) -> tuple[list[tuple[str, str]], Codes]:
    """The (type, category) pairs that occur, and the place of each attempt's pair among them."""
    kinds, categories = failed["error_type"].cat, failed["category"].cat
    codes = np.column_stack((kinds.codes.to_numpy(), categories.codes.to_numpy())).astype(np.int64)
    unique, place = np.unique(codes, axis=0, return_inverse=True)
    names = [
        (str(kinds.categories[kind]) if kind >= 0 else "", str(categories.categories[of]) if of >= 0 else "")
        for kind, of in unique.tolist()
    ]
    return names, place.ravel().astype(np.int64)


def errors_frame(errors: Sequence[TopError]) -> pd.DataFrame:
    """A row an error: error_type, category, name, message, count, jobs, failed, first."""
    import pandas as pd

    kinds = {"count": "int64", "jobs": "int64", "failed": "int64", "first": "float64"}
    columns = ("error_type", "category", "name", "message", *kinds)
    values = {column: [getattr(error, column) for error in errors] for column in columns}
    return pd.DataFrame({column: pd.Series(values[column], dtype=kinds.get(column, str)) for column in columns})


def one_line(message: str, most: int = 200) -> str:
    """A message on one line, cut after `most` characters."""
    text = " ".join(message.split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}{ELLIPSIS}"


def describe(error: TopError) -> str:
    """An error in a few words: ``KeyError: 'adress'``."""
    message = one_line(error.message)
    return error.error_type if message in ("", error.error_type) else f"{error.error_type}: {message}"
