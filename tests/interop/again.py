"""The steps of a test again, with options that are not the defaults: each step is compared as it was the first time.

What a test asserts of its own steps holds without options alone, and is not asserted again. What holds in any case is
that both hands answer the same and leave the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count, cycle
from typing import Any
from zlib import crc32

from hands import ORIGIN, RULES, Both, Step

from queuesim.core.job import Keep

SCORES_A_MILLISECOND = 4096
OF_ONE_JOB = (
    "complete", "fail", "postpone", "put_back", "renew", "retry", "promote", "remove", "change_delay",
    "change_priority", "progress", "update", "log", "state", "expire_lock",
)  # fmt: skip
"""Operations whose first argument is a job's id."""
MODES: tuple[Mapping[str, Any], ...] = (
    {},
    {"ttl": 60_000},
    {"ttl": 60_000, "extend": True, "replace": True},
    {"replace": True},
    {"keep_last_if_active": True},
    {"ttl": 60_000, "extend": True, "reschedule": True},
)
OF_ONE_RUN = ("delay", "deduplication", "job_id")
"""Options that belong to a single job: the template of a scheduler and the children of a tree go without them."""


def retried() -> dict[str, Any]:
    """Attempts with backoff; few finished jobs, stack traces and rows of logs are kept."""
    return {
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 50},
        "keep_completed": Keep(count=1),
        "keep_failed": Keep(count=2, age=1, limit=5),
        "keep_logs": 1,
        "stack_trace_limit": 1,
    }


def not_kept() -> dict[str, Any]:
    """Delayed, one retry after a fixed time, and gone at the end."""
    return {
        "delay": 40,
        "attempts": 2,
        "backoff": {"type": "fixed", "delay": 30},
        "keep_completed": Keep(count=0),
        "keep_failed": Keep(count=0),
    }


def deduplicated() -> Callable[[], dict[str, Any]]:
    """Prioritized, retried at once, with deduplication in every mode; of three jobs two share an id."""
    numbers, modes = count(), cycle(MODES)

    def options() -> dict[str, Any]:
        number = next(numbers)
        name = "shared" if number % 3 else f"own-{number}"
        return {"priority": 3, "attempts": 2, "deduplication": {"id": name, **next(modes)}}

    return options


def children() -> Callable[[], dict[str, Any]]:
    """Each a child of a parent of its own, with every rule of what its failure does to that."""
    numbers, rules = count(1), cycle(RULES)

    def options() -> dict[str, Any]:
        number = next(numbers)
        return {
            "parent": f"p{number}",
            "rule": next(rules),
            "job_id": f"c{number}",
            "attempts": 2,
            "keep_completed": Keep(count=1),
            "keep_failed": Keep(count=1),
        }

    return options


SETS: Mapping[str, Callable[[], Callable[[], dict[str, Any]]]] = {
    "retried, few are kept": lambda: retried,
    "delayed, none is kept": lambda: not_kept,
    "prioritized, deduplicated": deduplicated,
    "children": children,
}
"""Each makes a maker of options, one job after another."""


def sets_for(test: str, has_parameters: bool) -> Sequence[str]:
    """The names of the sets for a test: all of them, or one for each test of many that differ by a parameter."""
    names = tuple(SETS)
    return (names[crc32(test.encode()) % len(names)],) if has_parameters else names


def play_again(both: Both, names: Sequence[str]) -> None:
    """Repeat all steps with each of these sets of options, from an empty server on each time."""
    steps = tuple(both.steps)
    for name in names:
        both.restart()
        try:
            Replay(both, SETS[name]()).play(steps)
        except AssertionError as error:
            error.add_note(f"These are the steps of the test again, with options: {name}")
            raise


class Replay:
    """Plays steps, with more options than they had.

    Jobs that start come in another order, and some are due later. So what is taken stands for what was taken the first
    time, in the steps that follow; and where a delay keeps a take from getting a job, time passes until one is due.
    """

    def __init__(self, both: Both, options: Callable[[], dict[str, Any]]) -> None:
        self._both = both
        self._options = options
        self._names: dict[str, str] = {}
        """Today's id of a job by its id the first time."""
        self._now = 0
        self._shift = 0
        """Milliseconds that have passed beyond what the steps say."""

    def play(self, steps: Sequence[Step]) -> None:
        """All of them."""
        for step in steps:
            play = getattr(self, f"_{step.operation}", self._other)
            self._note(step.answer, play(step))

    def _note(self, before: Any, now: Any) -> None:
        if isinstance(before, str) and isinstance(now, str):
            self._names[before] = now

    def _other(self, step: Step) -> Any:
        args = step.args
        if step.operation in OF_ONE_JOB:
            args = (self._names.get(args[0], args[0]), *args[1:])
        return getattr(self._both, step.operation)(*args, **step.options)

    def _at(self, step: Step) -> None:
        (self._now,) = step.args
        self._both.at(self._now + self._shift)

    # -- adding

    def _add(self, step: Step) -> str:
        return self._add_one(step.args, step.options)

    def _add_bulk(self, step: Step) -> list[str]:
        number, *args = step.args
        ids = [self._add_one(args, step.options) for _ in range(number)]
        for before, now in zip(step.answer, ids, strict=True):
            self._note(before, now)
        return ids

    def _add_one(self, args: Sequence[Any], options: Mapping[str, Any]) -> str:
        more = self._options()
        parent, rule = more.pop("parent", None), more.pop("rule", None)
        if parent is not None and "job_id" not in options and "deduplication" not in options:
            name, data = (*args, *("job", None)[len(args) :])
            job_id: str = self._both.add_child(parent, rule, name, data, **{**more, **options})
            return job_id
        if parent is not None:
            # a child's id is its own, and a child is never deduplicated
            del more["job_id"]
        job_id = self._both.add(*args, **{**more, **options})
        return job_id

    def _add_tree(self, step: Step) -> None:
        more = {name: value for name, value in self._plain().items() if name not in OF_ONE_RUN}
        parent = dict(step.options)
        child = parent.pop("child", None) or {}
        self._both.add_tree(*step.args, child={**more, **child}, **{**more, **parent})

    def _schedule(self, step: Step) -> Any:
        more = {name: value for name, value in self._plain().items() if name not in OF_ONE_RUN}
        scheduler_id, data, options = (*step.args, *(None, None)[len(step.args) - 1 :])
        rule = dict(step.options)
        options = rule.pop("options", options) or {}
        return self._both.schedule(scheduler_id, data, {**more, **options}, **rule)

    def _plain(self) -> dict[str, Any]:
        return {name: value for name, value in self._options().items() if name not in ("parent", "rule")}

    # -- working

    def _complete(self, step: Step) -> Any:
        return self._finish(step)

    def _fail(self, step: Step) -> Any:
        return self._finish(step)

    def _finish(self, step: Step) -> Any:
        """Without taking the next job: where a job is retried, or its end refused, Node takes none."""
        options = {name: value for name, value in step.options.items() if name != "fetch"}
        self._other(Step(step.operation, step.args, options))
        return self._take(Step("take", (), {}, step.answer)) if isinstance(step.answer, str) else None

    def _take(self, step: Step) -> str | None:
        job_id: str | None = self._both.take(*step.args, **step.options)
        if job_id is None and step.answer is not None and self._wait_for_next():
            job_id = self._both.take(*step.args, **step.options)
        return job_id

    def _wait_for_next(self) -> bool:
        """Whether time had to pass until a delayed job is due."""
        delayed = self._both.left().get("delayed", {"value": []})["value"]
        wait = 0
        if delayed:
            wait = int(delayed[0][1] // SCORES_A_MILLISECOND) - ORIGIN - self._now - self._shift
        if wait <= 0:
            return False
        self._shift += wait
        self._both.at(self._now + self._shift)
        return True

    # -- keys that expire, where there are any

    def _expire(self, step: Step) -> None:
        (key,) = step.args
        if self._both.left().get(key, {"expires": False})["expires"]:
            self._both.expire(key)

    def _expire_lock(self, step: Step) -> None:
        (job_id,) = step.args
        job_id = self._names.get(job_id, job_id)
        if f"{job_id}:lock" in self._both.left():
            self._both.expire_lock(job_id)
