"""Troubles of a simulated database: when each strikes a transaction, and what is done of its work then."""

from __future__ import annotations

import asyncio

import pytest

from queuesim.core.errors import DatabaseError
from queuesim.simulation.runner import run
from queuesim.tasks.cost import DatabaseModel


class Failing:
    """Fails at one of a transaction's stages."""

    active = True

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.seen: list[str] = []

    async def begin(self, transaction: object) -> None:
        self._at("begin")

    async def commit(self, transaction: object) -> None:
        self._at("commit")

    async def answer(self, transaction: object) -> None:
        self._at("answer")

    def release(self, transaction: object) -> None:
        self.seen.append("release")

    def _at(self, stage: str) -> None:
        self.seen.append(stage)
        if stage == self.stage:
            raise DatabaseError(stage)


@pytest.mark.parametrize(
    ("stage", "done", "took", "seen"),
    [
        ("begin", False, 0.0, ["begin"]),
        ("commit", False, 0.5, ["begin", "commit"]),
        ("answer", True, 0.5, ["begin", "commit", "answer"]),
        ("never", True, 0.5, ["begin", "commit", "answer"]),
    ],
)
def test_each_stage(stage: str, done: bool, took: float, seen: list[str]) -> None:
    trouble, model, work = Failing(stage), DatabaseModel(lambda: 0.5, connections=1), []

    async def do() -> str:
        work.append("done")
        return "answer"

    async def program() -> tuple[str, float, str]:
        model.faults.append(trouble)
        try:
            told = await model.transact(do)
        except DatabaseError as error:
            told = str(error)
        ended = asyncio.get_running_loop().time()
        trouble.active = False
        # the only connection is free again
        return told, ended, await model.transact(do)

    told, ended, after = run(program())
    assert told == ("answer" if stage == "never" else stage)
    assert (ended, after) == (took, "answer")
    assert work == ["done"] * (1 + done)
    assert trouble.seen == [*seen, "release"]
