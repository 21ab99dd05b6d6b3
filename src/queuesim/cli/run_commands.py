"""Commands that play scenarios: run and soak."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import AsJson, NoLimit, PlayedOn, exit_code, parsing

if TYPE_CHECKING:
    from queuesim.runs.trace import Tracer
    from queuesim.testing.soak import Campaign


def run(
    scenario: Annotated[Path, typer.Argument(help="A scenario file, in YAML.", metavar="SCENARIO", show_default=False)],
    backend: Annotated[
        str, typer.Option(help="sim: virtual time; fakeredis: virtual time, our Lua scripts; redis: real time.")
    ] = "sim",
    redis_url: PlayedOn = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replaces the scenario's.", show_default=False)] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the file. Repeatable."),
    ] = None,
    processor: Annotated[
        str | None,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="Replaces the scenario's.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIRECTORY", help="Write the result here, as Parquet."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing result.")] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failed checks.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A progress bar, on a terminal.")] = True,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Run tasks that are ready at the same time in random order.")
    ] = False,
    twice: Annotated[
        bool, typer.Option("--twice", help="Play it twice in virtual time, and fail if the runs differ.")
    ] = False,
    handler_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Real time for which a handler may hold the event loop.")
    ] = 10.0,
    allow_io: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="What handlers may really connect to in virtual time. Repeatable."),
    ] = None,
    no_limit: NoLimit = False,
) -> None:
    """Play a scenario and show what happened.

    Exit code 0: all checks hold. 1: one failed, the run got stuck, or two runs differ. 2: the scenario or the command is wrong.
    130: Ctrl-C, after what was simulated until then has been shown and written; a second Ctrl-C ends it at once.
    """
    if not 0 < handler_limit < math.inf:
        raise typer.BadParameter(f"{handler_limit:g} s is not above 0 s", param_hint="'--handler-limit'")
    from queuesim.simulation.allowed_io import parse_pattern

    for entry in allow_io or ():
        with parsing("--allow-io"):
            parse_pattern(entry)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), _here_on_path():
        from queuesim.cli.io import prepare_output, print_failures, print_json, print_summary
        from queuesim.results.views.progress import wants_progress
        from queuesim.runs.effort import size_checks
        from queuesim.runs.run import run as play
        from queuesim.runs.trace import Tracer
        from queuesim.scenario.loading import Override, load_with, parse_set
        from queuesim.scenario.model import check_backend

        check_backend(backend)
        overrides = [parse_set(change) for change in changes or ()]
        if processor is not None:
            overrides.append(Override(f"--processor {processor}", "processor", processor))
        chosen = load_with(scenario, overrides, checks=size_checks(no_limit))
        if output is not None:
            prepare_output(output, force=force)
        if twice and backend == "redis":
            raise typer.BadParameter("runs in real time always differ", param_hint="'--twice'")
        tracers = [Tracer() for _ in range(1 + twice)]
        for tracer in tracers:
            result = play(
                chosen,
                backend,
                redis_url=redis_url,
                seed=seed,
                progress=progress and not (quiet or as_json) and wants_progress(),
                shuffle=shuffle,
                handler_limit=handler_limit,
                allow_io=allow_io or [],
                no_limit=no_limit,
                tracer=tracer if twice else None,
            )
        difference = _difference(tracers) if twice else None
    (print_json if as_json else print_failures if quiet else print_summary)(result)
    if output is not None:
        result.to_parquet(output)
        if not quiet:
            typer.echo(f"written to {output}", err=True)
    if difference is not None:
        typer.echo(difference, err=True)
        raise typer.Exit(1)
    raise typer.Exit(exit_code(result))


def _difference(tracers: Sequence[Tracer]) -> str | None:
    """In what two runs differ, and why that may be; None if they are the same."""
    from queuesim.testing.story import CAUSES, first_difference

    one, other = (tracer.recording for tracer in tracers)
    assert one is not None
    assert other is not None
    difference = first_difference(one, other)
    return difference and f"not deterministic: two runs differ in {difference}\nlikely causes: {CAUSES}"


@contextlib.contextmanager
def _here_on_path() -> Iterator[None]:
    """The current directory, where a command line's module is looked for after the scenario's directory."""
    here = os.getcwd()
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


# -- queuesim soak

PROGRESS_EVERY = 2.0
"""Seconds between two lines of progress."""
SCHEDULE, SECOND = 10e-3, 50e-6
"""Minimum real seconds per schedule, and per second of its load; measured: 80 ms and 800 microseconds."""


def soak(
    schedules: Annotated[int, typer.Option(min=1, help="Number of random scenarios to play.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed from which all of them are drawn.")] = 0,
    seeds: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="Instead of --seed: several seeds, used in turn.")
    ] = "",
    duration: Annotated[str, typer.Option(help="Time for which each has load.")] = "5m",
    backend: Annotated[str, typer.Option(help="sim, or fakeredis for our Lua scripts.")] = "sim",
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Run tasks that are ready at the same time in random order.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where failing scenarios are saved.")
    ] = Path("scenarios/found"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    no_limit: NoLimit = False,
) -> None:
    """Play random scenarios with faults, and look for one that an oracle catches.

    Exit code 0: none was caught. 1: some were, or our own code failed; the smallest that still fails is saved for each,
    with the command that plays it again. 2: an option is wrong. 130: interrupted.
    """
    from queuesim.runs.effort import refuse_many
    from queuesim.scenario.model import BackendError, check_backend
    from queuesim.testing.soak import replay_command
    from queuesim.testing.soak import soak as campaign_of
    from queuesim.units import parse_duration

    with parsing("--duration"):
        length = parse_duration(duration)
        if not length >= 10:
            raise ValueError("at least 10s: in less time, hardly any fault would strike")
    check_backend(backend)
    if backend == "redis":
        raise BackendError("a soak plays in virtual time: choose sim or fakeredis")
    if not no_limit:
        refuse_many(schedules, SCHEDULE + SECOND * length, "schedules")
    chosen = _seeds(seeds) if seeds else [seed]
    began = reported = time.perf_counter()
    campaign = None
    for campaign in campaign_of(schedules, chosen, length, backend=backend, shuffle=shuffle, directory=output):
        if not quiet and time.perf_counter() - reported >= PROGRESS_EVERY:
            reported = time.perf_counter()
            _show_progress(campaign, schedules, reported - began)
    assert campaign is not None
    typer.echo(f"backend {backend}, {'shuffled, ' if shuffle else ''}seeds {seeds or seed}, {duration} each")
    _show_campaign(campaign, time.perf_counter() - began)
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


def _show_progress(campaign: Campaign, schedules: int, wall: float) -> None:
    left = wall / campaign.runs * (schedules - campaign.runs)
    typer.echo(
        f"{campaign.runs} of {schedules}: {campaign.jobs:,} jobs, {len(campaign.found)} failed, "
        f"about {left:,.0f} s left",
        err=True,
    )


def _show_campaign(campaign: Campaign, wall: float) -> None:
    lines = [
        f"{campaign.runs:,} schedules, {campaign.jobs:,} jobs, {campaign.attempts:,} attempts, "
        f"{campaign.simulated / 3600:,.1f} h simulated in {wall:,.0f} s",
        f"faults: {campaign.faults.total():,}",
        *(f"  {kind:24} {count:>9,}" for kind, count in sorted(campaign.faults.items())),
    ]
    if campaign.reported:
        lines.append("reported without failing the run, because it can't be guaranteed (runs):")
        lines += [f"  {name:24} {count:>9,}" for name, count in sorted(campaign.reported.items())]
    lines.append("share of time judged, of the runs to which the oracle applies (and their share of all time):")
    for name, seconds in sorted(campaign.judged.items()):
        asked = campaign.asked[name]
        lines.append(f"  {name:36} {seconds / asked:>7.1%} ({asked / campaign.simulated:.1%})")
    lines += [f"crashes: {campaign.crashes or 'none'}", f"violations: {campaign.violations.total() or 'none'}"]
    lines += [f"  {name}: {count}" for name, count in sorted(campaign.violations.items())]
    typer.echo("\n".join(lines))
