from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from queuesim.cli.scenario_commands import schema
from queuesim.scenario.loading import json_schema


def test_it_prints_the_json_schema_and_nothing_else() -> None:
    app = typer.Typer()
    app.command()(schema)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()
