"""Theory beside runs: which models apply to which scenario, what they predict, and how far runs are off."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import queuesim
from queuesim import Job, Processor, theory
from queuesim.results.result import Result
from queuesim.testing.soak import random_scenario
from queuesim.theory import (
    DM1,
    GG1,
    MG1,
    MM1,
    BatchGGc,
    BernoulliFeedback,
    GGc,
    MachineRepair,
    MDc,
    MMc,
    PriorityClass,
    PriorityMG1,
    PriorityMMc,
    WindowLimiter,
)
from queuesim.theory.frame import COLUMNS, TheoryFrame

ROOT = Path(__file__).parents[2]
EXPONENTIAL = {"exponential": "1s"}


def scenario(**changes: Any) -> dict[str, Any]:
    """M/M/5 for an hour, unless it is changed."""
    return {
        "name": "station",
        "duration": "1h",
        "warmup": "5m",
        "workers": {"concurrency": 5},
        "jobs": {"a": {"service": EXPONENTIAL}},
        "load": [{"name": "l", "poisson": "4/s"}],
        **changes,
    }


def one_slot(rate: str = "0.7/s", **changes: Any) -> dict[str, Any]:
    return scenario(**{"workers": {"concurrency": 1}, "load": [{"name": "l", "poisson": rate}], **changes})


def compared(played: Mapping[str, Any], **options: Any) -> TheoryFrame:
    frame = queuesim.run(played, **options).theory()
    assert isinstance(frame, TheoryFrame)
    assert list(frame.columns) == list(COLUMNS)
    return frame


def row(frame: pd.DataFrame, model: str, figure: str, jobs: str = "all") -> Any:
    """The row of a figure of a model."""
    (found,) = frame[(frame["model"] == model) & (frame["figure"] == figure) & (frame["jobs"] == jobs)].itertuples()
    return found


def why(frame: TheoryFrame, model: str) -> str:
    """Why a model does not apply."""
    (found,) = frame.models[(frame.models["model"] == model)].itertuples()
    assert not found.applies
    return str(found.why)


def kinds(frame: TheoryFrame) -> dict[str, str]:
    """The models that say something, and how good they are."""
    return dict(zip(frame["model"], frame["kind"], strict=True))


# -- Each model on a run of it


def test_mm5() -> None:
    frame, model = compared(scenario()), MMc(4.0, 1.0, 5)
    assert kinds(frame) == {"M/M/5": "exact"}
    expected = {
        "waiting.mean": model.mean_waiting_time,
        "waiting.p95": model.waiting_quantile(0.95),
        "utilisation": 0.8,
        "throughput": 4.0,
        "backlog.mean": model.mean_queue_length,
    }
    assert dict(zip(frame["figure"], frame["predicted"], strict=True)) == pytest.approx(expected)
    assert list(frame["unit"]) == ["s", "s", "share", "1/s", "jobs"]
    assert (frame["difference"] == frame["measured"] / frame["predicted"] - 1).all()
    assert (frame["violated"] == "").all()
    assert "Poisson" in frame["holds"].iloc[0]


def test_what_was_measured_is_what_the_summary_says() -> None:
    result = queuesim.run(scenario())
    frame, summary = result.theory(), result.summary()
    measured = dict(zip(frame["figure"], frame["measured"], strict=True))
    assert measured["waiting.mean"] == pytest.approx(summary.jobs.waiting.mean)
    assert measured["waiting.p95"] == pytest.approx(summary.jobs.waiting.p95)
    assert measured["utilisation"] == summary.utilisation
    assert measured["throughput"] == summary.throughput
    assert measured["backlog.mean"] == summary.backlog_mean


def test_md5() -> None:
    frame = compared(scenario(jobs={"a": {"service": "1s"}}))
    assert kinds(frame) == {"M/D/5": "exact", "G/G/5 (Allen-Cunneen)": "approximate"}
    model = MDc(4.0, 1.0, 5)
    assert row(frame, "M/D/5", "waiting.mean").predicted == pytest.approx(model.mean_waiting_time)
    assert row(frame, "M/D/5", "waiting.p95").predicted == pytest.approx(model.waiting_quantile(0.95))
    rough = GGc(4.0, 1.0, 5, 1.0, 0.0).mean_waiting_time
    assert row(frame, "G/G/5 (Allen-Cunneen)", "waiting.mean").predicted == pytest.approx(rough)


def test_mg1_of_two_types() -> None:
    jobs = {"a": {"service": "1s", "weight": 1}, "b": {"service": {"gamma": {"mean": "500ms", "cv": 2.0}}, "weight": 3}}
    frame = compared(one_slot("1/s", jobs=jobs))
    mean = 0.25 * 1.0 + 0.75 * 0.5
    scv = (0.25 * 1.0 + 0.75 * 0.25 * (1 + 4.0)) / mean**2 - 1
    assert row(frame, "M/G/1", "waiting.mean").predicted == pytest.approx(MG1(1.0, mean, scv).mean_waiting_time)
    assert row(frame, "M/G/1", "utilisation").predicted == pytest.approx(mean)
    # Allen-Cunneen is the same model here: all that it adds is a percentile
    assert list(frame["figure"][frame["model"] == "G/G/1 (Allen-Cunneen)"]) == ["waiting.p95"]


def test_priorities() -> None:
    jobs = {
        "report": {"service": EXPONENTIAL, "weight": 2, "priority": 9},
        "urgent": {"service": EXPONENTIAL, "weight": 1},
        "usual": {"service": EXPONENTIAL, "weight": 1, "priority": 2},
    }
    frame = compared(scenario(jobs=jobs))
    waits = PriorityMMc((1.0, 1.0, 2.0), 1.0, 5).mean_waiting_times
    for label, waiting in zip(("priority 0", "priority 2", "priority 9"), waits, strict=True):
        assert row(frame, "M/M/5 with priorities", "waiting.mean", label).predicted == pytest.approx(waiting)
    assert "priorities" in why(frame, "M/M/c")
    jobs["report"] = {"service": "2s", "weight": 1, "priority": 9}
    frame = compared(one_slot("0.6/s", jobs=jobs))
    classes = [PriorityClass(0.2, 1.0), PriorityClass(0.2, 1.0), PriorityClass(0.2, 2.0, 0.0)]
    waits = PriorityMG1(classes).mean_waiting_times
    assert row(frame, "M/G/1 with priorities", "waiting.mean", "priority 9").predicted == pytest.approx(waits[2])


def test_jobs_of_one_priority_are_measured_alone() -> None:
    jobs = {"a": {"service": EXPONENTIAL, "priority": 1}, "b": {"service": EXPONENTIAL, "priority": 2}}
    result = queuesim.run(scenario(jobs=jobs))
    found = row(result.theory(), "M/M/5 with priorities", "waiting.mean", "priority 2")
    measured = result.jobs[(result.jobs["priority"] == 2) & ~result.jobs["warmup"]]["waiting"].mean()
    assert found.measured == pytest.approx(measured)


def test_evenly_spaced_arrivals() -> None:
    frame = compared(one_slot(load=[{"name": "l", "constant": "0.8/s"}]))
    assert row(frame, "D/M/1", "waiting.mean").predicted == pytest.approx(DM1(0.8, 1.0).mean_waiting_time)
    bound = row(frame, "G/G/1 (Kingman's bound)", "waiting.mean")
    assert bound.predicted == pytest.approx(GG1(0.8, 1.0, 0.0, 1.0).kingman_bound)
    assert bound.kind == "upper bound"
    assert bound.measured < bound.predicted
    several = compared(scenario(load=[{"name": "l", "constant": "4/s"}]))
    corrected = GGc(4.0, 1.0, 5, 0.0, 1.0).corrected_mean_waiting_time
    found = row(several, "G/G/5 (Krämer and Langenbach-Belz)", "waiting.mean")
    assert found.predicted == pytest.approx(corrected)


def test_several_streams_of_arrivals() -> None:
    load = [{"name": "l", "constant": "2/s"}, {"name": "m", "poisson": "2/s"}]
    frame = compared(scenario(load=load))
    scv = theory.superposed_scv([2.0, 2.0], [0.0, 1.0], 0.8)
    found = row(frame, "G/G/5 (Allen-Cunneen)", "waiting.mean")
    assert found.predicted == pytest.approx(GGc(4.0, 1.0, 5, scv, 1.0).mean_waiting_time)
    # several Poisson streams are one
    merged = compared(scenario(load=[{"name": "l", "poisson": "1/s"}, {"name": "m", "poisson": "3/s"}]))
    assert kinds(merged) == {"M/M/5": "exact"}


def test_retries_of_exponential_service_are_more_visits() -> None:
    jobs = {"a": {"service": EXPONENTIAL, "errors": {"network": [0.5, 0.2]}}}
    played = scenario(jobs=jobs, queue={"attempts": 3}, load=[{"name": "l", "poisson": "2/s"}])
    frame = compared(played)
    assert kinds(frame) == {"M/M/5": "exact"}
    starts = 1 + 0.5 + 0.5 * 0.2
    model = MMc(2.0 * starts, 1.0, 5)
    assert row(frame, "M/M/5", "waiting.mean").predicted == pytest.approx(model.mean_waiting_time)
    assert row(frame, "M/M/5", "backlog.mean").predicted == pytest.approx(model.mean_queue_length)
    assert row(frame, "M/M/5", "utilisation").predicted == pytest.approx(2 * starts / 5)
    assert row(frame, "M/M/5", "throughput").predicted == pytest.approx(2 * (1 - 0.5 * 0.2 * 0.2))
    # after a backoff, a retry enters the queue when a worker next asks: first attempts go before it
    late = compared({**played, "queue": {"attempts": 3, "backoff": "2s"}})
    assert kinds(late) == {"M/M/5": "approximate"}
    assert "backoff" in row(late, "M/M/5", "waiting.mean").violated


def test_feedback() -> None:
    jobs = {"a": {"service": "1s", "errors": {"network": 0.3}}}
    frame = compared(one_slot("0.5/s", jobs=jobs, queue={"attempts": 1000, "backoff": "0s"}))
    model = BernoulliFeedback(0.5, 1.0, 0.3, 0.0)
    assert kinds(frame)["M/G/1 with feedback"] == "exact"
    found = row(frame, "M/G/1 with feedback", "waiting.mean")
    assert found.predicted == pytest.approx(model.mean_first_waiting_time)
    assert row(frame, "M/G/1 with feedback", "backlog.mean").predicted == pytest.approx(model.mean_queue_length)
    few = compared(one_slot("0.5/s", jobs=jobs, queue={"attempts": 2, "backoff": "0s"}))
    assert kinds(few)["M/G/1 with feedback"] == "approximate"
    assert "2 attempts" in row(few, "M/G/1 with feedback", "waiting.mean").violated


def test_producers() -> None:
    load = [{"name": "l", "closed": {"producers": 12, "think": {"gamma": {"mean": "2s", "cv": 0.5}}}}]
    frame, model = compared(scenario(load=load)), MachineRepair(12, 2.0, 1.0, 5)
    assert kinds(frame) == {"M/M/5//12": "exact", "capacity": "upper bound"}
    for figure, value in (
        ("waiting.mean", model.mean_waiting_time),
        ("waiting.p95", model.waiting_quantile(0.95)),
        ("throughput", model.throughput),
        ("utilisation", model.utilisation),
        ("backlog.mean", model.mean_queue_length),
    ):
        assert row(frame, "M/M/5//12", figure).predicted == pytest.approx(value)
    assert row(frame, "capacity", "throughput").predicted == pytest.approx(model.most_throughput)
    constant = compared(scenario(load=load, jobs={"a": {"service": "1s"}}))
    assert kinds(constant)["M/M/5//12"] == "approximate"
    # nobody thinks: all slots are always busy, whatever service is like
    busy = compared(scenario(load=[{"name": "l", "closed": {"producers": 12}}], jobs={"a": {"service": "1s"}}))
    assert kinds(busy)["M/M/5//12"] == "exact"
    assert row(busy, "M/M/5//12", "waiting.mean").measured == pytest.approx(7 / 5, rel=0.02)


def test_a_limiter() -> None:
    workers = {"concurrency": 50, "limiter": {"max": 10, "duration": "3s"}}
    played = scenario(workers=workers, load=[{"name": "l", "poisson": "3/s"}], jobs={"a": {"service": "100ms"}})
    played["duration"] = "8h"
    frame, model = compared(played), WindowLimiter(3.0, 10, 3.0)
    found = row(frame, "window limiter", "waiting.mean")
    assert (found.predicted, found.kind) == (pytest.approx(model.mean_waiting_time), "exact")
    assert abs(found.half_widths) < 2
    assert "shut" in why(frame, "M/D/c")
    # where slots bind, too, there are only bounds
    bound = compared({**played, "workers": {**workers, "concurrency": 4}, "jobs": {"a": {"service": EXPONENTIAL}}})
    assert "no formula is known" in why(bound, "window limiter")
    assert kinds(bound) == {"capacity": "upper bound"}


def test_a_limiter_that_is_never_shut_changes_nothing() -> None:
    frame = compared(scenario(workers={"concurrency": 5, "limiter": {"max": 1000, "duration": "10s"}}))
    assert kinds(frame) == {"M/M/5": "exact"}
    assert "the limiter was never shut" in frame["holds"].iloc[0]


def test_batches() -> None:
    frame = compared(scenario(load=[{"name": "l", "bulk": {"every": "2m", "size": 200}}]))
    model = BatchGGc(1 / 120, 200, 1.0, 5)
    found = row(frame, "G^X/G/5", "waiting.mean")
    assert found.predicted == pytest.approx(model.mean_waiting_time)
    assert found.measured == pytest.approx(found.predicted, rel=0.05)
    assert row(frame, "fluid", "waiting.mean").predicted == pytest.approx(found.predicted, rel=0.05)


def test_an_overload_is_a_fluid() -> None:
    frame = compared(scenario(load=[{"name": "l", "poisson": "6/s"}], duration="20m", warmup="0s"))
    assert "6 erlangs" in why(frame, "M/M/c")
    assert row(frame, "capacity", "throughput").predicted == pytest.approx(5.0)
    # 1 job per second more than the slots can do, for 1200 s
    backlog = row(frame, "fluid", "backlog.mean")
    assert backlog.predicted == pytest.approx(600, rel=0.01)
    assert backlog.measured == pytest.approx(600, rel=0.3)
    assert "no steady state" in backlog.note


def test_several_fleets_and_global_concurrency() -> None:
    workers = [{"name": "x", "count": 2, "concurrency": 2}, {"name": "y", "concurrency": 4}]
    frame = compared(scenario(workers=workers))
    assert row(frame, "M/M/8", "waiting.mean").predicted == pytest.approx(MMc(4.0, 1.0, 8).mean_waiting_time)
    limited = compared(scenario(workers=workers, queue={"concurrency": 5}))
    assert row(limited, "M/M/5", "waiting.mean").predicted == pytest.approx(MMc(4.0, 1.0, 5).mean_waiting_time)
    # utilisation is of all slots, as anywhere else
    assert row(limited, "M/M/5", "utilisation").predicted == pytest.approx(0.5)
    assert row(limited, "M/M/5", "utilisation").measured == pytest.approx(0.5, rel=0.1)


def test_last_come_first_served_has_the_same_mean() -> None:
    frame = compared(scenario(jobs={"a": {"service": EXPONENTIAL, "lifo": True}}))
    assert row(frame, "M/M/5", "waiting.mean").predicted == pytest.approx(MMc(4.0, 1.0, 5).mean_waiting_time)
    assert "waiting.p95" not in set(frame["figure"])


def test_delays_leave_poisson_arrivals_as_they_are() -> None:
    jobs = {"a": {"service": EXPONENTIAL, "delay": "10s"}, "b": {"service": EXPONENTIAL, "delay": "1m"}}
    frame = compared(scenario(jobs=jobs))
    assert kinds(frame) == {"M/M/5": "exact"}
    # the order is another one, which does not change the mean
    assert "waiting.p95" not in set(frame["figure"])
    even = compared(one_slot(load=[{"name": "l", "constant": "0.7/s"}], jobs=jobs))
    assert "delays that differ" in why(even, "D/M/1")


def test_the_measured_service_of_handlers() -> None:
    processor = Processor("own", concurrency=3)

    @processor.job("mail")
    async def mail(job: Job) -> None:
        import asyncio

        await asyncio.sleep(0.5 if job.number % 2 else 1.5)

    played = {
        "name": "own",
        "duration": "20m",
        "warmup": "1m",
        "load": [{"name": "l", "poisson": "2/s", "jobs": "mail"}],
    }
    result = queuesim.run(played, processor=processor)
    frame = result.theory()
    found = row(frame, "G/G/3 (Allen-Cunneen)", "waiting.mean")
    ended = result.attempts[(result.attempts["started"] >= 60) & result.attempts["ended"].notna()]["service"]
    model = GGc(2.0, ended.mean(), 3, 1.0, ended.var(ddof=0) / ended.mean() ** 2)
    assert found.predicted == pytest.approx(model.mean_waiting_time)
    assert "handlers are your own" in found.violated
    assert "not in the scenario" in why(frame, "fluid")


# -- What rules models out


STEADY = ("M/M/c", "M/D/c", "M/G/1", "G/G/c (Allen-Cunneen)", "M/M/c//N", "window limiter")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"faults": [{"worker.crash": {"at": "10m"}}]}, "faults: worker.crash"),
        ({"overdue": {"every": "10m", "tasks": 100}}, "scans for overdue tasks"),
        ({"load": [{"name": "l", "poisson": {"stages": [{"duration": "1h", "target": "4/s"}]}}]}, "load l changes"),
        ({"load": [{"name": "l", "poisson": "4/s", "duration": "10m"}]}, "load l is there for a part"),
        ({"load": [{"name": "l", "poisson": "4/s", "start": "10m"}]}, "load l is there for a part"),
        ({"load": [{"name": "l", "bulk": {"at": "1m", "size": 10}}]}, "load l adds all of its jobs at once"),
        (
            {"load": [{"name": "l", "poisson": "2/s"}, {"name": "b", "bulk": {"every": "1m", "size": 10}}]},
            "load b adds batches beside",
        ),
        (
            {"load": [{"name": "l", "poisson": "2/s"}, {"name": "c", "closed": {"producers": 2}}]},
            "load c has producers",
        ),
        ({"load": [{"name": "l", "poisson": "4/s"}, {"name": "b", "backlog": 5000}]}, "a backlog of 5,000 jobs"),
        (
            {"workers": [{"concurrency": 5}, {"name": "late", "concurrency": 5, "start": "10m"}]},
            "workers late start after",
        ),
        ({"jobs": {"a": {"service": "500ms", "blocking": "10ms"}}}, "block the event loop"),
        ({"load": [{"name": "l", "poisson": "5/s"}]}, "5 erlangs offered, and 5 slots"),
        (
            {"workers": {"concurrency": 5, "limiter": {"max": 10, "duration": "5s"}}},
            "4/s starts are needed, and the limiter allows 2/s",
        ),
    ],
)
def test_each_model_says_which_feature_rules_it_out(changes: dict[str, Any], reason: str) -> None:
    frame = compared(scenario(**{"duration": "15m", **changes}))
    for model in STEADY:
        assert reason in why(frame, model)
    assert set(frame["kind"]) <= {"upper bound", "lower bound", "approximate"}


def test_a_backlog_that_the_warm_up_outlasts_is_no_matter() -> None:
    frame = compared(scenario(load=[{"name": "l", "poisson": "4/s"}, {"name": "b", "backlog": 50}]))
    assert kinds(frame) == {"M/M/5": "exact"}


def test_if_no_model_applies_the_frame_is_empty_and_says_why() -> None:
    frame = compared(scenario(faults=[{"redis.outage": {"at": "10m", "for": "1s"}}], duration="20m"))
    assert len(frame) == 0
    assert not frame.models["applies"].any()
    text = str(frame)
    assert "No model" in text
    assert "faults: redis.outage" in text
    assert "faults: redis.outage" in frame._repr_html_()


def test_timeouts_and_overhead_make_exact_models_approximate() -> None:
    jobs = {"a": {"service": EXPONENTIAL, "timeout": "3s"}}
    frame = compared(one_slot(jobs=jobs))
    assert "run into their timeout" in row(frame, "M/G/1", "waiting.mean").violated
    assert kinds(frame)["M/G/1"] == "approximate"
    # cut at 3 s, the mean is 1 - e^-3
    assert row(frame, "M/G/1", "utilisation").predicted == pytest.approx(0.7 * (1 - math.exp(-3)), rel=0.02)
    slow = compared(scenario(overhead={"pickup": "20ms"}))
    assert kinds(slow)["M/M/5"] == "approximate"
    assert "pickup" in row(slow, "M/M/5", "waiting.mean").violated
    # a cost of each attempt is part of its service, which is not exponential any more
    costly = compared(one_slot(overhead={"attempt": "100ms"}))
    found = row(costly, "M/G/1", "waiting.mean")
    assert found.kind == "exact"
    assert found.predicted == pytest.approx(MG1(0.7, 1.1, 1 / 1.21).mean_waiting_time)


# -- How far a run is off


def test_the_interval_of_a_long_run_and_its_note_of_a_short_one() -> None:
    frame = compared(one_slot("0.5/s", duration="4h"))
    waiting = row(frame, "M/M/1", "waiting.mean")
    assert waiting.predicted == pytest.approx(MM1(0.5, 1.0).mean_waiting_time)
    assert waiting.half_width > 0
    assert waiting.half_widths == pytest.approx((waiting.measured - waiting.predicted) / waiting.half_width, rel=0.05)
    assert (frame["note"] == "").all()
    percentile = row(frame, "M/M/1", "waiting.p95")
    assert math.isnan(percentile.half_width)
    assert (percentile.half_widths > 0) == (percentile.measured > percentile.predicted)
    short = compared(one_slot("0.5/s", duration="10m", warmup="0s"))
    assert short["half_widths"].isna().all()
    assert short["note"].str.contains("no interval").all()
    assert "warm-up" in short["violated"].iloc[0]


@pytest.mark.parametrize("seed", range(5))
def test_exact_models_are_within_a_few_half_widths(seed: int) -> None:
    for played in (one_slot("0.5/s", duration="4h"), one_slot("0.5/s", duration="4h", jobs={"a": {"service": "1s"}})):
        frame = compared(played, seed=seed)
        exact = frame[frame["kind"] == "exact"]
        assert len(exact)
        # 95 % are within 1; of 50 figures, none is as far out as this
        assert (exact["half_widths"].abs() < 2.5).all()


def test_a_wrong_service_is_many_half_widths_off() -> None:
    # the run is of a slower service than the scenario says: a handler's attempts are 30 % longer
    result = queuesim.run(one_slot("0.5/s", duration="4h", jobs={"a": {"service": {"exponential": "1.3s"}}}))
    result.facts.definition["jobs"]["a"]["service"] = EXPONENTIAL
    assert row(result.theory(), "M/M/1", "waiting.mean").half_widths > 3


# -- Where results come from


def test_stored_results_say_the_same(tmp_path: Path) -> None:
    result = queuesim.run(scenario(duration="20m"))
    result.to_parquet(tmp_path)
    stored = queuesim.load(tmp_path)
    assert stored.facts.definition == result.facts.definition
    pd.testing.assert_frame_equal(pd.DataFrame(stored.theory()), pd.DataFrame(result.theory()))


def test_results_of_older_versions_do_not_know_their_scenario() -> None:
    result = queuesim.run(scenario(duration="5m", warmup="0s"))
    result.facts.definition = {}
    frame = result.theory()
    assert len(frame) == 0
    assert "does not say which scenario" in str(frame)


def test_secrets_are_not_stored() -> None:
    played = scenario(
        duration="5m",
        warmup="0s",
        jobs={"a": {"service": "10ms", "data": {"token": "secret"}}},
        overdue={"every": "1h", "database": {"url": "postgresql://user:secret@host/db"}},
    )
    result = queuesim.run(played)
    assert "secret" not in str(result.facts.definition)
    assert result.facts.definition["jobs"]["a"] == {"service": {"constant": "10ms"}}


def test_measured_times_that_are_gone_since(tmp_path: Path) -> None:
    times = tmp_path / "times.txt"
    times.write_text("0.5\n1.5\n")
    empirical = {"empirical": {"file": str(times), "unit": "s"}}
    result = queuesim.run(one_slot("0.5/s", jobs={"a": {"service": empirical}}))
    model = MG1(0.5, 1.0, 0.25)
    known = row(result.theory(), "M/G/1", "waiting.mean")
    assert (known.predicted, known.kind) == (pytest.approx(model.mean_waiting_time), "exact")
    times.unlink()
    gone = row(result.theory(), "M/G/1", "waiting.mean")
    assert (gone.predicted, gone.kind) == (pytest.approx(model.mean_waiting_time, rel=0.1), "approximate")


def test_both_engines_say_the_same() -> None:
    pytest.importorskip("numba")
    frames = [compared(scenario(duration="20m"), engine=engine) for engine in ("virtual", "compiled")]
    pd.testing.assert_frame_equal(*(pd.DataFrame(frame) for frame in frames))


@pytest.mark.parametrize(
    "file",
    [
        "bullmq-steady",
        "bullmq-limited",
        "task-processing",
        "overdue-two-schedulers",
        "check/closed-load-above-the-slots",
    ],
)
def test_the_repositorys_scenarios(file: str) -> None:
    result = queuesim.run(ROOT / "scenarios" / f"{file}.yaml", progress=False)
    assert isinstance(result, Result)
    frame = result.theory()
    assert isinstance(frame, TheoryFrame)
    assert (frame.models["why"] != "").all()
    # a bound may be passed by chance, but not by much
    lower, upper = frame[frame["kind"] == "lower bound"], frame[frame["kind"] == "upper bound"]
    assert (lower["measured"] >= 0.98 * lower["predicted"]).all()
    assert (upper["measured"] <= 1.02 * upper["predicted"]).all()


def drawn(seed: int) -> dict[str, Any]:
    """A random scenario, two out of three without faults, one of them with steady loads alone."""
    played = random_scenario(random.Random(seed))
    if seed % 3:
        del played["faults"]
        played.pop("overdue", None)
        played |= {"duration": 600.0, "warmup": 60.0}
    if seed % 3 == 2:
        steady = [entry for entry in played["load"] if not {"bulk", "backlog", "closed"} & set(entry)]
        played["load"] = steady or [{"name": "users", "poisson": 2.0}]
    return played


def test_random_scenarios_have_models_or_reasons_and_bounds_hold() -> None:
    found: set[str] = set()
    for seed in range(60):
        frame = compared(drawn(seed), progress=False)
        assert set(frame["model"]) <= set(frame.models["model"][frame.models["applies"]])
        assert (frame.models["why"] != "").all()
        assert frame["predicted"].notna().all()
        assert str(frame)
        assert frame._repr_html_()
        lower, upper = frame[frame["kind"] == "lower bound"], frame[frame["kind"] == "upper bound"]
        # bounds are of expected values
        assert not (lower["measured"] < 0.9 * lower["predicted"]).any(), seed
        assert not (upper["measured"] > 1.1 * upper["predicted"]).any(), seed
        found |= set(frame["kind"])
    assert found >= {"approximate", "upper bound", "lower bound"}


def test_a_limiter_of_some_workers_limits_nothing() -> None:
    workers = [
        {"name": "slow", "concurrency": 2, "limiter": {"max": 1, "duration": "10s"}},
        {"name": "fast", "concurrency": 3},
    ]
    frame = compared(scenario(workers=workers, load=[{"name": "l", "poisson": "2/s"}], duration="20m"))
    assert "only some of the workers" in why(frame, "window limiter")
    assert (frame["kind"] != "exact").all()


# -- Views


def test_views_escape_what_comes_from_files() -> None:
    played = scenario(
        duration="10m", load=[{"name": "<b>\x1b[31m", "poisson": {"stages": [{"duration": "10m", "target": "1/s"}]}}]
    )
    frame = compared(played)
    assert "\x1b" not in str(frame)
    assert "<b>\\x1b" in str(frame)
    assert "<b>" not in frame.models["why"].iloc[0] or "&lt;b&gt;" in frame._repr_html_()


def test_what_is_taken_out_is_plain_pandas() -> None:
    frame = compared(scenario(duration="10m"))
    assert type(frame[frame["figure"] == "waiting.mean"]) is pd.DataFrame
    assert frame["predicted"].dtype == "float64"
    assert "M/M/5 (exact)" in str(frame)
    assert "<table" in frame._repr_html_()
