"""Hashes of jobs that another program damaged: we read of them what Node reads, or we name the field that is wrong.

Node takes for a number whatever begins with one, and goes on with NaN where nothing does. Ours says so instead. But it
never reads another value in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from benchmarks.damage import VALUES
from nodedriver import Node, NodeObject
from pythonside import OurQueue
from redis import Redis

from queuesim import Job
from queuesim.brokers.redis.embedded import EmbeddedServer

READ = """
const read = async id => {
  try {
    const job = await lib.Job.fromId(args.queue, id);
    return Object.fromEntries(Object.entries(job.toJSON()).map(
      ([name, value]) => [name, typeof value === 'number' ? String(value) : JSON.stringify(value)]
    ));
  } catch (error) {
    return null;
  }
};
return await Promise.all(args.ids.map(read));
"""
"""Each field as text, for Python reads no deep nesting; null for a job that Node can't read at all."""
COUNTS: dict[str, tuple[str, Callable[[Job], Any]]] = {
    "priority": ("priority", lambda job: job.priority),
    "atm": ("attemptsMade", lambda job: job.attempts_made),
    "attemptsMade": ("attemptsMade", lambda job: job.attempts_made),
    "ats": ("attemptsStarted", lambda job: job.attempts_started),
    "timestamp": ("timestamp", lambda job: round(job.timestamp * 1000)),
    "delay": ("delay", lambda job: round(job.delay * 1000)),
}
"""By field of the hash: what Node calls it, and ours."""
SHOWN: dict[str, tuple[str, Callable[[Job], Any]]] = {
    "processedOn": ("processedOn", lambda job: job.processed_on and round(job.processed_on * 1000)),
    "finishedOn": ("finishedOn", lambda job: job.finished_on and round(job.finished_on * 1000)),
    "stc": ("stalledCounter", lambda job: job.stalled_count),
}
"""Numbers that nothing depends on: where they can't be read they are left out."""
TEXTS: dict[str, tuple[str, Callable[[Job], Any]]] = {
    "name": ("name", lambda job: job.name),
    "defa": ("deferredFailure", lambda job: job.deferred_failure),
    "pb": ("processedBy", lambda job: job.processed_by),
    "failedReason": ("failedReason", lambda job: job.failed_reason),
}
JSONS: dict[str, tuple[str, Callable[[Job], Any]]] = {
    "data": ("data", lambda job: job.data),
    "progress": ("progress", lambda job: job.progress),
    "returnvalue": ("returnvalue", lambda job: job.return_value),
}
PLAIN = {"name": "ok", "data": '{"x":1}', "opts": '{"attempts":2}', "timestamp": "1750000000000", "delay": "0"}
WHOLE = re.compile(" *-?[0-9]{1,15} *")
MOST = 600
"""Characters beyond which ours may say of JSON that it is nested too deeply, or has too long a number."""

Case = tuple[str, str, Job, dict[str, str]]
"""Field, its value, the job here, the job there."""


def read_both(
    server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue, fields: list[str]
) -> list[Case]:
    """Jobs of which one field has one of the wrong values, as both read them; without those that Node can't read."""
    damaged = {f"j{place}": case for place, case in enumerate((field, value) for field in fields for value in VALUES)}
    with Redis.from_url(server.url) as client, client.pipeline() as pipeline:
        for job_id, (field, value) in damaged.items():
            texts = {**PLAIN, field: value}
            stored = {name: text.encode(errors="surrogateescape") for name, text in texts.items()}
            pipeline.hset(f"bull:mail:{job_id}", mapping=stored)
        pipeline.execute()
    theirs = node.run(READ, queue=node_queue, ids=list(damaged))
    cases = [
        (*damaged[job_id], our_queue.get_job(job_id), read)
        for job_id, read in zip(damaged, theirs, strict=True)
        if read
    ]
    assert cases
    return cases


def as_script(value: Any) -> Any:
    """A value as JSON made by JavaScript has it."""
    if isinstance(value, dict):
        return {name: as_script(part) for name, part in value.items()}
    if isinstance(value, list):
        return [as_script(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > 2**53:
        return float(value)
    return value


def test_numbers_are_those_of_node_or_named(
    server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue
) -> None:
    """Of 1.5 ms both take 1. Of 1e3, Node takes 1 and ours says that it is not a number."""
    for field, value, job, theirs in read_both(server, node, node_queue, our_queue, list(COUNTS)):
        their_name, ours = COUNTS[field]
        named = {fault.field for fault in job.unreadable} == {field.replace("attemptsMade", "atm")}
        sound = WHOLE.fullmatch(value) and int(value) >= (0 if field not in ("timestamp", "delay") else -math.inf)
        # HINCRBY takes no blanks
        assert not (sound and named) or (field == "ats" and " " in value), (field, value)
        assert named or float(theirs[their_name]) == ours(job) or value == "", (field, value, theirs[their_name])


def test_numbers_that_are_only_shown_are_those_of_node_or_left_out(
    server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue
) -> None:
    for field, value, job, theirs in read_both(server, node, node_queue, our_queue, list(SHOWN)):
        their_name, ours = SHOWN[field]
        found = ours(job)
        assert not job.unreadable
        assert not found or float(theirs[their_name]) == found, (field, value, theirs.get(their_name))
        if WHOLE.fullmatch(value):
            assert float(theirs[their_name]) == found, (field, value)


def test_texts_are_those_of_node(
    server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue
) -> None:
    """An empty text is none: such a job has no failure that was deferred, and runs."""
    for field, value, job, theirs in read_both(server, node, node_queue, our_queue, list(TEXTS)):
        their_name, ours = TEXTS[field]
        found = (ours(job) or "").encode(errors="surrogateescape").decode(errors="replace")
        assert not job.unreadable
        assert found == json.loads(theirs.get(their_name, '""')), (field, value[:40])


def test_json_is_that_of_node(server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue) -> None:
    """Where a result is not JSON, Node shows nothing and ours the text."""
    for field, value, job, theirs in read_both(server, node, node_queue, our_queue, list(JSONS)):
        their_name, ours = JSONS[field]
        if len(value) > MOST:
            continue
        assert not job.unreadable, (field, value)
        if (field, value) == ("progress", "null"):
            # ours tells that from no progress, which Node does not
            assert (ours(job), theirs["progress"]) == (None, "0")
            continue
        text = theirs.get(their_name, "null")
        read = None if text in ("Infinity", "-Infinity") else json.loads(text)
        found = ours(job)
        as_text = field == "returnvalue" and read is None and found == value
        assert as_text or as_script(found) == read, (field, value, text)


def test_options_that_both_can_read_are_the_same(
    server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue
) -> None:
    """Node takes anything for options, a text as well, and fails over it later, or never. Ours names them."""
    readable = {"", "{}", '{"a":1}', '{"attempts":[]}', '{"backoff":{"type":[],"delay":1}}'}
    readable |= {'{"backoff":{"type":"fixed","delay":{}}}', '{"jobId":[[]]}'}
    for _, value, job, _ in read_both(server, node, node_queue, our_queue, ["opts"]):
        named = {fault.field for fault in job.unreadable}
        assert named == (set() if value in readable else {"opts"}), value[:60]
        assert job.options.attempts == 0
