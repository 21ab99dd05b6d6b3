"""Traces: recorded loads, a row a job, to be replayed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from queuesim.core.job import MAX_PRIORITY
from queuesim.inputfile import TableError, check_columns, number, read_header, read_rows, whole
from queuesim.text import unknown

COLUMNS = ("name", "added_ms", "at_ms", "priority", "delay_ms", "service_ms")
"""Columns that a trace can have beside fail_1, fail_2, ...; any others are passed over."""

FAILURES = ("database", "network", "validation", "unknown")
"""What a failed attempt can end with; an attempt that succeeds is empty or "ok"."""

_FAIL = re.compile(r"fail_([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One recorded job. Times are seconds."""

    name: str
    at: float
    """When it is added, from the trace's beginning."""
    priority: int = 0
    delay: float = 0.0
    service: float | None = None
    """How long each attempt takes; None if the trace does not say."""
    failures: tuple[str, ...] = ()
    """What each attempt ends with, "" for success; attempts beyond them succeed."""


def read_trace(path: Path, columns: Mapping[str, str] | None = None) -> list[TraceJob]:
    """The jobs of a trace, in the order in which they are added.

    The CSV has a header. Columns: `name` and `added_ms` (or `at_ms`) are needed; `priority`, `delay_ms`, `service_ms`
    and `fail_1`, `fail_2`, ... (what attempt n ends with: empty or ok, database, network, validation, unknown) are read
    if they are there. Empty cells are 0, or not said.

    Args:
        columns: what the file calls them, where that differs: ``{"name": "job_type"}``.

    Raises:
        TableError: the file can't be read, it has no job, a column is missing, or a cell is not what its column needs.
    """
    called = {column: (columns or {}).get(column, column) for column in COLUMNS}
    header = read_header(path)
    failing = _failing(header, columns or {})
    at = called["at_ms"] if called["at_ms"] in header and called["added_ms"] not in header else called["added_ms"]
    check_columns(path, header, [called["name"], at, *(columns or {}).values()])
    row = _Row(path, called, at, failing)
    jobs = [row.job(line, cells) for line, cells in read_rows(path)]
    if not jobs:
        raise TableError(f"{path}: the trace has no row below its header")
    jobs.sort(key=lambda job: job.at)
    return jobs


@dataclass(frozen=True, slots=True)
class _Row:
    """How to read a row of one trace."""

    path: Path
    called: Mapping[str, str]
    at: str
    failing: list[str]

    def job(self, line: int, cells: dict[str, str]) -> TraceJob:
        name = cells[self.called["name"]]
        if not name:
            raise TableError(f"{self.path}:{line}: {self.called['name']}: it is empty")
        delay = self._milliseconds(line, cells, self.called["delay_ms"])
        return TraceJob(
            name,
            number(self.path, line, self.at, cells[self.at]) / 1000,
            self._priority(line, cells),
            0.0 if delay is None else delay,
            self._milliseconds(line, cells, self.called["service_ms"]),
            self._failures(line, cells),
        )

    def _milliseconds(self, line: int, cells: dict[str, str], column: str) -> float | None:
        text = cells.get(column, "")
        return number(self.path, line, column, text) / 1000 if text else None

    def _priority(self, line: int, cells: dict[str, str]) -> int:
        column = self.called["priority"]
        priority = whole(self.path, line, column, cells.get(column, "") or "0")
        if priority > MAX_PRIORITY:
            raise TableError(f"{self.path}:{line}: {column}: {priority} is above {MAX_PRIORITY}")
        return priority

    def _failures(self, line: int, cells: dict[str, str]) -> tuple[str, ...]:
        failures = []
        for column in self.failing:
            outcome = cells[column].lower()
            if outcome not in ("", "ok", *FAILURES):
                raise TableError(f"{self.path}:{line}: {column}: {unknown('outcome', outcome, ['ok', *FAILURES])}")
            failures.append("" if outcome == "ok" else outcome)
        while failures and not failures[-1]:
            failures.pop()
        return tuple(failures)


def _failing(header: list[str], columns: Mapping[str, str]) -> list[str]:
    """The columns fail_1 ... fail_n, in order, by the file's names."""
    numbered = {int(match[1]): column for column in header if (match := _FAIL.fullmatch(column))}
    numbered.update({int(match[1]): name for column, name in columns.items() if (match := _FAIL.fullmatch(column))})
    return [numbered[attempt] for attempt in sorted(numbered)]
