"""What all tests share: how hard hypothesis tries, servers, and that in CI nothing is skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from browser import browser
from servers import default_server, place, real_server, scratch, start_server

__all__ = ["browser", "default_server", "place", "real_server", "scratch", "start_server"]

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)
IN_CI = os.environ.get("CI") == "true"

# No deadline: the machines that run the tests are shared, so that an example may take long through no fault of its own.
settings.register_profile("default", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped has failed: everything that a test could need is installed there."""
    report = yield
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
