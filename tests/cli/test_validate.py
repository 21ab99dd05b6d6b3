from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from queuesim.cli.app import app as queuesim_app
from queuesim.cli.scenario_commands import validate

ROOT = Path(__file__).parents[2]

GOOD = """\
name: x
duration: 1h
jobs: {a: {service: 80ms}}
load: [{name: l, poisson: 60/min}]
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(validate)
    return app


def test_a_good_file_is_one_line(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    result = CliRunner().invoke(app, [str(path)])
    assert result.exit_code == 0
    assert result.stdout == f"{path}: ok: x, 1h, 1 job type, 1 load\n"
    assert result.stderr == ""


def test_the_example_is_good(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, [str(ROOT / "scenarios" / "task-processing.yaml")])
    assert result.exit_code == 0
    assert result.stdout.endswith("ok: task-processing, 4h, 3 job types, 2 loads, 3 thresholds\n")


def test_bad_files_are_told_on_stderr_and_end_with_2(app: typer.Typer, tmp_path: Path) -> None:
    good, bad, none = (tmp_path / name for name in ("good.yaml", "bad.yaml", "none.yaml"))
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("60/min", "60") + "worker: {}\n")
    result = CliRunner().invoke(app, [str(bad), str(good), str(none)])
    assert result.exit_code == 2
    assert result.stdout == f"{good}: ok: x, 1h, 1 job type, 1 load\n"
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{bad}:4", "load[0].poisson"],
        [f"{bad}:5", "worker"],
        [str(none), "no such file"],
    ]


def test_a_processor_is_imported_unless_told_otherwise(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(GOOD + "processor: nowhere_to_be_found:processor\n")
    result = CliRunner().invoke(app, [str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f'{path}:5: processor: there is no module "nowhere_to_be_found"')
    result = CliRunner().invoke(app, ["--no-import", str(path)])
    assert result.exit_code == 0
    assert result.stdout.endswith("1 load, processor nowhere_to_be_found:processor\n")


def test_the_command_itself_loads_nothing_heavy() -> None:
    code = (
        "import sys, queuesim.cli.scenario_commands;print({'pydantic', 'numpy', 'yaml', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


MODELS = """\
from pydantic import BaseModel
from queuesim import Job, Processor

processor = Processor("p")

class Letter(BaseModel):
    address: str
    copies: int = 1

@processor.job("typed", data=Letter)
async def typed(job: Job) -> None: ...
"""


def test_data_is_held_against_the_model_of_its_job_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "letter_models.py").write_text(MODELS)

    def validated(data: str) -> tuple[int, str]:
        (tmp_path / "s.yaml").write_text(
            f"name: n\nduration: 1m\nprocessor: letter_models:processor\njobs:\n  typed: {data}\n"
            "load:\n  - {name: users, poisson: 2/s}\n"
        )
        done = CliRunner().invoke(queuesim_app, ["validate", "s.yaml"])
        return done.exit_code, done.stderr

    assert validated("{data: {address: a}}") == (0, "")
    for data in ("{data: {adress: a}}", "{data: {address: a, copies: many}}", "{}"):
        code, message = validated(data)
        assert code == 2
        assert message.startswith("s.yaml:5: jobs.typed")
