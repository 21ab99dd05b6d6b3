"""Simulations that play flows: handlers add trees of jobs to their own queue."""

from __future__ import annotations

from typing import Any

import pytest

import queuesim
from queuesim import Flow, FlowProducer, Job, JobOptions, Processor, UnrecoverableError
from queuesim.brokers.memory import MemoryBroker
from queuesim.core.clock import sleep
from queuesim.results.result import Result

BACKENDS = ("sim", "fakeredis")


def shop(rule: Any = "wait", bad: int = 0, **parent: Any) -> Processor:
    """For each order three parcels are packed, then it is shipped. Of every fifth order one parcel may break."""
    processor = Processor("default", concurrency=4)

    @processor.job("order")
    async def order(job: Job) -> None:
        broken = bool(bad) and job.number % bad == 1
        parcels = [
            Flow("pack", "default", {"seconds": 2.0 + n, "breaks": broken and n == 1}, on_failure=rule)
            for n in range(3)
        ]
        assert job.broker is not None
        await FlowProducer(job.broker, iter_ids(job.id)).add(
            Flow("ship", "default", {"order": job.id}, JobOptions(**parent), parcels)
        )

    @processor.job("pack")
    async def pack(job: Job) -> str:
        await sleep(job.data["seconds"])
        if job.data["breaks"]:
            raise UnrecoverableError("it broke")
        assert job.parent is not None
        return job.parent.id

    @processor.job("ship")
    async def ship(job: Job) -> int:
        values = await job.children_values()
        assert set(values.values()) <= {job.id}
        await sleep(0.5)
        return len(values)

    return processor


def iter_ids(order: str) -> Any:
    count = iter(range(100))
    return lambda: f"of-{order}-{next(count)}"


def run(backend: str, processor: Processor, **changes: Any) -> Result:
    scenario = {
        "name": "flows", "duration": "2m", "processor": "passed:by", "workers": {"count": 2},
        "load": [{"name": "orders", "constant": "6/min", "jobs": "order"}],
    }  # fmt: skip
    return queuesim.run(scenario | changes, backend, processor=processor)


def failed_checks(result: Result) -> dict[str, str]:
    rows = result.checks[result.checks["status"] == "failed"]
    return dict(zip(rows["check"], rows["detail"], strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_simulation_plays_flows(backend: str) -> None:
    result = run(backend, shop(), drain=True)
    assert failed_checks(result) == {}
    jobs = result.jobs
    assert set(jobs["state"]) == {"completed"}
    assert jobs["name"].value_counts().to_dict() == {"pack": 36, "order": 12, "ship": 12}
    ships = jobs[jobs["name"] == "ship"]
    # the last parcel takes 4 s, and there is a slot for each
    assert (ships["ready"] - ships["added"]).round(3).tolist() == [4.0] * 12
    assert ships["waiting"].abs().max() < 0.002
    assert ships["latency"].round(3).tolist() == [4.5] * 12
    assert (result.events["kind"] == "waiting-children").sum() == 12
    assert (result.events["previous"] == "waiting-children").sum() == 12


@pytest.mark.parametrize(
    ("rule", "states"),
    [
        ("wait", {"waiting-children": 3, "completed": 9}),
        ("fail", {"failed": 3, "completed": 9}),
        ("ignore", {"completed": 12}),
        ("remove", {"completed": 12}),
        # it runs 3 s after the order, and the parcel of 4 s is pending then
        ("continue", {"failed": 3, "completed": 9}),
    ],
)
def test_what_becomes_of_orders_with_a_broken_parcel(rule: str, states: dict[str, int]) -> None:
    results = [run(backend, shop(rule, bad=25), drain=True) for backend in BACKENDS]
    for result in results:
        assert failed_checks(result) == {}
        ships = result.jobs[result.jobs["name"] == "ship"]
        assert ships["state"].value_counts().loc[lambda counts: counts > 0].to_dict() == states
        left = ships[ships["state"] == "waiting-children"]
        assert left["ready"].isna().all()
        drained = result.checks.set_index("check").loc["drained at the end", "detail"]
        assert drained == ("3 wait for children" if rule == "wait" else "")
    one, other = (result.jobs[["id", "name", "state", "attempts"]] for result in results)
    assert one.equals(other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "fault",
    [
        {"worker.crash": {"every": "40s", "restart": "5s"}},
        {"redis.outage": {"at": "61s", "for": "20s"}},
        {"redis.latency": {"at": "60s", "for": "60s", "delay": "300ms"}},
        {"redis.failover": {"at": "101s", "lose": "3s"}},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_flows_under_faults_are_no_alarm(backend: str, fault: dict[str, Any]) -> None:
    result = run(backend, shop("ignore", bad=25, attempts=2), faults=[fault], drain=True)
    assert failed_checks(result) == {}
    assert len(result.faults) > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_bytes(backend: str) -> None:
    frames = [
        run(backend, shop("fail", bad=10), faults=[{"worker.crash": {"every": {"exponential": "60s"}}}], seed=4)
        for _ in range(2)
    ]
    one, other = ([frame.to_csv() for frame in (r.jobs, r.attempts, r.events)] for r in frames)
    assert one == other


def test_a_parent_that_is_never_let_go_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: the last child does not release its parent."""
    monkeypatch.setattr(MemoryBroker, "_release_parent", lambda *arguments: None)
    found = failed_checks(run("sim", shop(), drain=True))
    assert "type-never-started" in found
    assert found["one state at a time"].startswith("job 2 waits for children and has none left; job 7 waits")


def test_a_parent_that_runs_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: a parent that waits is where its event did not put it."""
    await_children = MemoryBroker._await_children

    def leave_out(self: Any, record: Any, now: float) -> None:
        await_children(self, record, now)
        self._take_out(record)
        self._enqueue(record)

    monkeypatch.setattr(MemoryBroker, "_await_children", leave_out)
    assert "events in a legal order" in failed_checks(run("sim", shop(), drain=True))
