"""The application: the commands, each with examples in its help.

Nothing here loads what a command needs to work: help and usage errors come at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from queuesim import __version__
from queuesim.cli.experiment_commands import recommend, sweep
from queuesim.cli.io import guarded
from queuesim.cli.result_commands import compare, fit, plot, report, show
from queuesim.cli.run_commands import run, search, soak
from queuesim.cli.scenario_commands import check, init, schema, validate
from queuesim.cli.service_commands import admin, evaluate, letters, worker

COMMANDS: dict[Callable[..., Any], tuple[str, ...]] = {
    init: ("queuesim init", "queuesim init load/mail.yaml"),
    validate: ("queuesim validate scenario.yaml", "queuesim validate scenarios/*.yaml"),
    run: (
        "queuesim run scenario.yaml",
        "queuesim run scenario.yaml --seed 7 -o runs/7",
        "queuesim run scenario.yaml --set workers.concurrency=10 --set load.office-hours.start=5m",
        "queuesim run scenario.yaml --processor my_service.jobs:processor",
        "queuesim run scenario.yaml --json > summary.json",
        "queuesim run scenario.yaml --theory",
        "queuesim run scenario.yaml --twice",
        "queuesim run 'scenarios/**/*.yaml' --quiet",
        "queuesim run scenario.yaml --backend redis --redis-url embedded",
        "queuesim run scenario.yaml --replications 20 --processes 4",
        "queuesim run scenario.yaml --until waiting.p95=5% --warmup mser-5",
    ),
    sweep: (
        "queuesim sweep scenario.yaml --set workers.count=1..5",
        "queuesim sweep scenario.yaml --set workers.count=1..5 --set load=0.5..2..0.5 --plot sweep.png",
        "queuesim sweep scenario.yaml --set queue.backoff.delay=1s,5s,30s --base queue.backoff.delay=1s",
        "queuesim sweep scenario.yaml --set workers.concurrency=1..20 --cache runs --processes 4 -o sweep.parquet",
    ),
    recommend: (
        "queuesim recommend scenario.yaml workers.count",
        "queuesim recommend scenario.yaml workers.count=1..40 --require 'waiting.p95 < 30s'",
        "queuesim recommend scenario.yaml workers.count --by 09:00",
        "queuesim recommend scenario.yaml load=1..5..0.25 --largest",
        "queuesim recommend scenario.yaml workers.count=1..20 workers.concurrency=1,5,10 --cost workers.count=12.5 "
        "--cost workers.concurrency=1",
    ),
    show: ("queuesim show runs/7", "queuesim show runs/7 --json", "queuesim show runs/7 --theory"),
    plot: ("queuesim plot runs/7", "queuesim plot runs/7 -o overview.svg"),
    report: (
        "queuesim report runs/7 -o report.html",
        "queuesim report scenario.yaml -o report.html -o summary.md -o junit.xml",
    ),
    compare: (
        "queuesim compare scenarios/bullmq-steady.yaml scenarios/traces/steady",
        "queuesim compare runs/before runs/after --within 3%",
    ),
    fit: ("queuesim fit scenarios/traces/steady scenarios/traces/limited",),
    worker: (
        "queuesim worker my_service.jobs:processor --redis-url redis://localhost:6379",
        "queuesim worker my_service.jobs:processor --processes 4 --drain 60 --port 9100",
        "queuesim worker my_service.jobs:processor --redis-url embedded",
    ),
    check: ("queuesim check scenario.yaml", "queuesim check scenarios/*.yaml --json"),
    evaluate: ("queuesim evaluate -o reports/evaluation.md", "queuesim evaluate --backend fakeredis --without limiter"),
    admin: (
        "queuesim admin --database sqlite:///tasks.db --redis-url redis://127.0.0.1:6379",
        "queuesim admin --jwks keys.json --issuer https://login.example.org --work",
    ),
    letters: (
        "queuesim letters task-processing-dead --redis-url redis://127.0.0.1:6379",
        "queuesim letters task-processing-dead --json",
    ),
    search: (
        "queuesim search shop:make --shared shop:Store --always shop:charged_once",
        "queuesim search shop:make --budget 10m --fault await.kill --fault worker.freeze",
    ),
    soak: (
        "queuesim soak",
        "queuesim soak --schedules 50 --seed 7",
        "queuesim soak --budget 10m --seeds 10-49",
        "queuesim soak --backend fakeredis --schedules 20",
    ),
    schema: ("queuesim schema > scenario.schema.json",),
}
"""Every command, in the order in which a new user meets them, with examples."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # rich takes as long to load as all the rest, and says no more
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def examples(*lines: str) -> str:
    """The end of a help text: examples, a line each."""
    # \b keeps the lines as they are
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"queuesim {__version__}")
        raise typer.Exit()


@app.callback(epilog=examples("queuesim init", "queuesim run scenario.yaml", "queuesim COMMAND --help"))
def queuesim(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A wind tunnel for background job queues: real handlers under BullMQ's rules, in virtual time."""


for _command, _lines in COMMANDS.items():
    app.command(epilog=examples(*_lines))(guarded()(_command))
