"""Whether two results are the same."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs
from polars.testing import assert_frame_equal

_SAME = 1e-9
"""Sums of floats differ in their last bits, by the order in which they are added."""
_ROUNDED = 1e-5
"""Polars rounds each product of Decimals to the scale of its factors, DuckDB does not."""


def check_equal(frame: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Raise AssertionError unless a result is that of plain Polars: names, dtypes and rows.

    Where a query sorts by columns that have ties, the tied rows may come in any order, so rows are
    compared as a bag.
    """
    assert_frame_equal(frame, expected, check_row_order=False, rel_tol=_SAME, abs_tol=_SAME)


def check_same_values(frame: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Raise AssertionError unless a result has the values of one of another engine.

    Names and dtypes are those of that engine, and the sum of no rows is 0 in Polars, null in SQL.
    """
    ours, theirs = _plain(frame), _plain(expected)
    theirs.columns = ours.columns
    assert_frame_equal(ours, theirs, check_row_order=False, rel_tol=_ROUNDED, abs_tol=_ROUNDED)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    numbers = frame.with_columns(cs.numeric().cast(pl.Float64))
    return numbers.fill_null(0.0) if numbers.height == 1 else numbers
