"""Any sequence of operations leaves the same keys as the same sequence on Node.

Versions of BullMQ before 6.7 are not alike in a few places, where ours does as 6.7 does: `Quirks` names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hands import Both
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from queuesim.core.job import KEEP_ALL, JobState, Keep

HOUR = 3_600_000
"""What the server times by its own clock is far longer than any test takes."""

keeps = st.sampled_from([None, KEEP_ALL, Keep(count=0), Keep(count=1), Keep(age=1), Keep(count=2, age=1)])
limits = st.sampled_from([None, None, (2, HOUR), (5, HOUR)])
deduplications = st.fixed_dictionaries(
    {"id": st.sampled_from("de")},
    optional={
        "ttl": st.just(HOUR),
        "extend": st.booleans(),
        "replace": st.booleans(),
        "reschedule": st.booleans(),
        "keep_last_if_active": st.booleans(),
    },
)
options = st.fixed_dictionaries(
    {},
    optional={
        "delay": st.sampled_from([1, 50, 2_000]),
        "priority": st.integers(1, 3),
        "lifo": st.just(True),
        "attempts": st.integers(1, 3),
        "backoff": st.sampled_from([{"type": "fixed", "delay": 30}, {"type": "exponential", "delay": 20}]),
        "job_id": st.sampled_from(["a", "b", "c"]),
        "deduplication": deduplications,
        "keep_completed": keeps,
        "keep_failed": keeps,
    },
)


@dataclass(frozen=True)
class Quirks:
    """What a version of BullMQ does in another way than 6.7, so that no step asks for it."""

    list_of_paused: bool = False
    """The jobs of a paused queue wait in a list of their own: test_transitions_paused_by_five.py."""
    before_6_7: bool = False
    """A deferred failure counts as a start for the limiter; a job that is retried by hand loses its priority; nothing
    is rescheduled by deduplication; a job that replaces another leaves what was to follow the active one."""


QUIRKS = {"bullmq60": Quirks(before_6_7=True), "bullmq5": Quirks(list_of_paused=True, before_6_7=True)}


class Machine(RuleBasedStateMachine):
    """Operations on both queues. `both` is set by the test; every step of it compares all keys."""

    both: Both
    quirks: Quirks

    def __init__(self) -> None:
        super().__init__()
        self.both.restart()
        self.both.add("first")
        self.now = 0
        self.tokens: dict[str, str] = {}
        """The jobs that were taken, and under which token."""
        self.ids: list[str] = ["none"]

    def _id(self, number: int) -> str:
        return self.ids[-1 - number % len(self.ids)]

    def _priority(self, job_id: str) -> int:
        return int(self.both.left().get(job_id, {"value": {}})["value"].get("priority", 0))

    def _taken(self, job_id: str | None, token: str) -> None:
        if job_id is not None:
            self.tokens[job_id] = token

    @rule(milliseconds=st.sampled_from([1, 40, 1_500]))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.both.at(self.now)

    @rule(options=options)
    def add(self, options: dict[str, Any]) -> None:
        if self.quirks.before_6_7 and "deduplication" in options:
            known = ("id", "ttl", "extend", "keep_last_if_active")
            options["deduplication"] = {
                name: options["deduplication"][name] for name in known if name in options["deduplication"]
            }
        self.ids.append(self.both.add("job", **options))

    @rule(limit=limits)
    def take(self, limit: tuple[int, int] | None) -> None:
        token = f"t{len(self.tokens)}"
        self._taken(self.both.take(token, limit), token)

    @rule(
        number=st.integers(0, 5), end=st.sampled_from(["complete", "complete", "fail"]), fetch=st.booleans(), keep=keeps
    )
    def finish(self, number: int, end: str, fetch: bool, keep: Keep | None) -> None:
        if self.tokens:
            job_id, token = [*self.tokens.items()][-1 - number % len(self.tokens)]
            # on Node neither a retry nor an end that is refused takes the next job; ours hands in many, and goes on
            lock = self.both.left().get(f"{job_id}:lock", {"value": None})["value"]
            fetch = fetch and end == "complete" and lock == token
            answer = getattr(self.both, end)(job_id, token=token, fetch=fetch, keep=keep)
            if isinstance(answer, str):
                self._taken(answer, token)

    @rule(number=st.integers(0, 5), end=st.sampled_from(["postpone", "put_back"]))
    def give_back(self, number: int, end: str) -> None:
        if self.tokens:
            job_id, token = [*self.tokens.items()][-1 - number % len(self.tokens)]
            self.both.postpone(job_id, 70, token) if end == "postpone" else self.both.put_back(job_id, token)

    @rule(number=st.integers(0, 5))
    def stall(self, number: int) -> None:
        active = self.both.left().get("active", {"value": []})["value"]
        most = 1_000 if self.quirks.before_6_7 else 1
        self.both.check_stalled(HOUR, most)
        # one at a time: several come back in the order in which a set holds them, ours in that of their ids
        held = [job_id for job_id in active if f"{job_id}:lock" in self.both.left()]
        if held:
            self.both.expire_lock(held[number % len(held)])
        self.both.expire("stalled-check")
        self.both.check_stalled(HOUR, most)
        self.both.expire("stalled-check")

    @precondition(lambda self: not self.quirks.list_of_paused)
    @rule(pause=st.booleans())
    def pause(self, pause: bool) -> None:
        self.both.pause() if pause else self.both.resume()

    @rule(limit=st.sampled_from([None, 1, 2]))
    def set_concurrency(self, limit: int | None) -> None:
        self.both.set_concurrency(limit)

    @rule(limit=limits)
    def set_rate_limit(self, limit: tuple[int, int] | None) -> None:
        self.both.set_rate_limit(limit)

    @rule(hold=st.booleans())
    def hold(self, hold: bool) -> None:
        self.both.hold(HOUR) if hold else self.both.free()

    @rule(number=st.integers(0, 9), delay=st.sampled_from([0, 10, 5_000]))
    def change_delay(self, number: int, delay: int) -> None:
        self.both.change_delay(self._id(number), delay)

    @rule(number=st.integers(0, 9), priority=st.integers(0, 3), lifo=st.booleans())
    def change_priority(self, number: int, priority: int, lifo: bool) -> None:
        self.both.change_priority(self._id(number), priority, lifo)

    @rule(number=st.integers(0, 9), operation=st.sampled_from(["promote", "remove", "retry"]), reset=st.booleans())
    def move(self, number: int, operation: str, reset: bool) -> None:
        job_id = self._id(number)
        loses_priority = operation == "retry" and self.quirks.before_6_7 and self._priority(job_id)
        if self.both.state(job_id) is not None and not loses_priority:
            getattr(self.both, operation)(job_id, **({"reset": reset} if operation == "retry" else {}))

    @rule(operation=st.sampled_from(["promote_all", "retry_all", "drain"]))
    def move_all(self, operation: str) -> None:
        getattr(self.both, operation)()

    @rule(
        state=st.sampled_from(["waiting", "prioritized", "delayed", "active", "completed", "failed"]),
        limit=st.integers(0, 2),
    )
    def clean(self, state: str, limit: int) -> None:
        self.both.clean(20, limit, JobState(state))

    @rule()
    def release(self) -> None:
        self.both.release("d")

    @rule()
    def take_the_marker(self) -> None:
        self.both.expire_marker()


@pytest.fixture
def machine(both: Both, package: str) -> Iterator[type[Machine]]:
    Machine.both, Machine.quirks = both, QUIRKS.get(package, Quirks())
    yield Machine
    del Machine.both, Machine.quirks


@pytest.mark.every_version
def test_any_operations(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=40))  # type: ignore[arg-type]
