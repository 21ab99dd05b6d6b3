"""What a parent in memory knows of its children."""

from __future__ import annotations

from queuesim.family import Children
from queuesim.job import JobRef, parse_json_or_text


class Family:
    """The children of one job: each is in one of four places, or was removed."""

    __slots__ = ("failed", "ignored", "pending", "values")

    def __init__(self) -> None:
        self.pending: set[JobRef] = set()
        self.values: dict[JobRef, str] = {}
        """What those returned that completed, as JSON text."""
        self.ignored: dict[JobRef, str] = {}
        """Why those failed whose failure the parent ignores."""
        self.failed: set[JobRef] = set()
        """Those that failed and fail their parent."""

    def copy(self) -> Family:
        """Another one that says the same."""
        other = Family()
        other.pending, other.values = set(self.pending), dict(self.values)
        other.ignored, other.failed = dict(self.ignored), set(self.failed)
        return other

    def forget(self, child: JobRef) -> bool:
        """Forget how a child ended. False if nothing was known of that."""
        if child in self.failed:
            self.failed.remove(child)
            return True
        return self.ignored.pop(child, None) is not None or self.values.pop(child, None) is not None

    def told(self) -> Children:
        """What it knows, as brokers say it."""
        return Children(
            {child: parse_json_or_text(value) for child, value in _by_child(self.values)},
            dict(_by_child(self.ignored)),
            sorted(map(str, self.failed)),
            sorted(map(str, self.pending)),
        )


def _by_child(known: dict[JobRef, str]) -> list[tuple[str, str]]:
    return sorted((str(child), text) for child, text in known.items())
