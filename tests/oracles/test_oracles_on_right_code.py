"""Oracles stay quiet about right code: runs that once made one cry wolf, and recordings that lack nearly everything."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oraclebench import found

import queuesim
from queuesim import DelayedError, Job, Processor, RateLimitError
from queuesim.brokers.memory_store import Window
from queuesim.core.job import Keep, RateLimit
from queuesim.oracles import ORACLES, judge
from queuesim.oracles.run_view import Expectations, FinalState
from queuesim.results.recording import Recording
from queuesim.runs.virtual.engine import record
from queuesim.scenario.loading import as_scenario


def small(*faults: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A run of ten seconds with two workers."""
    return {
        "name": "small",
        "duration": 10.0,
        "drain": True,
        "queue": {"attempts": 4, "backoff": 1.0},
        "workers": {"name": "w", "count": 2, "concurrency": 3},
        "jobs": {"a": {"service": {"exponential": 0.8}, "errors": {"network": 0.15}}},
        "load": [{"name": "l", "poisson": 3.0}],
        "faults": list(faults),
        **more,
    }


# -- faults that meet


def test_a_queue_that_was_paused_and_never_had_a_job() -> None:
    result = queuesim.run(small({"queue.pause": {"at": 2.0, "for": 2.0}}, load=[{"name": "l", "poisson": 1e-9}]))
    assert found(result) == set()


def starts(result: queuesim.Result, since: float, until: float) -> int:
    return int(result.attempts["started"].between(since, until, inclusive="neither").sum())


def test_a_failover_into_a_pause_that_is_over_does_not_revive_it() -> None:
    pause, failover = {"queue.pause": {"at": 2.0, "for": 2.0}}, {"redis.failover": {"at": 4.5, "lose": 1.5}}
    result = queuesim.run(small(pause, failover))
    assert result.facts.stopped is None
    assert found(result) == set()
    assert starts(result, 2.0, 4.0) == 0
    assert starts(result, 4.5, 10.0) > 0


def test_a_failover_to_the_time_before_a_pause_does_not_end_it() -> None:
    pause, failover = {"queue.pause": {"at": 4.0, "for": 4.0}}, {"redis.failover": {"at": 5.0, "lose": 2.0}}
    result = queuesim.run(small(pause, failover))
    assert found(result) == set()
    assert starts(result, 4.0, 8.0) == 0


def test_a_server_that_forgot_everything_is_still_paused() -> None:
    pause, restart = {"queue.pause": {"at": 4.0, "for": 4.0}}, {"redis.restart": {"at": 5.0, "empty": True}}
    assert starts(queuesim.run(small(pause, restart)), 4.0, 8.0) == 0


def test_a_pause_ends_with_the_last_of_those_that_overlap() -> None:
    pauses = [{"queue.pause": {"at": 2.0, "for": 2.0}}, {"queue.pause": {"at": 3.0, "for": 4.0}}]
    result = queuesim.run(small(*pauses))
    assert starts(result, 2.0, 7.0) == 0
    assert found(result) == set()


@pytest.mark.parametrize("seed", range(8))
def test_what_was_under_way_when_a_server_failed_over_may_run_twice(seed: int) -> None:
    """A start that arrived after the image was made bears a time before it."""
    latency = {"redis.latency": {"at": 3.0, "for": 5.6, "delay": {"exponential": 0.4}}}
    failover = {"redis.failover": {"at": [3.7, 6.9, 9.5], "lose": 0.93}}
    assert found(queuesim.run(small(failover, latency), seed=seed)) == set()


def test_a_failover_forgets_the_end_of_a_job_that_had_put_itself_off_for_no_time() -> None:
    """Three attempts start at one moment, and only the end of the last was told after the image was made."""
    processor = Processor("q")

    @processor.job("postponed")
    async def postponed(job: Job) -> None:
        if job.attempts_started <= 2:
            raise DelayedError(0.0)
        await asyncio.sleep(0.2)

    result = queuesim.run(
        small(
            {"redis.failover": {"at": 1.5, "lose": 0.4}},
            jobs={"postponed": {}},
            load=[{"name": "l", "bulk": {"at": 1.0, "size": 1}}],
        ),
        processor=processor,
    )
    assert list(result.attempts["outcome"]) == ["delayed", "delayed", "ok", "ok"]
    assert found(result) == set()


def test_commands_that_are_under_way_long_after_the_latency() -> None:
    """An exchange that is sent at the end of the fault holds its worker for as long as the delay."""
    result = queuesim.run(small({"redis.latency": {"at": 5.0, "for": 1.0, "delay": 20.0}}, duration=30.0))
    assert found(result) == set()


def test_the_newest_finished_jobs_are_those_whose_workers_sent_so_last() -> None:
    """Redis ranks finished jobs by the time that the worker sends: a late command may be ranked before earlier ones."""
    latency = {"redis.latency": {"every": {"exponential": 4.746}, "for": 1.9, "delay": {"exponential": 0.992}}}
    wrong = []
    for seed in range(12):
        result = queuesim.run(
            small(latency, queue={"keep": {"completed": 5}}, workers={"count": 4, "concurrency": 2}),
            backend="fakeredis",
            seed=seed,
        )
        wrong += [*found(result)]
    assert wrong == []


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_limiter_whose_windows_close_at_whole_milliseconds(seed: int, shuffle: bool) -> None:
    limited = {"name": "w", "concurrency": 4, "limiter": {"max": 3, "duration": 1.7}}
    result = queuesim.run(small(workers=limited, duration=20.0), "fakeredis", seed=seed, shuffle=shuffle)
    assert found(result) == set()
    assert len(result.limiter) > 5


# -- how much of a run is judged

EVERY_RUN = {
    "no job completed twice", "one worker at a time", "concurrency never exceeded", "attempts within the limit",
    "backoff to the millisecond", "limiter windows never exceeded", "no job waits beside an idle worker",
    "retention honoured", "events in a legal order",
}  # fmt: skip
PROMPT, LITTLE, LIMITER = "no job waits beside an idle worker", "Little's law: L = λW", "limiter windows never exceeded"


def judged(result: queuesim.Result) -> dict[str, float]:
    """The share of the run that each oracle judged, of a run in which none found anything."""
    assert found(result) == set()
    return dict(zip(result.checks["check"], result.checks["judged"], strict=True))


def test_a_wrong_clock_excuses_only_what_goes_by_it() -> None:
    shares = judged(queuesim.run(small({"worker.clock": {"at": 5.0, "for": 2.0, "skew": 5.0, "worker": "w-1"}})))
    oracles = {name: share for name, share in shares.items() if name in {*EVERY_RUN, LITTLE}}
    assert {name for name, share in oracles.items() if share < 1} == {PROMPT, "retention honoured"}
    assert 0.3 < shares[PROMPT] < 0.6


def test_a_failover_excuses_only_what_is_near_it() -> None:
    limited = {"name": "w", "count": 2, "concurrency": 3, "limiter": {"max": 30, "duration": 1.0}}
    failover = {"redis.failover": {"at": 20.0, "lose": 1.0}}
    shares = judged(queuesim.run(small(failover, workers=limited, duration=60.0)))
    assert shares[LIMITER] > 0.95
    assert 0.25 < shares[PROMPT] < 0.4
    shares = judged(queuesim.run(small(failover, duration=60.0)))
    assert shares[PROMPT] > 0.75
    assert shares[LITTLE] > 0.7


def test_workers_that_are_added_for_a_while_excuse_only_that_while() -> None:
    result = queuesim.run(small({"worker.scale": {"at": 5.0, "for": 3.0, "to": 5}}, duration=60.0))
    assert judged(result)[PROMPT] > 0.8


def test_handlers_that_hold_the_event_loop_excuse_only_the_time_that_they_run() -> None:
    jobs = {"a": {"service": 0.5}, "b": {"service": 0.1, "blocking": 0.2, "weight": 0.05}}
    assert 0.8 < judged(queuesim.run(small(jobs=jobs, duration=60.0)))[PROMPT] < 1


def hold_for(seconds: float) -> Processor:
    processor = Processor("q")

    @processor.job("a")
    async def handle(job: Job) -> None:
        if job.attempts_started == 1 and job.number % 5 == 0:
            raise RateLimitError(seconds)
        await asyncio.sleep(0.1)

    return processor


def test_a_queue_that_a_handler_limits_is_judged_all_the_time() -> None:
    limited = {"name": "w", "count": 2, "concurrency": 3, "limiter": {"max": 8, "duration": 1.0}}
    result = queuesim.run(small(workers=limited, jobs={"a": {}}), processor=hold_for(0.5))
    assert "rate-limited" in set(result.attempts["outcome"])
    shares = judged(result)
    assert (shares[PROMPT], shares[LIMITER]) == (1, 1)


def test_a_start_while_a_handler_limits_the_queue_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "hold", lambda self, duration, now: self.clear())
    limited = {"name": "w", "count": 2, "concurrency": 3, "limiter": {"max": 50, "duration": 1.0}}
    result = queuesim.run(small(workers=limited, jobs={"a": {}}), processor=hold_for(0.5))
    assert found(result) == {LIMITER}


# -- recordings that lack something

BUSY = small(
    {"redis.failover": {"at": 5.0, "lose": 0.5}},
    {"worker.crash": {"at": 3.0, "restart": 1.0}},
    {"queue.pause": {"at": 6.0, "for": 1.0}},
    workers={"name": "w", "count": 2, "concurrency": 3, "limiter": {"max": 4, "duration": 1.0}},
)
CLOCK = {"worker.clock": {"at": 2.0, "for": 1.0, "skew": 5.0}}
LATENCY = {"redis.latency": {"at": 4.0, "for": 2.0, "delay": 0.1}}


def recorded() -> tuple[Recording, Recording, Recording]:
    plain, busy = record(as_scenario(small()), 1), record(as_scenario(BUSY), 1)
    late = record(as_scenario({**BUSY, "faults": [*BUSY["faults"], CLOCK, LATENCY]}), 1)
    return plain, busy, late


RECORDINGS = recorded()
PROMISES = (
    Expectations(options=[queuesim.JobOptions()]),
    Expectations(
        options=[queuesim.JobOptions(attempts=4)],
        concurrency={"w-1": 3, "w-2": 3, "w-3": 1},
        shared_concurrency=2,
        limiters=[RateLimit(4, 1.0)],
        keep_completed=Keep(3),
        keep_failed=Keep(2, 5.0),
        dead_letters=True,
        drained=True,
    ),
)
CENSUS: dict[str, list[int]] = {"waiting": [], "completed": [1, 2], "failed": [], "active": [3, 3]}
EVIDENCE = (FinalState(), FinalState(census=CENSUS, known=[1, 2, 4, 4], dead_letters={"1": 1}, terms=[0]))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_oracle_fails_on_a_recording_that_lacks_something(data: st.DataObject) -> None:
    """Whatever is missing from a recording, each oracle gives a row: it judges, or says that it did not."""
    recording = data.draw(st.sampled_from(RECORDINGS))

    def part(rows: Any) -> Any:
        kind = data.draw(st.sampled_from(["all", "none", "one", "head", "tail"]))
        cut = data.draw(st.integers(0, len(rows)))
        return {"all": rows, "none": rows[:0], "one": rows[cut : cut + 1], "head": rows[:cut], "tail": rows[cut:]}[kind]

    less = replace(
        recording,
        jobs=part(recording.jobs),
        attempts=part(recording.attempts),
        events=part(recording.events),
        windows=part(recording.windows),
        faults=part(recording.faults),
        left=data.draw(st.sampled_from([{}, {1: "waiting"}, {2: "removed"}, recording.left])),
        checks=[],
    )
    if data.draw(st.booleans()):
        # events of the queue as a whole, and none of its jobs
        less = replace(less, events=less.events[less.events["number"] == 0])
    rows = judge(less, data.draw(st.sampled_from(PROMISES)), data.draw(st.sampled_from(EVIDENCE)))
    assert len(rows) == len(ORACLES)
    assert all(0.0 <= row.judged <= 1.0 for row in rows)


def test_nothing_at_all_is_no_violation() -> None:
    plain = RECORDINGS[0]
    nothing = replace(
        plain,
        jobs=plain.jobs[:0],
        attempts=plain.attempts[:0],
        events=plain.events[:0],
        windows=plain.windows[:0],
        left={},
        faults=[],
    )
    for promised in PROMISES:
        assert [row.name for row in judge(nothing, promised, FinalState()) if not row.ok] == []


def test_an_attempt_whose_worker_had_not_heard_of_its_end_when_the_run_was_over() -> None:
    """The queue retried the job and gave it up elsewhere, before the first worker's late answer arrived."""
    scenario = {
        "name": "unheard",
        "duration": "35s",
        "drain": True,
        "queue": {"attempts": 3, "backoff": "1s"},
        "workers": {"name": "w", "count": 2, "lock_duration": "2m"},
        "jobs": {"a": {"service": "6s", "errors": {"unknown": 1}}},
        "load": [{"name": "once", "bulk": {"at": "0s", "size": 1}}],
        "faults": [{"redis.latency": {"client": "w-1", "delay": "40s", "at": "5s", "for": "25s"}}],
        "expect": ["everything-failed"],
    }
    result = queuesim.run(scenario)
    assert list(result.attempts["outcome"]) == ["unfinished", "retried", "failed"]
    assert result.ok, result
