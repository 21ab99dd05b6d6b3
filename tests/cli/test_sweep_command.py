"""``queuesim sweep``: tables, files, pictures, and Ctrl-C with a cache."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_table_with_a_row_a_combination(small: Path, invoke: Command) -> None:
    done = invoke("sweep", small, "--set", "workers.concurrency=1..3", "--replications", 2)
    assert (done.returncode, done.stderr) == (0, "")
    rows = done.stdout.splitlines()
    assert [sum(row.split()[:1] == [str(value)] for row in rows) for value in (1, 2, 3)] == [1, 1, 1]
    assert "±" in done.stdout
    assert "2 of 2" in done.stdout


def test_differences_from_a_base(small: Path, invoke: Command) -> None:
    done = invoke(
        *("sweep", small, "--set", "load=1,2", "--base", "load=1", "--measure", "throughput", "--replications", 3)
    )
    assert done.returncode == 0
    table = done.stdout.partition("differences from load 1:")[2]
    assert "+" in table
    assert "*" in table


def test_json_and_files(small: Path, invoke: Command) -> None:
    options = ("--set", "load=1,2", "--replications", 2, "--measure", "throughput")
    told = json.loads(invoke("sweep", small, *options, "--json", "--base", "load=2").stdout)
    assert [each["load"] for each in told["runs"]] == [1, 1, 2, 2]
    assert [each["load"] for each in told["intervals"]] == [1, 2]
    assert [each["load"] for each in told["differences"]] == [1]
    for name in ("runs.csv", "runs.parquet"):
        done = invoke("sweep", small, *options, "--quiet", "-o", name)
        assert (done.returncode, done.stdout) == (0, "")
    csv, parquet = pd.read_csv("runs.csv"), pd.read_parquet("runs.parquet")
    pd.testing.assert_frame_equal(csv, parquet)
    assert list(parquet["throughput"]) == [each["throughput"] for each in told["runs"]]


def test_pictures(small: Path, invoke: Command) -> None:
    options = ("--set", "load=1,2", "--replications", 2, "--quiet")
    assert invoke("sweep", small, *options, "--plot", "one.png").returncode == 0
    assert Path("one.png").read_bytes().startswith(b"\x89PNG")
    assert invoke("sweep", small, *options, "--set", "workers.count=1,2", "--plot", "two.html").returncode == 0
    page = Path("two.html").read_text()
    assert "<svg" in page
    assert "<table" in page


LONG = """\
name: long
duration: 20m
workers: {concurrency: 5}
jobs: {mail: {service: {exponential: 500ms}}}
load: [{name: users, poisson: 8/s}]
faults: [{worker.crash: {at: 1m}}]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_ctrl_c_ends_it_at_once_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("long.yaml").write_text(LONG)
    options = ["sweep", "long.yaml", "--set", "workers.count=1..20", "--cache", "cache", *processes]
    command = [sys.executable, "-W", "error", "-m", "queuesim", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not cached():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    told, said = process.communicate(timeout=30)
    assert (process.returncode, told, said) == (130, "", "aborted\n")
    assert 0 < cached() < 200


def cached() -> int:
    file = Path("cache/runs.sqlite")
    if not file.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            found: int = database.execute("SELECT count(*) FROM runs").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    return found
