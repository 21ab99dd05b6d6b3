from __future__ import annotations

from pathlib import Path

import pytest

from queuesim.inputfile import TableError
from queuesim.scenario.load import TraceJob, read_trace

RECORDED = """\
k,name,added_ms,priority,delay_ms,service_ms,fail_1,fail_2,fail_3,state,attempts_made
0,task-created,48,0,0,1,database,,,completed,2
1,task-status-update,14,3,1500,291,,,network,completed,1
2,task-status-update,99,,,,ok,validation,,failed,2
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "jobs.csv"
    path.write_text(text)
    return path


def test_a_recording_is_read_in_order_of_arrival(tmp_path: Path) -> None:
    assert read_trace(write(tmp_path, RECORDED)) == [
        TraceJob("task-status-update", 0.014, 3, 1.5, 0.291, ("", "", "network")),
        TraceJob("task-created", 0.048, 0, 0.0, 0.001, ("database",)),
        TraceJob("task-status-update", 0.099, 0, 0.0, None, ("", "validation")),
    ]


def test_two_columns_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path, "at_ms,name\n10,b\n10,a\n")
    assert read_trace(path) == [TraceJob("b", 0.01), TraceJob("a", 0.01)]


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path, "job_type,created,outcome\nx,5,database\n")
    columns = {"name": "job_type", "added_ms": "created", "fail_1": "outcome"}
    assert read_trace(path, columns) == [TraceJob("x", 0.005, failures=("database",))]


def test_failures_are_read_by_their_number(tmp_path: Path) -> None:
    columns = ",".join(f"fail_{attempt}" for attempt in (2, 10, 1))
    path = write(tmp_path, f"name,at_ms,{columns}\nx,1,network,unknown,database\n")
    assert read_trace(path)[0].failures == ("database", "network", "unknown")


def test_a_renamed_column_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, "name,at_ms\nx,1\n")
    with pytest.raises(TableError, match='column "prio" is missing'):
        read_trace(path, {"priority": "prio"})


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.csv: no such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TableError, match="Is a directory"):
        read_trace(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"name,at_ms\n\xff\xfe,1\n")
    with pytest.raises(TableError, match="it is not UTF-8 text"):
        read_trace(tmp_path / "binary.csv")


@pytest.mark.parametrize("endless", ["/dev/zero", "/dev/stdin"])
def test_a_trace_without_an_end_is_refused_at_once(endless: str) -> None:
    with pytest.raises(TableError):
        read_trace(Path(endless))


def test_a_line_without_an_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("name,added_ms\n" + "x" * 3_000_000)
    with pytest.raises(TableError, match=r"trace\.csv:2: the line has more than 1,000,000 characters"):
        read_trace(file)
    file.write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(TableError, match=r"trace\.csv"):
        read_trace(file)
