"""The rule of the shared conftest: a skip in CI is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parent / "conftest.py"
TESTS = {
    "test_one.py": "import pytest\ndef test_skipped(): pytest.skip('no server')\ndef test_runs(): pass\n",
    "test_module.py": "import pytest\npytest.importorskip('a_module_that_is_nowhere')\ndef test_it(): pass\n",
    "test_expected.py": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n",
}


def run(place: Path, *, ci: str) -> tuple[int, str]:
    """pytest's exit code and output, on TESTS beside the shared conftest."""
    (place / "conftest.py").write_text(CONFTEST.read_text())
    for module, text in TESTS.items():
        (place / module).write_text(text)
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(CONFTEST.parent)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "--rootdir",
        str(place),
        *TESTS,
    ]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_in_ci_a_skip_is_a_failure_and_an_expected_failure_is_not(tmp_path: Path) -> None:
    code, output = run(tmp_path, ci="true")
    assert code != 0
    assert "skipped, which is a failure in CI" in output
    assert "no server" in output
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in output.splitlines()[-1]


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    code, output = run(tmp_path, ci="")
    assert (code, "1 passed, 2 skipped, 1 xfailed" in output) == (0, True)
