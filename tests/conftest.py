"""What all tests share: how hard hypothesis tries, servers, markers, and what is done about skips."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from types import ModuleType
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

import markers
import needs
from browser import browser
from servers import default_server, place, real_server, scratch, start_server

__all__ = ["browser", "default_server", "place", "real_server", "scratch", "start_server"]

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)
IN_CI = os.environ.get("CI") == "true"

# No deadline: the machines that run the tests are shared, so that an example may take long through no fault of its own.
# The same examples in every run, so that a failure belongs to a change: new ones are drawn with the profile "explore".
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.register_profile(
    "ci", settings(settings.get_profile("default"), max_examples=100, suppress_health_check=[HealthCheck.too_slow])
)
settings.register_profile("explore", settings(settings.get_profile("ci"), derandomize=False))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

OF_THE_SHELL = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "REDIS_URL", "REDIS_HOST", "REDIS_PORT", "MPLBACKEND")
"""Variables that the program reads, or a library of its: a test that is about one sets it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of test_messages.py."""
    parser.addoption("--update-messages", action="store_true", help="Write tests/messages.yaml anew.")


def pytest_sessionstart() -> None:
    """The same environment wherever the tests run, whatever the shell has set."""
    os.environ["TERM"] = "dumb"
    for name in OF_THE_SHELL:
        os.environ.pop(name, None)
    # in the background of a shell Ctrl-C is ignored, and so it would be in every process that a test starts
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers that follow from where a test is and what it uses."""
    for item in items:
        markers.mark(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped has failed: everything that a test could need is installed there."""
    report = yield
    needs.note(report, item, call.excinfo and call.excinfo.value)
    return refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module, as `importorskip` skips it."""
    report = yield
    return refuse_skip(report)


def refuse_skip(report: R) -> R:
    """A failure with the reason of the skip. What is expected to fail (xfail) counts as skipped, too: that stays."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """The last line of all says what was skipped, and what to install for it to run."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    counted = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
    total = sum(len(reporter.stats.get(outcome, ())) for outcome in counted)
    line = needs.summary(reporter.stats.get("skipped", ()), total)
    if line is not None:
        reporter.write_line(line)


@pytest.fixture(autouse=True)
def _own_modules_go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The modules that a test writes and imports are forgotten: another test may write one of the same name."""
    before = set(sys.modules)
    yield
    temporary = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(temporary):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _modules_stay() -> Iterator[None]:
    """A test that drops or replaces a module of the package fails: later tests would see two of each class."""
    yield
    replaced = []
    # copied at one go: what runs in between may import
    for package, module in sys.modules.copy().items():
        if package.partition(".")[0] == "queuesim" and hasattr(module, "__path__"):
            # each package holds its modules as attributes
            parts = {
                f"{package}.{name}": part for name, part in vars(module).copy().items() if isinstance(part, ModuleType)
            }
            replaced += [
                name for name, part in parts.items() if part.__name__ == name and sys.modules.get(name) is not part
            ]
    assert not replaced, f"the test has dropped or replaced {', '.join(replaced)}: use a process of its own"
