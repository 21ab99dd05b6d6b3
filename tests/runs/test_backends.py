"""The same scenario on every backend: in memory, on fakeredis in virtual time, on a real server in real time."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

import queuesim
from playing import own
from queuesim import Job, Queue
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from queuesim.core.errors import BrokerUnavailableError
from queuesim.recordings.compare import compare, of_result
from queuesim.results.result import Result
from queuesim.runs.live.engine import LiveRun
from queuesim.scenario.model import BackendError, Scenario

BUSY: dict[str, Any] = {
    "name": "busy",
    "duration": 120.0,
    "drain": True,
    "queue": {
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 1.0},
        "keep": {"completed": 20, "failed": 5},
        "dead_letter": "dead",
    },
    "workers": {"count": 2, "concurrency": 2, "limiter": {"max": 25, "duration": 10.0}},
    "jobs": {
        "plain": {"service": {"exponential": 0.2}, "errors": {"network": 0.1, "validation": 0.05}},
        "urgent": {"service": 0.5, "priority": 3, "weight": 0.3},
        "later": {"service": 0.1, "delay": 4.0, "weight": 0.2},
    },
    "load": [{"name": "steady", "poisson": 1.0}, {"name": "rush", "bulk": {"at": 30.0, "size": 40}}],
}
QUICK: dict[str, Any] = {
    **BUSY,
    "name": "quick",
    "duration": 1.5,
    "queue": {**BUSY["queue"], "backoff": {"type": "fixed", "delay": 0.1}},
    "workers": {"count": 2, "concurrency": 3, "limiter": {"max": 40, "duration": 0.5}},
    "jobs": {
        "plain": {"service": 0.01, "errors": {"network": 0.2, "validation": 0.05}},
        "urgent": {"service": 0.02, "priority": 3, "weight": 0.3},
        "later": {"service": 0.01, "delay": 0.3, "weight": 0.2},
    },
    "load": [{"name": "steady", "poisson": 40.0}, {"name": "rush", "bulk": {"at": 0.5, "size": 30}}],
}


def test_fakeredis_plays_a_scenario_as_memory_does() -> None:
    memory, fake = queuesim.run(BUSY), queuesim.run(BUSY, backend="fakeredis")
    assert (memory.facts.backend, fake.facts.backend) == ("sim", "fakeredis")
    comparison = compare(of_result(memory), of_result(fake))
    assert comparison.identical, comparison.attempts_differing
    # keys have whole milliseconds
    assert memory.jobs["waiting"].tolist() == pytest.approx(fake.jobs["waiting"].tolist(), abs=0.01)
    assert memory.limiter["starts"].tolist() == fake.limiter["starts"].tolist()
    assert memory.limiter["opened"].tolist() == pytest.approx(fake.limiter["opened"].tolist(), abs=0.01)
    kinds = [result.events["kind"].value_counts().to_dict() for result in (memory, fake)]
    assert kinds[0] == kinds[1]


def test_the_same_seed_gives_the_same_run_on_fakeredis() -> None:
    scenario = {**BUSY, "duration": 20.0}
    first, second = (queuesim.run(scenario, backend="fakeredis", seed=3) for _ in range(2))
    assert first.attempts.equals(second.attempts)
    assert first.events.equals(second.events)


def test_on_fakeredis_custom_ids_duplicates_and_removals_are_recorded() -> None:
    async def handler(job: Job) -> None:
        queue = Queue(job.broker)
        if job.number == 1:
            await queue.add("a", job_id="own", delay=5.0)
            await queue.add("a", job_id="own")
            await queue.add("a", delay=50.0)
            await queue.drain(delayed=False)
        if job.id == "own":
            assert job.number == 3
            await queue.drain(delayed=True)

    scenario = {
        "name": "ids",
        "duration": 60.0,
        "processor": "passed:by",
        "load": [{"name": "two", "backlog": 2, "jobs": "a"}],
    }
    memory, fake = (queuesim.run(scenario, backend=backend, processor=own(handler)) for backend in ("sim", "fakeredis"))
    assert fake.jobs["state"].tolist() == ["completed", "removed", "completed", "removed"]
    columns = ["job", "id", "state", "added", "finished", "attempts"]
    assert fake.jobs[columns].astype(str).values.tolist() == memory.jobs[columns].astype(str).values.tolist()


# -- real time


@pytest.fixture(scope="module")
def live() -> Result:
    return queuesim.run(QUICK, backend="redis", redis_url="embedded")


@pytest.mark.server
def test_a_real_server_plays_the_scenario_to_its_end(live: Result) -> None:
    assert live.facts.backend == "redis"
    assert live.facts.stopped is None
    assert set(live.jobs["state"]) == {"completed", "failed"}
    assert len(live.jobs) >= 70
    # each job's last attempt ended it
    last = live.attempts.sort_values("started").groupby("job")["outcome"].last()
    assert set(last) == {"ok", "failed"}
    assert set(live.attempts["worker"]) == {"worker-1", "worker-2"}
    assert set(live.jobs["load"]) == {"steady", "rush"}


@pytest.mark.server
def test_real_service_times_and_backoffs_are_what_was_asked_for(live: Result) -> None:
    attempts = live.attempts
    service = (attempts["ended"] - attempts["started"])[
        attempts["job"].isin(live.jobs.query("name == 'urgent'")["job"])
    ]
    assert service.min() >= 0.0195
    retried = attempts[attempts["outcome"] == "retried"]
    assert len(retried)
    assert retried["backoff"].unique().tolist() == [0.1]
    later = live.jobs.query("name == 'later'")
    assert (later["started"] - later["added"]).min() >= 0.299


@pytest.mark.server
def test_the_limiter_holds_over_processes(live: Result) -> None:
    assert len(live.limiter) >= 2
    assert live.limiter["max"].unique().tolist() == [40]
    assert live.limiter["starts"].max() <= 40
    gaps = live.limiter["opened"].diff().dropna()
    assert gaps.min() >= 0.499


@pytest.mark.server
def test_both_kinds_of_run_compare(live: Result) -> None:
    simulated = queuesim.run(QUICK)
    # the same jobs come at the same times; who fails is drawn by each process on its own
    assert of_result(live).added == pytest.approx(of_result(simulated).added, abs=0.5)
    assert compare(of_result(simulated), of_result(live)).rows


@pytest.mark.server
def test_nothing_is_left_on_the_server() -> None:
    with EmbeddedServer() as server:
        queuesim.run({**QUICK, "duration": 0.3}, backend="redis", redis_url=server.url)

        async def keys() -> Any:
            place = await connect(server.url)
            try:
                return await place.command("KEYS", "*")
            finally:
                await place.close()

        assert asyncio.run(keys()) == []


@pytest.mark.server
def test_a_processor_object_runs_in_this_process() -> None:
    seen: list[str] = []

    async def handler(job: Job) -> str:
        seen.append(job.id)
        return "done"

    scenario = {**QUICK, "jobs": {}, "processor": "passed:by", "workers": {"concurrency": 3}}
    scenario["load"] = [{"name": "few", "backlog": 7, "jobs": "a"}]
    result = queuesim.run(scenario, backend="redis", redis_url="embedded", processor=own(handler))
    assert sorted(seen) == [str(number) for number in range(1, 8)]
    assert set(result.jobs["state"]) == {"completed"}


@pytest.mark.server
def test_jobs_of_a_killed_process_are_recovered_and_its_attempts_accounted_for() -> None:
    scenario = Scenario.model_validate(
        {
            **QUICK,
            "duration": 1.0,
            "queue": {"attempts": 1},
            "workers": {"count": 2, "concurrency": 2, "lock_duration": 1.0, "stalled_interval": 0.5, "max_stalled": 3},
            "jobs": {"plain": {"service": 0.3}},
            "load": [{"name": "few", "backlog": 20}],
        }
    )

    async def play(run: LiveRun) -> None:
        playing = asyncio.create_task(run.play())
        while not hasattr(run, "fleet"):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        victim = run.pool.workers[0]
        while not await run.stream.held(f"{victim.token}:"):  # noqa: ASYNC110 - the server is asked
            await asyncio.sleep(0.01)
        victim.signal(signal.SIGKILL)
        assert victim.process is not None
        await victim.process.wait()
        run.fleet.revive(run.fleet.members[0])
        await playing

    with EmbeddedServer() as server:
        run = LiveRun(scenario, server.url, seed=1)
        asyncio.run(play(run))
    result = Result(run.recording())
    assert set(result.jobs["state"]) == {"completed"}
    lost = result.attempts[result.attempts["outcome"] == "lost"]
    assert 1 <= len(lost) <= 2
    assert len(result.attempts) == 20 + len(lost)
    assert lost["attempt"].tolist() == [1] * len(lost)


@pytest.mark.parametrize("backend", ["cloud", "Sim"])
def test_an_unknown_backend_is_refused(backend: str) -> None:
    with pytest.raises(BackendError, match="choose from: sim, fakeredis, redis"):
        queuesim.run(BUSY, backend=backend)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"redis://127\.0\.0\.1:1 can't be reached"):
        queuesim.run(QUICK, backend="redis", redis_url="redis://127.0.0.1:1")
