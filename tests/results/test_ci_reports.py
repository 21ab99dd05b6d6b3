"""JUnit XML and Markdown for CI, and the command that writes all reports."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from metrics_script import NAN, Script
from typer.testing import CliRunner

from queuesim.cli.app import app
from queuesim.results.recording import CheckRow, Stop, StopReason
from queuesim.results.result import Result
from queuesim.results.views.reports import ReportError, write_report


def checked(ok: bool = False, **facts: object) -> Result:
    script = Script(**facts)  # type: ignore[arg-type]
    script.attempt(script.job(1.0, name="a|b*c"), 2.0, 3.0)
    script.checks.append(CheckRow("lost == 0", True, 0.0, "== 0", unit="jobs lost"))
    script.checks.append(CheckRow("latency.p95 < 1s & \x07", ok, 2.0, "< 1s", detail="late", unit="s"))
    script.checks.append(CheckRow("no job twice", True, NAN, "0", kind="oracle"))
    return Result(script.recording())


def test_a_case_for_each_check(tmp_path: Path) -> None:
    write_report(checked(), tmp_path / "deep" / "junit.xml")
    root = ET.parse(tmp_path / "deep" / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("4", "1")
    cases = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    assert [name for name, failure in cases.items() if failure is not None] == ["latency.p95 < 1s & \\x07"]
    failure = cases["latency.p95 < 1s & \\x07"]
    assert failure is not None
    assert failure.get("message") == "measured 2 s, asked for < 1s. late"


def test_a_run_that_was_stopped_has_failed(tmp_path: Path) -> None:
    write_report(checked(ok=True, stopped=Stop(StopReason.DEADLOCK, 5.0)), tmp_path / "junit.xml")
    root = ET.parse(tmp_path / "junit.xml").getroot()
    assert root.get("failures") == "1"


def test_markdown_says_what_happened_and_names_stay_names(tmp_path: Path) -> None:
    write_report(checked(), tmp_path / "summary.md")
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("## ❌ hand-made\n")
    assert "- ✅ lost == 0: 0 jobs were lost" in text
    assert "| a\\|b\\*c | 1 |" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in tables if "a\\|b" in line}) == 2


def test_the_ending_says_what_is_written(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"ends with .html .* not with '.pdf'"):
        write_report(checked(), tmp_path / "run.pdf")


def test_the_command_writes_all_and_its_exit_code_is_the_verdict(tmp_path: Path) -> None:
    checked().to_parquet(tmp_path / "run")
    outputs = [tmp_path / name for name in ("a.html", "a.md", "a.xml")]
    done = CliRunner().invoke(
        app, ["report", str(tmp_path / "run"), *(x for file in outputs for x in ("-o", str(file)))]
    )
    assert done.exit_code == 1
    assert all(file.stat().st_size > 300 for file in outputs)
    assert f"queuesim report {tmp_path / 'run'} -o {outputs[0]}</td>" in outputs[0].read_text()
    checked(ok=True).to_parquet(tmp_path / "good")
    assert CliRunner().invoke(app, ["report", str(tmp_path / "good"), "-o", str(outputs[1])]).exit_code == 0


def test_what_cannot_be_reported(tmp_path: Path) -> None:
    nowhere = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere"), "-o", str(tmp_path / "a.html")])
    assert nowhere.exit_code == 2
    assert "no such directory" in nowhere.output
    ending = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere"), "-o", str(tmp_path / "a.pdf")])
    assert ending.exit_code == 2
    assert "a report ends with" in ending.output
