"""The cell magic ``%%scenario``: a cell of YAML becomes a scenario, and is played."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from queuesim.extras import need
from queuesim.runs.run import run, scenario_for
from queuesim.scenario.loading import ScenarioError, Source, parse_scenario, vary
from queuesim.scenario.model import Scenario
from queuesim.text import brief, percent, readable
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.results.summary import Summary
    from queuesim.scenario.model import Scenario


USAGE = "write it as %%scenario [NAME] [--run RESULT] [--seed N]"


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext queuesim`` makes ``%%scenario`` known."""
    shell.register_magic_function(Magic(shell), magic_kind="cell", magic_name="scenario")


class Magic:
    """``%%scenario [NAME] [--run RESULT] [--seed N]`` above a cell of YAML.

    The scenario becomes the variable NAME (``scenario`` unless given) and is shown; with ``--run`` it is played, and
    the result becomes the variable RESULT and is shown in its place. Problems are reported with their lines.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __call__(self, line: str, cell: str) -> object:
        """Make the scenario, and play it if asked to."""
        try:
            name, result, seed = arguments(line)
            scenario = read(cell)
        except (ScenarioError, ValueError) as error:
            # a traceback of this package would hide what the user's cell has wrong
            sys.stderr.write(f"{error}\n")
            return None
        self._shell.user_ns[name] = scenario
        if result is None:
            return scenario
        self._shell.user_ns[result] = played = run(scenario, seed=seed)
        return played


def arguments(line: str) -> tuple[str, str | None, int | None]:
    """The names of the scenario and the result, and the seed, of the magic's line. Raises ValueError."""
    words = iter(line.split())
    name, result, seed = "scenario", None, None
    for word in words:
        if word == "--run":
            result = next(words, "result")
        elif word == "--seed":
            number = next(words, "")
            if not number.isdigit():
                raise ValueError(f"--seed takes a number, not {number!r}; {USAGE}")
            seed = int(number)
        else:
            name = word
    for variable in (name, result):
        if variable is not None and not variable.isidentifier():
            raise ValueError(f"{variable!r} can't be the name of a variable; {USAGE}")
    return name, result, seed


def read(cell: str) -> Scenario:
    """The scenario that a cell's YAML describes. Raises ScenarioError, which names the lines of the cell."""
    return parse_scenario(cell, file="cell", check_processor=True)


# -- The explorer: sliders over a scenario's concurrency, limiter, backoff and load, and over any path of it

UNCHANGED = "unchanged"
"""Where a slider over a path starts: at the scenario's own value."""
QUICK = 0.3
"""Seconds. If a run and its view take no longer, sliders answer while they are dragged, else when they are let go."""


class Explorer:
    """Sliders, and the results of the run with them and before anything was moved.

    Show it as the last value of a cell. `result` is the newest run, `scenario` what it played. Sliders answer while
    they are dragged as long as that is quick, and otherwise when they are let go.

    Args:
        scenario: where to start from, as `run` takes it.
        duration: play only so much of it, as "1h", so that a long one answers at once.
        sliders: further sliders, by paths as `vary` takes them, each with the values that it can be moved to:
            ``{"queue.attempts": range(1, 6), "jobs.mail.service": ["100ms", "1s"]}``. Each starts at "unchanged".
        own: `processor`, `shared` and `invariants`, as `run` takes them.

    Raises:
        MissingExtraError: ipywidgets is not installed.
        ValueError: a path leads nowhere, has no values, or a value can't be there.
    """

    def __init__(
        self,
        scenario: Source,
        duration: str | None = None,
        sliders: Mapping[str, Sequence[Any]] | None = None,
        **own: Any,
    ) -> None:
        widgets: Any = need("ipywidgets", "notebook", "explorers")
        if unknown := set(own) - {"processor", "shared", "invariants"}:
            raise TypeError(f"an explorer takes no {', '.join(sorted(unknown))}: see queuesim.notebook.Explorer")
        self._own = own
        chosen = scenario_for(scenario, own.get("processor"))
        self._start = chosen if duration is None else vary(chosen, {"duration": duration})
        values = {path: list(each) for path, each in (sliders or {}).items()}
        _check(self._start, values)
        self.scenario: Scenario = self._start
        began = time.perf_counter()
        self.base: Result = run(self._start, progress=False, **own)
        """The run before anything was moved."""
        self.result: Result = self.base
        workers, backoff = self._start.workers[0], self._start.queue.backoff
        per_minute = workers.limiter.max / workers.limiter.duration * 60 if workers.limiter else 100.0
        delay = 1.0 if backoff is None else backoff.delay or 1.0
        style = {"style": {"description_width": "9em"}}
        self.concurrency = widgets.IntSlider(workers.concurrency, min=1, max=100, description="concurrency", **style)
        self.limited = widgets.Checkbox(workers.limiter is not None, description="rate limiter", indent=True)
        self.rate = widgets.FloatLogSlider(
            per_minute, base=10, min=0, max=4, step=0.01, readout_format=",.0f", description="limiter, per min", **style
        )
        self.backoff = widgets.FloatLogSlider(
            delay, base=10, min=-1, max=2.5, step=0.02, description="backoff, s", **style
        )
        self.load = widgets.FloatLogSlider(1.0, base=10, min=-1, max=1, step=0.02, description="load, times", **style)
        free = {"style": {"description_width": "initial"}}
        self.sliders: dict[str, Any] = {
            path: widgets.SelectionSlider(
                options=[(UNCHANGED, UNCHANGED), *((str(value), value) for value in each)], description=path, **free
            )
            for path, each in values.items()
        }
        """The further sliders, by path."""
        self._view = widgets.HTML()
        controls = (self.concurrency, self.limited, self.rate, self.backoff, self.load, *self.sliders.values())
        self._first = {id(control): control.value for control in controls}
        for control in controls:
            control.observe(self._play, names="value")
        self.widget: Any = widgets.VBox([*controls, self._view])
        """The whole, as an ipywidgets box."""
        self._show()
        self._answer_while_dragged(time.perf_counter() - began)

    @property
    def changes(self) -> dict[str, Any]:
        """What the sliders say, as `vary` takes it: only what was moved."""
        changed: dict[str, Any] = {}
        if self._moved(self.concurrency):
            changed["workers.concurrency"] = self.concurrency.value
        if self._moved(self.limited) or (self.limited.value and self._moved(self.rate)):
            limiter = {"max": max(1, round(self.rate.value)), "duration": "1m"}
            changed["workers.limiter"] = limiter if self.limited.value else None
        if self._moved(self.backoff):
            changed["queue.backoff"] = {"type": "exponential", "delay": format_duration(round(self.backoff.value, 3))}
        if self._moved(self.load):
            changed["load"] = round(self.load.value, 4)
        return changed | {path: each.value for path, each in self.sliders.items() if each.value != UNCHANGED}

    def _moved(self, control: Any) -> bool:
        return bool(control.value != self._first[id(control)])

    def _answer_while_dragged(self, took: float) -> None:
        for slider in (self.concurrency, self.rate, self.backoff, self.load, *self.sliders.values()):
            slider.continuous_update = took <= QUICK

    def _play(self, change: Any) -> None:
        began = time.perf_counter()
        try:
            self.scenario = vary(self._start, self.changes)
            self.result = run(self.scenario, progress=False, **self._own)
        except ValueError as error:
            self._view.value = f"<p>{escape(str(error))}</p>"
            return
        self._show()
        self._answer_while_dragged(time.perf_counter() - began)

    def _show(self) -> None:
        rows = "".join(
            f"<tr><td>{name}</td><td><b>{now}</b></td><td>{before}</td></tr>"
            for (name, now), (_, before) in zip(figures(self.result), figures(self.base), strict=True)
        )
        table = f"<table><thead><tr><th></th><th>now</th><th>at first</th></tr></thead><tbody>{rows}</tbody></table>"
        self._view.value = table + self.result._repr_html_()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


def _check(scenario: Scenario, sliders: Mapping[str, Sequence[Any]]) -> None:
    """Raise ValueError for a path or a value that the scenario can't have, before anything is played."""
    for path, values in sliders.items():
        if not values:
            raise ValueError(f"the slider {path!r} has no values")
        for value in values:
            vary(scenario, {path: value})


def figures(result: Result) -> list[tuple[str, str]]:
    """The main figures, each with its name."""
    summary: Summary = result.summary()
    drain = result.analysis.time_to_drain()
    return [
        ("latency p95", brief(summary.jobs.latency.p95)),
        ("highest backlog", f"{summary.backlog_max:,}"),
        ("time to drain", "not in this run" if drain != drain else readable(drain)),
        ("utilisation", percent(summary.utilisation)),
        ("failed for good", f"{summary.jobs.failed:,}"),
    ]


def explore(
    scenario: Source, duration: str | None = None, sliders: Mapping[str, Sequence[Any]] | None = None, **own: Any
) -> Explorer:
    """Sliders over a scenario, in a notebook. See Explorer."""
    return Explorer(scenario, duration, sliders, **own)
