"""The pytest plugin, in processes of their own: pytester in this one would drop the modules that a run imports."""

from __future__ import annotations

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
