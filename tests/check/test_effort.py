"""What no machine can play is refused within seconds, and what can be played is not."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

import queuesim
from queuesim.check.check import examine
from queuesim.cli.app import app
from queuesim.experiments.sweep import sweep
from queuesim.runs.effort import MOST_SECONDS, Failures, TooLargeError, effort, refuse_many, size_checks
from queuesim.runs.handlers import build_processor, job_options
from queuesim.scenario.load import Bulk
from queuesim.scenario.loading import ScenarioError, load_scenario
from queuesim.scenario.model import Scenario
from queuesim.simulation.random import Streams

ROOT = Path(__file__).parents[2]
BILLION = 1_000_000_000
SMALL: dict[str, Any] = {
    "name": "small",
    "duration": 60.0,
    "jobs": {"a": {"service": 0.1}},
    "load": [{"name": "l", "constant": 1.0}],
}


def with_load(**load: Any) -> dict[str, Any]:
    return {**SMALL, "load": [{"name": "l", **load}]}


CANT_BE_PLAYED = {
    "concurrency": {**SMALL, "workers": {"concurrency": BILLION}},
    "backlog": with_load(backlog=BILLION),
    "bulk": with_load(bulk={"at": 1.0, "size": BILLION}),
    "bulks": {**with_load(bulk={"every": 1e-6, "size": 1}), "duration": 1e9},
    "bulks beyond whole floats": {**with_load(bulk={"every": 1e-12, "size": 1}), "duration": 1e12},
    "rate": with_load(poisson=1e9),
    "rate near the largest float": with_load(constant=1e300),
    "ramp": with_load(poisson={"stages": [{"duration": 60.0, "target": 1e9}]}),
    "years": {**SMALL, "duration": 1e15},
    "years at a high rate": {**with_load(constant=1000.0), "duration": 3e8},
    "producers": with_load(closed={"producers": BILLION}),
    "closed load for years": {
        **with_load(closed={"producers": 1000}),
        "duration": 3e8,
        "jobs": {"a": {"service": 0.001}},
        "workers": {"concurrency": 1000},
    },
    "attempts": {
        **with_load(backlog=10),
        "drain": True,
        "queue": {"attempts": BILLION},
        "jobs": {"a": {"service": 0.001, "errors": {"network": 1.0}}},
    },
    "overdue tasks": {**SMALL, "overdue": {"every": 10.0, "tasks": BILLION}},
    "scans": {**SMALL, "overdue": {"cron": "* * * * * *", "tasks": 1}, "duration": 3e9},
    "faults": {**SMALL, "faults": [{"worker.crash": {"every": 1e-9}}], "duration": 1000.0},
    "burst": {**SMALL, "faults": [{"producer.burst": {"at": 1.0, "size": BILLION}}]},
    "scale": {**SMALL, "faults": [{"worker.scale": {"at": 1.0, "to": BILLION}}]},
    "drain for years": {
        **SMALL,
        "drain": True,
        "jobs": {"a": {"service": 0.1, "delay": 1e9}},
        "workers": {"stalled_interval": 0.01},
    },
    "looks for stalled jobs": {**SMALL, "workers": {"stalled_interval": 1e-9}},
}


@pytest.mark.parametrize("scenario", CANT_BE_PLAYED.values(), ids=CANT_BE_PLAYED)
def test_what_no_machine_can_play_is_refused(scenario: dict[str, Any]) -> None:
    with pytest.raises(TooLargeError, match=r"at least .* to play and .* of memory; the limits are 1d and 64 GB"):
        queuesim.run(scenario)


def test_a_drain_with_a_limit_does_not_wait_for_longer_delays() -> None:
    scenario = {**SMALL, "drain": 10.0, "jobs": {"a": {"service": 0.1, "delay": 1e9}}}
    assert effort(Scenario.model_validate(scenario)).seconds < 1


def test_a_delay_that_no_broker_takes_is_refused_by_its_key() -> None:
    with pytest.raises(ValidationError, match=r"a job can be delayed by .* at most"):
        queuesim.run({**SMALL, "jobs": {"a": {"service": 0.1, "delay": 1e15}}})


def test_so_is_a_whole_number_beyond_all_floats() -> None:
    with pytest.raises(TooLargeError, match=r"more than 1,000,000,000,000,000,000 slots: .* at least 1,000 years"):
        queuesim.run({**SMALL, "workers": {"concurrency": 10**400}})


@pytest.mark.parametrize("command", ["validate", "check", "run"])
def test_commands_refuse_with_file_line_and_path(command: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_text("name: huge\nduration: 1h\njobs: {a: {service: 80ms}}\nload:\n- name: l\n  poisson: 1000000000/s\n")
    result = CliRunner().invoke(app, [command, str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"{path}:6: load[0].poisson: 3,600,000,000,000 jobs: the run would take at least 417 days to play and"
    )
    assert "--no-limit" in result.stderr


def test_the_limits_can_be_lifted(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(
        "name: long\nduration: 200000d\njobs: {a: {service: 80ms}}\nload: [{name: l, backlog: 1}]\n"
        "workers: {stalled_interval: 1s, lock_duration: 4s}\n"
    )
    with pytest.raises(ScenarioError, match="the limits are"):
        load_scenario(path, checks=size_checks(False))
    assert load_scenario(path, checks=size_checks(True)).duration == 200_000 * 86400
    assert CliRunner().invoke(app, ["validate", str(path)]).exit_code == 2
    assert CliRunner().invoke(app, ["validate", "--no-limit", str(path)]).exit_code == 0


def test_a_run_above_the_limits_is_played_if_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesim.runs.effort.MOST_SECONDS", 1e-9)
    with pytest.raises(TooLargeError):
        queuesim.run(SMALL)
    assert len(queuesim.run(SMALL, no_limit=True).jobs) == 60
    with pytest.raises(TooLargeError):
        sweep(SMALL, {"workers.concurrency": [1]})
    assert len(sweep(SMALL, {"workers.concurrency": [1]}, no_limit=True)) == 1


def test_many_workers_are_refused_before_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "workers.yaml"
    path.write_text(
        "name: w\nduration: 1h\njobs: {a: {service: 80ms}}\nload: [{name: l, backlog: 1}]\n"
        "workers: {count: 1000000000}\nfaults: [{worker.crash: {at: 1m, worker: worker-7}}]\n"
    )
    with pytest.raises(ScenarioError, match=r":5: workers\.count: .*1,000,000"):
        load_scenario(path)


def test_a_message_does_not_list_thousands_of_workers(tmp_path: Path) -> None:
    path = tmp_path / "workers.yaml"
    path.write_text(
        "name: w\nduration: 1h\njobs: {a: {service: 80ms}}\nload: [{name: l, backlog: 1}]\n"
        "workers: {count: 50000}\nfaults: [{worker.crash: {at: 1m, worker: wroker-7}}]\n"
    )
    with pytest.raises(ScenarioError, match='did you mean "worker-7"') as caught:
        load_scenario(path)
    assert len(str(caught.value)) < 600


def test_a_sweep_of_too_many_runs_is_refused() -> None:
    with pytest.raises(TooLargeError, match="1,000,000,000,000 runs would take at least"):
        sweep(SMALL, {"workers.concurrency": range(1, BILLION + 1)}, seeds=1000)
    with pytest.raises(TooLargeError, match="1,000,000,000 runs"):
        sweep(SMALL, {"workers.concurrency": [1]}, seeds=BILLION)


def test_a_sweep_is_refused_before_it_begins_if_one_of_its_runs_is_too_large() -> None:
    with pytest.raises(TooLargeError, match=r"load\[0\]\.constant"):
        sweep(SMALL, {"load": [1, 1e9]}, progress=lambda *_: pytest.fail("it began"))


def test_a_soak_of_too_many_schedules_is_refused() -> None:
    for options in (["--schedules", "1000000000"], ["--schedules", "10", "--duration", "100000d"]):
        result = CliRunner().invoke(app, ["soak", *options])
        assert result.exit_code == 2, result.output
        assert "schedules would take at least" in result.stderr


def test_a_live_run_is_as_long_as_it_says() -> None:
    scenario = Scenario.model_validate({**SMALL, "duration": 3e6})
    assert not effort(scenario).too_large
    assert effort(scenario, live=True).too_large


def test_what_is_long_but_can_be_played_is_not_refused() -> None:
    refuse_many(1000, 1.0, "runs")
    for scenario in (
        {**SMALL, "duration": 10 * 365 * 86400.0, "load": [{"name": "l", "constant": 1e-4}]},
        with_load(backlog=10_000_000),
        {**SMALL, "queue": {"attempts": BILLION, "backoff": 1.0}},
        {**SMALL, "workers": {"count": 10_000, "limiter": {"max": BILLION, "duration": 1e-6}}},
        # few attempts are reached before the end: the pauses double
        {
            **with_load(backlog=1000),
            "queue": {"attempts": BILLION, "backoff": {"type": "exponential", "delay": 0.001}},
            "jobs": {"a": {"service": 1e-6, "errors": {"network": 1.0}}},
            "workers": {"concurrency": 1000},
        },
    ):
        assert not effort(Scenario.model_validate(scenario)).too_large


def test_no_scenario_of_the_repository_is_near_the_limits() -> None:
    for path in sorted(ROOT.glob("scenarios/*.yaml")):
        assert effort(load_scenario(path)).seconds < MOST_SECONDS / 1000, path


def test_the_estimate_is_below_what_a_run_takes() -> None:
    """Memory, as the operating system measures it, in a process of its own."""
    program = (
        "import os, queuesim\n"
        "from pathlib import Path\n"
        "def used(): return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')\n"
        "s = {'name': 'x', 'duration': 10.0, 'jobs': {'a': {'service': 0.01}}}\n"
        "queuesim.run({**s, 'load': [{'name': 'l', 'backlog': 10}]}, progress=False)\n"
        "before = used()\n"
        "s = {**s, 'load': [{'name': 'l', 'backlog': 60_000}], 'workers': {'concurrency': 100}}\n"
        "r = queuesim.run(s, engine='virtual')\n"
        "print(r.facts.wall, used() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wall, memory = map(float, done.stdout.split())
    found = effort(
        Scenario.model_validate({**with_load(backlog=60_000), "duration": 10.0, "workers": {"concurrency": 100}})
    )
    assert wall / 20 < found.seconds < wall
    assert memory / 10 < found.bytes < memory


@pytest.mark.parametrize("every", [0.1, 0.3, 1 / 3, 1.0, 7.0, 1e-3])
@pytest.mark.parametrize("offset", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("until", [None, 0.7, 2.1, 6.9, 7.0, 100.0])
@pytest.mark.parametrize("duration", [0.1, 0.7, 1.0, 2.1, 7.0, 7.1])
def test_bulks_are_counted_as_they_are_listed(
    every: float, offset: float, until: float | None, duration: float
) -> None:
    if until is not None and until < offset:
        return
    bulk = Bulk(size=1, every=every, offset=offset, until=until)
    times = [offset + i * every for i in range(math.ceil(8 / every) + 2)]
    expected = [time for time in times if time < duration and (until is None or time <= until)]
    assert bulk.times(duration) == expected
    assert bulk.count(duration) == len(expected)


def test_check_answers_for_windows_of_a_microsecond() -> None:
    """A list of all windows would have a billion elements."""
    thresholds = [{"latency": "p95 < 0.05s", "over": 1e-6}]
    scenario = Scenario.model_validate({**SMALL, "duration": 6000.0, "thresholds": thresholds})
    assert [finding.name for finding in examine(scenario)] == ["threshold out of reach"]


@pytest.mark.parametrize(
    ("job", "attempts", "share"),
    [
        ({}, 3, 1.0),
        ({"errors": {"network": 0.2}}, 1, 0.8),
        ({"errors": {"network": 0.2}}, 3, 1 - 0.2**3),
        ({"errors": {"network": [0.5, 0.2]}}, 3, 1 - 0.5 * 0.2 * 0.2),
        # validation errors are not retried
        ({"errors": {"validation": 0.1, "network": 0.2}}, 2, 0.7 + 0.2 * 0.7),
        ({"errors": {"network": 0.3}}, 1_000_000, 1.0),
        ({"errors": {"network": 0.999}}, 5_000, 1 - 0.999**5_000),
        ({"poison": 0.25, "errors": {"network": 0.5}}, 2, 0.75 * 0.75),
    ],
)
def test_the_share_of_jobs_that_complete(job: dict[str, Any], attempts: int, share: float) -> None:
    scenario = Scenario.model_validate(
        {**SMALL, "jobs": {"a": {"service": 0.1, **job}}, "queue": {"attempts": attempts}}
    )
    processor, options = build_processor(scenario, None, Streams(0)), job_options(scenario, None)["a"]
    failures = Failures(scenario.job("a"), options, processor, 0.0, unknown=False)
    assert failures.completed() == pytest.approx(share)
