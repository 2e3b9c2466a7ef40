"""The hash that decides where a row goes: of the value of its key, never of its representation.

Equal keys of one dtype have equal hashes in all blocks and processes and on both sides of a join,
in chunks of any size: -0.0 is 0.0, NaN is NaN, null is null. Categoricals and enums are their text,
so they also meet strings. The planner casts other dtypes on both sides of a join to their common
type first (a negative integer has another hash in every width).

Polars promises the hash for one of its versions only, and perhaps not on all CPUs, so the master
compares `hash_vector` when a worker registers.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from minispark.plan.columns import exact_column

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

_SEED = 0x6D73_6B65_7973
"""Any constant. Polars' own group_by draws its seeds at random, so the two do not collide."""

_TEXT = {pl.Categorical, pl.Enum}


def key_hash(frame: pl.DataFrame, keys: Sequence[pl.Expr]) -> pl.Series:
    """Return the hash (UInt64) of each row's key.

    ``keys`` are expressions over the columns of ``frame`` that give one value a row, or one value
    for all rows.
    """
    names = [f"__minispark_key_{number}" for number in range(len(keys))]
    values = frame.with_columns(
        [key.alias(name) for key, name in zip(keys, names, strict=True)]
    ).select(names)
    dtypes = [(name, dtype, _with_texts(dtype)) for name, dtype in values.schema.items()]
    casts = [exact_column(name).cast(text) for name, dtype, text in dtypes if text != dtype]
    return values.with_columns(casts).hash_rows(seed=_SEED)


def hash_vector() -> tuple[int, ...]:
    """Return the hashes of a fixed set of values, some of every dtype that a key may have."""
    return tuple(
        value
        for column in _sample().iter_columns()
        for value in key_hash(column.to_frame("k"), [pl.col("k")]).to_list()
    )


def _with_texts(dtype: PolarsDataType) -> PolarsDataType:
    """Return a dtype with strings in the place of categoricals and enums."""
    match dtype:
        case pl.List():
            return pl.List(_with_texts(dtype.inner))
        case pl.Array():
            return pl.Array(_with_texts(dtype.inner), dtype.size)
        case pl.Struct():
            fields = [pl.Field(field.name, _with_texts(field.dtype)) for field in dtype.fields]
            return pl.Struct(fields)
        case _:
            return pl.String() if dtype.base_type() in _TEXT else dtype


def _sample() -> pl.DataFrame:
    moment = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)
    texts = ["", "spark", "Größe 🎉 of a text that is stored out of line", None]
    numbers = [0, 1, -1, None]
    return pl.DataFrame(
        {
            "int8": pl.Series(numbers, dtype=pl.Int8),
            "int64": pl.Series([2**62 + 1, -(2**63), 7, None], dtype=pl.Int64),
            "uint64": pl.Series([2**64 - 1, 2**32, 0, None], dtype=pl.UInt64),
            "int128": pl.Series([2**100, -(2**100), 0, None], dtype=pl.Int128),
            "float32": pl.Series([0.1, -0.0, float("nan"), None], dtype=pl.Float32),
            "float64": pl.Series([0.1, -0.0, float("nan"), None], dtype=pl.Float64),
            "decimal": pl.Series([decimal.Decimal("1.25"), None, None, None]),
            "boolean": pl.Series([True, False, None, None]),
            "string": pl.Series(texts),
            "binary": pl.Series([b"", b"\x00\xff", b"x" * 40, None]),
            "categorical": pl.Series(texts, dtype=pl.Categorical),
            "date": pl.Series([moment.date(), None, None, None]),
            "datetime": pl.Series([moment, None, None, None], dtype=pl.Datetime("ns")),
            "duration": pl.Series([datetime.timedelta(days=-1, microseconds=1), None, None, None]),
            "time": pl.Series([moment.time(), None, None, None]),
            "null": pl.Series([None] * 4, dtype=pl.Null),
            "list": pl.Series([[1, None], [], None, [3]], dtype=pl.List(pl.Int32)),
            "array": pl.Series([[1, 2], [3, None], None, None], dtype=pl.Array(pl.Int32, 2)),
            "struct": pl.Series([{"a": 1, "b": "x"}, {"a": None, "b": None}, None, None]),
        }
    )
