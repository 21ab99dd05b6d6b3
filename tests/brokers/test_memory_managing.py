"""Looking after a queue: retry, remove, drain, clean, obliterate, counts, listings, progress and logs."""

from __future__ import annotations

import pytest
from brokerdriver import Driver

from queuesim.core.broker import Retried
from queuesim.core.errors import JobError, QueueActiveError, QueueNotPausedError
from queuesim.core.events import EventKind
from queuesim.core.job import JobState, RateLimit

WAITING, PRIORITIZED, DELAYED, ACTIVE = JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE
COMPLETED, FAILED = JobState.COMPLETED, JobState.FAILED
SECOND = 1000


def one_of_each(queue: Driver) -> dict[JobState, str]:
    """A job in every state, by state."""
    ids = queue.add_each(3)
    completed, failed, active = queue.take(3)
    queue.complete(completed)
    queue.fail(failed)
    return {
        COMPLETED: ids[0],
        FAILED: ids[1],
        ACTIVE: active.id,
        WAITING: queue.add(),
        PRIORITIZED: queue.add(priority=1),
        DELAYED: queue.add(delay=60_000),
    }


# -- retry


@pytest.mark.parametrize("state", [COMPLETED, FAILED])
def test_retry_runs_a_finished_job_again(queue: Driver, state: JobState) -> None:
    queue.add()
    job = queue.take_one()
    queue.complete(job, "7") if state is COMPLETED else queue.fail(job)
    queue.at(5000).events()
    queue.run(queue.broker.retry("1", state, False, queue.now))
    assert queue.story() == [(EventKind.WAITING, "1", {"prev": state})]
    job = queue.get("1")
    assert (job.finished_on, job.processed_on, job.return_value, job.failed_reason) == (None, None, None, None)
    assert (job.attempts_made, job.attempts_started) == (1, 1), "what was used stays used"
    assert queue.take_one().attempts_started == 2


def test_retry_can_reset_the_attempts(queue: Driver) -> None:
    queue.add()
    queue.fail(queue.take_one())
    queue.run(queue.broker.retry("1", FAILED, True, queue.now))
    assert (queue.get("1").attempts_made, queue.get("1").attempts_started) == (0, 0)


@pytest.mark.parametrize("state", [COMPLETED, FAILED])
def test_a_job_whose_attempts_were_reset_runs_with_its_whole_history(queue: Driver, state: JobState) -> None:
    queue.add(attempts=3)
    job = queue.take_one()
    queue.settle(Retried(job.id, job.token, 0.0, "first try", ("trace",), {"attempt": 1}))
    job = queue.take_one()
    queue.complete(job) if state is COMPLETED else queue.fail(job)
    queue.run(queue.broker.retry("1", state, True, queue.now))
    kept, job = queue.get("1"), queue.take_one()
    assert (job.attempts_made, job.attempts_started) == (0, 1)
    assert (len(job.history), job.stacktrace) == (1, ("trace",))
    assert (job.history, job.stacktrace, job.failed_reason) == (kept.history, kept.stacktrace, kept.failed_reason)


@pytest.mark.parametrize("state", [COMPLETED, FAILED])
def test_a_job_whose_attempts_were_reset_is_known_to_have_stalled(queue: Driver, state: JobState) -> None:
    queue.add()
    queue.take_one(lock=100)
    queue.recover(100, 9)
    queue.at(500)
    assert queue.recover(100, 9) == ["1"]
    job = queue.take_one()
    queue.complete(job) if state is COMPLETED else queue.fail(job)
    queue.run(queue.broker.retry("1", state, True, queue.now))
    assert queue.take_one().stalled_count == 1


def test_retry_of_a_completed_job_keeps_why_an_earlier_attempt_failed(queue: Driver) -> None:
    queue.add(attempts=2)
    queue.retry(queue.take_one(), reason="first try")
    queue.complete(queue.take_one())
    queue.run(queue.broker.retry("1", COMPLETED, False, queue.now))
    assert queue.get("1").failed_reason == "first try"


def test_retry_puts_a_job_where_a_new_one_would_go(queue: Driver) -> None:
    for options in ({}, {"lifo": True}, {"priority": 2}):
        queue.add(**options)
    for job in queue.take(3):
        queue.fail(job)
    queue.add()
    for job_id in "123":
        queue.run(queue.broker.retry(job_id, FAILED, False, queue.now))
    assert queue.take_ids(9) == ["2", "4", "1", "3"]


@pytest.mark.parametrize(("job_id", "state", "code"), [("1", FAILED, -3), ("1", WAITING, -3), ("nobody", FAILED, -1)])
def test_retry_is_refused(queue: Driver, job_id: str, state: JobState, code: int) -> None:
    queue.finish_all(1)
    with pytest.raises(JobError) as caught:
        queue.run(queue.broker.retry(job_id, state, False, queue.now))
    assert caught.value.code == code


def test_retry_all_goes_to_wait_whatever_the_priority(queue: Driver) -> None:
    queue.add(priority=5)
    queue.add()
    queue.add()
    for second, job in enumerate(queue.take(3), start=1):
        queue.at(second * SECOND).fail(job)
    queue.events()
    assert queue.run(queue.broker.retry_all(FAILED, 2.0, queue.now)) == 2
    # 2 and 3 went before 1, which is prioritized
    assert queue.ids(WAITING) == ["2", "3"]
    assert queue.kinds() == [EventKind.WAITING] * 2
    assert queue.run(queue.broker.retry_all(FAILED, None, queue.now)) == 1
    assert queue.take_ids(3) == ["2", "3", "1"]
    assert queue.run(queue.broker.retry_all(FAILED, None, queue.now)) == 0


# -- remove


@pytest.mark.parametrize("state", [COMPLETED, FAILED, WAITING, PRIORITIZED, DELAYED])
def test_remove(queue: Driver, state: JobState) -> None:
    ids = one_of_each(queue)
    queue.events()
    queue.run(queue.broker.remove(ids[state], queue.now))
    assert queue.story() == [(EventKind.REMOVED, ids[state], {"prev": state})]
    assert (queue.exists(ids[state]), queue.state(ids[state]), queue.ids(state)) == (False, None, [])
    assert len(queue.counts()) == 5


def test_a_locked_job_can_not_be_removed(queue: Driver) -> None:
    ids = one_of_each(queue)
    with pytest.raises(JobError) as caught:
        queue.run(queue.broker.remove(ids[ACTIVE], queue.now))
    assert caught.value.code == -6
    queue.at(30_000).events()
    queue.run(queue.broker.remove(ids[ACTIVE], queue.now))
    assert queue.story() == [(EventKind.REMOVED, ids[ACTIVE], {"prev": ACTIVE})]


def test_a_missing_job_can_not_be_removed(queue: Driver) -> None:
    with pytest.raises(JobError, match="no such job") as caught:
        queue.run(queue.broker.remove("nobody", 0.0))
    assert caught.value.code == -1


# -- drain


@pytest.mark.parametrize("delayed", [True, False])
def test_drain_removes_what_waits_and_tells_nobody(queue: Driver, delayed: bool) -> None:
    ids = one_of_each(queue)
    queue.events()
    queue.run(queue.broker.drain(delayed, queue.now))
    assert queue.events() == []
    assert (queue.ids(WAITING), queue.ids(PRIORITIZED)) == ([], [])
    assert queue.ids(DELAYED) == ([] if delayed else [ids[DELAYED]])
    assert (queue.ids(ACTIVE), queue.ids(COMPLETED)) == ([ids[ACTIVE]], [ids[COMPLETED]])
    assert not queue.exists(ids[WAITING])
    assert queue.take(5) == []


# -- clean


@pytest.mark.parametrize("state", [COMPLETED, FAILED, WAITING, PRIORITIZED, DELAYED, ACTIVE])
def test_clean_removes_jobs_of_one_state_that_are_old_enough(queue: Driver, state: JobState) -> None:
    ids = one_of_each(queue)
    queue.at(60_000).events()
    assert queue.run(queue.broker.clean(60.125, 0, state, queue.now)) == []
    assert queue.run(queue.broker.clean(60.0, 0, state, queue.now)) == [ids[state]]
    assert queue.story() == [(EventKind.CLEANED, None, {"count": 0}), (EventKind.CLEANED, None, {"count": 1})]
    assert not queue.exists(ids[state])
    assert len(queue.counts()) == 5


def test_clean_leaves_locked_jobs_alone(queue: Driver) -> None:
    queue.add()
    queue.take_one(lock=60_000)
    queue.at(59_875)
    assert queue.run(queue.broker.clean(0.0, 0, ACTIVE, queue.now)) == []


def test_clean_up_to_a_limit_takes_the_oldest(queue: Driver) -> None:
    queue.add_each(5)
    for second, job in enumerate(queue.take(5)):
        queue.at(second * SECOND).complete(job)
    assert queue.run(queue.broker.clean(0.0, 2, COMPLETED, queue.now)) == ["1", "2"]
    assert queue.run(queue.broker.clean(1.0, 9, COMPLETED, queue.now)) == ["3", "4"]
    assert queue.ids(COMPLETED) == ["5"]


def test_a_job_that_was_tried_is_as_old_as_its_last_try(queue: Driver) -> None:
    queue.add(attempts=3)
    queue.at(10_000).retry(queue.take_one(), 60_000)
    queue.at(15_000)
    assert queue.run(queue.broker.clean(10.0, 0, DELAYED, queue.now)) == []
    assert queue.run(queue.broker.clean(5.0, 0, DELAYED, queue.now)) == ["1"]


def test_clean_gives_a_global_place_back(queue: Driver) -> None:
    queue.run(queue.broker.set_concurrency(1, queue.now))
    queue.add_each(2)
    queue.take_one(lock=1000)
    queue.at(1000)
    assert queue.run(queue.broker.clean(0.0, 0, ACTIVE, queue.now)) == ["1"]
    assert queue.take_ids() == ["2"]


def test_clean_knows_no_other_state(queue: Driver) -> None:
    with pytest.raises(ValueError, match="waiting-children"):
        queue.run(queue.broker.clean(0.0, 0, JobState.WAITING_CHILDREN, 0.0))


# -- obliterate


def test_obliterate_asks_for_a_pause_and_for_idle_workers(queue: Driver) -> None:
    one_of_each(queue)
    before = queue.counts()
    with pytest.raises(QueueNotPausedError):
        queue.run(queue.broker.obliterate(False, queue.now))
    queue.run(queue.broker.pause(queue.now))
    with pytest.raises(QueueActiveError):
        queue.run(queue.broker.obliterate(False, queue.now))
    assert queue.counts() == before


def test_obliterate_leaves_a_new_queue(queue: Driver) -> None:
    one_of_each(queue)
    queue.run(queue.broker.set_concurrency(1, queue.now))
    queue.run(queue.broker.set_rate_limit(RateLimit(1, 60.0), queue.now))
    queue.run(queue.broker.pause(queue.now))
    queue.run(queue.broker.obliterate(True, queue.now))
    assert queue.counts() == {}
    assert queue.run(queue.broker.is_paused()) is False
    assert queue.add_each(2) == ["1", "2"]
    assert len(queue.take(5)) == 2


def test_a_zombie_of_an_obliterated_queue_is_refused(queue: Driver) -> None:
    queue.add()
    job = queue.take_one()
    queue.run(queue.broker.pause(queue.now))
    queue.run(queue.broker.obliterate(True, queue.now))
    assert queue.complete(job) == -1


def test_event_ids_go_on_after_obliterate(queue: Driver) -> None:
    """A reader that asks for what came after the last event that it saw misses nothing."""
    queue.add_each(3)
    queue.run(queue.broker.pause(queue.now))
    last = queue.run(queue.broker.events(0))[-1].id
    queue.run(queue.broker.obliterate(False, queue.now))
    # a stream of Redis begins anew; its ids are those of its clock
    queue.at(1000).add()
    fresh = queue.run(queue.broker.events(last))
    assert [event.kind for event in fresh] == [EventKind.ADDED, EventKind.WAITING]


# -- counts and listings


def test_counts_and_states_of_every_kind(queue: Driver) -> None:
    ids = one_of_each(queue)
    assert queue.counts() == dict.fromkeys(map(str, ids), 1)
    assert {queue.state(job_id): job_id for job_id in ids.values()} == ids
    assert {state: queue.ids(state) for state in ids} == {state: [job_id] for state, job_id in ids.items()}
    assert set(queue.run(queue.broker.counts())) == set(JobState)
    assert (queue.state("nobody"), queue.run(queue.broker.get("nobody"))) == (None, None)
    assert queue.ids(JobState.WAITING_CHILDREN) == []


def test_listings_start_with_the_newest_unless_ascending(queue: Driver) -> None:
    queue.add_each(5)
    assert queue.ids(WAITING, ascending=True) == ["1", "2", "3", "4", "5"]
    assert queue.ids(WAITING, ascending=False) == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, "12"), (1, 3, "234"), (3, -1, "45"), (0, -2, "1234"), (4, 99, "5"), (5, 9, ""), (-2, -1, "45"), (2, 1, "")],
)
def test_pages_of_a_listing(queue: Driver, start: int, end: int, expected: str) -> None:
    queue.add_each(5)
    assert queue.ids(WAITING, start, end) == list(expected)


def test_each_state_is_listed_in_its_own_order(queue: Driver) -> None:
    for priority in (3, 1, 2):
        queue.add(priority=priority)
    for delay in (3, 1, 2):
        queue.add(delay=delay * 60_000)
    assert (queue.ids(PRIORITIZED), queue.ids(DELAYED)) == (["2", "3", "1"], ["5", "6", "4"])
    jobs = queue.take(3)
    assert queue.ids(ACTIVE) == ["2", "3", "1"], "in the order in which they started"
    for second, job in zip((3, 4, 5), reversed(jobs), strict=True):
        queue.at(second * SECOND).complete(job)
    assert queue.ids(COMPLETED) == ["1", "3", "2"], "in the order in which they finished"


# -- progress, data, logs


def test_progress_is_stored_and_published(queue: Driver) -> None:
    queue.add()
    queue.events()
    queue.run(queue.broker.update_progress("1", '{"done":0.5}', queue.now))
    assert queue.story() == [(EventKind.PROGRESS, "1", {"data": '{"done":0.5}'})]
    assert queue.get("1").progress == {"done": 0.5}


def test_updated_data_are_what_the_next_attempt_sees(queue: Driver) -> None:
    queue.add(data='{"step":1}')
    queue.events()
    queue.run(queue.broker.update_data("1", '{"step":2}', queue.now))
    assert queue.events() == []
    assert queue.take_one().data == {"step": 2}


def test_logs_keep_their_newest_rows(queue: Driver) -> None:
    queue.add()
    lengths = [queue.run(queue.broker.log("1", row, None, 0.0)) for row in "ab"]
    assert (lengths, queue.run(queue.broker.logs("1"))) == ([1, 2], ["a", "b"])
    assert queue.run(queue.broker.log("1", "c", 2, 0.0)) == 2
    assert queue.run(queue.broker.logs("1")) == ["b", "c"]
    assert queue.run(queue.broker.logs("nobody")) == []


def test_a_removed_jobs_log_goes_with_it(queue: Driver) -> None:
    queue.add(job_id="k")
    queue.run(queue.broker.log("k", "row", None, 0.0))
    queue.run(queue.broker.remove("k", 0.0))
    queue.add(job_id="k")
    assert queue.run(queue.broker.logs("k")) == []


def test_nothing_can_be_written_to_a_missing_job(queue: Driver) -> None:
    broker = queue.broker
    for refused in (
        broker.update_progress("nobody", "1", 0.0),
        broker.update_data("nobody", "1", 0.0),
        broker.log("nobody", "row", None, 0.0),
    ):
        with pytest.raises(JobError) as caught:
            queue.run(refused)
        assert caught.value.code == -1


def test_promoting_all_leaves_the_delay_as_it_was(queue: Driver) -> None:
    """BullMQ 6.7: only a job that is promoted by itself, or when it is due, forgets its delay."""
    job_id = queue.add(delay=5000)
    assert queue.run(queue.broker.promote_all(queue.now)) == 1
    job = queue.run(queue.broker.get(job_id))
    assert job is not None
    assert job.delay == 5.0
