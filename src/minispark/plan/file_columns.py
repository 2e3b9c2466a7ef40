"""Columns that have one value in all rows of a file: parts of its path, and the path itself.

Polars says at planning which files have which values, and a split carries them as text. A task puts
them beside the rows of its files, so no task reads a path that Polars would understand in another
way: files below a data root have other paths, and a task reads checked files by their descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from minispark.plan.columns import exact_column

FileColumns = Mapping[str, str | None]


def written(columns: pl.DataFrame) -> list[FileColumns] | None:
    """Return the values of each file (row) as text, None if text cannot hold them."""
    texts = columns.select(
        (exact_column(name).to_physical() if dtype.is_temporal() else exact_column(name)).cast(
            pl.String
        )
        for name, dtype in columns.schema.items()
    )
    rows: list[FileColumns] = list(texts.iter_rows(named=True))
    return rows if values(rows, columns.schema).equals(columns) else None


def values(rows: Sequence[FileColumns], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the values of files, a row for each, in the columns of ``schema``."""
    return pl.DataFrame(
        [pl.Series(name, [row[name] for row in rows], dtype=pl.String) for name in schema]
    ).select(_read(exact_column(name), dtype) for name, dtype in schema.items())


def literals(columns: FileColumns, schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return the values of a file as columns beside its rows; ``schema`` has their dtypes."""
    texts = {name: pl.lit(text, pl.String).alias(name) for name, text in columns.items()}
    return [_read(text, schema[name]) for name, text in texts.items()]


def _physical(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return column.to_physical() if dtype.is_temporal() else column


def _read(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return (text.cast(pl.Int64) if dtype.is_temporal() else text).cast(dtype)
