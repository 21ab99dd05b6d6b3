"""The soak: what it draws, what it counts, and the command that it prints."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from queuesim.cli.app import app
from queuesim.core.job import Backoff
from queuesim.scenario.model import Scenario
from queuesim.testing.shrinking import shrink
from queuesim.testing.soak import drawn, play_on, soak


def described(number: int) -> dict[str, Any]:
    return drawn(9, number, 60.0)


FEATURES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "short locks": lambda s: any("lock_duration" in workers for workers in s["workers"]),
    "several kinds of workers": lambda s: len(s["workers"]) > 1,
    "the queue's concurrency": lambda s: "concurrency" in s["queue"],
    "the queue's rate limit": lambda s: "rate_limit" in s["queue"],
    "retention": lambda s: "keep" in s["queue"],
    "no dead letters": lambda s: s["queue"].get("dead_letter") is False,
    "lifo": lambda s: any(job.get("lifo") for job in s["jobs"].values()),
    "blocking": lambda s: any("blocking" in job for job in s["jobs"].values()),
    "timeouts": lambda s: any("timeout" in job for job in s["jobs"].values()),
    "closed": lambda s: any("closed" in load for load in s["load"]),
    "bursts": lambda s: any("bulk" in load for load in s["load"]),
    "backlogs": lambda s: any("backlog" in load for load in s["load"]),
    "overdue scans": lambda s: "overdue" in s,
    "handlers that limit": lambda s: any("limited" in load.get("jobs", {}) for load in s["load"]),
    "handlers that put off": lambda s: any("postponed" in load.get("jobs", {}) for load in s["load"]),
    "deduplication": lambda s: any("unique" in load.get("jobs", {}) for load in s["load"]),
}


def test_every_scenario_is_valid_and_every_feature_is_drawn() -> None:
    scenarios = [described(number) for number in range(200)]
    for scenario in scenarios:
        Scenario.model_validate(scenario)
    missing = [name for name, has in FEATURES.items() if not any(has(scenario) for scenario in scenarios)]
    assert missing == []


def test_smaller_scenarios_are_valid_and_keep_failing() -> None:
    """A shrink to nothing but what fails: here, a type of jobs that only a stock load has."""
    scenario = next(s for n in range(100) if "processor" in (s := described(n)) and len(s["jobs"]) > 1)

    def fails(smaller: dict[str, Any]) -> bool:
        Scenario.model_validate(smaller)
        return any(entry["name"] == "stock" for entry in smaller["load"])

    small = shrink(scenario, fails)
    assert len(small["load"]) == 1
    assert small["faults"] == []


def test_a_crash_is_counted_and_does_not_end_the_campaign(tmp_path: Path) -> None:
    def play(scenario: dict[str, Any]) -> Any:
        if scenario["name"].startswith("soak-3-1"):
            raise IndexError("an oracle's own fault")
        return play_on("sim", shuffle=False)(scenario)

    campaigns = list(soak(3, 3, 10.0, directory=tmp_path, play=play))
    last = campaigns[-1]
    assert (last.runs, last.crashes, last.violations["crash: IndexError"]) == (3, 1, 1)
    (found,) = last.found
    assert found.replays
    assert found.path.is_file()


def test_the_share_of_time_that_each_oracle_judged(tmp_path: Path) -> None:
    last = list(soak(4, 11, 10.0, directory=tmp_path))[-1]
    assert last.simulated > 0
    assert last.judged["no job lost"] == pytest.approx(last.simulated)
    assert all(0 <= seconds <= last.simulated * (1 + 1e-9) for seconds in last.judged.values())


@pytest.mark.parametrize(
    "options", [[], ["--shuffle"], ["--backend", "fakeredis"]], ids=["sim", "shuffled", "fakeredis"]
)
def test_the_command_that_it_prints_replays(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backoff that is twice as long as it should be, on every backend."""
    seconds = Backoff.seconds
    monkeypatch.setattr(Backoff, "seconds", lambda self, made, rng: 2 * seconds(self, made, rng) + 0.1)
    command = ["soak", "--schedules", "3", "--duration", "10s", "--seeds", "21-23", "-q", "-o", str(tmp_path), *options]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 1, told.output
    replays = [line.removeprefix("replay: ") for line in told.output.splitlines() if line.startswith("replay: ")]
    assert replays
    assert "not deterministic" not in told.output
    words = shlex.split(replays[0])
    assert words[:2] == ["queuesim", "run"]
    again = CliRunner().invoke(app, [*words[1:], "--quiet"])
    assert again.exit_code == 1
    assert "backoff to the millisecond failed" in again.output


@pytest.mark.parametrize("seeds", ["5", "9-3", "a-b", "-1-4"])
def test_a_range_of_seeds_that_is_none(seeds: str) -> None:
    told = CliRunner().invoke(app, ["soak", f"--seeds={seeds}"])
    assert told.exit_code == 2
    assert "range of seeds" in told.output
