"""Arrivals: what each job found when it was added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

AT_ARRIVAL = ("backlog_at_arrival", "utilisation_at_arrival")
"""The columns that `with_arrivals` adds."""


def with_arrivals(result: Result) -> pd.DataFrame:
    """A result's jobs with what each found just before it was added: the jobs that could start and did not, and the
    share of the workers' slots that was busy (NaN without any slot). Jobs added at one moment all find the same."""
    from queuesim.metrics.occupancy import active, backlog

    jobs, slots = result.jobs, result.facts.concurrency
    added = jobs["added"].to_numpy()
    busy = active(result).before(added)
    columns = (
        backlog(result).before(added).astype(np.uint32),
        busy / slots if slots else np.full(len(jobs), np.nan),
    )
    return jobs.assign(**dict(zip(AT_ARRIVAL, columns, strict=True)))
