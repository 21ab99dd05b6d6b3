"""A browser for tests of what people look at: Debian's Chromium, or whatever CHROMIUM names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from needs import CHROMIUM, Lacking


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium. Without one the test is skipped, which is a failure in CI.

    Each test has its own: as long as Playwright is there, a loop runs in this thread, and no other test could run one.
    """
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise Lacking(CHROMIUM)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tools:
        started = tools.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()
