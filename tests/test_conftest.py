"""The rules of the shared conftest: a skip in CI is a failure, the end says what was skipped, modules stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import needs

CONFTEST = Path(__file__).parent / "conftest.py"
TESTS = {
    "test_one.py": "import pytest\ndef test_skipped(): pytest.skip('no server')\ndef test_runs(): pass\n",
    "test_module.py": "import pytest\npytest.importorskip('a_module_that_is_nowhere')\ndef test_it(): pass\n",
    "test_expected.py": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n",
}
LACKING = {
    "test_lacking.py": """
import pytest
from needs import NODE, REDIS, Lacking

@pytest.fixture(scope="session")
def node():
    raise Lacking(NODE)

@pytest.mark.node
@pytest.mark.parametrize("number", [1, 2])
def test_node(node, number): pass

@pytest.mark.server
def test_server(): raise Lacking(REDIS)

def test_runs(): pass
"""
}
MARKERS = "[pytest]\nmarkers =\n    server\n    node\n    browser\n    docs\n    slow\n"


def run(place: Path, tests: dict[str, str], *options: str, ci: str) -> tuple[int, str]:
    """pytest's exit code and output, on tests beside the shared conftest."""
    (place / "conftest.py").write_text(CONFTEST.read_text())
    (place / "pytest.ini").write_text(MARKERS)
    for module, text in tests.items():
        (place / module).write_text(text)
    environment = {
        **os.environ, "CI": ci, "PYTHONPATH": str(CONFTEST.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "--rootdir",
        str(place),
        *options,
        *tests,
    ]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_in_ci_a_skip_is_a_failure_and_an_expected_failure_is_not(tmp_path: Path) -> None:
    code, output = run(tmp_path, {**TESTS, **LACKING}, ci="true")
    assert code != 0
    assert "skipped, which is a failure in CI" in output
    assert "no server" in output
    assert "no redis-server: apt-get install redis-server" in output
    assert "2 failed, 2 passed, 1 xfailed, 3 errors" in output.splitlines()[-1]


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    code, output = run(tmp_path, TESTS, ci="")
    assert (code, "1 passed, 2 skipped, 1 xfailed" in output) == (0, True)
    assert output.splitlines()[-1] == "skipped 2 of 4 tests: 2 for other reasons (pytest -rs lists them)"


def test_the_last_line_says_what_was_lacking_and_how_to_get_it(tmp_path: Path) -> None:
    """The need of a test comes from the process that ran it, too."""
    code, output = run(tmp_path, LACKING, "-p", "xdist", "-n", "2", ci="")
    assert (code, output.splitlines()[-1]) == (
        0,
        "skipped 3 of 4 tests: 1 for want of redis-server, 2 for want of Node. "
        "To run these: apt-get install nodejs npm redis-server",
    )


def test_a_test_that_may_lack_something_has_the_marker(tmp_path: Path) -> None:
    unmarked = {"test_lacking.py": LACKING["test_lacking.py"].replace("@pytest.mark.server\n", "")}
    code, output = run(tmp_path, unmarked, ci="")
    assert (code, "may lack redis-server, but has no marker server" in output) == (1, True)


def test_without_skips_nothing_is_said() -> None:
    assert needs.summary([], 10) is None


def test_needs_and_other_reasons_are_counted_apart() -> None:
    skipped = [SimpleNamespace(lacks="Chromium"), SimpleNamespace()]
    assert needs.summary(skipped, 1000) == (
        "skipped 2 of 1,000 tests: 1 for want of Chromium, 1 for other reasons (pytest -rs lists them). "
        "To run these: apt-get install chromium"
    )


def test_a_test_that_drops_a_module_of_the_package_fails(tmp_path: Path) -> None:
    """Whoever imports it again would have two of each class."""
    culprit = "import sys\nimport queuesim.core.errors\ndef test_it(): del sys.modules['queuesim.core.errors']\n"
    code, output = run(tmp_path, {"test_culprit.py": culprit}, ci="")
    assert (code, "has dropped or replaced queuesim.core.errors" in output) == (1, True)
