"""The names of workers: no two workers of a run share one."""

from __future__ import annotations

from collections.abc import Container, Iterable

from queuesim.scenario.queue_schema import WorkerSettings


def name_workers(kinds: Iterable[WorkerSettings]) -> list[tuple[str, WorkerSettings]]:
    """Every worker that a scenario starts with, by its name: ``worker``, or ``worker-1`` to ``worker-n``."""
    named: dict[str, WorkerSettings] = {}
    for settings in kinds:
        for i in range(settings.count):
            name = settings.name if settings.count == 1 else f"{settings.name}-{i + 1}"
            named[unused(name, named)] = settings
    return list(named.items())


def unused(name: str, taken: Container[str]) -> str:
    """The name, with numbers behind it as long as another worker has it."""
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = f"{name}-{i}", i + 1
    return candidate
