"""What somebody does to the queue itself, at work."""

from __future__ import annotations

from queuesim.scenario.faults.fault import Fault
from queuesim.scenario.faults.plant import end
from queuesim.scenario.faults.schedule import Strike


class Pause(Fault):
    """The queue is paused. Pauses that overlap end with the last of them. A failover neither ends nor revives one."""

    def prepare(self) -> None:
        self.plant.may_pause = True

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, self.plant.broker.queue, lasting=True)
        self.plant.pauses += 1
        if self.plant.pauses == 1:
            await self.plant.pause_as_told()
        try:
            await self.schedule.over(strike)
        finally:
            self.plant.pauses -= 1
            if not self.plant.pauses:
                await self.plant.pause_as_told()
            end(row)
