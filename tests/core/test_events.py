"""Events: the kinds that BullMQ has, and the codes that a recording packs."""

from __future__ import annotations

from queuesim.core.events import Event, EventKind


def test_kinds_have_bullmqs_names_and_codes_from_zero() -> None:
    assert [kind.code for kind in EventKind] == list(range(len(EventKind)))
    assert EventKind("retries-exhausted") is EventKind.RETRIES_EXHAUSTED
    assert str(EventKind.WAITING_CHILDREN) == "waiting-children"


def test_fields_are_an_events_own() -> None:
    first, second = (Event(id, 0.0, EventKind.ADDED, "1") for id in (1, 2))
    assert first.fields == {}
    assert first.fields is not second.fields
