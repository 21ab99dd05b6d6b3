"""Results in Parquet: what comes back is what was written, and what is no result is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from metrics_script import NAN, Script

from queuesim.extras import MissingExtraError
from queuesim.results.frames import FRAMES
from queuesim.results.recording import CheckRow, FaultRow, ScanRow, Stop, StopReason
from queuesim.results.result import Result, load
from queuesim.results.storage import StoredResultError

pytest.importorskip("pyarrow")


def full() -> Script:
    script = Script(50.0, warmup=1.0, limiter=(3, 10.0), epoch=1.75e9)
    job = script.job(1.0, name="sms", delay=2.0, id="näme ✓")
    script.attempt(job, 5.0, 6.0, "retried", error=("DatabaseError", "Database", True), message="gone", backoff=3.0)
    script.attempt(job, 9.5, 10.0)
    script.job(2.0, left="waiting")
    script.event(1.0, "added", 1)
    script.event(5.0, "active", 1, previous="waiting")
    script.window(5.0, 15.0, 3)
    script.checks.append(CheckRow("latency.p95 < 30s", False, NAN, "< 30s", at=12.0, detail="a detail"))
    script.checks.append(CheckRow("lost == 0", True, 0.0, "== 0"))
    script.checks.append(CheckRow("no job lost", False, 1.0, "0", detail="job 2", kind="oracle"))
    script.faults.append(FaultRow("redis.outage", "", 3.0, 4.5, "for 1.5 s"))
    script.faults.append(FaultRow("worker.crash", "worker-1", 40.0, NAN))
    script.faults.append(FaultRow("redis.failover", "", 50.0, 51.0, "the last 2s are lost", 2.0))
    script.scans.append(ScanRow(1, "cron", 10.0, 12.0, 3, 250, 240, 10, 30.0))
    script.scans.append(ScanRow(2, "manual", 49.0, NAN, 1, 100, 100, 0, NAN))
    return script


@pytest.mark.parametrize("script", [full(), Script(), Script(0.0, limiter=(1, 0.5))], ids=["full", "empty", "no time"])
def test_round_trip(script: Script, tmp_path: Path) -> None:
    result = Result(script.recording())
    result.to_parquet(tmp_path / "runs" / "one")
    again = load(tmp_path / "runs" / "one")
    assert again.facts == result.facts
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(result, name), getattr(again, name), check_categorical=True)
    pd.testing.assert_frame_equal(result.timeline(5), again.timeline(5))
    assert repr(again.summary()) == repr(result.summary())  # a NaN equals no NaN, but reads the same
    assert again.ok is result.ok


def test_a_loaded_result_can_be_written_again(tmp_path: Path) -> None:
    Result(full().recording()).to_parquet(tmp_path)
    first = load(tmp_path)
    first.to_parquet(tmp_path)
    pd.testing.assert_frame_equal(first.jobs, load(tmp_path).jobs)


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "facts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StoredResultError, match="no such directory"):
        load(tmp_path / "nowhere")


def test_a_foreign_directory(tmp_path: Path) -> None:
    with pytest.raises(StoredResultError, match=r"no facts\.json"):
        load(tmp_path)
    (tmp_path / "facts.json").write_text('{"format": "something else"}')
    with pytest.raises(StoredResultError, match="no queuesim result"):
        load(tmp_path)
    (tmp_path / "facts.json").write_text("facts, facts")
    with pytest.raises(StoredResultError, match="not JSON"):
        load(tmp_path)


@pytest.mark.parametrize(("version", "advice"), [(0, "run the scenario again"), (None, "run"), (4, "a newer queuesim")])
def test_another_version(tmp_path: Path, version: int | None, advice: str) -> None:
    Result(full().recording()).to_parquet(tmp_path)
    rewrite(tmp_path, version=version)
    with pytest.raises(StoredResultError, match=rf"version {version} of.* reads versions 1 to 3: {advice}"):
        load(tmp_path)


def test_version_1_had_neither_scans_nor_faults_nor_kinds_of_checks() -> None:
    """The directory was written by the queuesim of that version: the same run as `full`."""
    old, new = load(Path(__file__).parent / "data" / "version-1"), Result(full().recording())
    assert len(old.overdue) == len(old.faults) == 0
    assert list(old.checks["kind"]) == ["threshold", "threshold"]
    for name in FRAMES:
        assert list(getattr(old, name).columns) == list(getattr(new, name).columns)
        assert [str(kind) for kind in getattr(old, name).dtypes] == [str(kind) for kind in getattr(new, name).dtypes]
    for name in ("jobs", "attempts", "events", "limiter"):
        pd.testing.assert_frame_equal(getattr(old, name), getattr(new, name))
    pd.testing.assert_frame_equal(old.checks, new.checks[:2])


@pytest.mark.parametrize("reason", StopReason)
def test_why_a_run_stopped(tmp_path: Path, reason: StopReason) -> None:
    stopped = Stop(reason, 12.5, "a detail")
    Result(Script(stopped=stopped).recording()).to_parquet(tmp_path)
    assert load(tmp_path).facts.stopped == stopped


@pytest.mark.parametrize(
    ("sentence", "stopped"),
    [
        ("", None),
        ("interrupted at 3 s", Stop(StopReason.INTERRUPTED, None, "at 3 s")),
        ("no progress since 30 s", Stop(StopReason.NO_PROGRESS, None, "since 30 s")),
        (
            "deadlock at 5 s: all wait",
            Stop(StopReason.DEADLOCK, None, "at 5 s: all wait"),
        ),
    ],
)
def test_version_2_had_a_sentence_of_it(tmp_path: Path, sentence: str, stopped: Stop | None) -> None:
    Result(full().recording()).to_parquet(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())["facts"] | {"stopped": sentence}
    rewrite(tmp_path, facts=facts, sha256=None)
    assert load(tmp_path).facts.stopped == stopped


def test_damage(tmp_path: Path) -> None:
    Result(full().recording()).to_parquet(tmp_path)
    (tmp_path / "jobs.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoredResultError, match=r"jobs\.parquet can't be read"):
        load(tmp_path)
    (tmp_path / "jobs.parquet").unlink()
    with pytest.raises(StoredResultError, match=r"jobs\.parquet can't be read"):
        load(tmp_path)
    rewrite(tmp_path, facts={"scenario": "x"})
    with pytest.raises(StoredResultError, match="damaged"):
        load(tmp_path)


def test_a_frame_that_lacks_a_column(tmp_path: Path) -> None:
    result = Result(full().recording())
    result.to_parquet(tmp_path)
    result.jobs.drop(columns="latency").to_parquet(tmp_path / "jobs.parquet", index=False)
    rewrite(tmp_path, sha256=None)
    with pytest.raises(StoredResultError, match="latency"):
        load(tmp_path)


def test_an_interrupted_write_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result(full().recording())
    result.to_parquet(tmp_path)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full_disk)
    with pytest.raises(OSError, match="no space"):
        result.to_parquet(tmp_path)
    with pytest.raises(StoredResultError, match=r"no facts\.json"):
        load(tmp_path)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install -c constraints.txt -e '\.\[parquet\]'"):
        Result(full().recording()).to_parquet(tmp_path)


# -- other libraries that read Parquet


@pytest.mark.parametrize("name", FRAMES)
def test_polars_reads_and_writes_each_frame_without_loss(tmp_path: Path, name: str) -> None:
    polars = pytest.importorskip("polars")
    result = Result(full().recording())
    result.to_parquet(tmp_path)
    read = polars.read_parquet(tmp_path / f"{name}.parquet")
    own = getattr(result, name)
    assert read.columns == list(own.columns)
    for column in own:
        missing = read[column].is_null() | (
            read[column].is_nan().fill_null(False) if read[column].dtype.is_float() else False
        )
        assert missing.to_list() == own[column].isna().to_list(), column
        told = [value for value, lacks in zip(read[column].to_list(), missing, strict=True) if not lacks]
        assert told == own[column].dropna().tolist(), column
    # and back: what polars wrote is a result again, once the checksums of the old files are gone
    rewrite(tmp_path, sha256=None)
    read.write_parquet(tmp_path / f"{name}.parquet")
    again = getattr(load(tmp_path), name)
    pd.testing.assert_frame_equal(again, own, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("name", FRAMES)
def test_duckdb_reads_each_frame_without_loss(tmp_path: Path, name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    result = Result(full().recording())
    result.to_parquet(tmp_path)
    own = getattr(result, name)
    with duckdb.connect() as connection:
        read = connection.sql(f"SELECT * FROM '{tmp_path / name}.parquet'")
        assert read.columns == list(own.columns)
        rows = read.fetchall()
    assert len(rows) == len(own)
    for place, column in enumerate(own):
        told = [row[place] for row in rows if row[place] is not None and row[place] == row[place]]
        assert told == own[column].dropna().tolist(), column


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duration", float("nan")),
        ("duration", "long"),
        ("asked", None),
        ("warmup", [1]),
        ("wall", float("inf")),
        ("workers", 1.5),
        ("seed", True),
        ("scenario", 3),
        ("epoch", -1),
    ],
)
def test_facts_of_the_wrong_kind_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    Result(full().recording()).to_parquet(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())["facts"] | {name: value}
    rewrite(tmp_path, facts=facts)
    with pytest.raises(StoredResultError, match=rf"facts\.json is damaged \({name} is "):
        load(tmp_path)


def test_facts_that_were_changed_are_refused(tmp_path: Path) -> None:
    Result(full().recording()).to_parquet(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())["facts"] | {"seed": 12345}
    rewrite(tmp_path, facts=facts)
    with pytest.raises(StoredResultError, match="its facts are not those that were written"):
        load(tmp_path)
    rewrite(tmp_path, sha256=None)
    assert load(tmp_path).facts.seed == 12345, "results without checksums can still be read"


def test_a_frame_of_another_run_is_refused(tmp_path: Path) -> None:
    Result(full().recording()).to_parquet(tmp_path / "a")
    (tmp_path / "a" / "jobs.parquet").write_bytes((tmp_path / "a" / "attempts.parquet").read_bytes())
    with pytest.raises(StoredResultError, match=r"jobs\.parquet can't be read: it is not the file that was written"):
        load(tmp_path / "a")


def test_deeply_nested_facts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text("[" * 100_000)
    with pytest.raises(StoredResultError, match="is not JSON"):
        load(tmp_path)
