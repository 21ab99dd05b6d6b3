"""Images of queues in memory: what a replica has, that takes over when the server is gone."""

from __future__ import annotations

import copy
from typing import Any

from queuesim.broker.memory.record import Record
from queuesim.broker.memory.state import QueueState

IDS = ("_number", "_entries")
"""Counters that only ever grow, so that no two jobs of one run are given one number."""


class Images(QueueState):
    """Save and restore all queues of one place.

    The stream of events is not part of an image: whoever listened has heard. Nor are ids given a second time, as a
    real server's would be.
    """

    def save(self) -> dict[str, dict[str, Any]]:
        """What all queues of this place hold now."""
        return {name: _copied(queue) for name, queue in self._siblings.items()}

    def restore(self, image: dict[str, dict[str, Any]]) -> None:
        """Undo everything that happened since `save`. An image can be restored once."""
        for name, queue in self._siblings.items():
            queue._become(image.get(name))

    def forget(self) -> None:
        """Lose everything, as a server without persistence does when it restarts."""
        self.restore({})

    def _become(self, state: dict[str, Any] | None) -> None:
        counters = {name: getattr(self, name) for name in IDS}
        self._clear()
        if state is not None:
            self.__dict__.update(state)
        self.__dict__.update(counters)
        self._wake_all()


def _copied(queue: Images) -> dict[str, Any]:
    """The state that `_clear` would clear, with every job a copy that nothing else refers to."""
    blank = QueueState.__new__(QueueState)
    blank._clear()
    names = set(blank.__dict__)
    # what a job is made of never changes in place, but for what a parent knows, so that a shallow copy of each will do
    copies = {id(record): _copied_record(record) for record in queue._records.values()}
    state: dict[str, Any] = copy.deepcopy({name: queue.__dict__[name] for name in names}, copies)
    return state


def _copied_record(record: Record) -> Record:
    copied = copy.copy(record)
    if copied.family is not None:
        copied.family = copied.family.copy()
    return copied
