"""A simulated run as its faults see it."""

from __future__ import annotations

from collections.abc import Mapping

from queuesim.core.broker import Broker
from queuesim.faults.base import Deadly, Fault, FaultContext, FleetSlot, LoadSource, QueuePauses
from queuesim.faults.network import Server
from queuesim.results.recording import FaultRow
from queuesim.runs.virtual.fleet import Fleet, Member
from queuesim.simulation.process import CURRENT
from queuesim.simulation.random import Streams


class VirtualFaultContext(FaultContext):
    """See FaultContext. All processes of a simulation are simulated in one."""

    host = None
    live = False
    directory = None

    def __init__(
        self, broker: Broker, fleet: Fleet, producers: Mapping[str, LoadSource], rows: list[FaultRow], streams: Streams
    ) -> None:
        self.broker = broker
        self.fleet = fleet
        self.server = Server()
        self.producers = producers
        self.rows = rows
        self.streams = self.shared_streams = streams
        self.pauses = QueuePauses(broker)

    def candidates(self) -> list[Member]:
        return [member for member in self.fleet.members if member.alive]

    def here(self) -> Member | None:
        process = CURRENT.get(None)
        return next((member for member in self.fleet.members if member.alive and member.process is process), None)

    def kill_here(self, fault: Deadly, slot: FleetSlot) -> None:
        fault.kill(slot)

    def note_active(self, fault: Fault) -> None:
        """Nobody else needs to know."""

    def note_struck(self, fault: Fault) -> None:
        """The fault itself counts."""
