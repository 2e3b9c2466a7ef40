"""The file formats of sinks: how they are written, and the columns that they cannot hold.

Polars refuses most of these columns itself, but only at the first row, and it panics at binary
values in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

WRITERS: Mapping[str, Callable[[pl.DataFrame, IO[bytes]], object]] = {
    "csv": lambda frame, file: frame.write_csv(file),
    "jsonl": lambda frame, file: frame.write_ndjson(file),
    "parquet": lambda frame, file: frame.write_parquet(file),
}


def unwritable_column(format_: str, schema: Mapping[str, pl.DataType]) -> str | None:
    """Return the first column that files of a format cannot hold, None if they hold all."""
    refuses = _REFUSES.get(format_)
    if refuses is None:
        return None
    return next((name for name, dtype in schema.items() if refuses(dtype)), None)


def _not_in_csv(dtype: PolarsDataType) -> bool:
    return dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object)


def _not_in_json(dtype: PolarsDataType) -> bool:
    return dtype in (pl.Binary, pl.Object) or any(map(_not_in_json, _inner_dtypes(dtype)))


def _not_in_parquet(dtype: PolarsDataType) -> bool:
    empty = isinstance(dtype, pl.Struct) and not dtype.fields
    return empty or dtype == pl.Object or any(map(_not_in_parquet, _inner_dtypes(dtype)))


def _inner_dtypes(dtype: PolarsDataType) -> list[PolarsDataType]:
    match dtype:
        case pl.List() | pl.Array():
            return [dtype.inner]
        case pl.Struct():
            return [field.dtype for field in dtype.fields]
        case pl.Map():
            return [dtype.key, dtype.value]
        case _:
            return []


_REFUSES: Mapping[str, Callable[[PolarsDataType], bool]] = {
    "csv": _not_in_csv,
    "jsonl": _not_in_json,
    "parquet": _not_in_parquet,
}
