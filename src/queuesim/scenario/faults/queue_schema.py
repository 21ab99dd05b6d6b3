"""What somebody may do to the queue itself."""

from __future__ import annotations

from queuesim.scenario.faults.timing_schema import Lasting


class Pause(Lasting):
    """Somebody pauses the queue, and resumes it later: meanwhile no job starts, and those that run go on."""
