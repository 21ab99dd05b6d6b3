"""The rate limiter, global concurrency, and pausing."""

from __future__ import annotations

import asyncio
import math

import pytest
from brokerdriver import Driver, memory
from redisservers import Clock, fakeredis

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import Returned, Terms
from queuesim.core.events import EventKind
from queuesim.core.job import JobOptions, NewJob, RateLimit

FIVE = RateLimit(max=5, duration=1.0)


def test_a_window_opens_at_the_first_start_and_lets_max_jobs_through(queue: Driver) -> None:
    queue.add_each(12)
    queue.at(375)
    reply = queue.exchange(take=20, limiter=FIVE)
    assert (len(reply.jobs), reply.limited_until) == (5, 1.375)
    queue.at(1250)
    reply = queue.exchange(take=20, limiter=FIVE)
    assert (reply.jobs, reply.limited_until) == ([], 1.375)
    queue.at(1375)
    assert len(queue.take(20, limiter=FIVE)) == 5


def test_twice_max_minus_one_starts_fit_around_a_boundary(queue: Driver) -> None:
    """As a real BullMQ queue did it: 1 start at 0, 4 at the end of that window, 5 at the start of the next."""
    queue.add_each(13)
    assert len(queue.take(1, limiter=FIVE)) == 1
    queue.at(875)
    assert len(queue.take(20, limiter=FIVE)) == 4
    queue.at(1000)
    assert len(queue.take(20, limiter=FIVE)) == 5
    queue.at(1875)
    assert queue.take(20, limiter=FIVE) == []
    queue.at(2000)
    assert len(queue.take(20, limiter=FIVE)) == 3


def test_unused_allowance_is_lost_and_a_window_is_not_aligned(queue: Driver) -> None:
    queue.add_each(20)
    queue.take(1, limiter=FIVE)
    queue.at(10_500)
    assert len(queue.take(20, limiter=FIVE)) == 5
    queue.at(11_375)
    assert queue.take(20, limiter=FIVE) == []
    queue.at(11_500)
    assert len(queue.take(20, limiter=FIVE)) == 5


def test_every_start_counts_retries_and_stalled_runs_too(queue: Driver) -> None:
    limiter = RateLimit(max=3, duration=60.0)
    queue.add(attempts=9)
    queue.retry(queue.take_one(limiter=limiter))
    queue.take_one(limiter=limiter, lock=1000)
    queue.recover(1000)
    queue.at(1000)
    assert queue.recover(1000) == ["1"]
    queue.take_one(limiter=limiter)
    queue.add()
    assert queue.exchange(limiter=limiter).limited_until == 60.0


def test_a_job_that_is_to_fail_at_once_does_not_count(queue: Driver) -> None:
    limiter = RateLimit(max=2, duration=60.0)
    queue.add()
    queue.take_one(limiter=limiter, lock=1000)
    queue.recover(1000)
    queue.at(1000)
    queue.recover(1000, max_stalled=0)
    assert queue.take_one(limiter=limiter).deferred_failure is not None
    queue.add_each(2)
    assert len(queue.take(2, limiter=limiter)) == 1


def test_due_jobs_are_promoted_before_the_limiter_is_asked(queue: Driver) -> None:
    queue.add()
    queue.add(delay=500)
    queue.take_one(limiter=RateLimit(1, 60.0))
    queue.at(500)
    assert queue.take(limiter=RateLimit(1, 60.0)) == []
    assert queue.counts() == {"active": 1, "waiting": 1}


def test_workers_share_one_window(queue: Driver) -> None:
    queue.add_each(9)
    assert len(queue.take(3, limiter=FIVE, worker="a")) == 3
    assert len(queue.take(9, limiter=FIVE, worker="b")) == 2
    assert len(queue.take(9, worker="without a limiter")) == 4


# -- by hand


def test_a_manual_rate_limit_binds_only_workers_that_have_a_limiter(queue: Driver) -> None:
    queue.add_each(2)
    queue.run(queue.broker.rate_limit(2.0, queue.now))
    assert queue.exchange(limiter=FIVE).limited_until == 2.0
    assert len(queue.take(1)) == 1
    queue.at(2000)
    assert len(queue.take(1, limiter=FIVE)) == 1


def test_a_manual_rate_limit_binds_all_if_the_queue_has_a_limit(queue: Driver) -> None:
    queue.add()
    queue.run(queue.broker.set_rate_limit(FIVE, queue.now))
    queue.run(queue.broker.rate_limit(2.0, queue.now))
    assert queue.exchange().limited_until == 2.0


def test_clearing_forgets_the_window(queue: Driver) -> None:
    queue.add_each(10)
    queue.take(5, limiter=FIVE)
    queue.run(queue.broker.clear_rate_limit(queue.now))
    queue.at(500)
    assert len(queue.take(9, limiter=FIVE)) == 5
    assert queue.exchange(limiter=FIVE).limited_until == 1.5


def test_time_to_the_next_start(queue: Driver) -> None:
    def ttl(max_jobs: int | None = None) -> float:
        return queue.run(queue.broker.rate_limit_ttl(max_jobs, queue.now))

    assert (ttl(), ttl(5)) == (0.0, 0.0)
    queue.add_each(6)
    queue.take(3, limiter=FIVE)
    queue.at(250)
    assert (ttl(3), ttl(4)) == (0.75, 0.0)
    assert ttl() == 0.75, "without a max, all that counts is that a window is open"
    queue.run(queue.broker.set_rate_limit(RateLimit(4, 1.0), queue.now))
    assert (ttl(), ttl(3)) == (0.0, 0.75)
    queue.at(1000)
    assert ttl(3) == 0.0


# -- whose limit holds


def test_the_queues_max_goes_before_the_workers_but_its_duration_behind(queue: Driver) -> None:
    queue.add_each(9)
    queue.run(queue.broker.set_rate_limit(RateLimit(max=2, duration=60.0), queue.now))
    reply = queue.exchange(take=9, limiter=RateLimit(max=5, duration=3.0))
    assert (len(reply.jobs), reply.limited_until) == (2, 3.0)


def test_the_queues_limit_binds_workers_that_have_none(queue: Driver) -> None:
    queue.add_each(9)
    queue.run(queue.broker.set_rate_limit(RateLimit(max=2, duration=60.0), queue.now))
    reply = queue.exchange(take=9)
    assert (len(reply.jobs), reply.limited_until) == (2, 60.0)
    queue.run(queue.broker.set_rate_limit(None, queue.now))
    assert len(queue.take(9)) == 7


# -- jobs that a handler hands back


def test_a_rate_limited_job_goes_back_to_the_front_and_counts_no_attempt(queue: Driver) -> None:
    queue.add_each(3)
    job = queue.take_one(limiter=FIVE)
    queue.events()
    assert queue.put_back(job, 2000) == 0
    assert queue.story() == [(EventKind.WAITING, "1", {"prev": "active"})]
    job = queue.get("1")
    assert (job.attempts_made, job.attempts_started) == (0, 1)
    assert queue.exchange(limiter=FIVE).limited_until == 2.0
    queue.at(2000)
    assert queue.take_ids(9, limiter=FIVE) == ["1", "2", "3"]


def test_a_rate_limited_job_goes_to_the_front_of_its_own_priority(queue: Driver) -> None:
    queue.add_each(2, priority=2)
    job = queue.take_one()
    queue.add(priority=1)
    queue.put_back(job)
    assert queue.take_ids(9) == ["3", "1", "2"]


def test_a_worker_that_asked_for_a_hold_gets_it_even_without_a_limiter(queue: Driver) -> None:
    """BullMQ's worker sleeps for the limiter's time after a rate-limit error, whether or not it has a max."""
    queue.add_each(2)
    job = queue.take_one()
    reply = queue.exchange([Returned(job.id, job.token, 2.0)], take=1)
    assert (reply.jobs, reply.limited_until) == ([], 2.0)
    assert queue.take_ids() == ["1"], "another worker without a limiter goes on"


# -- global concurrency


def test_global_concurrency_bounds_the_active_jobs_of_all_workers(queue: Driver) -> None:
    queue.add_each(9)
    queue.run(queue.broker.set_concurrency(3, queue.now))
    first = queue.take(2, worker="a")
    assert len(queue.take(9, worker="b")) == 1
    assert queue.take(1, worker="c") == []
    queue.complete(first[0])
    assert len(queue.take(9, worker="c")) == 1
    queue.run(queue.broker.set_concurrency(None, queue.now))
    assert len(queue.take(9)) == 5


def test_a_lower_concurrency_stops_nothing_that_runs(queue: Driver) -> None:
    queue.add_each(5)
    jobs = queue.take(3)
    queue.run(queue.broker.set_concurrency(1, queue.now))
    for job in jobs[:2]:
        queue.complete(job)
        assert queue.take() == []
    queue.complete(jobs[2])
    assert len(queue.take(5)) == 1


# -- pausing


def test_a_paused_queue_starts_nothing_until_it_is_resumed(queue: Driver) -> None:
    queue.add_each(2)
    job = queue.take_one()
    queue.events()
    queue.run(queue.broker.pause(queue.now))
    assert queue.run(queue.broker.is_paused()) is True
    assert queue.take(5) == []
    assert queue.complete(job) == 0, "active jobs go on"
    queue.add()
    assert queue.counts() == {"completed": 1, "waiting": 2}
    queue.run(queue.broker.resume(queue.now))
    assert queue.run(queue.broker.is_paused()) is False
    assert queue.take_ids(5) == ["2", "3"]
    kinds = [(kind, job_id) for kind, job_id, _ in queue.story() if kind in (EventKind.PAUSED, EventKind.RESUMED)]
    assert kinds == [(EventKind.PAUSED, None), (EventKind.RESUMED, None)]


def test_delayed_jobs_are_promoted_while_the_queue_is_paused(queue: Driver) -> None:
    queue.run(queue.broker.pause(queue.now))
    queue.add(delay=1000)
    queue.at(1000)
    assert queue.take() == []
    assert queue.counts() == {"waiting": 1}


@pytest.mark.parametrize("limited", [True, False])
def test_the_limiter_is_asked_before_the_pause(queue: Driver, limited: bool) -> None:
    queue.add()
    if limited:
        queue.run(queue.broker.rate_limit(2.0, queue.now))
    queue.run(queue.broker.pause(queue.now))
    assert queue.exchange(limiter=FIVE).limited_until == (2.0 if limited else None)


def test_a_full_window_is_not_over_by_a_clock_in_which_the_rest_of_it_is_lost_in_rounding() -> None:
    """Else whoever has that clock would ask again at the same moment, for ever."""
    broker, limiter = MemoryBroker("q"), RateLimit(max=1, duration=1.0)
    terms, opened = Terms(30.0, limiter, "w"), 28.590313905362837

    async def limited_until(now: float) -> float | None:
        await broker.add([NewJob("a", "{}", JobOptions())] * 2, opened)
        await broker.exchange([], 1, terms, "t:1", opened)
        broker.server_now = math.nextafter(opened + 1.0, 0.0)
        return (await broker.exchange([], 1, terms, "t:2", now)).limited_until

    ahead = opened + 21.0
    assert ahead + (opened + 1.0 - math.nextafter(opened + 1.0, 0.0)) == ahead
    until = asyncio.run(limited_until(ahead))
    assert until is not None
    assert ahead < until < ahead + 1e-9


@pytest.mark.parametrize("late", [0.9375, 0.9921875])
def test_a_window_is_closed_until_its_very_end(runner: asyncio.Runner, clock: Clock, late: float) -> None:
    """By a clock that is finer than that of other tests; real servers run the same script as fakeredis."""
    for make in (memory, fakeredis):
        clock.now = 0.0
        queue = Driver(runner.run(make(clock)), runner, clock)
        limiter = RateLimit(1, 1.0)
        queue.add_each(2)
        assert queue.take_ids(2, limiter=limiter) == ["1"]
        clock.now = late
        reply = queue.exchange([], 1, limiter=limiter)
        assert reply.jobs == []
        assert reply.limited_until == pytest.approx(1.0, abs=0.001)
        clock.now = 1.0
        assert queue.take_ids(1, limiter=limiter) == ["2"]
        runner.run(queue.broker.close())
