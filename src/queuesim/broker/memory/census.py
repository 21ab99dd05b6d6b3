"""A census of a queue in memory: which jobs are in which state, for whoever checks that each is in one."""

from __future__ import annotations

from queuesim.broker.memory.state import QueueState
from queuesim.job import JobState


class Census(QueueState):
    """Counts the jobs where they are, not where they say that they are."""

    def census(self) -> dict[str, list[int]]:
        """The numbers of the jobs in each state's list, as often as they are in it."""
        return {state.value: [record.number for record in self._iterate(state)] for state in JobState}

    def numbers(self, state: JobState) -> list[int]:
        """The numbers of the jobs in a state."""
        return [record.number for record in self._iterate(state)]

    def stored(self) -> list[int]:
        """The numbers of all jobs that are stored."""
        return [record.number for record in self._records.values()]

    def first_due(self) -> float | None:
        """When the first delayed job is due."""
        return self._next_due()
