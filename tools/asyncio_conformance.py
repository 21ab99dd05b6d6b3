"""Runs CPython's own tests of asyncio on the virtual-time loop: python tools/asyncio_conformance.py [PATTERN ...]

The tests are those of the interpreter that runs this (the package ``test``; Debian: ``libpython3.X-testsuite``). Where
they ask for a loop they get a `VirtualLoop`. ``asyncio_conformance.toml``, beside this file, lists the tests that
do not pass, in groups with a reason each. Exit code 1: a test fails that is not on the list, or one passes that is (the
entry is stale). 2: there are no tests.
"""

# ruff: noqa: T201  (a command, which prints)

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import importlib
import io
import pkgutil
import signal
import sys
import tomllib
import unittest
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any

from queuesim.simulation.loop import VirtualLoop

LIST = Path(__file__).with_suffix(".toml")
LIMIT = 60
"""Real seconds for one test: far more than any needs."""


RUNNING: list[str] = []


class TooSlowError(Exception):
    """A test took longer than LIMIT."""


@dataclass
class Group:
    """Tests that do not pass, and why."""

    reason: str
    tests: list[str]
    modules: list[str] = field(default_factory=list)
    """Modules of which nothing is run: they test another loop's insides."""
    versions: list[str] = field(default_factory=list)
    """Only on these versions of Python; all if empty."""
    errors: list[str] = field(default_factory=list)
    """Tests are in the group as well if the last line of their failure begins like one of these."""
    seen: Counter[str] = field(default_factory=Counter)

    def explains(self, line: str) -> bool:
        """Whether a failure with this last line is one of the group's."""
        return any(line.startswith(error) for error in self.errors)


def read_list(path: Path, version: str) -> list[Group]:
    """The groups of the skip list that concern a version of Python, as "3.11"."""
    groups = [
        Group(entry.pop("reason"), entry.pop("tests", []), **entry) for entry in tomllib.loads(path.read_text())["skip"]
    ]
    return [group for group in groups if not group.versions or version in group.versions]


class Outcomes(unittest.TestResult):
    """Collects the outcome of each test by its name, without the package's."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def last_line(self, name: str) -> str:
        """The last line of a failure, which has its error."""
        return (self.details.get(name) or "its fixtures failed").strip().splitlines()[-1]

    def _set(self, test: unittest.TestCase, outcome: str, detail: str = "") -> None:
        name = name_of(test)
        if self.outcome.get(name) not in ("failed",):
            self.outcome[name] = outcome
            self.details[name] = detail

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        RUNNING.append(name_of(test))
        faulthandler.dump_traceback_later(3 * LIMIT, exit=True, file=sys.__stderr__)
        signal.alarm(LIMIT)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        signal.alarm(0)
        RUNNING.clear()
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._set(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self._set(test, "skipped", reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._set(test, "failed", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self.addError(test, err)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._set(test, "passed")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._set(test, "failed", "passed, though it was expected to fail")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.addError(test, err)


def name_of(test: unittest.TestCase) -> str:
    """The test's name, as ``test_tasks.CTask_CFuture_Tests.test_wait``."""
    return test.id().removeprefix("test.test_asyncio.")


class TestedLoop(VirtualLoop):
    """A virtual loop, except that the tests' fixtures may watch for child processes, of which there are none."""

    def add_signal_handler(self, number: int, *args: object) -> None:
        if number != signal.SIGCHLD:
            super().add_signal_handler(number, *args)

    def remove_signal_handler(self, number: int) -> bool:
        return False if number == signal.SIGCHLD else super().remove_signal_handler(number)


def virtual_loop(*args: object) -> VirtualLoop:
    """A loop in place of asyncio's selector loop, whose selector is of no use here."""
    return TestedLoop()


@contextlib.contextmanager
def on_virtual_loops() -> Iterator[None]:
    """In this block whoever asks asyncio for a loop of its own choice gets a virtual one."""
    policy = type(asyncio.get_event_loop_policy())
    factory = policy._loop_factory  # type: ignore[attr-defined]
    selector = asyncio.SelectorEventLoop
    policy._loop_factory = staticmethod(virtual_loop)  # type: ignore[attr-defined]
    asyncio.SelectorEventLoop = virtual_loop  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        policy._loop_factory = factory  # type: ignore[attr-defined]
        asyncio.SelectorEventLoop = selector  # type: ignore[misc]


def all_tests(groups: list[Group]) -> Iterator[unittest.TestCase]:
    """Every test of the interpreter's package, without the modules that are left out."""
    import test.test_asyncio

    left_out = {module for group in groups for module in group.modules}
    for info in pkgutil.iter_modules(test.test_asyncio.__path__):
        if info.name.startswith("test_") and info.name not in left_out:
            module = importlib.import_module(f"test.test_asyncio.{info.name}")
            yield from flat(unittest.defaultTestLoader.loadTestsFromModule(module))


def flat(suite: unittest.TestSuite | unittest.TestCase) -> Iterator[unittest.TestCase]:
    """The tests of a suite, in order."""
    if isinstance(suite, unittest.TestCase):
        yield suite
    else:
        for part in suite:
            yield from flat(part)


def too_slow(number: int, frame: FrameType | None) -> None:
    """The alarm rang."""
    print(f"SLOW {RUNNING[-1] if RUNNING else '?'}", file=sys.__stderr__, flush=True)
    if RUNNING:
        raise TooSlowError(f"more than {LIMIT} s")


def play(tests: list[unittest.TestCase]) -> Outcomes:
    """Run the tests, each class with its fixtures."""
    outcomes = Outcomes()
    signal.signal(signal.SIGALRM, too_slow)
    by_class: dict[type, list[unittest.TestCase]] = {}
    for test in tests:
        by_class.setdefault(type(test), []).append(test)
    for cases in by_class.values():
        run_class(cases, outcomes)
    return outcomes


def run_class(cases: list[unittest.TestCase], outcomes: Outcomes) -> None:
    """Run the tests of one class, with its fixtures."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unittest.TestSuite(cases).run(outcomes)
    for case in cases:
        outcomes.outcome.setdefault(name_of(case), "failed")  # a fixture of the class failed


def judge(outcomes: Outcomes, groups: list[Group]) -> tuple[list[str], list[str]]:
    """The tests that fail and are not on the list, and the entries of the list that no failing test needs."""
    unexplained = []
    for name, outcome in outcomes.outcome.items():
        found = next(((group, entry) for group in groups for entry in group.tests if fnmatchcase(name, entry)), None)
        if outcome == "failed" and found is None:
            by_error = next((group for group in groups if group.explains(outcomes.last_line(name))), None)
            if by_error is None:
                unexplained.append(name)
            else:
                by_error.seen[by_error.errors[0]] += 1
        elif found is not None and (outcome == "failed" or "*" not in found[1]):
            found[0].seen[found[1]] += outcome == "failed"
    stale = [entry for group in groups for entry in group.tests if not group.seen[entry]]
    return unexplained, stale


def show(outcomes: Outcomes, groups: list[Group]) -> None:
    """The table: how many tests ran, passed, and did not for what reason."""
    counts = Counter(outcomes.outcome.values())
    print(f"CPython {sys.version.split()[0]}, test.test_asyncio on VirtualLoop: {len(outcomes.outcome)} tests run")
    print(f"{counts['passed']:6} passed")
    print(f"{counts['skipped']:6} skipped by themselves on this machine")
    for group in groups:
        if sum(group.seen.values()):
            print(f"{sum(group.seen.values()):6} do not pass: {group.reason}")
        if group.modules:
            print(f"       not run, {', '.join(group.modules)}: {group.reason}")


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", help="only tests whose names match, as 'test_tasks.*'")
    parser.add_argument("--verbose", action="store_true", help="print the traceback of each failure")
    arguments = parser.parse_args()
    version = ".".join(map(str, sys.version_info[:2]))
    groups = read_list(LIST, version)
    try:
        tests = list(all_tests(groups))
    except ModuleNotFoundError as error:
        print(f"this Python has no tests of its own ({error}); on Debian: apt-get install libpython{version}-testsuite")
        return 2
    if arguments.patterns:
        tests = [test for test in tests if any(fnmatchcase(name_of(test), pattern) for pattern in arguments.patterns)]
    with on_virtual_loops():
        outcomes = play(tests)
    unexplained, stale = judge(outcomes, groups)
    show(outcomes, groups)
    for name in unexplained:
        print(f"FAILED {name}: {outcomes.last_line(name)}")
        if arguments.verbose:
            print(outcomes.details.get(name, ""))
    if stale and not arguments.patterns:
        print(*(f"STALE {entry}: it is on the skip list, and no test that it names fails" for entry in stale), sep="\n")
        return 1
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
