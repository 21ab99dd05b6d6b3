"""The pytest plugin, in processes of their own: pytester in this one would drop the modules that a run imports."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

GOOD = """
name: good
duration: 20s
drain: true
jobs: {a: {service: 100ms}}
load: [{name: l, constant: 1/s}]
thresholds: [lost == 0]
"""
BAD = GOOD.replace("lost == 0", "latency.max < 1ms")

Pytester = pytest.Pytester


@pytest.fixture(autouse=True)
def _quiet(pytester: Pytester) -> None:
    """Nothing of this repository's own settings, and none of the plugins that tests here need."""
    pytester.makeini("[pytest]\naddopts = -p no:randomly -p no:valkey -p no:xdist\nfilterwarnings = error\n")


def write(pytester: Pytester, path: str, text: str) -> None:
    file = pytester.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_scenario_files_are_tests(pytester: Pytester) -> None:
    write(pytester, "scenarios/good.yaml", GOOD)
    write(pytester, "scenarios/found/other.yml", GOOD)
    write(pytester, "elsewhere/no-scenario.yaml", "some: thing")
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["scenarios/found/other.yml::other PASSED*", "scenarios/good.yaml::good PASSED*"])


def test_a_scenario_that_fails_says_which_check_and_how_to_play_it_again(pytester: Pytester) -> None:
    write(pytester, "scenarios/bad.yaml", BAD)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*scenario bad*",
            "latency.max < 1ms failed: measured *ms*",
            "<Result good on sim, *not ok: 1 check failed (latency.max < 1ms)>",
            "replay: queuesim run *bad.yaml",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_scenario_that_is_wrong_says_where(pytester: Pytester) -> None:
    write(pytester, "scenarios/wrong.yaml", GOOD.replace("drain", "drian"))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*wrong.yaml:4: drian: unknown key; did you mean *drain*"])


def test_only_directories_below_the_root_count(pytester: Pytester) -> None:
    """A project may itself be in a directory of such a name."""
    write(pytester, "found/project/pytest.ini", "[pytest]\naddopts = -p no:randomly -p no:valkey -p no:xdist\n")
    write(pytester, "found/project/docker-compose.yaml", "services: {}")
    result = pytester.runpytest_subprocess("--rootdir", "found/project", "found/project")
    result.assert_outcomes()


ARTILLERY = """
config:
  target: http://127.0.0.1:8080
  phases: [{duration: 60, arrivalRate: 20}]
scenarios:
  - flow: [{get: {url: /}}]
"""
COMPOSE = "name: shop\nservices:\n  redis: {image: redis}\n"
WORKFLOW = "name: tests\non: push\njobs:\n  test: {runs-on: ubuntu-latest}\n"


def test_files_of_other_tools_in_such_a_directory_are_left_out_and_named(pytester: Pytester) -> None:
    write(pytester, "scenarios/good.yaml", GOOD)
    for name, text in (("artillery", ARTILLERY), ("compose", COMPOSE), ("workflow", WORKFLOW), ("list", "- 1\n")):
        write(pytester, f"scenarios/{name}.yml", text)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "queuesim: not scenarios: scenarios/artillery.yml, scenarios/compose.yml, scenarios/list.yml, "
            "scenarios/workflow.yml (the key `queuesim: 1` marks a scenario)",
            "queuesim: 1 scenario played",
        ]
    )


def test_a_damaged_scenario_is_still_one(pytester: Pytester) -> None:
    """A mistake must not make a test vanish."""
    write(pytester, "scenarios/misspelt.yaml", GOOD.replace("duration", "durration"))
    write(pytester, "scenarios/broken.yaml", GOOD + "load: [")
    write(pytester, "scenarios/marked.yaml", "queuesim: 1\nsteps: []\n")
    result = pytester.runpytest_subprocess("-rf")
    result.assert_outcomes(failed=3)


def test_in_a_configured_directory_every_file_is_a_scenario(pytester: Pytester) -> None:
    pytester.makeini("[pytest]\naddopts = -p no:randomly -p no:valkey -p no:xdist\nqueuesim_scenarios = load/prod\n")
    write(pytester, "load/prod/good.yaml", GOOD)
    write(pytester, "load/prod/other.yaml", "some: thing")
    write(pytester, "load/artillery.yaml", ARTILLERY)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)


# -- Budgets and reports

SEARCH = """
    import asyncio
    from queuesim import Processor
    from queuesim.testing.surviving import assert_survives

    def make():
        processor = Processor("mail")

        @processor.job("send")
        async def send(job):
            await asyncio.sleep(0.1)

        return processor

    def test_mail():
        assert_survives(make, duration=5.0{more})
"""


def test_a_search_takes_the_sessions_budget_and_reports_what_it_tried(pytester: Pytester) -> None:
    pytester.makepyfile(SEARCH.format(more=", budget=1000.0"))
    result = pytester.runpytest_subprocess("--queuesim-budget", "0.5s", "--junitxml", "junit.xml")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"queuesim: 1 search with [1-9]\d* examples?"])
    junit = (pytester.path / "junit.xml").read_text()
    for name in ("examples", "seconds", "jobs", "attempts", "awaits", "faults", "never struck"):
        assert f'name="queuesim.{name}"' in junit


def test_a_search_with_so_many_examples_plays_no_more_of_them(pytester: Pytester) -> None:
    pytester.makepyfile(SEARCH.format(more=", examples=2"))
    result = pytester.runpytest_subprocess("--queuesim-budget", "100s")
    result.stdout.fnmatch_lines(["queuesim: 1 search with 2 examples"])


def test_a_scenario_that_takes_longer_than_the_budget_says_so(pytester: Pytester) -> None:
    pytester.makeini("[pytest]\naddopts = -p no:randomly -p no:valkey -p no:xdist\nqueuesim_budget = 100ms\n")
    write(pytester, "scenarios/long.yaml", GOOD.replace("20s", "20h").replace("1/s", "20/s"))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the budget of 100ms was used up when * were simulated", "replay: queuesim run *"])


def test_a_scenario_reports_its_figures_as_properties(pytester: Pytester) -> None:
    write(pytester, "scenarios/good.yaml", GOOD)
    pytester.runpytest_subprocess("--junitxml", "junit.xml")
    junit = (pytester.path / "junit.xml").read_text()
    assert '<property name="queuesim.scenario" value="good"' in junit
    assert '<property name="queuesim.jobs" value="20"' in junit
    assert '<property name="queuesim.seed" value="0"' in junit


OWN = """
    import asyncio
    from queuesim import JobOptions, Processor, always
    from queuesim.runs.invariants import at_most_once
    from queuesim.testing.surviving import assert_survives

    class Store(list):
        pass

    def make(store):
        processor = Processor("shop", defaults=JobOptions(attempts=3))

        @processor.job("charge")
        async def charge(job):
            store.append(job.id)
            await asyncio.sleep(0.1)

        return processor

    once = at_most_once(list, "nobody pays twice")

    def test_shop():
        assert_survives(make, shared=Store, invariant=INVARIANT, faults=["await.kill"], duration=10.0)
"""


def test_a_find_shows_the_users_lines_and_replays_by_its_command_where_the_test_has_all_functions(
    pytester: Pytester,
) -> None:
    """pytest alone knows modules in a directory without __init__.py by their names."""
    write(pytester, "tests/test_shop.py", textwrap.dedent(OWN).replace("INVARIANT", "once"))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*DidNotSurviveError: nobody pays twice (always): violated at *", "E  * what happened:", "E  * attempt 1 *"]
    )
    result.stdout.no_fnmatch_line("*surviving.py:*")
    (command,) = {line.partition("replay: ")[2] for line in result.outlines if "replay: " in line}
    assert command.startswith("PYTHONPATH=tests queuesim run scenarios/found/found-")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    played = subprocess.run(
        command, shell=True, env={**os.environ, "PATH": path}, text=True, capture_output=True, check=False
    )
    assert played.returncode == 1
    assert "nobody pays twice" in played.stdout


def test_a_find_says_which_function_has_no_name_for_a_command(pytester: Pytester) -> None:
    text = textwrap.dedent(OWN).replace("INVARIANT", 'always(lambda store: len(store) < 1, "nobody pays")')
    write(pytester, "test_shop.py", text)
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(
        ["*replay: queuesim.run(*; to get one command, define at the top of a module: the invariant 'nobody pays'"]
    )


@pytest.mark.parametrize("budget", ["0", "0s", "-1s", "soon"])
def test_a_budget_that_is_none_is_refused(pytester: Pytester, budget: str) -> None:
    write(pytester, "scenarios/good.yaml", GOOD)
    result = pytester.runpytest_subprocess(f"--queuesim-budget={budget}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "queuesim-budget" in result.stderr.str()


def test_the_simulated_queue(pytester: Pytester) -> None:
    pytester.makepyfile(
        """
        from queuesim import JobState
        from queuesim.simulation import run

        def test_queue(simulated_queue):
            async def program():
                await simulated_queue.add("a")
                return len(await simulated_queue.get_jobs(JobState.WAITING))

            assert run(program()) == 1

        def test_another_queue(simulated_queue):
            async def program():
                return len(await simulated_queue.get_jobs(JobState.WAITING))

            assert run(program()) == 0
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.server
def test_the_live_redis_is_a_tests_own_and_ends_with_it(pytester: Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from redis import Redis
        from redis.exceptions import ConnectionError
        from queuesim import JobState, Queue
        from queuesim.brokers.redis.broker import RedisBroker
        from queuesim.brokers.redis.server import connect

        urls = []

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(live_redis_url, number):
            async def program():
                place = await connect(live_redis_url)
                queue = Queue(RedisBroker("mail", place))
                await queue.add("a")
                jobs = await queue.get_jobs(JobState.WAITING)
                await place.close()
                return jobs

            assert len(asyncio.run(program())) == 1
            assert live_redis_url not in urls, "each has one of its own"
            urls.append(live_redis_url)

        def test_they_are_gone():
            for url in urls:
                with pytest.raises(ConnectionError), Redis.from_url(url, retry=None) as client:
                    client.ping()
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)
