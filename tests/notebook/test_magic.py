"""The cell magic, the explorer, and a real kernel: runs from a cell, and interrupts that keep what was simulated."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import queuesim
from queuesim.notebook import Magic, arguments
from queuesim.results.result import Result
from queuesim.scenario.model import Scenario

CELL = """\
name: mail
duration: 5m
workers: {concurrency: 2, limiter: {max: 60, duration: 1m}}
jobs:
  welcome: {service: 200ms, errors: {network: 5%}}
load:
  - {name: steady, poisson: 50/min}
"""


@pytest.fixture
def shell() -> Any:
    return SimpleNamespace(user_ns={})


def test_a_cell_becomes_a_scenario(shell: Any) -> None:
    shown = Magic(shell)("", CELL)
    assert shown is shell.user_ns["scenario"]
    assert isinstance(shown, Scenario)
    for part in ("mail", "5 min", "welcome", "60 per 1 min", "network 0.05", "50/min"):
        assert part in shown._repr_html_()


def test_a_cell_is_played_if_asked_for(shell: Any) -> None:
    shown = Magic(shell)("mail --run monday --seed 7", CELL)
    assert shown is shell.user_ns["monday"]
    assert isinstance(shown, Result)
    assert shown.facts.seed == 7
    assert shell.user_ns["mail"].name == "mail"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (CELL.replace("errors", "erors"), 'cell:5: jobs.welcome.erors: unknown key; did you mean "errors"?'),
        ("name: [", "cell:"),
        ("", "cell:"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(shell: Any, capsys: Any, cell: str, told: str) -> None:
    assert Magic(shell)("", cell) is None
    message = capsys.readouterr().err
    assert told.partition(": unknown")[0] in message
    assert "Traceback" not in message
    assert shell.user_ns == {}


def test_the_line_of_the_magic(shell: Any, capsys: Any) -> None:
    assert arguments("a --run b --seed 3") == ("a", "b", 3)
    assert arguments("--run") == ("scenario", "result", None)
    Magic(shell)("two-words", CELL)
    assert "'two-words' can't be the name of a variable; write it as %%scenario" in capsys.readouterr().err
    Magic(shell)("--seed x", CELL)
    assert "--seed takes a number, not 'x'" in capsys.readouterr().err


# -- checks and the explorer


def test_checks_show_what_failed_first() -> None:
    scenario = {
        "name": "x",
        "duration": "1m",
        "jobs": {"a": {"service": "1s"}},
        "load": [{"name": "l", "constant": "1/s"}],
    }
    checks = queuesim.run({**scenario, "thresholds": ["lost == 0", "latency.p95 < 1ms"]}).checks
    text = checks._repr_html_()
    assert text.index("✗") < text.index("✓")
    assert "latency.p95 &lt; 1ms" in text
    assert type(checks[checks["ok"]]).__name__ == "DataFrame"


def test_sliders_play_the_scenario_again() -> None:
    import yaml

    explorer = queuesim.explore(yaml.safe_load(CELL) | {"warmup": 0})
    assert explorer.changes == {}
    first = explorer.result
    explorer.rate.value = 20
    assert explorer.changes == {"workers.limiter": {"max": 20, "duration": "1m"}}
    assert explorer.result is not first
    assert explorer.result.summary().backlog_max > first.summary().backlog_max
    explorer.limited.value = False
    explorer.concurrency.value = 7
    explorer.load.value = 2.0
    assert explorer.changes == {"workers.limiter": None, "workers.concurrency": 7, "load": 2.0}
    assert len(explorer.result.jobs) == pytest.approx(2 * len(first.jobs), rel=0.2)
    assert "now" in explorer._view.value
    assert explorer._repr_mimebundle_()


@pytest.mark.parametrize(("quick", "continuous"), [(float("inf"), True), (0.0, False)])
def test_sliders_answer_while_dragged_if_a_run_is_quick(
    monkeypatch: pytest.MonkeyPatch, quick: float, continuous: bool
) -> None:
    import yaml

    monkeypatch.setattr("queuesim.notebook.QUICK", quick)
    attempts = "queue.attempts"
    explorer = queuesim.explore(yaml.safe_load(CELL) | {"warmup": 0}, sliders={attempts: [1, 2]})
    sliders = (explorer.concurrency, explorer.rate, explorer.sliders[attempts])
    assert {slider.continuous_update for slider in sliders} == {continuous}
    monkeypatch.setattr("queuesim.notebook.QUICK", float("inf") if quick == 0.0 else 0.0)
    explorer.load.value = 1.5
    assert {slider.continuous_update for slider in sliders} == {not continuous}


def test_sliders_over_any_path() -> None:
    import yaml

    scenario = yaml.safe_load(CELL) | {"warmup": 0}
    attempts, service = "queue.attempts", "jobs.welcome.service"
    explorer = queuesim.explore(scenario, sliders={attempts: range(1, 4), service: ["200ms", "4s"]})
    assert explorer.changes == {}
    explorer.sliders[attempts].value = 3
    assert explorer.changes == {attempts: 3}
    assert explorer.result.jobs["attempts"].max() > explorer.base.jobs["attempts"].max() == 1
    explorer.sliders[service].value = "4s"
    explorer.concurrency.value = 3
    assert explorer.changes == {"workers.concurrency": 3, attempts: 3, service: "4s"}
    assert explorer.result.jobs["service"].median() == 4.0
    explorer.sliders[attempts].value = "unchanged"
    assert attempts not in explorer.changes


@pytest.mark.parametrize(
    ("sliders", "told"),
    [
        ({"jobs.welcom.service": ["1s"]}, 'did you mean "welcome"'),
        ({"workers.concurrency": [1, 0]}, "concurrency"),
        ({"workers.concurrency": []}, "has no values"),
    ],
)
def test_a_slider_that_can_not_be_is_refused_before_anything_is_played(sliders: Any, told: str) -> None:
    import yaml

    with pytest.raises(ValueError, match=told):
        queuesim.explore(yaml.safe_load(CELL), sliders=sliders)


# -- a real kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=60)
    yield SimpleNamespace(manager=manager, client=client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(kernel: Any, code: str, when: Any = None) -> list[dict[str, Any]]:
    """What a cell shows. `when` is called once it runs."""
    kernel.client.execute(code)
    found: list[dict[str, Any]] = []
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and "ready" in content["text"] and when is not None:
            when()
        if kind in ("stream", "execute_result", "display_data", "update_display_data", "error"):
            found.append({"kind": kind, **content})
        if kind == "status" and content["execution_state"] == "idle":
            return found


def test_a_run_in_a_cell_where_a_loop_is_running(kernel: Any) -> None:
    cell = f"%load_ext queuesim\nget_ipython().run_cell_magic('scenario', '--run result', {CELL!r})"
    shown = outputs(kernel, cell)
    assert not [output for output in shown if output["kind"] == "error"]
    assert "text/html" in next(output for output in shown if output["kind"] == "execute_result")["data"]


def test_a_bar_in_a_cell_comes_while_the_run_goes_on_and_goes(kernel: Any) -> None:
    cell = f"""
import queuesim, yaml
from queuesim.results.views import progress
progress.PATIENCE = 0.0
bar = queuesim.run(yaml.safe_load({CELL!r}))
"""
    shown = outputs(kernel, cell)
    assert not [output for output in shown if output["kind"] == "error"]
    pages = [output["data"]["text/html"] for output in shown if "data" in output]
    assert "0 s of 5 min, 0 jobs finished" in "".join(pages)
    assert pages[-1] == ""


def test_an_interrupt_keeps_what_was_simulated(kernel: Any) -> None:
    cell = """
import queuesim
told = []
def progress(now, finished):
    if finished and not told:
        told.append(now)
        print("ready", flush=True)
long = queuesim.run({"name": "long", "duration": 1e6, "jobs": {"a": {"service": 0.5}},
                     "load": [{"name": "l", "constant": 1.0}]}, progress=progress)
"""
    assert not [each for each in outputs(kernel, cell, kernel.manager.interrupt_kernel) if each["kind"] == "error"]
    shown = outputs(kernel, "print(long.facts.stopped, len(long.jobs) > 0, long.facts.duration < 1e6)")
    assert shown[0]["text"].startswith("interrupted at")
    assert shown[0]["text"].endswith("True True\n")
