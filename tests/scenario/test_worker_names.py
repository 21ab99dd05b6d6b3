from __future__ import annotations

import queuesim
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import name_workers

SCENARIO = {
    "name": "n",
    "duration": 10.0,
    "drain": True,
    "jobs": {"a": {"service": 0.1}},
    "load": [{"name": "l", "constant": 10.0}],
    "workers": [{"name": "w", "count": 2}, {"name": "w-1"}],
}


def test_a_fault_can_be_aimed_at_each_worker_that_a_run_starts_with() -> None:
    named = [name for name, _ in name_workers(Scenario.model_validate(SCENARIO).workers)]
    assert named == ["w-1", "w-2", "w-1-2"]
    for name in named:
        result = queuesim.run({**SCENARIO, "faults": [{"worker.freeze": {"at": 1.0, "for": 1.0, "worker": name}}]})
        assert set(result.attempts["worker"]) == set(named)
        assert name in result.faults["target"].tolist(), "w-1 is the name of a kind, too"
