"""The reader of a live run's event stream, with several readings at once and with readings that are interrupted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from queuesim.brokers.redis.server import RealServer
from queuesim.results.recorder import Recorder
from queuesim.runs.live.messages import StreamFollower

STREAM = [(f"{1000 + number}-0", ["event", "added", "jobId", str(number), "name", "mail"]) for number in range(1, 6)]


class SlowServer:
    """Answers XRANGE in its own time, so that others have their turn before each answer."""

    async def command(self, *words: Any) -> Any:
        await asyncio.sleep(0)
        assert words[0] == "XRANGE"
        first = words[2]
        entries = [entry for entry in STREAM if first == "-" or entry[0] >= first.lstrip("(")]
        await asyncio.sleep(0)
        return entries


def follower(added: list[str]) -> StreamFollower:
    """A follower that lists the ids of the jobs that it reports."""
    recorder = Recorder()
    recorder.added = lambda number, job_id, job, timestamp: added.append(job_id)  # type: ignore[method-assign]
    recorder.events = lambda entries: None  # type: ignore[method-assign]
    return StreamFollower(cast(RealServer, SlowServer()), "bull:mail:", recorder, lambda stamp: stamp / 1000)


def test_two_readings_at_the_same_time_report_each_event_once() -> None:
    """A fault that kills the server reads the stream while the run follows it."""
    added: list[str] = []

    async def main() -> None:
        stream = follower(added)
        await asyncio.gather(stream.read(), stream.read(), stream.read())

    asyncio.run(main())
    assert added == ["1", "2", "3", "4", "5"]


def test_what_an_interrupted_reading_did_not_report_is_read_again() -> None:
    """The run ends while its follower waits for the answer to an add."""
    added: list[str] = []

    async def main() -> None:
        stream = follower(added)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stream.adding.add(answered)
        reading = asyncio.create_task(stream.read())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reading.done()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert added == []
        stream.adding.clear()
        await stream.read()

    asyncio.run(main())
    assert added == ["1", "2", "3", "4", "5"]
