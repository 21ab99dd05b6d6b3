"""A result as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import queuesim
from queuesim.cli.io import as_json_of


def test_it_is_json_without_nan(small: Path) -> None:
    # not one job: nearly everything is a mean of nothing
    small.write_text(small.read_text().replace("60/min", "60/min\n    start: 59.999s"))
    told = as_json_of(queuesim.run(small))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["summary"]["jobs"]["added"] == 0
    assert told["summary"]["jobs"]["latency"]["p95"] is None
    assert told["summary"]["jobs"]["success_rate"] is None


def test_shares_are_there_for_each_name(small: Path) -> None:
    result = queuesim.run(small)
    told = as_json_of(result)
    jobs = result.summary().by_name["task-created"]
    assert told["summary"]["by_name"]["task-created"]["success_rate"] == jobs.success_rate == 1.0
    assert told["summary"]["jobs"]["retry_amplification"] == 1.0
