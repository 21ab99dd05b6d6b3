"""Adding jobs: ids, duplicates, and where a new job goes."""

from __future__ import annotations

from brokerdriver import Driver, new_job

from queuesim.core.broker import Terms
from queuesim.core.events import EventKind
from queuesim.core.job import JobState


def test_automatic_ids_count_from_one(queue: Driver) -> None:
    assert [queue.add(), queue.add(), queue.add()] == ["1", "2", "3"]


def test_the_id_counter_moves_for_custom_ids_and_duplicates_too(queue: Driver) -> None:
    assert queue.add(job_id="k") == "k"
    assert queue.add(job_id="k") == "k"
    assert queue.add() == "3"


def test_a_job_is_stored_as_it_was_added(queue: Driver) -> None:
    queue.at(2000)
    job = queue.get(queue.add("mail", '{"to":[1,null,"ü"]}', attempts=3, priority=7, delay=500))
    assert (job.name, job.data, job.raw_data) == ("mail", {"to": [1, None, "ü"]}, '{"to":[1,null,"ü"]}')
    assert (job.timestamp, job.delay, job.priority, job.options.attempts) == (2.0, 0.5, 7, 3)
    assert (job.attempts_made, job.attempts_started, job.processed_on, job.finished_on) == (0, 0, None, None)
    assert (job.progress, job.return_value, job.failed_reason, list(job.stacktrace)) == (0, None, None, [])


def test_every_look_at_a_job_is_a_copy_of_its_own(queue: Driver) -> None:
    job_id = queue.add(data='{"list":[1]}')
    queue.get(job_id).data["list"].append(2)
    assert queue.get(job_id).data == {"list": [1]}


def test_a_custom_id_is_refused_in_every_state_and_free_after_removal(queue: Driver) -> None:
    queue.add(job_id="k", name="first")
    taken = []
    for move in (lambda: None, lambda: taken.append(queue.take_one()), lambda: queue.complete(taken[0])):
        move()
        before = queue.counts()
        queue.events()
        assert queue.add(job_id="k", name="second") == "k"
        assert queue.story() == [(EventKind.DUPLICATED, "k", {})]
        assert queue.counts() == before
        assert queue.get("k").name == "first"
    queue.run(queue.broker.remove("k", queue.now))
    queue.add(job_id="k", name="third")
    assert queue.get("k").name == "third"


def test_events_of_a_new_job(queue: Driver) -> None:
    queue.at(1000)
    queue.add("now")
    queue.add("later", delay=500)
    queue.add("urgent", priority=1)
    assert queue.story() == [
        (EventKind.ADDED, "1", {"name": "now"}),
        (EventKind.WAITING, "1", {}),
        (EventKind.ADDED, "2", {"name": "later"}),
        (EventKind.DELAYED, "2", {"delay": 1.5}),
        (EventKind.ADDED, "3", {"name": "urgent"}),
        (EventKind.WAITING, "3", {}),
    ]
    assert [queue.state(id) for id in "123"] == [JobState.WAITING, JobState.DELAYED, JobState.PRIORITIZED]


def test_a_timestamp_of_its_own_moves_the_delay_with_it(queue: Driver) -> None:
    queue.at(10_000)
    job_id = queue.add(timestamp=8000, delay=3000)
    assert queue.get(job_id).timestamp == 8.0
    queue.at(10_875)
    assert queue.take() == []
    queue.at(11_000)
    assert queue.take_ids() == [job_id]


def test_bulk_adds_in_order_with_duplicates_inside_it(queue: Driver) -> None:
    jobs = [new_job("a"), new_job("b", job_id="k"), new_job("c", job_id="k"), new_job("d")]
    assert queue.run(queue.broker.add(jobs, 0.0)) == ["1", "k", "k", "4"]
    assert [job.name for job in queue.take(10)] == ["a", "b", "d"]


def test_an_empty_bulk_adds_nothing(queue: Driver) -> None:
    assert queue.run(queue.broker.add([], 0.0)) == []
    assert queue.events() == []


def test_event_ids_rise_and_limit_pages_through_them(queue: Driver) -> None:
    queue.add_each(3)
    everything = queue.run(queue.broker.events(0))
    assert [event.id for event in everything] == sorted({event.id for event in everything})
    page = queue.run(queue.broker.events(everything[1].id, 2))
    assert page == everything[2:4]


def test_siblings_share_nothing_but_their_place(queue: Driver) -> None:
    other = queue.broker.sibling("other")
    assert other.queue == "other"
    queue.run(other.add([new_job()], 0.0))
    assert queue.counts() == {}
    again = queue.broker.sibling("other")
    assert len(queue.run(again.exchange([], 5, Terms(), "t", 0.0)).jobs) == 1
