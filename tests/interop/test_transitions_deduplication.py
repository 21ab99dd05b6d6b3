"""Deduplication leaves the same keys as Node does: BULLMQ.md, section 10."""

from __future__ import annotations

from typing import Any

import pytest
from hands import Both

pytestmark = pytest.mark.with_options

MODES: dict[str, dict[str, Any]] = {
    "simple": {"id": "d"},
    "throttle": {"id": "d", "ttl": 60_000},
    "extended throttle": {"id": "d", "ttl": 60_000, "extend": True},
    "debounce": {"id": "d", "ttl": 60_000, "extend": True, "replace": True},
    "replace": {"id": "d", "replace": True},
    "replace, throttled": {"id": "d", "ttl": 60_000, "replace": True},
    "keep last": {"id": "d", "keep_last_if_active": True},
    "keep last, throttled": {"id": "d", "ttl": 60_000, "keep_last_if_active": True},
    "reschedule": {"id": "d", "reschedule": True},
    "reschedule, extended": {"id": "d", "ttl": 60_000, "extend": True, "reschedule": True},
}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@every_mode
@pytest.mark.parametrize("delay", [0, 500])
def test_a_duplicate(both: Both, mode: dict[str, Any], delay: int) -> None:
    both.add("job", {"n": 1}, deduplication=mode, delay=delay)
    both.at(100)
    both.add("job", {"n": 2}, deduplication=mode, delay=delay)
    both.at(200)
    both.add("other", {"n": 3}, deduplication={**mode, "id": "e"}, delay=delay)
    both.add("job", {"n": 4}, deduplication=mode)


@every_mode
def test_a_duplicate_of_a_prioritized_job(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", {"n": 1}, deduplication=mode, priority=5)
    both.add("job", {"n": 2}, deduplication=mode, priority=2)


@every_mode
@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_duplicate_of_an_active_job_and_what_follows_its_end(both: Both, mode: dict[str, Any], end: str) -> None:
    both.add("job", {"n": 1}, deduplication=mode)
    both.take()
    both.add("job", {"n": 2}, deduplication=mode)
    both.add("newest", {"n": 3}, deduplication=mode, priority=4, attempts=2)
    both.at(100)
    getattr(both, end)("1")
    both.add("job", {"n": 4}, deduplication=mode)
    both.at(200)
    both.take()


@every_mode
def test_a_retry_keeps_the_id(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", deduplication=mode, attempts=2, backoff={"type": "fixed", "delay": 100})
    both.take()
    both.fail("1")
    both.add("job", deduplication=mode)


@every_mode
def test_removing_the_owner_frees_the_id(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", deduplication=mode)
    both.remove("1")
    both.add("job", deduplication=mode)


@every_mode
def test_the_id_is_freed_by_hand(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", deduplication=mode)
    assert both.release("d") is True
    assert both.release("d") is False
    both.add("job", deduplication=mode)


@every_mode
def test_an_owner_that_is_drained_away(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", deduplication=mode)
    both.drain()
    both.add("job", deduplication=mode)


@every_mode
def test_a_custom_id_beside_a_deduplication_id(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", deduplication=mode, job_id="mine")
    both.add("job", deduplication=mode, job_id="mine")
    both.add("job", deduplication=mode, job_id="other")


@pytest.mark.parametrize("mode", [mode for mode in MODES.values() if "ttl" in mode], ids=str)
def test_a_ttl_that_passed(both: Both, mode: dict[str, Any]) -> None:
    both.add("job", deduplication=mode, delay=500)
    if mode.get("keep_last_if_active"):
        return
    both.expire("de:d")
    both.add("job", deduplication=mode)
    both.take()
    both.complete("2")
