"""``queuesim plot``: a stored result as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import interruptible, refusing

if TYPE_CHECKING:
    from queuesim.results.result import Result


def plot(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="What `queuesim run -o` wrote.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture; its ending says the format (png, svg, pdf, ...). [default: overview.png in DIRECTORY]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw a stored result as a picture.

    It shows backlog and throughput, latencies, attempts and the limiter's windows. Needs matplotlib, which
    comes with the extra "plot". Exit code 2 if there is no such result, or the picture can't be made.
    """
    with interruptible(), refusing():
        from queuesim.results.result import load

        file = directory / "overview.png" if output is None else output
        draw(load(directory), file)
        typer.echo(f"written to {file}", err=True)


def draw(result: Result, file: Path) -> None:
    """Write the overview of a result into a file, without a screen.

    Raises:
        QueuesimError: matplotlib knows no format of that ending.
        MissingExtraError: matplotlib is not installed.
        OSError: the file can't be written.
    """
    from queuesim.error import QueuesimError
    from queuesim.extras import need
    from queuesim.text import unknown

    need("matplotlib", "plot", "plots")
    from matplotlib.figure import Figure

    from queuesim.results.plots.overview import SIZE

    figure = Figure(figsize=SIZE)
    formats = figure.canvas.get_supported_filetypes()
    if (ending := file.suffix.removeprefix(".").lower()) not in formats:
        raise QueuesimError(f"{file}: {unknown('picture format', ending, sorted(formats), 'formats')}")
    result.plot.overview(figure)
    figure.savefig(file)
