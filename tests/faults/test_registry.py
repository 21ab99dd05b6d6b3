"""A kind of fault is one class in one file: everything that lists or treats kinds of faults reads the registry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from queuesim.faults.base import KINDS, Fault, Lasting, Need, fault
from queuesim.faults.registry import FAULTS, survivable
from queuesim.results.fault_kinds import FACTS, Effect, facts_of

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "queuesim"

FLICKER = '''
"""A kind of fault that no other file names."""

from queuesim.faults.base import Lasting, Need, draw_span, fault
from queuesim.fields import Count
from queuesim.results.fault_kinds import Effect


@fault("redis.flicker")
class RedisFlicker(Lasting):
    """The server is away again and again."""

    color = "#123456"
    effects = Effect.SERVER
    needs = Need.PROXY

    times: Count
    """How often."""

    def unmet_needs(self, scenario):
        if self.times > scenario.duration:
            yield "times", "it can't be away more than once a second"

    def turn(self, on):
        if on:
            self.context.server.go_away()
        else:
            self.context.server.come_back()

    @staticmethod
    def draw(rng, duration):
        return {**draw_span(rng, duration, 1.0), "times": rng.randint(1, 3)}
'''

SEEN = """
import json, random, sys
import queuesim.faults

queuesim.faults.__path__.append(sys.argv[1])
import queuesim
from queuesim.results.plots.style import fault_styles
from queuesim.runs.live.faults import needs_of
from queuesim.scenario.loading import json_schema
from queuesim.testing.soak import random_faults
from tools.scenario_keys import fault_rows

quiet = {"name": "quiet", "duration": 20.0, "drain": True, "jobs": {"mail": {"service": 0.1}},
         "load": [{"name": "users", "constant": 1.0}]}
flicker = {"redis.flicker": {"at": 5.0, "for": 4.0, "times": 2}}
result = queuesim.run({**quiet, "faults": [flicker]})
refused = ""
try:
    queuesim.Scenario.model_validate({**quiet, "faults": [{"redis.flicker": {"at": 5.0, "for": 4.0, "times": 99}}]})
except ValueError as error:
    refused = str(error)
rng = random.Random(1)
print(json.dumps({
    "schema": json_schema()["$defs"]["RedisFlicker"],
    "entry": json_schema()["$defs"]["FaultEntry"]["properties"].get("redis.flicker"),
    "refused": refused,
    "faults": result.faults[["fault", "began", "ended"]].values.tolist(),
    "starts": int(result.attempts["started"].between(5.0, 9.0, inclusive="neither").sum()),
    "ok": result.ok,
    "table": "".join(fault_rows()),
    "style": fault_styles(["redis.flicker", "redis.outage"])["redis.flicker"],
    "needs": needs_of(queuesim.Scenario.model_validate({**quiet, "faults": [flicker]}).faults).name,
    "drawn": any("redis.flicker" in one for _ in range(200) for one in random_faults(rng, 100.0)),
}))
"""


def test_a_new_file_adds_a_kind_everywhere(tmp_path: Path) -> None:
    (tmp_path / "flicker.py").write_text(FLICKER)
    command = [sys.executable, "-c", SEEN, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["schema"]["description"] == "The server is away again and again."
    assert seen["schema"]["properties"]["times"]["description"] == "How often."
    assert seen["entry"] is not None
    assert "faults.0.redis.flicker.times: it can't be away more than once a second" in seen["refused"]
    assert seen["faults"] == [["redis.flicker", 5.0, 9.0]]
    assert (seen["starts"], seen["ok"]) == (0, True)
    assert "| `redis.flicker` | The server is away again and again. | `times`, whole number from 1" in seen["table"]
    assert seen["style"][0] == "#123456"
    assert seen["needs"] == "PROXY"
    assert seen["drawn"]


@pytest.mark.parametrize("kind", FAULTS)
def test_only_the_file_of_its_family_names_a_kind(kind: str) -> None:
    naming = [path for path in SOURCE.rglob("*.py") if f'"{kind}"' in path.read_text()]
    home = SOURCE / f"{FAULTS[kind].__module__.partition('.')[2].replace('.', '/')}.py"
    # examples in docstrings are no lists
    examples = {SOURCE / "faults/base.py", SOURCE / "results/recording.py", SOURCE / "results/fault_kinds.py"}
    assert [path for path in naming if path not in examples] == [home]


def test_each_kind_says_all_that_others_ask_of_it() -> None:
    for kind, cls in FAULTS.items():
        assert cls.kind == kind
        assert cls.__doc__, kind
        assert facts_of(kind).color == cls.color
        assert facts_of(kind).effects == cls.effects
        # what strikes workers or attempts needs their processes, unless it is not to be had at all
        inside = kind.startswith(("worker.", "handler.", "await.", "database."))
        assert (Need.PROCESSES in cls.needs) == inside, kind
    assert {kind for kind, cls in FAULTS.items() if cls.not_live} == {
        *("redis.failover", "worker.wall-clock", "cron.missed", "cron.twice", "cron.overlap")
    }
    assert set(FAULTS) - set(survivable()) == {
        *("redis.script-flush", "database.slow", "cron.missed", "cron.twice", "cron.overlap")
    }


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match=r"RedisOutage is the fault redis\.outage already"):
        fault("redis.outage")(Lasting)
    assert KINDS["redis.outage"] is FAULTS["redis.outage"]
    assert FACTS["redis.outage"].effects == Effect.SERVER | Effect.AWAY


def test_a_bound_fault_keeps_its_state_and_the_scenario_stays_as_it_is() -> None:
    told = FAULTS["handler.slow"].model_validate({"probability": 0.5, "delay": 1.0})
    copy = told.model_copy()
    copy.active = True
    assert not hasattr(told, "active")
    assert told == FAULTS["handler.slow"].model_validate({"probability": 0.5, "delay": 1.0})
    for frozen in (told, copy):
        with pytest.raises(ValueError, match="frozen"):
            frozen.probability = 1.0  # type: ignore[attr-defined]
    assert isinstance(copy, Fault)
