"""Formulas against chains, for the systems of published tables; and a wrong row is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from queuesim.theory.tables import ApproximationRow, TableRow, approximation_rows, page, table_rows


@pytest.fixture(scope="module")
def rows() -> list[TableRow]:
    return table_rows()


@pytest.fixture(scope="module")
def approximations() -> list[ApproximationRow]:
    return approximation_rows()


def test_formulas_and_chains_agree_with_what_tables_print(rows: list[TableRow]) -> None:
    assert [row for row in rows if not row.agrees] == []
    assert len({(row.system, row.figure) for row in rows}) == len(rows)
    assert sum(bool(row.printed) for row in rows) >= 10
    for kind in ("M/M/10/10", "M/M/5/20", "M/D/25", "M^5/M/1", "M/M/1//5", "D/M/1", "20 starts per"):
        assert any(kind in row.system for row in rows)


def test_a_row_that_differs_is_told(rows: list[TableRow]) -> None:
    wrong = replace(rows[0], chain=rows[0].chain * 1.001)
    misprinted = replace(rows[1], printed="0.011")
    assert not wrong.agrees
    assert not misprinted.agrees
    lines = page([rows[2], wrong, misprinted], [])
    assert "1 of 3 rows agree." in lines
    assert sum("**differs**" in line for line in lines) == 2


def test_approximations_are_as_good_as_their_literature_says(approximations: list[ApproximationRow]) -> None:
    for row in approximations:
        # by the correction for regular arrivals: within 15 % everywhere, and within 5 % near saturation
        assert row.corrected == pytest.approx(row.exact, rel=0.15)
        assert row.corrected <= row.allen_cunneen * (1 + 1e-12)
        if row.system.endswith("0.95"):
            assert row.allen_cunneen == pytest.approx(row.exact, rel=0.05)
    (regular,) = (row for row in approximations if row.system == "D/M/1, rho 0.5")
    assert regular.allen_cunneen / regular.exact > 1.9, "the known weakness of Allen-Cunneen"
    assert f"| {regular.system} | {regular.exact:.4f} | {regular.allen_cunneen:.4f} | +96.1% |" in "\n".join(
        page([], approximations)
    )
