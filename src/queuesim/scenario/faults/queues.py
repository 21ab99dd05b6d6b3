"""What somebody does to the queue itself, at work."""

from __future__ import annotations

from queuesim.clock import now
from queuesim.scenario.faults.fault import Fault
from queuesim.scenario.faults.plant import end
from queuesim.scenario.faults.schedule import Strike


class Pause(Fault):
    """The queue is paused."""

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, self.plant.broker.queue, lasting=True)
        await self.plant.broker.pause(now())
        try:
            await self.schedule.over(strike)
        finally:
            await self.plant.broker.resume(now())
            end(row)
