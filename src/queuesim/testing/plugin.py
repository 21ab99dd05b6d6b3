"""A pytest plugin: a simulated queue and a live one as fixtures, scenario files as tests, and a budget for searches."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from queuesim.core.queue import Queue
    from queuesim.results.result import Result
    from queuesim.testing.budget import Session

FOLDERS = ("scenarios", "found")
"""In directories of these names, and below, YAML files that look like scenarios are tests."""
KEY = re.compile(r"""^["']?([\w-]+)["']?[ ]*:""", re.MULTILINE)
"""A key at the top of a YAML file."""
MARKER = "queuesim"
"""The key that marks a file as a scenario."""
OWN_PROCESSOR = re.compile(r"^processor: given:processor$", re.MULTILINE)
"""In a scenario that a search found and that only its test can play: see `queuesim.runs.run.GIVEN`."""
OTHERS_SHOWN = 5

SESSION: pytest.StashKey[Session] = pytest.StashKey()
OTHERS: pytest.StashKey[list[Path]] = pytest.StashKey()
"""YAML files in directories of scenarios that are something else."""


# -- Options


def pytest_addoption(parser: pytest.Parser) -> None:
    """--queuesim-budget, and the options of the ini file."""
    group = parser.getgroup("queuesim", "scenarios of queues, and searches for failures")
    group.addoption(
        "--queuesim-budget",
        metavar="TIME",
        help="real time for each assert_survives, in place of its own budget and number of examples, and at most for "
        "each scenario: 30s, 10m",
    )
    parser.addini("queuesim_budget", "as --queuesim-budget", default="")
    parser.addini(
        "queuesim_scenarios",
        "directories in which all YAML files are scenarios; below those named scenarios or found only files are that "
        "look like one, or have the key `queuesim: 1`",
        type="paths",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """The session of searches."""
    from queuesim.testing.budget import SESSION as CURRENT
    from queuesim.testing.budget import Session

    config.stash[OTHERS] = []
    config.stash[SESSION] = session = Session(_budget(config))
    token = CURRENT.set(session)
    config.add_cleanup(lambda: CURRENT.reset(token))


def _budget(config: pytest.Config) -> float | None:
    from queuesim.units import parse_duration

    option = config.getoption("--queuesim-budget")
    text = option or config.getini("queuesim_budget")
    if not text:
        return None
    name = "--queuesim-budget" if option else "queuesim_budget"
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise pytest.UsageError(f"{name}: {error}") from None
    if not seconds > 0:
        raise pytest.UsageError(f"{name} must be above 0 s: write 30s or 10m")
    return seconds


# -- Scenario files


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Scenario files are tests."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    if not _is_configured(file_path, parent.config):
        if _folders(file_path, parent).isdisjoint(FOLDERS):
            return None
        if not looks_like_scenario(file_path.read_text(encoding="utf-8", errors="replace")):
            parent.config.stash[OTHERS].append(file_path)
            return None
    file: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return file


def _is_configured(path: Path, config: pytest.Config) -> bool:
    return any(path.is_relative_to(directory) for directory in config.getini("queuesim_scenarios"))


def _folders(path: Path, parent: pytest.Collector) -> set[str]:
    """The directories that a file is in, within what pytest was started for."""
    root = parent.config.rootpath
    inside = path.parent.relative_to(root) if path.is_relative_to(root) else path.parent
    return {root.name, *inside.parts}


def looks_like_scenario(text: str) -> bool:
    """Whether a YAML text is a scenario, perhaps one with mistakes: it has the marker, or at least half of its keys
    are keys of scenarios, and two of them others than the name, which other files have too."""
    from queuesim.scenario.model import Scenario

    keys = set(KEY.findall(text))
    known = keys & set(Scenario.model_fields)
    return MARKER in keys or (len(known - {"name", "description"}) >= 2 and 2 * len(known) >= len(keys))


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """The YAML files that were left out, so that none of them is forgotten."""
    others = [os.path.relpath(path, config.rootpath) for path in config.stash[OTHERS]]
    if not others:
        return []
    more = f" and {len(others) - OTHERS_SHOWN} more" if len(others) > OTHERS_SHOWN else ""
    return [
        f"queuesim: not scenarios: {', '.join(others[:OTHERS_SHOWN])}{more} (the key `queuesim: 1` marks a scenario)"
    ]


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
        from queuesim.testing.budget import Budget
        from queuesim.testing.surviving import explain

        if OWN_PROCESSOR.search(self.path.read_text(encoding="utf-8", errors="replace")):
            pytest.skip("its functions have no names: play it with queuesim.run(path, processor=..., shared=...)")
        budget = Budget(self.config.stash[SESSION].budget)
        result = run(self.path, progress=budget.check)
        self.user_properties += _properties(result)
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


# -- What reports of tests say: properties in JUnit files, and a line at the end


def _properties(result: Result) -> list[tuple[str, object]]:
    from queuesim.results.views.digest import verdict

    jobs = result.summary().jobs
    figures = {"scenario": result.facts.scenario, "seed": result.facts.seed, "simulated": result.facts.duration}
    figures |= {"jobs": len(result.jobs), "failed": jobs.failed, "latency.p95": jobs.latency.p95}
    return [(f"queuesim.{name}", str(value)) for name, value in {**figures, "verdict": verdict(result)}.items()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """What the searches of a test have tried becomes its properties."""
    accounts = item.config.stash[SESSION].accounts
    accounts.clear()
    try:
        return (yield)
    finally:
        for account in accounts:
            item.user_properties += [(f"queuesim.{name}", value) for name, value in account.properties().items()]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line on all searches and scenarios."""
    from queuesim.text import counted

    found: list[dict[str, list[str]]] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                properties: dict[str, list[str]] = {}
                for name, value in report.user_properties:
                    properties.setdefault(name, []).append(str(value))
                found.append(properties)
    examples = [int(value) for each in found for value in each.get("queuesim.examples", ())]
    scenarios = sum("queuesim.scenario" in each for each in found)
    parts = [f"{counted(scenarios, 'scenario')} played"] if scenarios else []
    if examples:
        parts.append(f"{counted(len(examples), 'search')} with {counted(sum(examples), 'example')}")
    if parts:
        terminalreporter.write_line(f"queuesim: {', '.join(parts)}")


# -- Fixtures


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
