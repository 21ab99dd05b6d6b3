"""Commands that play scenarios: run, search and soak."""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from queuesim.cli.io import (
    Address,
    AsJson,
    CacheDirectory,
    Changes,
    Confidence,
    ExecutorKind,
    ExitCode,
    NoLimit,
    OwnProcessor,
    PlayedOn,
    Processes,
    Progress,
    ScenarioFiles,
    WithTheory,
    as_json_of,
    chosen_executor,
    exit_code,
    here_on_path,
    matching,
    overrides_of,
    parsing,
    print_as_json,
    print_failures,
    print_summary,
    print_theory,
)
from queuesim.error import QueuesimError
from queuesim.text import counted, shown, shown_lines

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.runs.trace import Tracer
    from queuesim.testing.search import Account
    from queuesim.testing.soak import Campaign


def run(
    scenarios: ScenarioFiles,
    backend: Annotated[
        str, typer.Option(help="sim: virtual time; fakeredis: virtual time, our Lua scripts; redis: real time.")
    ] = "sim",
    redis_url: PlayedOn = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replaces the scenario's.", show_default=False)] = None,
    changes: Changes = None,
    processor: OwnProcessor = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIRECTORY",
            help="Write the result here, as Parquet; of several scenarios, each into a directory of its file's name.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing result.")] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failed checks.")] = False,
    progress: Progress = True,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Run tasks that are ready at the same time in random order.")
    ] = False,
    twice: Annotated[
        bool, typer.Option("--twice", help="Play each scenario twice in virtual time, and fail if the runs differ.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|virtual|compiled",
            help="What plays in virtual time: the loop that runs handlers, or a compiled one for scenarios without.",
        ),
    ] = "auto",
    handler_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Real time for which a handler may hold the event loop.")
    ] = 10.0,
    allow_io: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="What handlers may really connect to in virtual time. Repeatable."),
    ] = None,
    theory: WithTheory = False,
    no_limit: NoLimit = False,
    replications: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Play N independent runs, and estimate every figure with an interval. With --until, N at most.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE=WIDTH",
            help="Play runs until the interval is so narrow on either side: waiting.p95=5% of the mean, or =200ms. "
            "Repeatable.",
        ),
    ] = None,
    warmup: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|mser-5",
            help="With --replications: the time left out at the start of each run, or the rule that finds it.",
            show_default=False,
        ),
    ] = None,
    confidence: Confidence = "95%",
    may_fail: Annotated[
        str,
        typer.Option(metavar="PERCENT", help="With --replications: share of the runs in which thresholds may fail."),
    ] = "0%",
    processes: Processes = None,
    executor: ExecutorKind = None,
    address: Address = None,
    cache: CacheDirectory = None,
) -> None:
    """Play scenarios and show what happened.

    Exit code 0: all checks hold. 1: one failed, a run got stuck, or two runs of a scenario differ. 2: a scenario or the
    command is wrong; the other scenarios are played. 130: Ctrl-C, after what was simulated until then has been shown
    and written; a second Ctrl-C ends it at once.
    """
    if not 0 < handler_limit < math.inf:
        raise typer.BadParameter(f"{handler_limit:g} s is not above 0 s", param_hint="'--handler-limit'")
    if twice and backend == "redis":
        raise typer.BadParameter("runs in real time always differ", param_hint="'--twice'")
    files = matching(scenarios)
    outputs = _outputs(files, output)
    several_runs = replications is not None or until
    only_with_several: dict[str, object] = {
        "--warmup": warmup,
        "--may-fail": may_fail != "0%" or None,
        "--processes": processes,
    }
    only_with_several |= {"--executor": executor, "--address": address, "--cache": cache}
    if given := [name for name, value in only_with_several.items() if value is not None and not several_runs]:
        raise typer.BadParameter("it goes with --replications", param_hint=f"'{given[0]}'")
    if several_runs and (backend == "redis" or twice or engine != "auto"):
        name = "--twice" if twice else "--backend" if backend == "redis" else "--engine"
        raise typer.BadParameter("it does not go with --replications", param_hint=f"'{name}'")
    from queuesim.cli.io import prepare_output
    from queuesim.results.views.progress import wants_progress
    from queuesim.runs.choice import check_engine
    from queuesim.runs.effort import size_checks
    from queuesim.runs.run import run as play_scenario
    from queuesim.runs.trace import Tracer
    from queuesim.scenario.loading import load_with
    from queuesim.scenario.model import check_backend
    from queuesim.simulation.allowed_io import parse_pattern

    for entry in allow_io or ():
        with parsing("--allow-io"):
            parse_pattern(entry)
    check_backend(backend)
    check_engine(engine, backend)
    overrides = overrides_of(changes, processor)
    options: dict[str, Any] = {"redis_url": redis_url, "seed": seed, "shuffle": shuffle, "handler_limit": handler_limit}
    options |= {"allow_io": allow_io or [], "no_limit": no_limit, "engine": engine}
    options["progress"] = progress and not (quiet or as_json) and wants_progress()
    if several_runs:
        from queuesim.cli.experiment_commands import replicate_files

        options = {name: value for name, value in options.items() if name not in ("redis_url", "engine")}
        options |= {"backend": backend, "n": replications, "warmup": warmup, "cache": cache}
        options |= {"until": until, "confidence": confidence, "may_fail": may_fail}
        shown_as = {"as_json": as_json, "quiet": quiet}
        with chosen_executor(executor, address, processes) as place:
            options["executor"] = place
            code = replicate_files(files, overrides, outputs, force=force, options=options, **shown_as)
        raise typer.Exit(code)

    def play(file: Path) -> Played:
        chosen = load_with(file, overrides, checks=size_checks(no_limit))
        if file in outputs:
            prepare_output(outputs[file], force=force)
        tracers = [Tracer(), Tracer()] if twice else [None]
        for tracer in tracers:
            result = play_scenario(chosen, backend, tracer=tracer, **options)
            if exit_code(result) is ExitCode.INTERRUPTED:
                return Played(file, result)
        return Played(file, result, difference=_difference(tracers))

    codes: dict[Path, ExitCode] = {}
    shown_as_json: list[dict[str, Any]] = []
    several = len(files) > 1
    for file in files:
        if several and not (quiet or as_json):
            typer.echo(f"{chr(10) if codes else ''}{shown(str(file))}")
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), here_on_path():
            played = _or_refused(play, file) if several else play(file)
        codes[file] = played.code
        if as_json:
            shown_as_json.append(played.as_json(theory=theory))
        else:
            played.show(quiet=quiet, theory=theory)
        if file in outputs and played.result is not None:
            played.result.to_parquet(outputs[file])
            if not quiet:
                typer.echo(f"written to {outputs[file]}", err=True)
        if played.difference is not None:
            typer.echo(played.difference, err=True)
        if played.code is ExitCode.INTERRUPTED:
            break
    if as_json:
        print_as_json(shown_as_json if several else shown_as_json[0])
    elif several and not quiet:
        _show_codes(codes)
    raise typer.Exit(max(codes.values()))


@dataclass(frozen=True, slots=True)
class Played:
    """A scenario that was played, or the reason why it was not."""

    file: Path
    result: Result | None
    difference: str | None = None
    """In what two runs of it differ."""
    refusal: str = ""

    @property
    def code(self) -> ExitCode:
        """What a command says to a shell that played this scenario alone."""
        if self.result is None:
            return ExitCode.REFUSED
        return max(exit_code(self.result), ExitCode.OK if self.difference is None else ExitCode.FAILED)

    def show(self, *, quiet: bool, theory: bool) -> None:
        """Print what happened; if `quiet`, only what is wrong; with `theory`, what queueing theory says of it."""
        if self.result is None:
            typer.echo(shown_lines(self.refusal), err=True)
        else:
            (print_failures if quiet else print_summary)(self.result)
            if theory and not quiet:
                print_theory(self.result)

    def as_json(self, *, theory: bool) -> dict[str, Any]:
        """What `--json` prints."""
        if self.result is None:
            return {"ok": False, "file": str(self.file), "error": self.refusal}
        difference = {} if self.difference is None else {"difference": self.difference}
        return {**as_json_of(self.result, theory=theory), **difference, "file": str(self.file)}


def _or_refused(play: Callable[[Path], Played], file: Path) -> Played:
    """One of several scenarios: that it is wrong does not keep the others from being played."""
    try:
        return play(file)
    except QueuesimError as error:
        return Played(file, None, refusal=str(error))


def _outputs(files: Sequence[Path], output: Path | None) -> dict[Path, Path]:
    """By scenario, where its result is written."""
    if output is None:
        return {}
    if len(files) == 1:
        return {files[0]: output}
    outputs = {file: output / file.stem for file in files}
    for name, count in Counter(outputs.values()).items():
        if count > 1:
            raise typer.BadParameter(
                f"{count} scenarios would be written to {name}: play them one by one, or rename one of the files",
                param_hint="'--output'",
            )
    return outputs


def _show_codes(codes: Mapping[Path, ExitCode]) -> None:
    """A line for each scenario, and one for all."""
    words = {ExitCode.OK: "ok", ExitCode.FAILED: "not ok", ExitCode.REFUSED: "refused"}
    typer.echo("")
    for file, code in codes.items():
        typer.echo(f"{words.get(code, 'interrupted'):12}{shown(str(file))}")
    counts = Counter(words.get(code, "interrupted") for code in codes.values())
    typer.echo(f"{counted(len(codes), 'scenario')}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))


def _difference(tracers: Sequence[Tracer | None]) -> str | None:
    """In what two runs differ, and why that may be; None if they are the same, or only one was played."""
    from queuesim.testing.story import CAUSES, first_difference

    recordings = [tracer.recording for tracer in tracers if tracer is not None and tracer.recording is not None]
    if len(recordings) < 2:
        return None
    difference = first_difference(*recordings)
    return difference and f"not deterministic: two runs differ in {difference}\nlikely causes: {CAUSES}"


# -- queuesim search


def search(
    processor: Annotated[
        str,
        typer.Argument(
            help="Your processor: a function or class that makes it, or a Processor.",
            metavar="MODULE:ATTRIBUTE",
            show_default=False,
        ),
    ],
    shared: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:ATTRIBUTE",
            help="Makes what outlives workers, such as a store, for each run.",
            show_default=False,
        ),
    ] = None,
    always: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="What must hold after each attempt. Repeatable."),
    ] = None,
    eventually: Annotated[
        list[str] | None, typer.Option(metavar="MODULE:ATTRIBUTE", help="What must hold at least once. Repeatable.")
    ] = None,
    at_end: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="What must hold when the run is over. Repeatable."),
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="KIND", help="A kind of faults to draw. Repeatable. [default: all]"),
    ] = None,
    budget: Annotated[str, typer.Option(metavar="TIME", help="Real time for the search, such as 30s or 10m.")] = "60s",
    examples: Annotated[
        int | None, typer.Option(min=1, help="Runs, at most. [default: what the budget allows]", show_default=False)
    ] = None,
    duration: Annotated[str, typer.Option(help="Time for which a run has load, at most.")] = "60s",
    seed: Annotated[int, typer.Option(min=0, help="Seed from which all runs are drawn.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where the smallest failing scenario is saved.")
    ] = Path("scenarios/found"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Play drawn scenarios with your handlers, and look for one that breaks what must hold.

    Exit code 0: none did; what was tried is printed. 1: one did; its story and the command that plays it again are
    printed. 2: an option is wrong, or the processor can't be made. 130: interrupted.
    """
    with here_on_path():
        from queuesim.runs.invariants import load_invariants
        from queuesim.scenario.model import InvariantEntry
        from queuesim.testing.surviving import DidNotSurviveError, assert_survives
        from queuesim.units import parse_duration

        times: dict[str, Any] = {}
        for name, text in (("budget", budget), ("duration", duration)):
            with parsing(f"--{name}"):
                times[name] = parse_duration(text)
                if not times[name] > 0:
                    raise ValueError("it must be above 0 s: write 30s or 10m")
        invariants = []
        for when, references in (("always", always), ("eventually", eventually), ("at_end", at_end)):
            for reference in references or ():
                with parsing(f"--{when.replace('_', '-')}"):
                    if not re.fullmatch(r"[\w.]+:[\w.]+", reference):
                        raise ValueError(f"{reference} is not a reference: write it as module:function")
                    invariants += load_invariants([InvariantEntry.model_validate({when: reference})], Path())
        with parsing("--fault"):
            try:
                account = assert_survives(
                    processor,
                    shared=shared,
                    invariant=invariants,
                    faults=faults,
                    examples=examples or sys.maxsize,
                    seed=seed,
                    directory=output,
                    progress=(lambda account: None) if quiet else _SearchProgress(times["budget"]),
                    **times,
                )
            except DidNotSurviveError as error:
                typer.echo(shown_lines(str(error)))
                raise typer.Exit(ExitCode.FAILED) from None
    typer.echo(shown_lines(str(account)))


class _SearchProgress:
    """Prints the state of a search now and then."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._next = PROGRESS_EVERY

    def __call__(self, account: Account) -> None:
        if account.seconds >= self._next:
            self._next = account.seconds + PROGRESS_EVERY
            left = max(0.0, self._budget - account.seconds)
            typer.echo(
                f"{counted(account.examples, 'example')}: {account.jobs:,} jobs, {account.kinds.total():,} faults, "
                f"{len(account.reached):,} things reached, at most {left:,.0f} s left",
                err=True,
            )


# -- queuesim soak

SCHEDULES = 1000
"""Schedules that are played unless something else is asked for."""
PROGRESS_EVERY = 2.0
"""Seconds between two lines of progress."""
SCHEDULE, SECOND = 10e-3, 50e-6
"""Minimum real seconds per schedule, and per second of its load; measured: 80 ms and 800 microseconds."""


def soak(
    schedules: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Random scenarios to play, at most. [default: 1000, or what the budget allows]",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="Real time after which no further scenario is begun, such as 10m.")
    ] = "",
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
    seconds = None
    if budget:
        with parsing("--budget"):
            seconds = parse_duration(budget)
            if not seconds > 0:
                raise ValueError("it must be above 0 s: write 30s or 10m")
    elif schedules is None:
        schedules = SCHEDULES
    if schedules is not None and seconds is None and not no_limit:
        refuse_many(schedules, SCHEDULE + SECOND * length, "schedules")
    chosen = _seeds(seeds) if seeds else [seed]
    began = reported = time.perf_counter()
    campaign = None
    options: dict[str, Any] = {"backend": backend, "budget": seconds, "shuffle": shuffle, "directory": output}
    for campaign in campaign_of(schedules, chosen, length, **options):
        if not quiet and time.perf_counter() - reported >= PROGRESS_EVERY:
            reported = time.perf_counter()
            _show_progress(campaign, schedules, seconds, reported - began)
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


def _show_progress(campaign: Campaign, schedules: int | None, budget: float | None, wall: float) -> None:
    lefts = [] if schedules is None else [wall / campaign.runs * (schedules - campaign.runs)]
    lefts += [] if budget is None else [max(0.0, budget - wall)]
    of = "" if schedules is None else f" of {schedules}"
    typer.echo(
        f"{campaign.runs}{of}: {campaign.jobs:,} jobs, {len(campaign.found)} failed, about {min(lefts):,.0f} s left",
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
