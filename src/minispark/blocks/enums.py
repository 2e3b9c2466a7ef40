"""Codes of Enum columns that Polars' IPC reader accepts.

Where a group has only nulls, the streaming engine's ``min`` of an Enum leaves a code of no category
under the null (Polars 2.1.0). Polars writes such a column as it is, and refuses to read it again:
"one of the dictionary keys is 255".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from minispark.plan.columns import exact_column

if TYPE_CHECKING:
    from polars._typing import PolarsDataType


def with_valid_codes(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows; every null of an Enum has the code of a category under it."""
    columns = [
        _valid(exact_column(name), dtype)
        if isinstance(dtype, pl.Enum)
        else _through_text(name, dtype)
        for name, dtype in frame.schema.items()
        if _holds_enum(dtype) and (dtype.is_nested() or frame[name].null_count())
    ]
    return frame.with_columns(columns) if columns else frame


def _valid(column: pl.Expr, dtype: pl.Enum) -> pl.Expr:
    codes = column.to_physical().fill_null(0)
    # A column of nulls only may be of an Enum without categories, which has no code at all.
    if not len(dtype.categories):
        return pl.lit(None, dtype).alias(column.meta.output_name())
    return pl.when(column.is_not_null()).then(codes).cat.to(dtype)


def _through_text(name: str, dtype: pl.DataType) -> pl.Expr:
    return exact_column(name).cast(_as_text(dtype)).cast(dtype)


def _holds_enum(dtype: PolarsDataType) -> bool:
    match dtype:
        case pl.List() | pl.Array():
            return _holds_enum(dtype.inner)
        case pl.Struct():
            return any(_holds_enum(field.dtype) for field in dtype.fields)
        case _:
            return isinstance(dtype, pl.Enum)


def _as_text(dtype: PolarsDataType) -> PolarsDataType:
    match dtype:
        case pl.List():
            return pl.List(_as_text(dtype.inner))
        case pl.Array():
            return pl.Array(_as_text(dtype.inner), dtype.size)
        case pl.Struct():
            return pl.Struct({field.name: _as_text(field.dtype) for field in dtype.fields})
        case _:
            return pl.String() if isinstance(dtype, pl.Enum) else dtype
