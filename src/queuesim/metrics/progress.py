"""Progress of long work by tqdm.auto: a widget in a notebook, a line on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from queuesim.extras import need

Count = Callable[[float, int], None]
Tell = Callable[[int, int], None]


def in_notebook() -> bool:
    """Whether this runs in a cell of a notebook: IPython has a kernel."""
    shell = sys.modules.get("IPython")
    active: Any = None if shell is None else shell.get_ipython()
    return active is not None and getattr(active, "kernel", None) is not None


def wanted(asked: bool | None) -> bool:
    """Whether to show a bar: if asked, or in a notebook that has tqdm."""
    if asked is not None:
        return asked
    if not in_notebook():
        return False
    try:
        need("tqdm", "notebook", "progress bars")
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def run_bar(duration: float, name: str, progress: Count | bool | None) -> Iterator[Count | None]:
    """A bar of a run, or the caller's own function, or nothing (None): to be called with the seconds simulated and the
    jobs finished. A bar is gone when the run is over.

    Raises:
        MissingExtraError: a bar was asked for, and tqdm is not installed.
    """
    if callable(progress) or not wanted(progress):
        yield progress if callable(progress) else None
        return
    from queuesim.metrics.text import readable

    tqdm = need("tqdm.auto", "notebook", "progress bars").tqdm
    shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=duration, desc=name, leave=False, bar_format=shape) as bar:

        def tell(now: float, finished: int) -> None:
            so_far = f"{readable(round(now))} of {readable(duration)}, {finished:,} jobs"
            bar.set_description_str(f"{name}: {so_far}", refresh=False)
            bar.update(min(now, duration) - bar.n)

        yield tell


@contextlib.contextmanager
def count_bar(total: int, name: str, progress: Tell | bool | None) -> Iterator[Tell]:
    """A bar of so many runs, or the caller's own function, or nothing: to be called with how many are done, and of how
    many."""
    if callable(progress):
        yield progress
    elif not wanted(progress):
        yield lambda done, of: None
    else:
        tqdm = need("tqdm.auto", "notebook", "progress bars").tqdm
        with tqdm(total=total, desc=name, unit="run", leave=False) as bar:
            yield lambda done, of: bar.update(done - bar.n)
