from __future__ import annotations

from pathlib import Path

from queuesim.inputfile import only_known, read_column, read_rows


def test_rows_come_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,"x\ny"\n\n2,z\n')
    assert list(read_rows(path, ["a"])) == [(3, {"a": "1", "b": "x\ny"}), (5, {"a": "2", "b": "z"})]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n", encoding="utf-8-sig")
    assert read_column(path, "a") == [1.0]


def test_a_column_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,ms\nx,1.5\ny,0\n")
    assert read_column(path, "ms") == [1.5, 0.0]


def test_a_text_with_a_number_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1.5\n\n2\n")
    assert read_column(path, None) == [1.5, 2.0]


def test_a_mapping_of_columns_names_only_known_ones() -> None:
    assert only_known({"name": "x"}, ["name"]) is None
    assert only_known({"nam": "x"}, ["name"]) == 'unknown column "nam"; did you mean "name"? known: name'
