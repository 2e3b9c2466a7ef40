"""Columns of data as expressions: a name from a file is a name, never a pattern.

``pl.col("*")`` means every column, ``pl.col("^a.*$")`` every one that matches, and so do these
texts wherever Polars takes names (`select`, `group_by`, `sort`, `drop`, `explode`, `join`, ...).
A file may have columns of just these names, so names that come with data are never given to Polars
as texts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import msgpack
import polars as pl


def exact_column(name: str) -> pl.Expr:
    """Return the column that is called exactly ``name``."""
    expr = pl.col(name)
    # A pattern reads no column of that name; in a plan both kinds have a node of their own.
    if expr.meta.root_names() == [name]:
        return expr
    return pl.Expr.deserialize(io.BytesIO(msgpack.packb({"Column": name})))


def exact_columns(names: Iterable[str]) -> list[pl.Expr]:
    """Return the columns that are called exactly so, in this order."""
    return [exact_column(name) for name in names]


def with_columns_in_order(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return all rows with just the columns ``names``, in this order."""
    if frame.columns == list(names):
        return frame
    if not names:
        # A selection of no columns has no rows; a frame without columns may.
        return frame.drop(pl.selectors.all())
    return frame.select(exact_columns(names))
