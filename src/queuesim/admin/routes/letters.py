"""Dead letters: jobs that failed for good."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from queuesim.admin.bodies import Discarded, Done, LetterOut, Letters, RedriveOut
from queuesim.deadletters import DeadLetters


def routes(dead: DeadLetters) -> APIRouter:
    """What administrators may see of dead letters, and do with them."""
    router = APIRouter(prefix="/dead-letters")

    @router.get("")
    async def dead_letters(
        start: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[LetterOut]:
        """Jobs that failed for good, the oldest first."""
        return [LetterOut.model_validate(letter) for letter in await dead.list(start, start + limit - 1)]

    @router.get("/redrives")
    async def redrives(
        start: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[RedriveOut]:
        """Redrives of dead letters, the newest first, each with the status of its job."""
        return [RedriveOut.model_validate(redrive) for redrive in await dead.redrives(start, start + limit - 1)]

    @router.post("/redrive")
    async def redrive(body: Letters) -> Done:
        """Run jobs again that failed for good."""
        return Done(done="redriven", count=len(await dead.redrive(body.ids)))

    @router.post("/discard")
    async def discard(body: Discarded) -> Done:
        """Throw dead letters away."""
        return Done(done="discarded", count=await dead.discard(body.ids, everything=body.everything))

    return router
