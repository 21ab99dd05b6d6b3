"""A pytest plugin: a simulated queue and a live one as fixtures, and scenario files as tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from queuesim.core.queue import Queue

FOLDERS = ("scenarios", "found")
"""In directories of these names, and below, YAML files are scenarios."""


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Scenario files are tests."""
    if file_path.suffix in (".yaml", ".yml") and not _folders(file_path, parent).isdisjoint(FOLDERS):
        file: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
        return file
    return None


def _folders(path: Path, parent: pytest.Collector) -> set[str]:
    """The directories that a file is in, within what pytest was started for."""
    root = parent.config.rootpath
    inside = path.parent.relative_to(root) if path.is_relative_to(root) else path.parent
    return {root.name, *inside.parts}


class ScenarioFile(pytest.File):
    """A file with one scenario."""

    def collect(self) -> Iterable[pytest.Item]:
        yield ScenarioItem.from_parent(self, name=self.path.stem)


class ScenarioFailedError(Exception):
    """A scenario's checks did not hold."""


class ScenarioItem(pytest.Item):
    """Plays a scenario: its thresholds and all oracles must hold."""

    def runtest(self) -> None:
        """Play it."""
        from queuesim.runs.run import run
        from queuesim.testing.surviving import explain

        result = run(self.path)
        if not result.ok:
            raise ScenarioFailedError(explain(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The checks that failed, and the command that plays it again."""
        from queuesim.error import QueuesimError

        if isinstance(excinfo.value, (ScenarioFailedError, QueuesimError)):
            from queuesim.testing.soak import replay_command

            return f"{excinfo.value}\nreplay: {replay_command(self.path)}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it is, and what it is called."""
        return self.path, 0, f"scenario {self.name}"


@pytest.fixture
def simulated_queue() -> Queue:
    """A new queue in memory. Use it in virtual time: ``queuesim.simulation.runner.run(program())``."""
    from queuesim.brokers.memory import MemoryBroker
    from queuesim.core.queue import Queue

    return Queue(MemoryBroker("test"))


@pytest.fixture
def live_redis_url() -> Iterator[str]:
    """The address of a Redis of the test's own, on loopback, that ends with it."""
    from queuesim.brokers.redis.embedded import EmbeddedServer

    with EmbeddedServer() as server:
        yield server.url
