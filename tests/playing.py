"""Short scenarios for the tests of what plays them. Times are plain seconds."""

from __future__ import annotations

from typing import Any

import queuesim
from queuesim import Processor, Result
from queuesim.core.processor import Handler


def play(
    *load: dict[str, Any],
    service: Any = 1.0,
    jobs: Any = None,
    duration: float = 100.0,
    processor: Processor | None = None,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Result:
    """Play a scenario with jobs of one type, "a", unless `jobs` or a processor of one's own says otherwise.

    Load entries without a name are called load-1, load-2, ...; `options` are those of `queuesim.run`.
    """
    entries = [{"name": f"load-{i}", **entry} for i, entry in enumerate(load, start=1)]
    scenario: dict[str, Any] = {"name": "played", "duration": duration, "load": entries, **more}
    if processor is not None:
        scenario["processor"] = "passed:by"
        scenario["load"] = [entry if "trace" in entry else {"jobs": "a", **entry} for entry in entries]
    if jobs is not None:
        scenario["jobs"] = jobs
    elif processor is None:
        scenario["jobs"] = {"a": {"service": service}}
    return queuesim.run(scenario, processor=processor, **(options or {}))


def own(handler: Handler, *, timeout: float | None = None, data: Any = None, **settings: Any) -> Processor:
    """A processor with one handler, for jobs of type "a"."""
    processor = Processor("default", **settings)
    processor.job("a", timeout=timeout, data=data)(handler)
    return processor


def column(result: Result, name: str, load: str | None = None) -> list[Any]:
    """A column of the jobs frame, of one load entry only if it is named."""
    jobs = result.jobs if load is None else result.jobs[result.jobs["load"] == load]
    values: list[Any] = jobs[name].tolist()
    return values


def rows(result: Result, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of the attempts frame, a tuple an attempt."""
    return list(result.attempts[[*columns]].itertuples(index=False, name=None))
