"""Looking after a queue leaves the same keys as Node does: BULLMQ.md, section 12, and what is done to single jobs."""

from __future__ import annotations

import pytest
from hands import Both

from queuesim.core.job import JobState, Keep

pytestmark = pytest.mark.with_options


@pytest.fixture
def full(both: Both) -> Both:
    """A queue with a job or two in every state: waiting 5 6, prioritized 7 8, delayed 9 10, active 1, completed 2 4,
    failed 3."""
    both.add_bulk(6, attempts=1)
    both.add("job", priority=3)
    both.add("job", priority=1)
    both.add("job", delay=60_000)
    both.add("job", delay=90_000, priority=2)
    for now, job_id in enumerate("1234"):
        both.at(1_000 * now)
        both.take(f"t{job_id}")
    both.complete("2", 1, "t2")
    both.fail("3", "no", "t3")
    both.at(5_000)
    both.complete("4", 2, "t4")
    return both


def test_counts(full: Both) -> None:
    assert full.counts() == {
        "waiting": 2, "prioritized": 2, "delayed": 2, "active": 1, "completed": 2, "failed": 1, "waiting-children": 0,
    }  # fmt: skip


@pytest.mark.parametrize("job_id", [*map(str, range(1, 11)), "none"])
def test_state(full: Both, job_id: str) -> None:
    full.state(job_id)


def test_pause_and_resume(full: Both) -> None:
    full.pause()
    full.pause()
    full.resume()
    full.resume()
    full.drain()
    full.pause()
    full.resume()
    full.drain(delayed=True)
    full.pause()
    full.resume()


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("paused", [False, True])
def test_drain(full: Both, delayed: bool, paused: bool) -> None:
    if paused:
        full.pause()
    full.drain(delayed)


@pytest.mark.parametrize("state", ["waiting", "prioritized", "delayed", "active", "completed", "failed"])
@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("grace", [0, 2_000, 3_500])
def test_clean(full: Both, state: str, limit: int, grace: int) -> None:
    full.at(6_000)
    if state == "active":
        full.expire_lock("1")
    full.clean(grace, limit, JobState(state))


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"priority": 2}, {"delay": 1}], ids=str)
def test_clean_of_a_few(both: Both, options: dict[str, int], limit: int) -> None:
    for now in range(4):
        both.at(now)
        both.add("job", **options)
    both.at(100)
    state = {"priority": JobState.PRIORITIZED, "delay": JobState.DELAYED}.get(next(iter(options), ""), JobState.WAITING)
    both.clean(50, limit, state)


def test_clean_spares_what_is_locked(full: Both) -> None:
    full.at(6_000)
    assert full.clean(0, 0, JobState.ACTIVE) == []


def test_obliterate(full: Both) -> None:
    assert full.obliterate() == "refused"
    full.pause()
    assert full.obliterate() == "refused"
    full.complete("1", token="t1")
    full.obliterate()
    assert full.left() == {}


def test_obliterate_by_force(full: Both) -> None:
    full.pause()
    full.obliterate(force=True)


# -- single jobs


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("job_id", "state"), [("3", "failed"), ("2", "completed"), ("2", "failed"), ("1", "failed"), ("none", "failed")]
)
def test_retry(full: Both, job_id: str, state: str, reset: bool) -> None:
    full.retry(job_id, JobState(state), reset)


@pytest.mark.parametrize("options", [{"priority": 5}, {"lifo": True}, {"attempts": 3}], ids=str)
def test_retry_of_jobs_with_options(both: Both, options: dict[str, object]) -> None:
    both.add("job", **options)
    both.take()
    both.fail("1", final=True)
    both.add("job")
    both.retry("1")
    both.take()


def test_retry_while_paused(full: Both) -> None:
    full.pause()
    full.retry("3")


@pytest.mark.parametrize("state", ["failed", "completed"])
def test_retry_all(full: Both, state: str) -> None:
    full.add("job", priority=4)
    full.at(7_000)
    full.retry_all(JobState(state))


@pytest.mark.parametrize("job_id", ["9", "10", "5", "2"])
def test_promote(full: Both, job_id: str) -> None:
    full.promote(job_id)


def test_promote_while_paused(full: Both) -> None:
    full.pause()
    full.promote("9")
    full.promote("10")


def test_promote_all(full: Both) -> None:
    full.promote_all()


@pytest.mark.parametrize("job_id", [*map(str, range(1, 11))])
def test_remove(full: Both, job_id: str) -> None:
    full.log(job_id, "a row")
    full.remove(job_id)


@pytest.mark.parametrize("job_id", ["9", "10", "5", "none"])
@pytest.mark.parametrize("delay", [100, 200_000, 0])
def test_change_delay(full: Both, job_id: str, delay: int) -> None:
    full.change_delay(job_id, delay)


@pytest.mark.parametrize("job_id", ["5", "6", "7", "8", "9", "1", "2", "none"])
@pytest.mark.parametrize("priority", [0, 4])
@pytest.mark.parametrize("lifo", [False, True])
def test_change_priority(full: Both, job_id: str, priority: int, lifo: bool) -> None:
    full.change_priority(job_id, priority, lifo)


@pytest.mark.parametrize("progress", [50, 0, {"done": [1, 2]}, "half", True, None], ids=repr)
def test_progress(full: Both, progress: object) -> None:
    full.progress("1", progress)
    full.progress("none", progress)


def test_update_data(full: Both) -> None:
    full.update("5", {"new": True})
    full.update("none", {})


def test_logs(full: Both) -> None:
    assert [full.log("5", f"row {n}") for n in range(3)] == [1, 2, 3]
    full.log("5", "the last", keep=2)
    full.log("none", "row")


def test_a_retried_job_that_is_kept_no_longer(both: Both) -> None:
    both.add("job", keep_failed=Keep(count=0))
    both.take()
    both.fail("1")
    both.retry("1")
