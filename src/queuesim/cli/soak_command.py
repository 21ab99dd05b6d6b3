"""``queuesim soak``: many random scenarios with faults, each judged by the oracles."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import interruptible, refusing

if TYPE_CHECKING:
    from queuesim.testing.soak import Campaign


PACE = 2.0
"""Seconds between two lines of progress."""


SCHEDULE, SECOND = 10e-3, 50e-6
"""Real seconds for a schedule, and for each second of its load, at least; measured: 80 ms and 800 microseconds."""


def soak(
    schedules: Annotated[int, typer.Option(min=1, help="How many random scenarios to play.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="What all of them are drawn from.")] = 0,
    seeds: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="In place of --seed: several seeds, which take turns.")
    ] = "",
    duration: Annotated[str, typer.Option(help="For how long each has load.")] = "5m",
    backend: Annotated[str, typer.Option(help="sim, or fakeredis for our Lua scripts.")] = "sim",
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Run tasks that are ready at once in a drawn order.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where failing scenarios are saved.")
    ] = Path("scenarios/found"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Play them though they take more than a day.")] = False,
) -> None:
    """Play random scenarios with faults, and look for one that an oracle catches.

    Exit code 0: none was caught. 1: some were, or our own code failed; the smallest that still fails is saved for each,
    with the command that plays it again. 2: an option is wrong. 130: interrupted.
    """
    from queuesim.scenario.model import BackendError, check_backend
    from queuesim.testing.soak import replay_command
    from queuesim.testing.soak import soak as campaign_of
    from queuesim.units import parse_duration

    with interruptible(), refusing():
        try:
            length = parse_duration(duration)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--duration'") from None
        if not length >= 10:
            raise typer.BadParameter("at least 10s: in less, hardly any fault would strike", param_hint="'--duration'")
        check_backend(backend)
        if backend == "redis":
            raise BackendError("a soak plays in virtual time: choose sim or fakeredis")
        if not no_limit:
            from queuesim.runs.effort import refuse_many

            refuse_many(schedules, SCHEDULE + SECOND * length, "schedules")
        chosen = _seeds(seeds) if seeds else [seed]
        began = told = time.perf_counter()
        campaign = None
        for campaign in campaign_of(schedules, chosen, length, backend=backend, shuffle=shuffle, directory=output):
            if not quiet and time.perf_counter() - told >= PACE:
                told = time.perf_counter()
                _tell(campaign, schedules, told - began)
    assert campaign is not None
    typer.echo(f"backend {backend}, {'shuffled, ' if shuffle else ''}seeds {seeds or seed}, {duration} each")
    _report(campaign, time.perf_counter() - began)
    for found in campaign.found:
        doubt = "" if found.replays else "  (not deterministic: the saved file did not fail when it was played again)"
        typer.echo(f"found: {', '.join(found.problems)}{doubt}")
        typer.echo(f"replay: {replay_command(found.path, shuffle=shuffle, backend=backend)}")
    raise typer.Exit(1 if campaign.found else 0)


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise typer.BadParameter(f"{text} is not a range of seeds: write it as 10-49", param_hint="'--seeds'")
    return range(int(first), int(last) + 1)


def _tell(campaign: Campaign, schedules: int, wall: float) -> None:
    left = wall / campaign.runs * (schedules - campaign.runs)
    typer.echo(
        f"{campaign.runs} of {schedules}: {campaign.jobs:,} jobs, {len(campaign.found)} failed, "
        f"about {left:,.0f} s left",
        err=True,
    )


def _report(campaign: Campaign, wall: float) -> None:
    typer.echo(
        f"{campaign.runs:,} schedules, {campaign.jobs:,} jobs, {campaign.attempts:,} attempts, "
        f"{campaign.simulated / 3600:,.1f} h simulated in {wall:,.0f} s"
    )
    typer.echo(f"faults: {campaign.faults.total():,}")
    for kind, count in sorted(campaign.faults.items()):
        typer.echo(f"  {kind:24} {count:>9,}")
    if campaign.told:
        typer.echo("told, for it can't be promised (runs):")
        for name, count in sorted(campaign.told.items()):
            typer.echo(f"  {name:24} {count:>9,}")
    typer.echo("share of time judged, of the runs to which the oracle applies (and how much of all time those are):")
    for name, seconds in sorted(campaign.judged.items()):
        asked = campaign.asked[name]
        typer.echo(f"  {name:36} {seconds / asked:>7.1%} ({asked / campaign.simulated:.1%})")
    typer.echo(f"crashes: {campaign.crashes or 'none'}")
    typer.echo(f"violations: {campaign.violations.total() or 'none'}")
    for name, count in sorted(campaign.violations.items()):
        typer.echo(f"  {name}: {count}")
