from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuesim.inputfile import InputFileError, open_input, read_input


def test_an_ordinary_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert read_input(file, 5) == b"12345"
    with pytest.raises(InputFileError, match=r"^it is too large: 5 bytes, and the most is 4 bytes$"):
        read_input(file, 4)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/null", "/dev/tty"])
def test_a_device_is_refused_before_a_byte_is_read(device: str) -> None:
    with pytest.raises(InputFileError):
        read_input(Path(device), 100)


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputFileError, match="a device or a pipe"):
        read_input(pipe, 100)


def test_an_open_pipe_by_its_number_is_refused() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(InputFileError, match="a device or a pipe"):
            read_input(Path(f"/dev/fd/{reading}"), 100)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("name", "message"), [("", "Is a directory"), ("nowhere", "no such file"), ("nul\0l", "no such file: ")]
)
def test_other_refusals(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_input(tmp_path / name, 100)


def test_a_file_that_grows_while_it_is_read_is_read_up_to_the_bound(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 100)
    with open_input(file, 100) as reader:
        with file.open("ab") as writer:
            writer.write(b"y" * 1000)
        assert len(reader.read(101)) == 101, "open_input leaves the bound to whoever reads"
    with pytest.raises(InputFileError, match="too large"):
        read_input(file, 100)
