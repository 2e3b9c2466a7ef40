"""Columns: by exact name as expressions, and as plain data for readers without Polars.

``pl.col("*")`` means every column, ``pl.col("^a.*$")`` every column that matches, and so do these
texts in all places where Polars takes names (`select`, `group_by`, `sort`, `drop`, `explode`,
`join`, ...). A file may have columns of these names, so Polars never gets a name from data as a
text.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

import msgpack
import polars as pl

from minispark.plan.stages import Columns


def exact_column(name: str) -> pl.Expr:
    """Return the column that is called exactly ``name``."""
    expr = pl.col(name)
    # A pattern has no root name, or another one.
    if expr.meta.root_names() == [name]:
        return expr
    return pl.Expr.deserialize(io.BytesIO(msgpack.packb({"Column": name})))


def exact_columns(names: Iterable[str]) -> list[pl.Expr]:
    """Return the columns that are called exactly like ``names``, in this order."""
    return [exact_column(name) for name in names]


def with_columns_in_order(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return all rows with only the columns ``names``, in this order."""
    if frame.columns == list(names):
        return frame
    if not names:
        # A selection of no columns has no rows; a frame without columns may have some.
        return frame.drop(pl.selectors.all())
    return frame.select(exact_columns(names))


def columns_of_schema(schema: Mapping[str, pl.DataType]) -> Columns:
    """Return names and dtypes as text."""
    return tuple((name, str(dtype)) for name, dtype in schema.items())


def difference(planned: Columns, actual: Columns) -> str | None:
    """Return in words how two lists of columns differ, None if they are equal."""
    names, actual_names = ([name for name, _ in columns] for columns in (planned, actual))
    if names != actual_names:
        return f"the columns {actual_names}, not {names}"
    for (name, dtype), (_, actual_dtype) in zip(planned, actual, strict=True):
        if dtype != actual_dtype:
            return f"column {name!r} as {actual_dtype}, not {dtype}"
    return None
