"""No wake-up is lost: whatever happens to a queue, every job ends, and none waits while a slot is idle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import Bench, now

from queuesim.core.job import Job
from queuesim.simulation.runner import run

TICK = 0.125


@dataclass(frozen=True)
class Arrival:
    """Something that happens `gap` ticks after what came before it."""

    gap: int
    jobs: tuple[tuple[int, int, int, bool], ...] = ()
    """(delay, service time, priority, fails once), times in ticks."""
    pause: int = 0
    """Ticks for which the queue is paused."""


jobs = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2), st.booleans())
arrivals = st.lists(
    st.builds(Arrival, st.integers(0, 8), st.lists(jobs, max_size=4).map(tuple), st.sampled_from([0] * 6 + [3, 10])),
    min_size=1,
    max_size=12,
)


class Watch:
    """Looks at a running bench between any two instants: does a job wait while a slot is idle?"""

    def __init__(self, bench: Bench, slots: int) -> None:
        self.bench = bench
        self.slots = slots
        self.paused = False

    async def look(self) -> None:
        """Half a tick after everything that happens, the queue is at rest."""
        await asyncio.sleep(TICK / 2)
        while True:
            counts = await self.bench.counts()
            waiting = counts.get("waiting", 0) + counts.get("prioritized", 0)
            active = counts.get("active", 0)
            assert active == self.bench.running <= self.slots
            if not self.paused:
                assert waiting == 0 or active == self.slots, f"{waiting} wait at {now()} while only {active} run"
                due = [job for job in await self.bench.broker.jobs("delayed", 0, -1, True) if job.ready_at <= now()]
                assert due == []
            await asyncio.sleep(TICK)


async def play(team: Sequence[int], script: Sequence[Arrival]) -> Bench:
    bench = Bench()
    watch = Watch(bench, sum(team))

    async def handler(job: Job) -> None:
        await asyncio.sleep(job.data["service"] * TICK)
        if job.data["fails"] and job.attempts_made == 0:
            raise RuntimeError("once")

    bench.handle(handler)
    workers = [bench.worker(f"w{i}", concurrency=concurrency) for i, concurrency in enumerate(team)]
    async with bench.working(*workers):
        looking = asyncio.create_task(watch.look())
        for arrival in script:
            await asyncio.sleep(arrival.gap * TICK)
            if arrival.pause:
                watch.paused = True
                await bench.queue.pause()
                asyncio.create_task(resume(bench, watch, arrival.pause))  # noqa: RUF006 - it ends within the run
            await bench.queue.add_bulk(
                bench.queue.new_job(
                    "job", {"service": service, "fails": fails}, delay=delay * TICK, priority=priority, attempts=2
                )
                for delay, service, priority, fails in arrival.jobs
            )
        await asyncio.sleep(1000.0)
        assert not looking.done() or looking.exception() is None, looking.exception()
        looking.cancel()
    return bench


async def resume(bench: Bench, watch: Watch, ticks: int) -> None:
    await asyncio.sleep(ticks * TICK)
    await bench.queue.resume()
    watch.paused = False


@settings(max_examples=60, deadline=None)
@given(team=st.lists(st.integers(1, 3), min_size=1, max_size=3), script=arrivals)
def test_every_job_ends_and_none_waits_while_a_slot_is_idle(team: list[int], script: list[Arrival]) -> None:
    async def program() -> None:
        bench = await play(team, script)
        added = [job for arrival in script for job in arrival.jobs]
        counts = await bench.counts()
        assert counts == ({"completed": len(added)} if added else {})
        runs = [len(bench.starts[str(number)]) for number in range(1, len(added) + 1)]
        assert runs == [2 if fails else 1 for _, _, _, fails in added]

    run(program())


@settings(max_examples=30, deadline=None)
@given(script=arrivals.filter(lambda script: not any(arrival.pause for arrival in script)))
def test_with_slots_to_spare_every_job_starts_the_moment_it_is_ready(script: list[Arrival]) -> None:
    async def program() -> None:
        bench = await play((25, 25), script)
        number = 0
        clock = 0.0
        for arrival in script:
            clock += arrival.gap * TICK
            for delay, service, _, fails in arrival.jobs:
                number += 1
                first = clock + delay * TICK
                expected = [first, first + service * TICK] if fails else [first]
                assert bench.starts[str(number)] == expected

    run(program())
