"""Reports: a result on stdout, for people or as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import typer

from queuesim.escaping import shown

if TYPE_CHECKING:
    from queuesim.metrics.result import Result
    from queuesim.metrics.summary import Totals


def print_summary(result: Result) -> None:
    """Tables, charts and checks, as wide as the terminal."""
    from rich.console import Console

    from queuesim.metrics.terminal import render

    render(result, Console())


def print_failures(result: Result) -> None:
    """On stderr: why the run is no success, if it is none. A line each."""
    from queuesim.metrics.digest import checks

    if result.facts.stopped:
        typer.echo(shown(f"{result.facts.scenario}: stopped early: {result.facts.stopped}"), err=True)
    for check in checks(result):
        if check.status == "failed":
            typer.echo(shown(f"{result.facts.scenario}: {check.text}"), err=True)


def print_json(result: Result) -> None:
    """`as_json` as text. Pure ASCII, so that it survives every terminal and pipe."""
    typer.echo(json.dumps(as_json(result), indent=2, allow_nan=False))


def as_json(result: Result) -> dict[str, Any]:
    """The facts, the summary and the checks. Times are seconds, rates per second; what was not measured is null."""
    from queuesim.metrics.digest import verdict

    summary = result.summary()
    told = dataclasses.asdict(summary)
    told["jobs"] |= _shares(summary.jobs)
    for name, totals in summary.by_name.items():
        told["by_name"][name] |= _shares(totals)
    found = {
        "ok": result.ok,
        "verdict": verdict(result),
        "facts": dataclasses.asdict(result.facts),
        "summary": told,
        "errors": result.analysis.errors().to_dict(orient="records"),
        "checks": result.checks.to_dict(orient="records"),
    }
    plain: dict[str, Any] = _without_nan(found)
    return plain


def _shares(totals: Totals) -> dict[str, float]:
    return {"success_rate": totals.success_rate, "retry_amplification": totals.retry_amplification}


def _without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
