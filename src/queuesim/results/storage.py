"""Storage: a result as a directory of Parquet files, one a frame, beside a `facts.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from queuesim.error import QueuesimError
from queuesim.extras import need
from queuesim.inputfile import InputFileError, read_input
from queuesim.results.engines import EngineKind, NotCompiled
from queuesim.results.recording import Facts, Refusal, Stop, StopReason, StuckJob

if TYPE_CHECKING:
    import pandas as pd


E = TypeVar("E", bound=StrEnum)

FORMAT = "queuesim-result"
VERSION = 3
"""Raised whenever an older reader would misread a directory. 2 has overdue scans, faults and the kinds of checks; 3 has
the status, unit and judged share of checks, what faults lost, the reason of a stop as data, the skew of clocks, and
checksums."""
OLDEST = 1
"""The oldest version that can still be read: what it lacks is empty."""


LARGEST = 256_000_000
"""Bytes of `facts.json` at most."""


class StoredResultError(QueuesimError):
    """A directory that does not hold a result this version can read."""


def save(directory: str | Path, facts: Facts, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write the frames, and `facts.json` last: a directory without it was not finished.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OSError: the directory can't be written.
    """
    need("pyarrow", "parquet", "Parquet files")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "facts.json").unlink(missing_ok=True)
    columns = {}
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", engine="pyarrow", index=False)
        columns[name] = {column: _describe(frame[column]) for column in frame.columns}
    text: dict[str, Any] = {"format": FORMAT, "version": VERSION, "facts": dataclasses.asdict(facts), "frames": columns}
    text["sha256"] = {name: _digest(folder / f"{name}.parquet") for name in frames}
    text["sha256"]["facts"] = _facts_digest(text["facts"])
    (folder / "facts.json").write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(directory: str | Path, names: tuple[str, ...]) -> tuple[Facts, dict[str, pd.DataFrame]]:
    """The facts and frames that `save` wrote.

    Raises:
        MissingExtraError: pyarrow is not installed.
        StoredResultError: there is no result, an unfinished one, or one of a version that this one can't read.
    """
    folder = Path(directory)
    text = _manifest(folder)
    need("pyarrow", "parquet", "Parquet files")
    try:
        _check_facts(folder, text)
        _check_frames(folder, text, names)
        facts, stored = _facts(text["facts"]), text["frames"]
        later = _later_frames() if text["version"] < 2 else {}
        frames = {
            name: later[name]([]) if name in later else _frame(folder / f"{name}.parquet", stored[name])
            for name in names
        }
        if text["version"] < 2:
            frames["checks"] = _with_kind(frames["checks"])
        if text["version"] < 3:
            frames["checks"] = _with_status(frames["checks"])
            # what a worker's clock showed was taken for the time, and nothing distinguishes the two any more
            frames["attempts"]["clock_error"] = 0.0
            frames["faults"] = _with_lost(frames["faults"])
        return facts, frames
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoredResultError(f"{folder}: facts.json is damaged ({type(error).__name__}: {error})") from error


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "facts.json"
    if not path.is_file():
        found = "it holds no facts.json" if folder.is_dir() else "there is no such directory"
        raise StoredResultError(f"{folder} is not a stored result: {found}")
    try:
        text = json.loads(read_input(path, LARGEST).decode("utf-8"))
    except InputFileError as error:
        raise StoredResultError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise StoredResultError(f"{path} is not JSON: {error}") from error
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise StoredResultError(f"{path} is no queuesim result: it lacks the format {FORMAT!r}")
    version = text.get("version")
    if not (isinstance(version, int) and OLDEST <= version <= VERSION):
        newer = isinstance(version, int) and version > VERSION
        advice = "a newer queuesim wrote it: install that one" if newer else "run the scenario again"
        raise StoredResultError(
            f"{path} has version {version} of the format, and this queuesim reads versions {OLDEST} to {VERSION}: "
            f"{advice}"
        )
    return text


def _digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts_digest(facts: Any) -> str:
    """The SHA-256 of the facts, however their file is laid out."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


NUMBERS = ("duration", "asked", "warmup", "epoch", "wall")
WHOLE = ("seed", "workers", "concurrency")
TEXTS = ("scenario", "backend", "version")


def _wanted(name: str, value: Any) -> str:
    """What a fact should be, if it is not."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
    if name in NUMBERS:
        return "" if number else "a number of 0 or more"
    if name in WHOLE:
        return "" if number and isinstance(value, int) else "a whole number of 0 or more"
    return "text" if name in TEXTS and not isinstance(value, str) else ""


def _check_facts(folder: Path, text: dict[str, Any]) -> None:
    """Raise StoredResultError where the facts are none, or are not those that were written."""
    facts = text["facts"]
    for name, value in facts.items():
        wanted = _wanted(name, value)
        if wanted:
            shown = json.dumps(value)[:40]
            raise StoredResultError(f"{folder}: facts.json is damaged ({name} is {shown}, not {wanted})")
    known = text.get("sha256")
    if known is not None and known["facts"] != _facts_digest(facts):
        raise StoredResultError(f"{folder}: facts.json is damaged (its facts are not those that were written)")


def _check_frames(folder: Path, text: dict[str, Any], names: tuple[str, ...]) -> None:
    """Raise StoredResultError where a frame's file is not the one that was written. Old results have no checksums."""
    known = text.get("sha256")
    if known is None:
        return
    for name in names:
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise StoredResultError(f"{path} can't be read: no such file")
        if _digest(path) != known[name]:
            raise StoredResultError(
                f"{path} can't be read: it is not the file that was written (its SHA-256 is not that in facts.json)"
            )


def _later_frames() -> dict[str, Callable[[list[Any]], pd.DataFrame]]:
    """The frames that version 1 had not, each made of its rows."""
    from queuesim.results.frames import faults_frame, overdue_frame

    return {"faults": faults_frame, "overdue": overdue_frame}


def _with_kind(checks: pd.DataFrame) -> pd.DataFrame:
    """Version 1 knew no other checks than thresholds."""
    import pandas as pd

    from queuesim.results.frames import CHECK_KINDS, known_labels

    checks.insert(1, "kind", pd.Series(known_labels([CHECK_KINDS[0]] * len(checks), CHECK_KINDS)))
    return checks


def _with_status(checks: pd.DataFrame) -> pd.DataFrame:
    """Version 2 said in words alone that a check was not judged."""
    import numpy as np
    import pandas as pd

    from queuesim.results.frames import CHECK_KINDS, known_labels
    from queuesim.results.recording import STATUSES

    judged = ~checks["detail"].str.contains("not judged", regex=False) & ~(checks["value"].isna() & checks["ok"])
    status = np.where(~checks["ok"], "failed", np.where(judged, "passed", "not judged")).tolist()
    checks["kind"] = pd.Series(known_labels(checks["kind"].tolist(), CHECK_KINDS))
    checks.insert(2, "status", pd.Series(known_labels(status, STATUSES)))
    checks.insert(5, "unit", pd.Series([""] * len(checks), dtype=str))
    checks.insert(8, "judged", judged.to_numpy(dtype=np.float64))
    return checks


def _with_lost(faults: pd.DataFrame) -> pd.DataFrame:
    """Version 2 said in words alone how much memory the server lost."""
    import numpy as np

    faults["lost"] = np.full(len(faults), np.nan)
    return faults


def _facts(stored: dict[str, Any]) -> Facts:
    known = {field.name for field in dataclasses.fields(Facts)}
    facts = Facts(**{name: value for name, value in stored.items() if name in known})
    facts.stopped = _stop(stored.get("stopped"))
    facts.refusals = [Refusal(**refusal) for refusal in stored.get("refusals", ())]
    facts.engine = _known(EngineKind, stored.get("engine"))
    facts.not_compiled = _known(NotCompiled, stored.get("not_compiled"))
    if facts.limiter is not None:
        facts.limiter = (int(facts.limiter[0]), float(facts.limiter[1]))
    return facts


def _known(kind: type[E], stored: Any) -> E | None:
    """The member of an enum; None if none was stored, or one that only a newer version knows."""
    return next((member for member in kind if member.value == stored), None)


def _stop(stored: Any) -> Stop | None:
    """Why the run ended early. Versions 1 and 2 have a sentence that begins with the reason."""
    if not stored:
        return None
    if isinstance(stored, str):
        reason = next((reason for reason in StopReason if stored.startswith(reason)), StopReason.INTERRUPTED)
        return Stop(reason, None, stored.removeprefix(reason).strip(" :"))
    jobs = tuple(StuckJob(**job) for job in stored.get("jobs", ()))
    return Stop(StopReason(stored["reason"]), stored["at"], stored["detail"], jobs)


def _describe(column: pd.Series[Any]) -> dict[str, Any]:
    """What Parquet may lose: labels that no row has."""
    if str(column.dtype) == "category":
        return {"categories": list(column.cat.categories)}
    return {"dtype": "text" if column.dtype in ("object", "str", "string") else str(column.dtype)}


def _frame(path: Path, columns: dict[str, dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path, engine="pyarrow", columns=list(columns))
    except (OSError, pyarrow.ArrowException) as error:
        raise StoredResultError(f"{path} can't be read: {error}") from error
    restored = {name: _restore(frame[name], described) for name, described in columns.items()}
    return pd.DataFrame(restored, copy=False)


def _restore(column: pd.Series[Any], described: dict[str, Any]) -> Any:
    import pandas as pd

    if "categories" in described:
        labels = pd.Index(described["categories"], dtype=str)
        return pd.Categorical(column.astype("category"), categories=labels)
    return column.astype(str if described["dtype"] == "text" else described["dtype"])
