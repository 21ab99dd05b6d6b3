"""Campaigns of kills that are judged by counting: a short one each, and what the counting finds.

`python -m benchmarks.reliability --by counting` plays the long ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from benchmarks.counting import BASE, Counts, Done, count, judged, longest_away
from benchmarks.damage import Damage
from benchmarks.reliability import plan
from benchmarks.workers import Line
from redis import Redis

from queuesim.brokers.redis.embedded import EmbeddedServer
from servers import DEFAULT

LIVING, DEAD, DEATH = 11, 12, 100.0
"""Two worker processes, and when the second was killed."""


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("what", "faults"), [("kills", 3), ("restarts", 2)])
def test_nothing_is_lost_doubled_or_disturbed(what: str, faults: int) -> None:
    found = count(replace(plan(what, faults), seed=4), DEFAULT)
    assert found.troubles == []
    assert found.faults == faults
    assert found.added > 200
    assert found.hostile > 0


@pytest.fixture
def client(default_server: EmbeddedServer) -> Any:
    with Redis.from_url(default_server.url) as client:
        yield client


def judge(client: Redis, server: EmbeddedServer, runs: list[tuple[str, str, int, float]], **done: Any) -> Counts:
    """What is found where each of these jobs has completed on the server."""
    for job_id in {job_id for _, job_id, _, _ in runs}:
        client.hset(f"{BASE}{job_id}", "name", "job")
        client.zadd(f"{BASE}completed", {job_id: 1})
        client.xadd(f"{BASE}events", {"event": "completed", "jobId": job_id})
    good = sorted({job_id for _, job_id, _, _ in runs})
    lines = [Line(what, job_id, moment, pid) for what, job_id, pid, moment in runs]
    return judged(Done(**{"good": good, "killed": {DEAD: DEATH}, **done}), lines, server.url)


ONCE = [("run", "g", LIVING, 1.0), ("end", "g", LIVING, 2.0)]


def test_a_job_that_ran_once_is_no_trouble(client: Redis, default_server: EmbeddedServer) -> None:
    found = judge(client, default_server, ONCE)
    assert found.troubles == []
    assert (found.added, found.ran, found.runs) == (1, 1, 1)


@pytest.mark.parametrize(
    "first",
    [
        [("run", "g", LIVING, 1.0), ("error", "g", LIVING, 2.0)],
        [("run", "g", DEAD, DEATH - 20)],
        [("run", "g", DEAD, DEATH - 20), ("end", "g", DEAD, DEATH - 0.01)],
    ],
    ids=["an error", "cut off", "killed before its end was stored"],
)
def test_errors_and_kills_explain_another_run(
    client: Redis, default_server: EmbeddedServer, first: list[tuple[str, str, int, float]]
) -> None:
    later = [("run", "g", LIVING, DEATH + 2), ("end", "g", LIVING, DEATH + 3)]
    assert judge(client, default_server, first + later).troubles == []


@pytest.mark.parametrize(
    "first",
    [
        [("run", "g", LIVING, 1.0)],
        ONCE,
        [("run", "g", DEAD, DEATH - 20), ("end", "g", DEAD, DEATH - 10)],
    ],
    ids=["given up by a worker that lives", "after its end", "long before the kill"],
)
def test_a_run_without_a_reason_is_a_disturbance(
    client: Redis, default_server: EmbeddedServer, first: list[tuple[str, str, int, float]]
) -> None:
    later = [("run", "g", LIVING + 1000, DEATH + 2), ("end", "g", LIVING + 1000, DEATH + 3)]
    assert len(judge(client, default_server, first + later).disturbed) == 1


def test_the_server_is_believed_in_no_job_alone(client: Redis, default_server: EmbeddedServer) -> None:
    """Completed there, but no handler came to the end of it."""
    assert len(judge(client, default_server, [("run", "g", LIVING, 1.0)]).lost) == 1


def test_a_job_without_a_place_is_lost_and_in_no_state(client: Redis, default_server: EmbeddedServer) -> None:
    found = judge(client, default_server, ONCE, good=["g", "gone"])
    assert (len(found.lost), len(found.stateless)) == (1, 1)


def test_a_job_in_two_places_is_told(client: Redis, default_server: EmbeddedServer) -> None:
    client.lpush(f"{BASE}wait", "g")
    found = judge(client, default_server, ONCE)
    assert (found.two_states, found.left) == (["g is in ['wait', 'completed']"], 1)


def test_a_good_job_that_failed_was_disturbed(client: Redis, default_server: EmbeddedServer) -> None:
    client.zadd(f"{BASE}failed", {"f": 1})
    assert judge(client, default_server, ONCE, good=["g", "f"]).disturbed == ["f failed"]


def test_a_completion_that_is_told_twice_is_found(client: Redis, default_server: EmbeddedServer) -> None:
    client.xadd(f"{BASE}events", {"event": "completed", "jobId": "g"})
    assert judge(client, default_server, ONCE).twice == ["g completed 2 times"]


def test_hostile_jobs_end_in_one_state_or_by_their_own_options(client: Redis, default_server: EmbeddedServer) -> None:
    client.zadd(f"{BASE}failed", {"h1": 1})
    client.lpush(f"{BASE}active", "h2")
    client.hset(f"{BASE}h4", "name", "ok")
    damage = Damage("ok", "opts", "[]")
    found = judge(client, default_server, ONCE, hostile=dict.fromkeys(("h1", "h2", "h3", "h4"), damage))
    assert found.fates == {"failed": 1, "active": 1, "removed": 1, "no state": 1}
    assert (found.hostile, found.hostile_ended, found.stateless) == (4, 2, ["h4 is in no state"])


def test_outages_that_follow_each_other_at_once_are_one() -> None:
    assert longest_away([]) == 0.0
    assert longest_away([(1.0, 2.0), (4.0, 4.5)]) == 1.0
    assert longest_away([(1.0, 2.0), (10.0, 10.8), (11.0, 13.5), (20.0, 20.1)]) == 3.5
