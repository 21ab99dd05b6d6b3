"""Node and we take turns on one queue, in random order: each job is in one state at any time, and none is left.

Node's end is each version that applications run. A step by which that version loses jobs itself is not drawn.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hands import ORIGIN, NodeHand, OurHand
from nodedriver import Node
from redis import Redis

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from queuesim.core.job import JobState, Keep

pytestmark = pytest.mark.every_version

PREFIX = "turns"
BASE = f"{PREFIX}:q:"
LISTS = ("wait", "paused", "active")
SETS = ("prioritized", "delayed", "completed", "failed", "waiting-children")
STEPS = 120
HOUR = 3_600_000
FIVE = "bullmq5"
Hand = OurHand | NodeHand


class Turns:
    """The queue, both hands, and who has taken which job."""

    def __init__(self, ours: OurHand, node: NodeHand, client: Redis, seed: int, package: str) -> None:
        self._hands: tuple[Hand, Hand] = (ours, node)
        self._ours = ours
        self._client = client
        self._rng = random.Random(seed)
        self._package = package
        self._taken: dict[str, tuple[Hand, str]] = {}
        """By job: who has taken it, and under which token."""
        self._tokens = 0
        self._now = 0
        self.story: list[str] = []
        self._at(0)

    # -- what is there

    def _hashes(self) -> set[str]:
        keys = (str(key).removeprefix(BASE) for key in self._client.scan_iter(f"{BASE}*", count=10_000, _type="hash"))
        return {key for key in keys if ":" not in key} - {"meta"}

    def places(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in LISTS:
            for job_id in self._client.lrange(BASE + name, 0, -1):
                found.setdefault(job_id, []).append(name)
        for name in SETS:
            for job_id in self._client.zrange(BASE + name, 0, -1):
                found.setdefault(job_id, []).append(name)
        return found

    def check(self) -> None:
        """Every job in one state, and nothing but jobs; both hands say the same of one of them."""
        places = self.places()
        twice = {job_id: names for job_id, names in places.items() if len(names) != 1}
        assert not twice, (self.story, twice)
        assert places.keys() == self._hashes(), self.story
        if places:
            job_id = self._rng.choice(sorted(places))
            first, second = (str(hand.state(job_id)) for hand in self._hands)
            # version 5 has a state of its own for what waits in its list
            assert first == ("waiting" if second == "paused" else second), (self.story, job_id)

    # -- turns

    def turn(self) -> None:
        """One step by one of them."""
        hand = self._rng.choice(self._hands)
        kinds = {"add": 5, "take": 5, "end": 6, "wait": 3, "one": 3, "many": 1, "stall": 1, "pause": 1}
        (kind,) = self._rng.choices(list(kinds), list(kinds.values()))
        self.story.append(f"{'we' if hand is self._ours else 'Node'}: {kind}")
        getattr(self, f"_{kind}")(hand)

    def _at(self, later: int) -> None:
        self._now += later
        for hand in self._hands:
            hand.at(self._now)

    def _wait(self, _: Hand) -> None:
        self._at(self._rng.choice((1, 40, 1_500)))

    def _add(self, hand: Hand) -> None:
        rng = self._rng
        options: dict[str, Any] = {
            "delay": rng.choice((0, 0, 0, 40, 2_000)),
            "priority": rng.choice((0, 0, 1, 2)),
            "lifo": rng.random() < 0.2,
            "attempts": rng.choice((1, 2, 3)),
            "backoff": rng.choice((None, {"type": "fixed", "delay": 30})),
            "keep_completed": rng.choice((None, None, Keep(count=0), Keep(count=3))),
            "keep_failed": rng.choice((None, None, Keep(count=0), Keep(count=3))),
        }
        if rng.random() < 0.2:
            options["job_id"] = rng.choice(("a", "b", "c"))
        elif rng.random() < 0.2:
            options["deduplication"] = {"id": rng.choice("de"), "keep_last_if_active": rng.random() < 0.5}
        hand.add("job", **options)

    def _take(self, hand: Hand) -> None:
        self._tokens += 1
        token = f"t{self._tokens}"
        job_id = hand.take(token)
        if job_id is not None:
            self._taken[job_id] = (hand, token)

    def _end(self, _: Hand) -> None:
        """Whoever has taken a job ends it; a lock that is gone is no reason to go wrong."""
        if not self._taken:
            return
        job_id = self._rng.choice(sorted(self._taken))
        hand, token = self._taken.pop(job_id)
        how = self._rng.choice(("complete", "complete", "fail", "fail", "postpone", "put_back"))
        self.story[-1] += f" {how} {job_id}"
        if how == "postpone":
            hand.postpone(job_id, 70, token)
        else:
            getattr(hand, how)(job_id, token=token)

    def _one(self, hand: Hand) -> None:
        ids = sorted(self.places())
        if not ids:
            return
        job_id = self._rng.choice(ids)
        how = self._rng.choice(("promote", "remove", "retry", "change_delay", "change_priority"))
        self.story[-1] += f" {how} {job_id}"
        if how == "change_delay":
            hand.change_delay(job_id, 500)
        elif how == "change_priority":
            hand.change_priority(job_id, self._rng.randint(0, 3))
        else:
            getattr(hand, how)(job_id)

    def _many(self, hand: Hand) -> None:
        how = self._rng.choice(("promote_all", "retry_all", "drain", "clean"))
        self.story[-1] += f" {how}"
        if how == "clean":
            hand.clean(20, 0, self._rng.choice((JobState.COMPLETED, JobState.FAILED, JobState.DELAYED)))
        else:
            getattr(hand, how)()

    def _stall(self, hand: Hand) -> None:
        self._client.delete(f"{BASE}stalled-check")
        hand.check_stalled(HOUR, 100)
        held = sorted(job_id for job_id in self._taken if self._client.exists(f"{BASE}{job_id}:lock"))
        if held:
            self._client.delete(f"{BASE}{self._rng.choice(held)}:lock")
        self._client.delete(f"{BASE}stalled-check")
        self._rng.choice(self._hands).check_stalled(HOUR, 100)
        self._client.delete(f"{BASE}stalled-check")

    def _pause(self, hand: Hand) -> None:
        if self._client.hexists(f"{BASE}meta", "paused"):
            # version 5 renames its list over what others added meanwhile, and loses that: only ours resumes beside it
            (self._ours if self._package == FIVE else hand).resume()
        else:
            hand.pause()

    def finish(self) -> None:
        """Everything that waits is run, by turns; what was taken ends."""
        self._ours.resume()
        while self._taken:
            self._end(self._ours)
        for round_ in range(2_000):
            self._at(3_000)
            hand = self._hands[round_ % 2]
            job_id = hand.take("last")
            if job_id is not None:
                hand.complete(job_id, token="last")
            self.check()
            counts = self._ours.counts()
            if not any(counts[state] for state in ("waiting", "prioritized", "delayed", "active")):
                return
            if job_id is None and counts["active"]:
                self._stall(hand)
        raise AssertionError(f"{self.story}: {self.places()} are left")


@pytest.fixture
def hands(node: Node, default_server: EmbeddedServer) -> Iterator[tuple[OurHand, NodeHand, Redis]]:
    """Both on one queue."""
    with (
        Redis.from_url(default_server.url, decode_responses=True) as client,
        asyncio.Runner() as runner,
    ):
        place = runner.run(connect(default_server.url))
        try:
            node_hand = NodeHand(node, "q", PREFIX)
            yield OurHand(RedisBroker("q", place, PREFIX), runner), node_hand, client
        finally:
            node.set_clock(None)
            runner.run(place.close())


@pytest.mark.parametrize("seed", range(4))
def test_no_job_is_lost_or_in_two_states(hands: tuple[OurHand, NodeHand, Redis], package: str, seed: int) -> None:
    ours, node, client = hands
    turns = Turns(ours, node, client, seed, package)
    for _ in range(STEPS):
        turns.turn()
        turns.check()
    turns.finish()
    assert ours.now * 1000 > ORIGIN
