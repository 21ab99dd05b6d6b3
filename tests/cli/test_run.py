"""``queuesim run``: its options, what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import queuesim as package

Command = Callable[..., "subprocess.CompletedProcess[str]"]

HANDLERS = """\
import asyncio
import sys

from queuesim import Processor

processor = Processor("mail", concurrency=8)


@processor.job("say")
async def say(job):
    await asyncio.sleep(1.0)
    print("job", job.number)


@processor.job("hang")
def hang(job):
    while True:
        pass


@processor.job("wait-for-ever")
async def wait_for_ever(job):
    await asyncio.Event().wait()
"""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The modules that a test has imported: the next one has others of the same name."""
    yield
    for name in ("handlers", "other"):
        sys.modules.pop(name, None)


def own(tmp_path: Path, job: str, **settings: str) -> Path:
    """A scenario whose handlers are those above: eight jobs at once."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    path = tmp_path / "own.yaml"
    given = {
        "name": "own",
        "duration": "1m",
        "processor": "handlers:processor",
        "load": f"[{{name: l, jobs: {job}, bulk: {{at: 1s, size: 8}}}}]",
        **settings,
    }
    path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
    return path


def test_it_shows_what_happened(queuesim: Command, small: Path) -> None:
    done = queuesim("run", small)
    assert (done.returncode, done.stderr) == (0, "")
    jobs = len(package.run(small).jobs)
    assert done.stdout.startswith(f"✓ ok\n{jobs} jobs in 1 min: ")
    assert "small on sim, seed 3, 1 worker, 1 slot" in done.stdout
    assert done.stdout.endswith(
        "✓ lost == 0: 0 jobs were lost\n✓ 7 health checks passed\n✓ 18 oracles found no violation\n"
    )
    # neither colours nor a progress bar where nobody looks
    assert "\x1b" not in done.stdout


def test_a_failed_check_is_1(invoke: Command, small: Path) -> None:
    done = invoke("run", small, "--set", "thresholds=[lost == 0, latency.p95 < 1ms]")
    assert done.returncode == 1
    assert "✗ latency.p95 < 1ms" in done.stdout


def test_no_checks_are_0(invoke: Command, small: Path) -> None:
    assert invoke("run", small, "--set", "thresholds=[]").returncode == 0


def test_quiet_says_only_what_failed(invoke: Command, small: Path) -> None:
    done = invoke("run", small, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = invoke("run", small, "-q", "--set", "thresholds=[lost == 0, latency.p95 < 1ms]")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"small: latency.p95 < 1ms failed: measured [\d.]+ ms\n", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_threshold_that_ends_the_run_is_told(invoke: Command, small: Path) -> None:
    done = invoke("run", small, "-q", "--set", "thresholds=[{added: < 10, abort: true}]")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("small: stopped early: threshold added < 10 failed")
    assert re.fullmatch(r"small: added < 10 failed: \d\d jobs were added at [\d.]+ s", second)


def test_json(invoke: Command, small: Path) -> None:
    done = invoke("run", small, "--json", "--seed", 5)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    expected = package.run(small, seed=5)
    assert list(told) == ["ok", "verdict", "facts", "summary", "errors", "checks", "file"]
    assert told["ok"] is True
    assert told["facts"]["seed"] == 5
    assert told["summary"]["jobs"]["completed"] == expected.summary().jobs.completed
    assert told["summary"]["jobs"]["latency"]["p95"] == expected.summary().jobs.latency.p95
    names = [check["check"] for check in told["checks"]]
    assert (names[0], names[1], names[-1]) == ("lost == 0", "no-jobs-added", "Little's law: L = λW")


def test_seed(invoke: Command, small: Path) -> None:
    def played(*arguments: object) -> dict[str, object]:
        told = json.loads(invoke("run", small, "--json", *arguments).stdout)
        del told["facts"]["wall"]
        return dict(told)

    assert played() == played("--seed", 3)
    assert played()["summary"] != played("--seed", 4)["summary"]


def test_set_changes_a_value(invoke: Command, small: Path) -> None:
    before = small.read_text()
    arguments = ["--set", "load.users.poisson=10/min", "--set", "workers.concurrency=7", "--set", "name=other"]
    told = json.loads(invoke("run", small, "--json", *arguments).stdout)
    assert told["facts"]["scenario"] == "other"
    assert told["facts"]["concurrency"] == 7
    assert told["summary"]["jobs"]["added"] < 30
    assert small.read_text() == before


def test_what_handlers_print_does_not_mix_with_json(queuesim: Command, tmp_path: Path) -> None:
    done = queuesim("run", own(tmp_path, "say"), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["summary"]["jobs"]["completed"] == 8
    assert done.stderr.splitlines() == [f"job {number}" for number in range(1, 9)]


def test_processor(invoke: Command, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for beside the scenario, and then in the current directory."""
    here = tmp_path / "elsewhere"
    here.mkdir()
    (here / "other.py").write_text(HANDLERS.replace("job.number", '"of the other"'))
    monkeypatch.chdir(here)
    path = own(tmp_path, "say")
    assert invoke("run", path, "--processor", "handlers:processor").stdout.startswith("job 1\n")
    assert invoke("run", path, "--processor", "other:processor").stdout.startswith("job of the other\n")


def test_shuffle(invoke: Command, tmp_path: Path) -> None:
    path = own(tmp_path, "say")

    def order(*arguments: str) -> list[str]:
        done = invoke("run", path, *arguments)
        assert done.returncode == 0
        return [line for line in done.stdout.splitlines() if line.startswith("job ") and line[4:].isdigit()]

    plain, shuffled = order(), order("--shuffle")
    assert sorted(plain) == sorted(shuffled)
    assert plain != shuffled
    assert shuffled == order("--shuffle")


def test_handler_limit(invoke: Command, tmp_path: Path) -> None:
    path = own(tmp_path, "hang", thresholds="[failed == 0]", load="[{name: l, jobs: hang, backlog: 1}]")
    done = invoke("run", path, "--handler-limit", "0.1", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["summary"]["jobs"]["failed"] == 1
    assert told["facts"]["duration"] == 60


def test_a_run_that_gets_stuck_is_1(invoke: Command, tmp_path: Path) -> None:
    done = invoke("run", own(tmp_path, "wait-for-ever", drain="true"), "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("own: stopped early: no progress since 1 s")


def test_output(invoke: Command, small: Path, tmp_path: Path) -> None:
    target = tmp_path / "runs" / "1"
    done = invoke("run", small, "-o", target)
    assert done.returncode == 0
    assert done.stderr == f"written to {target}\n"
    stored = package.load(target)
    assert stored.facts.seed == 3
    assert stored.jobs.equals(package.run(small).jobs)
    assert stored.ok


def test_output_is_not_overwritten_unless_asked(invoke: Command, small: Path) -> None:
    assert invoke("run", small, "-q", "-o", "out").returncode == 0
    refused = invoke("run", small, "-o", "out", "--seed", 8)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "out holds a result already: choose another directory, or --force to overwrite\n"
    assert package.load("out").facts.seed == 3
    assert invoke("run", small, "-q", "-o", "out", "--seed", 8, "--force").returncode == 0
    assert package.load("out").facts.seed == 8


def test_a_failed_run_is_written_too(invoke: Command, small: Path) -> None:
    assert invoke("run", small, "-q", "-o", "out", "--set", "thresholds=[added < 0]").returncode == 1
    assert not package.load("out").ok


def test_output_that_is_lost_meanwhile_is_one_message(
    invoke: Command, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "out/jobs.parquet")

    monkeypatch.setattr("queuesim.results.result.Result.to_parquet", full)
    done = invoke("run", small, "-o", "out")
    assert done.returncode == 2
    assert done.stderr == "out/jobs.parquet: No space left on device\n"
    assert "jobs in 1 min" in done.stdout


# -- several scenarios


@pytest.fixture
def three(tmp_path: Path, small: Path) -> Path:
    """A directory with a scenario that is ok, one that is not, and one that is wrong."""
    text = small.read_text()
    directory = tmp_path / "scenarios"
    (directory / "deep").mkdir(parents=True)
    (directory / "a.yaml").write_text(text)
    (directory / "b.yaml").write_text(text.replace("lost == 0", "latency.p95 < 1ms"))
    (directory / "deep" / "c.yaml").write_text(text.replace("duration", "durration"))
    return directory


def test_several_scenarios_are_played_also_after_one_that_is_wrong(invoke: Command, three: Path) -> None:
    done = invoke("run", "scenarios/deep/c.yaml", "scenarios/b.yaml", "scenarios/a.yaml")
    assert done.returncode == 2
    assert "durration: unknown key" in done.stderr
    assert done.stdout.endswith(
        "\nrefused     scenarios/deep/c.yaml\nnot ok      scenarios/b.yaml\nok          scenarios/a.yaml\n"
        "3 scenarios: 1 refused, 1 not ok, 1 ok\n"
    )


def test_a_pattern_means_all_files_that_match_each_once(invoke: Command, three: Path) -> None:
    done = invoke("run", "scenarios/*.yaml", "scenarios/a.yaml")
    assert done.returncode == 1
    assert done.stdout.endswith(
        "ok          scenarios/a.yaml\nnot ok      scenarios/b.yaml\n2 scenarios: 1 ok, 1 not ok\n"
    )
    assert invoke("run", "scenarios/**/*.yaml", "--quiet").returncode == 2


def test_a_pattern_that_nothing_matches_is_refused(invoke: Command, three: Path) -> None:
    for command in ("run", "validate", "check"):
        done = invoke(command, "elsewhere/*.yaml")
        assert done.returncode == 2
        assert "no file matches elsewhere/*.yaml" in done.stderr


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(invoke: Command, small: Path) -> None:
    small.rename("[small].yaml")
    assert invoke("run", "[small].yaml", "-q").returncode == 0


def test_several_as_json_are_a_list_with_the_files(invoke: Command, three: Path) -> None:
    done = invoke("run", "scenarios/a.yaml", "scenarios/deep/c.yaml", "--json")
    one, other = json.loads(done.stdout)
    assert (one["ok"], one["file"], one["facts"]["scenario"]) == (True, "scenarios/a.yaml", "small")
    assert (other["ok"], other["file"]) == (False, "scenarios/deep/c.yaml")
    assert "durration" in other["error"]


def test_results_of_several_go_into_directories_of_their_names(invoke: Command, three: Path) -> None:
    assert invoke("run", "scenarios/*.yaml", "-o", "runs").returncode == 1
    assert [package.load(f"runs/{name}").ok for name in "ab"] == [True, False]
    (three / "deep" / "a.yaml").write_text((three / "a.yaml").read_text())
    done = invoke("run", "scenarios/a.yaml", "scenarios/deep/a.yaml", "-o", "again")
    assert done.returncode == 2
    assert "2 scenarios would be written to again/a" in done.stderr.replace("\n", " ")
    assert not Path("again").exists()


# -- twice

RANDOM = HANDLERS.replace("asyncio.sleep(1.0)", "asyncio.sleep(random.random())").replace("import sys", "import random")


def test_two_runs_of_a_scenario_are_compared(invoke: Command, tmp_path: Path, small: Path) -> None:
    done = invoke("run", small, "--twice")
    assert (done.returncode, done.stderr) == (0, "")
    path = own(tmp_path, "say")
    assert invoke("run", path, "--twice", "-q").returncode == 0
    (tmp_path / "handlers.py").write_text(RANDOM)
    done = invoke("run", path, "--twice", "--json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("not deterministic: two runs differ in row ")
    assert "likely causes: random without a stream of its own" in done.stderr
    assert json.loads(done.stdout)["difference"].startswith("not deterministic: ")


def test_runs_in_real_time_are_not_compared(invoke: Command, small: Path) -> None:
    done = invoke("run", small, "--twice", "--backend", "redis")
    assert done.returncode == 2
    assert "runs in real time always differ" in done.stderr
