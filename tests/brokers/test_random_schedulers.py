"""Random schedulers with random disturbances: memory and fakeredis play the same; none stops or runs a tick twice."""

from __future__ import annotations

import asyncio
import random

import pytest
from benchmarks.schedulers import Plan, Step, draw, faults, play_fake, play_memory, virtual

from queuesim.core.scheduler import Every, Scheduler


def test_random_schedulers_in_memory_and_on_fakeredis() -> None:
    for figures in virtual(seed=7, schedulers=150, ticks=60, fake=8, fake_ticks=20):
        assert figures.notes == []
        assert (figures.stopped, figures.doubled, figures.differing) == (0, 0, 0)
        assert figures.ticks >= 8 * 20


@pytest.mark.parametrize("fault", ["stopped", "doubled", "after"])
def test_what_is_wrong_would_be_found(fault: str) -> None:
    plan = draw(random.Random(1), 10)
    while not isinstance(plan.scheduler.schedule, Every):
        plan = draw(random.Random(2), 10)
    played = asyncio.run(play_memory(plan))
    assert faults(plan, played) == []
    if fault == "stopped":
        played.stopped = "planted"
    elif fault == "doubled":
        played.ticks[4] = played.ticks[3]
    else:
        played.ticks[4] += 1
    assert any(each.startswith(fault) for each in faults(plan, played))


@pytest.mark.parametrize("start", [12.345, 12.3456789, 1 / 3])
@pytest.mark.parametrize("interval", [1.1, 60.0, 3600.0])
def test_an_interval_that_begins_at_an_odd_moment_goes_on(start: float, interval: float) -> None:
    """With the calendar as origin its ticks were a fraction of a microsecond off: the second was its own successor."""
    plan = draw(random.Random(3), 20)
    origin = 1_735_689_600.0
    plan = Plan(Scheduler("s", Every(interval, origin=origin), "tick"), origin, start, plan.steps)
    ours, theirs = asyncio.run(play_memory(plan)), asyncio.run(play_fake(plan))
    assert (ours.ticks, ours.stopped) == (theirs.ticks, "")
    assert len(set(ours.ticks)) == 20


@pytest.mark.parametrize(
    ("start", "origin"), [(80293.63543488782, 1746039743.8504353), (58261.577548, 1764452651.95082)]
)
def test_a_scheduler_that_begins_later_goes_on_through_a_deploy_one_millisecond_late(
    start: float, origin: float
) -> None:
    """Its start is stored in whole milliseconds since the Unix epoch, and is compared in the same unit."""
    scheduler = Scheduler("s", Every(43842.0, origin=origin), "tick", start=start)
    plan = Plan(scheduler, origin, start - 1000.0, [Step(), Step(), Step(late=0.001, deploy=True), Step()])
    ours, theirs = asyncio.run(play_memory(plan)), asyncio.run(play_fake(plan))
    assert faults(plan, ours) == []
    assert (ours.ticks, ours.starts) == (theirs.ticks, theirs.starts)
