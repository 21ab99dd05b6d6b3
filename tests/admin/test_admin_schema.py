"""Schemathesis: whatever fits the OpenAPI document, or does not, is answered as the document says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import schemathesis
from adminbench import AdminBench, token
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from queuesim.tasks.store import TaskStore

STORE = TaskStore()
STORE.prepare()
DESK = AdminBench(STORE)
CHECKS = [
    not_a_server_error,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
]
"""What is answered is what the document says. Which requests are refused, test_admin_attacks.py says."""
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", DESK.app)


@SCHEMA.parametrize()
@settings(max_examples=12, deadline=None)
def test_every_operation_keeps_to_the_document(case: Any) -> None:
    response = case.call(headers={"authorization": f"Bearer {token(exp=time.time() + 600)}"})
    case.validate_response(response, checks=CHECKS)


def test_the_store_is_still_there() -> None:
    assert asyncio.run(DESK.store.run(lambda connection: 1)) == 1
