"""Scenarios played on a private server for as long as a test needs, however fast the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from queuesim.results.recording import StopReason
from queuesim.results.result import Result
from queuesim.runs.live.engine import LiveRun, server
from queuesim.scenario.model import Scenario

SHORT_LOCKS = {"lock_duration": 1.0, "stalled_interval": 0.5, "max_stalled": 1000}
BUSY: dict[str, Any] = {
    "name": "busy",
    "duration": 60.0,
    "queue": {"attempts": 3, "backoff": {"type": "fixed", "delay": 0.1}, "keep": {"completed": 50}},
    "workers": {"name": "w", "count": 2, "concurrency": 4, **SHORT_LOCKS},
    "jobs": {"mail": {"service": {"exponential": 0.1}, "errors": {"network": 0.1}}},
    "load": [{"name": "backlog", "backlog": 100}, {"name": "users", "poisson": 20.0}],
}
JUDGED = 17
"""So many oracles there are."""


def play(*faults: dict[str, Any], until: Callable[[LiveRun], bool], url: str = "embedded", **more: Any) -> Result:
    """Play a busy queue with these faults until a condition holds, and then its oracles have nothing to say."""
    scenario = Scenario.model_validate({**BUSY, "faults": list(faults), **more})
    with server(url, scenario.faults) as (address, private):
        run = LiveRun(scenario, address, seed=1, private=private)
        asyncio.run(_play(run, until))
    recording = run.recording()
    recording.checks.extend(run.judge(recording))
    result = Result(recording)
    assert result.facts.stopped is not None, "what was waited for never came"
    assert result.facts.stopped.reason is StopReason.INTERRUPTED
    found = violations(result)
    assert not found, found
    return result


async def _play(run: LiveRun, until: Callable[[LiveRun], bool]) -> None:
    playing = asyncio.create_task(run.play())
    while not (playing.done() or until(run)):  # noqa: ASYNC110 - a run has no event for what tests wait for
        await asyncio.sleep(0.02)
    run.interrupt()
    await playing


def violations(result: Result) -> dict[str, str]:
    """What the oracles have to say against a run, by their names."""
    oracles = [row for row in result.checks.to_dict("records") if row["kind"] == "oracle"]
    assert len(oracles) >= JUDGED
    return {row["check"]: row["detail"] for row in oracles if not row["ok"]}


def detail(result: Result, check: str) -> str:
    """The detail of a check."""
    text: str = result.checks.set_index("check").loc[check, "detail"]
    return text


def over(run: LiveRun, kind: str, count: int = 1) -> bool:
    """Whether so many faults of this kind have come and gone."""
    return sum(fault.kind == kind and fault.ended == fault.ended for fault in run.recorder.faults) >= count


def then(kind: str, attempts: int = 30) -> Callable[[LiveRun], bool]:
    """A condition: a fault of this kind is over, and so many attempts have ended since."""
    seen: list[int] = []

    def condition(run: LiveRun) -> bool:
        if not seen and over(run, kind):
            seen.append(run.recorder.attempt_count)
        return bool(seen) and run.recorder.attempt_count >= seen[0] + attempts

    return condition
