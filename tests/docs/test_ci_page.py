"""The workflow files of docs/ci.md: what they say is what the page shows, and their commands do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from codeblocks import ROOT, blocks

PAGE = ROOT / "docs" / "ci.md"
FILES = {name: ROOT / "docs" / "ci" / f"{name}.yml" for name in ("github", "gitlab")}

SCENARIO = """
name: good
duration: 20s
drain: true
jobs: {a: {service: 100ms}}
load: [{name: l, constant: 1/s}]
thresholds: [lost == 0]
"""
SHOP = """
    import asyncio
    from queuesim import JobOptions, Processor
    from queuesim.runs.invariants import at_most_once

    class Store(list):
        pass

    def make(store):
        processor = Processor("shop", defaults=JobOptions(attempts=3))

        @processor.job("charge")
        async def charge(job):
            if GUARD:
                store.append(job.id)
            await asyncio.sleep(0.1)

        return processor

    once = at_most_once(list, "nobody pays twice")
"""
TEST = """
    from shop import Store, make, once
    from queuesim.testing.surviving import assert_survives

    def test_shop():
        assert_survives(make, shared=Store, invariant=once, faults=["await.kill"], duration=10.0)
"""


def steps(name: str) -> dict[str, list[str]]:
    """By job of a workflow file, the lines of its commands."""
    content = yaml.safe_load(FILES[name].read_text())
    if name == "github":
        return {job: [step["run"] for step in each["steps"] if "run" in step] for job, each in content["jobs"].items()}
    hidden: dict[str, Any] = content.pop(".queuesim")
    return {job: [*hidden["before_script"], *each["script"]] for job, each in content.items()}


def ours(commands: list[str]) -> list[str]:
    return [command for command in commands if command.startswith(("pytest", "queuesim"))]


def quick(command: str) -> str:
    """The command with a budget that a test can afford."""
    return re.sub(r"(budget) \S+", r"\1 2s", command)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a scenario, a processor that copes, and a test of it."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "scenarios" / "deep").mkdir(parents=True)
    (tmp_path / "scenarios" / "deep" / "good.yaml").write_text(SCENARIO)
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP).replace("GUARD", "job.id not in store"))
    (tmp_path / "tests" / "test_shop.py").write_text(textwrap.dedent(TEST))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def shell(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GITHUB_RUN_NUMBER": "7", "CI_PIPELINE_IID": "7"}
    return subprocess.run(
        command, shell=True, cwd=directory, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def properties(junit: Path) -> set[str]:
    return {str(each.get("name")) for each in ElementTree.parse(junit).iter("property")}


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_the_file(name: str) -> None:
    shown = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    assert FILES[name].read_text() in shown


def test_both_files_run_the_same_commands() -> None:
    def named(name: str) -> list[list[str]]:
        return [
            [re.sub(r'"\$\w+"', "NUMBER", command) for command in ours(each) or each] for each in steps(name).values()
        ]

    assert named("github") == named("gitlab")
    assert [len(ours(each)) for each in steps("github").values()] == [2, 2]


@pytest.mark.parametrize("name", FILES)
def test_what_is_installed_is_a_clone_with_extras_that_there_are(name: str) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for commands in steps(name).values():
        (command,) = (each for each in commands if each.startswith("pip install -c .queuesim/constraints.txt"))
        assert set(re.findall(r"\.queuesim\[(\w+)\]", command)) <= set(extras)
    assert (ROOT / "constraints.txt").exists()


@pytest.mark.parametrize("name", FILES)
def test_what_is_found_and_the_reports_are_kept(name: str, project: Path) -> None:
    """Whatever a failing step leaves behind is in an artifact, and nothing else is needed to play it again."""
    (project / "shop.py").write_text(textwrap.dedent(SHOP).replace("GUARD", "True"))
    pull_request = ours(next(iter(steps(name).values())))
    done = shell(quick(pull_request[0]), project)
    assert done.returncode == 1, done.stdout
    assert "nobody pays twice (always)" in done.stdout
    (found,) = (project / "scenarios" / "found").iterdir()
    kept = FILES[name].read_text()
    for path in ("scenarios/found/", "junit.xml"):
        assert path in kept
        assert (project / path).exists()
    # the scenario that was found is one of those of the next command
    again = shell(pull_request[1], project)
    assert again.returncode == 1, again.stdout
    assert f"not ok      {found.relative_to(project)}" in again.stdout
    assert "2 scenarios: 1 not ok, 1 ok" in again.stdout or "2 scenarios: 1 ok, 1 not ok" in again.stdout


@pytest.mark.parametrize("job", ["pull request", "nightly"])
def test_the_commands_pass_in_a_project_without_bugs(job: str, project: Path) -> None:
    """Those of both files are the same."""
    pull_request, nightly = (ours(commands) for commands in steps("github").values())
    for command in pull_request if job == "pull request" else nightly:
        done = shell(quick(command), project)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
    # each property that the page names is in the report, and the report has no other
    told = set(re.findall(r"`(queuesim\.[\w. ]+)`", PAGE.read_text()))
    assert properties(project / "junit.xml") == told
    assert not (project / "scenarios" / "found").exists()


def test_the_settings_of_the_page_are_taken(project: Path) -> None:
    """Its directory of scenarios, where a file needs no likeness to one, and its budget."""
    (settings,) = (block.text for block in blocks(PAGE) if block.language == "ini")
    (project / "pytest.ini").write_text(settings.replace("30s", "100ms"))
    (project / "load" / "production").mkdir(parents=True)
    (project / "load" / "production" / "other.yaml").write_text("some: thing")
    (project / "scenarios" / "artillery.yaml").write_text("config: {target: here}\nscenarios: []\n")
    (project / "tests" / "test_shop.py").unlink()
    done = shell("pytest", project)
    assert "1 passed" in done.stdout, done.stdout
    assert "not scenarios: scenarios/artillery.yaml" in done.stdout
    done = shell("pytest load", project)
    assert "1 failed" in done.stdout, done.stdout
    (project / "scenarios" / "deep" / "good.yaml").write_text(SCENARIO.replace("20s", "20h").replace("1/s", "20/s"))
    assert "the budget of 100ms was used up" in shell("pytest scenarios", project).stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("queuesim run 'scenarios/**/*.yaml'", 0),
        ("queuesim run scenarios/deep/good.yaml wrong.yaml", 2),
        ("pytest --queuesim-budget soon", 4),
        ("pytest empty", 5),
    ],
)
def test_exit_codes(project: Path, command: str, code: int) -> None:
    (project / "wrong.yaml").write_text(SCENARIO.replace("drain", "drian"))
    (project / "empty").mkdir()
    done = shell(command, project)
    assert done.returncode == code, done.stdout
