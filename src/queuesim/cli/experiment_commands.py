"""Commands that play many runs: replications of run, sweep and recommend."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
    Processes,
    Progress,
    chosen_executor,
    here_on_path,
    overrides_of,
    parsing,
    prepare_output,
    print_as_json,
    share_of,
    without_nan,
)
from queuesim.error import QueuesimError
from queuesim.text import shown, shown_lines

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from queuesim.experiments.replications import Replications
    from queuesim.experiments.sweep import SweepFrame
    from queuesim.scenario.loading import Override


# -- queuesim run --replications


def replicate_files(
    files: Sequence[Path],
    overrides: Sequence[Override],
    outputs: Mapping[Path, Path],
    *,
    force: bool,
    as_json: bool,
    quiet: bool,
    options: dict[str, Any],
) -> ExitCode:
    """Play several runs of each scenario and show what they say together. Returns the exit code of the command."""
    options["until"] = _widths(options["until"])
    options["confidence"] = share_of(options["confidence"], "--confidence")
    options["may_fail"] = share_of(options["may_fail"], "--may-fail")
    codes: list[ExitCode] = []
    plain: list[dict[str, Any]] = []
    for file in files:
        if len(files) > 1 and not (quiet or as_json):
            typer.echo(f"{chr(10) if codes else ''}{shown(str(file))}")
        try:
            with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), here_on_path():
                found = _replicate(file, overrides, outputs.get(file), force=force, options=options)
        except QueuesimError as error:
            if len(files) == 1:
                raise
            codes.append(ExitCode.REFUSED)
            plain.append({"ok": False, "file": str(file), "error": str(error)})
            typer.echo(shown_lines(str(error)), err=True)
            continue
        codes.append(ExitCode.OK if found.ok else ExitCode.FAILED)
        plain.append({**without_nan(found.as_json()), "file": str(file)})
        if not as_json:
            _show(found, quiet=quiet)
    if as_json:
        print_as_json(plain if len(files) > 1 else plain[0])
    return max(codes)


def _replicate(
    file: Path, overrides: Sequence[Override], output: Path | None, *, force: bool, options: dict[str, Any]
) -> Replications:
    from queuesim.experiments.replications import replicate
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import load_with

    chosen = load_with(file, overrides, checks=size_checks(options["no_limit"]))
    if output is not None:
        prepare_output(output, force=force)
    with told_not_cached():
        try:
            found = replicate(chosen, **options)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if output is not None:
        found.to_parquet(output)
        typer.echo(f"written to {output}", err=True)
    return found


def _widths(given: Sequence[str] | None) -> dict[str, str]:
    from queuesim.experiments.precision import Precision

    widths = {}
    for text in given or ():
        with parsing("--until"):
            figure, equals, width = text.partition("=")
            if not (equals and width.strip()):
                raise ValueError(f"{text} is not a width of an interval: write waiting.p95=5% or waiting.p95=200ms")
            Precision.of(figure.strip(), width.strip())
        widths[figure.strip()] = width.strip()
    return widths


def _show(found: Replications, *, quiet: bool) -> None:
    from rich.console import Console

    if not quiet:
        found.render(Console())
        return
    if not found.ok:
        typer.echo(shown(found.verdict), err=True)
    for status, text in found.lines():
        if status == "failed":
            typer.echo(shown(f"{found.scenario.name}: {text}"), err=True)


@contextlib.contextmanager
def told_not_cached() -> Iterator[None]:
    """Say once, as a message, that runs are not cached."""
    from queuesim.experiments.cache import NotCachedWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NotCachedWarning)
        yield
    for text in dict.fromkeys(str(each.message) for each in caught if each.category is NotCachedWarning):
        typer.echo(shown(text), err=True)
    for each in caught:
        if each.category is not NotCachedWarning:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


@contextlib.contextmanager
def _playing(executor: str | None, address: str | None, processes: int | None, *, as_json: bool) -> Iterator[Any]:
    """Around the runs of an experiment: yields the executor. With JSON, nothing else goes to standard output."""
    where = chosen_executor(executor, address, processes)
    stdout = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with stdout, here_on_path(), where as place, told_not_cached():
        yield place


# -- queuesim sweep

ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file, in YAML.", show_default=False)]
Measure = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="FIGURE",
        help="What to measure: latency.p95, utilisation, drained. Repeatable. [default: latency.p95, waiting.p95, "
        "backlog.max, utilisation, throughput]",
    ),
]
FORMATS = (".csv", ".parquet")
"""Endings of files of frames."""


def sweep(
    scenario: ScenarioFile,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY.PATH=VALUES",
            help="Values to try: 1..5, 0.5..2..0.25 (with a step), or 100ms,200ms; one value is set in all runs. "
            "Repeatable.",
        ),
    ] = None,
    measure: Measure = None,
    replications: Annotated[
        int, typer.Option(min=1, metavar="N", help="Independent runs of each combination, all with the same seeds.")
    ] = 10,
    base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY.PATH=VALUE",
            help="Also show how all others differ from this combination. Repeatable.",
        ),
    ] = None,
    processor: OwnProcessor = None,
    confidence: Confidence = "95%",
    processes: Processes = None,
    executor: ExecutorKind = None,
    address: Address = None,
    cache: CacheDirectory = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write a row a run here: .csv or .parquet.", show_default=False
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw one axis as lines, two as heat maps: .png, .svg, .pdf, or a page, .html.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
    progress: Progress = True,
    no_limit: NoLimit = False,
) -> None:
    """Play a scenario with every combination of values, and show the means of each with their intervals.

    All combinations are played with the same seeds, so that their differences are not hidden by chance. Exit code 0,
    also if checks failed in some combinations. 2: the scenario or the command is wrong. 130: Ctrl-C; with --cache the
    same command goes on.
    """
    from queuesim.experiments.axes import AxisError, parse_axes, parse_axis
    from queuesim.experiments.figures import check_figure
    from queuesim.experiments.sweep import MEASURED
    from queuesim.experiments.sweep import sweep as play_sweep
    from queuesim.results.views.progress import wants_progress
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import load_with

    with parsing("--set"):
        grid = parse_axes(axes or ())
    if not grid.values or max(len(values) for values in grid.values.values()) < 2:
        raise typer.BadParameter("no path has several values: write --set workers.count=1..5", param_hint="'--set'")
    with parsing("--base"):
        parsed = [parse_axis(text) for text in base or ()]
        if several := [path for path, values in parsed if len(values) != 1]:
            raise ValueError(f"{several[0]} needs one value")
        chosen_base = {path: values[0] for path, values in parsed}
        grid_base = {path: value for path, value in chosen_base.items() if value not in grid.values.get(path, ())}
        if grid_base:
            raise ValueError(f"{next(iter(grid_base))} does not have this value in --set")
        if base and replications < 2:
            raise ValueError("differences need --replications 2 or more")
    with parsing("--measure"):
        for name in measure or ():
            check_figure(name)
    share = share_of(confidence, "--confidence")
    _check_ending(output, FORMATS, "--output")
    _check_picture(plot, [path for path, values in grid.values.items() if len(values) > 1])
    overrides = overrides_of(None, processor)
    with _playing(executor, address, processes, as_json=as_json) as place:
        chosen = load_with(scenario, overrides, checks=size_checks(no_limit))
        try:
            frame = play_sweep(
                chosen,
                grid.values,
                measure or MEASURED,
                replications=replications,
                executor=place,
                cache=cache,
                progress=progress and not (quiet or as_json) and wants_progress(),
                no_limit=no_limit,
            )
        except AxisError as error:
            raise typer.BadParameter(str(error), param_hint="'--set'") from None
    if output is not None:
        _write_frame(frame, output)
    if plot is not None:
        _write_picture(frame, plot, share)
    if as_json:
        print_as_json(_sweep_as_json(frame, chosen_base if base else None, share))
    elif not quiet:
        _show_sweep(frame, chosen_base if base else None, share)


def _check_ending(file: Path | None, endings: Sequence[str], parameter: str) -> None:
    if file is not None and file.suffix.lower() not in endings:
        raise typer.BadParameter(f"{file} must end in {' or '.join(endings)}", param_hint=f"'{parameter}'")


def _check_picture(file: Path | None, moving: Sequence[str]) -> None:
    """A picture that can't be drawn is found out before anything is played."""
    if file is None:
        return
    if len(moving) > 2:
        raise typer.BadParameter(
            f"a picture has one or two axes with several values, not {len(moving)}", param_hint="'--plot'"
        )
    if file.suffix.lower() != ".html":
        _figure_for(file)


def _figure_for(file: Path) -> Figure:
    """An empty figure, if matplotlib can write it into such a file. It needs no screen."""
    from queuesim.extras import need
    from queuesim.text import unknown

    need("matplotlib", "plot", "plots")
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    if (ending := file.suffix.removeprefix(".").lower()) not in formats:
        known = sorted([*formats, "html"])
        raise QueuesimError(f"{file}: {unknown('picture format', ending, known, 'formats')}")
    return figure


def _write_frame(frame: pd.DataFrame, file: Path) -> None:
    import pandas as pd

    from queuesim.extras import need

    plain = pd.DataFrame(frame)
    if file.suffix.lower() == ".csv":
        plain.to_csv(file, index=False)
    else:
        need("pyarrow", "parquet", "Parquet files")
        plain.to_parquet(file, index=False)
    typer.echo(f"written to {file}", err=True)


def _write_picture(frame: SweepFrame, file: Path, confidence: float) -> None:
    page = file.suffix.lower() == ".html"
    figure = _figure_for(Path("page.svg") if page else file)
    figure.set_size_inches(9.2, 3.2 * -(-len(frame.sweep.measured if frame.sweep else ()) // 2))
    frame.picture(confidence=confidence, figure=figure)
    if page:
        file.write_text(frame.page(figure, confidence), encoding="utf-8")
    else:
        figure.savefig(file)
    typer.echo(f"written to {file}", err=True)


def _sweep_as_json(frame: SweepFrame, base: Mapping[str, Any] | None, confidence: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "confidence": confidence,
        "intervals": frame.intervals(confidence).to_dict(orient="records"),
        "runs": frame.to_dict(orient="records"),
    }
    if base is not None:
        found["differences"] = frame.differences(base, confidence).to_dict(orient="records")
    plain: dict[str, Any] = without_nan(found)
    return plain


def _show_sweep(frame: SweepFrame, base: Mapping[str, Any] | None, confidence: float) -> None:
    from rich.console import Console

    console = Console()
    heads, rows = frame.table(confidence)
    _print_table(console, heads, rows)
    if base is not None:
        typer.echo(f"\ndifferences from {', '.join(f'{path} {value}' for path, value in base.items())}:")
        _print_table(console, *frame.difference_table(base, confidence))


def _print_table(console: Any, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import ASCII, SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    plain = console.options.ascii_only
    table = Table(box=ASCII if plain else SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        # "latency.p95" in two lines: the column stays narrow
        table.add_column(
            Text(head.replace(".", "\n", 1) if head.count(".") == 1 else head), justify="right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(shown(cell.replace("±", "+-") if plain else cell)) for cell in row))
    console.print(table)


# -- queuesim recommend


def recommend(
    scenario: ScenarioFile,
    parameters: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY.PATH[=VALUES]...",
            help="What may be changed, with the values that come into question: 1..40, or 1,5,10. Without values, "
            "whole numbers up to 1000.",
            show_default=False,
        ),
    ],
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THRESHOLD",
            help="What must hold, as 'waiting.p95 < 30s'. Repeatable. [default: the scenario's thresholds]",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="The backlog must be gone by then: 09:00, or 3h after the start.", show_default=False
        ),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY.PATH=NUMBER", help="What one more costs. Needed with several. Repeatable."),
    ] = None,
    changes: Changes = None,
    confidence: Confidence = "95%",
    share: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="In place of means: the share of the runs in which everything required must hold.",
            show_default=False,
        ),
    ] = None,
    largest: Annotated[
        bool, typer.Option("--largest", help="Find the largest value: of load=1..5..0.25, how much load is borne.")
    ] = False,
    replications: Annotated[
        int, typer.Option(min=2, metavar="N", help="Runs of each combination that is not clear before.")
    ] = 20,
    processor: OwnProcessor = None,
    processes: Processes = None,
    executor: ExecutorKind = None,
    address: Address = None,
    cache: CacheDirectory = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer alone, in a line.")] = False,
    progress: Progress = True,
    no_limit: NoLimit = False,
) -> None:
    """Find the least value of a parameter, or the cheapest combination of several, that meets the thresholds.

    It says what binds, what the next cheaper and the next dearer one would be, and what a rule of thumb would have
    said. Exit code 0: something meets. 1: nothing does; the nearest is shown. 2: the scenario or the command is wrong.
    130: Ctrl-C; with --cache the same command goes on.
    """
    from queuesim.experiments.axes import AxisError
    from queuesim.experiments.recommend import recommend as search
    from queuesim.results.views.progress import wants_progress
    from queuesim.runs.effort import size_checks
    from queuesim.scenario.loading import load_with
    from queuesim.scenario.thresholds import parse_threshold

    with parsing("KEY.PATH[=VALUES]..."):
        wanted = _parameters(parameters)
    with parsing("--cost"):
        costs = _costs(cost)
    with parsing("--require"):
        for text in require or ():
            parse_threshold(text)
    overrides = overrides_of(changes, processor)
    options: dict[str, Any] = {"require": require or (), "by": by, "cost": costs, "replications": replications}
    options |= {"largest": largest}
    options |= {"cache": cache, "no_limit": no_limit}
    options |= {"confidence": share_of(confidence, "--confidence")}
    options |= {"share": None if share is None else share_of(share, "--share")}
    options |= {"progress": progress and not (quiet or as_json) and wants_progress()}
    with _playing(executor, address, processes, as_json=as_json) as place:
        chosen = load_with(scenario, overrides, checks=size_checks(no_limit))
        try:
            found = search(chosen, wanted, executor=place, **options)
        except AxisError as error:
            raise typer.BadParameter(str(error), param_hint="'KEY.PATH[=VALUES]...'") from None
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if as_json:
        print_as_json(without_nan(found.as_json()))
    elif quiet:
        typer.echo(shown(found.headline))
    else:
        from rich.console import Console

        found.render(Console())
    raise typer.Exit(ExitCode.OK if found.ok else ExitCode.FAILED)


def _parameters(texts: Sequence[str]) -> str | dict[str, Sequence[Any]]:
    """One path alone, or paths with their values."""
    from queuesim.experiments.axes import AxisError, parse_axes

    bare = [text for text in texts if "=" not in text]
    if not bare:
        return dict(parse_axes(texts).values)
    if len(texts) > 1:
        raise AxisError(f"several parameters need values: write {bare[0]}=1..40")
    return bare[0]


def _costs(texts: Sequence[str] | None) -> dict[str, float] | None:
    if not texts:
        return None
    costs = {}
    for text in texts:
        path, _, number = text.partition("=")
        try:
            costs[path.strip()] = float(number)
        except ValueError:
            raise ValueError(f"{text} is not a cost: write workers.count=12.5") from None
    return costs
