"""Errors: the category and the fate of any error, by default rules and by a user's."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from typing import Any

import pytest

from queuesim.core import errors
from queuesim.core.errors import DATABASE, NETWORK, UNKNOWN, VALIDATION, ErrorInfo, ErrorRule, ErrorRules


@pytest.mark.parametrize(
    ("error", "category", "retryable"),
    [
        (errors.DatabaseError(), DATABASE, True),
        (errors.NetworkError(), NETWORK, True),
        (errors.UnknownError(), UNKNOWN, True),
        (errors.ValidationError(), VALIDATION, False),
        (errors.ResultError(), VALIDATION, False),
        (errors.UnrecoverableError(), VALIDATION, False),
        (errors.AbandonedError(), UNKNOWN, False),
        (errors.HandlerBlockedError(), UNKNOWN, False),
        (sqlite3.OperationalError("database is locked"), DATABASE, True),
        (sqlite3.IntegrityError(), VALIDATION, False),
        (sqlite3.InterfaceError(), DATABASE, True),
        (ConnectionResetError(), NETWORK, True),
        (TimeoutError(), NETWORK, True),
        (OSError("no route to host"), NETWORK, True),
        (ValueError(), VALIDATION, False),
        (KeyError("k"), VALIDATION, False),
        (json.JSONDecodeError("bad", "", 0), VALIDATION, False),
        (RuntimeError(), UNKNOWN, True),
        (asyncio.CancelledError(), UNKNOWN, True),
        (ExceptionGroup("several", [ValueError()]), UNKNOWN, True),
    ],
)
def test_default_rules(error: BaseException, category: str, retryable: bool) -> None:
    assert ErrorRules().describe(error) == ErrorInfo(type(error).__name__, category, retryable)


@pytest.mark.parametrize(
    ("module", "category", "retryable"),
    [
        ("asyncpg.exceptions", DATABASE, True),
        ("httpx", NETWORK, True),
        ("pydantic_core._pydantic_core", VALIDATION, False),
    ],
)
def test_libraries_are_known_by_name_and_need_not_be_installed(module: str, category: str, retryable: bool) -> None:
    theirs = type("TheirError", (Exception,), {"__module__": module})
    mine = type("MineError", (theirs,), {})
    for error in (theirs(), mine()):
        info = ErrorRules().describe(error)
        assert (info.category, info.retryable) == (category, retryable)


def test_users_rules_go_first_by_class_by_tuple_or_by_function() -> None:
    rules = ErrorRules(
        [
            ErrorRule((ZeroDivisionError, KeyError), "Arithmetic", retryable=False),
            ErrorRule(lambda error: "busy" in str(error), "Busy"),
            ErrorRule(ValueError, "Input"),
        ]
    )
    assert rules.describe(KeyError("k")) == ErrorInfo("KeyError", "Arithmetic", False)
    assert rules.describe(ValueError("busy")) == ErrorInfo("ValueError", "Busy", True)
    assert rules.describe(ValueError("x")) == ErrorInfo("ValueError", "Input", True)
    assert rules.describe(ConnectionError()).category == NETWORK


def test_an_unrecoverable_error_has_its_causes_category() -> None:
    error = errors.UnrecoverableError("no use")
    error.__cause__ = ConnectionError()
    assert ErrorRules().describe(error) == ErrorInfo("UnrecoverableError", NETWORK, False)


def test_an_unrecoverable_error_is_known_by_its_name_too() -> None:
    theirs = type("UnrecoverableError", (Exception,), {})()
    assert errors.is_unrecoverable(theirs)
    assert not ErrorRules().describe(theirs).retryable
    assert not errors.is_unrecoverable(ValueError())


def test_users_rules_categorise_unrecoverable_errors() -> None:
    rules = ErrorRules([ErrorRule(errors.UnrecoverableError, "Final")])
    assert rules.describe(errors.UnrecoverableError()) == ErrorInfo("UnrecoverableError", "Final", False)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [errors.DelayedError, errors.RateLimitError])
def test_a_time_that_is_none(kind: Any, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be 0 s or more"):
        kind(seconds)


def test_a_job_error_says_what_was_refused_and_why() -> None:
    error = errors.JobError("7", -3, "promote")
    assert (error.job_id, error.code, error.doing) == ("7", -3, "promote")
    assert str(error) == "can't promote job 7: it is not in the state that this needs"
    assert "code -99" in str(errors.JobError("7", -99, "promote"))


def test_a_rate_limit_error_has_bullmqs_message() -> None:
    assert str(errors.RateLimitError()) == "bullmq:rateLimitExceeded"
