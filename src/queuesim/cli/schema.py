"""``queuesim schema``: the JSON Schema of scenario files, for editors to complete and check them by."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of scenario files."""
    from queuesim.scenario.loading import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
