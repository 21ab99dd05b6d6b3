"""The JSON Schema of scenario files: it describes what files say, with units, not what Python makes of them."""

from __future__ import annotations

from typing import Any

from queuesim.scenario.schema import Scenario

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema, as data for `json.dumps`."""
    schema = Scenario.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, **schema}
