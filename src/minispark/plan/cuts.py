"""Where a range exchange cuts: samples of the sort keys, cuts between ranges, the range of a row.

Rows are ordered by their keys, then by task and row: no two rows are equal, so half of the rows
may have one key and the ranges are even all the same. Everything is compared by Polars' own `sort`,
so nulls, NaN, -0.0 and all dtypes have the places that they have in the sorted result.

The way is that of TeraSort and of Spark's range partitioner: sample, choose cuts, split, sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

_SAMPLES = 40
"""Rows to sample in each task for each range. With 8 tasks and 8 ranges the largest range is about
a tenth larger than the mean."""
_LAST_ROW = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class SortKey:
    """An expression to sort by, as Polars' `sort` takes it."""

    key: pl.Expr
    descending: bool = False
    nulls_last: bool = False

    @property
    def identity(self) -> tuple[bytes, bool, bool]:
        """What is equal for equal keys; expressions themselves compare to an expression."""
        return self.key.meta.serialize(), self.descending, self.nulls_last


def sampled(rows: pl.LazyFrame, keys: Sequence[SortKey], ranges: int) -> pl.LazyFrame:
    """Return one row: the keys of some rows of a task as lists, and its number of rows.

    Which rows is decided by the hash of their number, so a task that runs again gives the same.
    """
    chosen = pl.col("row").hash() % pl.len() < ranges * _SAMPLES
    return (
        rows.select(_named(keys))
        .with_row_index("row")
        .select(pl.all().filter(chosen).implode(), pl.len().alias("rows"))
    )


def chosen_cuts(samples: pl.LazyFrame, keys: Sequence[SortKey], ranges: int) -> pl.LazyFrame:
    """Return the keys, task and row of the first row of each range but the first.

    ``samples`` has one row of `sampled` for each task, in the order of tasks.
    """
    lists = [*_names(keys), "row"]
    rows = samples.with_row_index("task").explode(lists).drop_nulls("row")
    weight = pl.col("rows") / pl.len().over("task")
    before = weight.cum_sum() - weight
    # Rounding may put the first row before the first range.
    number = (before * ranges / weight.sum()).floor().clip(0, ranges - 1)
    return (
        _sorted(rows, keys, ["task", "row"])
        .with_columns(number.alias("range"))
        .filter(pl.col("range") > pl.col("range").shift(1, fill_value=0))
        .select(*_names(keys), pl.col("task").cast(pl.Int64), pl.col("row").cast(pl.Int64))
    )


def fixed_cuts(keys: pl.Series) -> pl.DataFrame:
    """Return cuts at given values of the only key, whose rows all differ."""
    zeros = pl.zeros(len(keys), dtype=pl.Int64, eager=True)
    return pl.DataFrame({"key0": keys, "task": zeros, "row": zeros})


def range_of_rows(
    frame: pl.DataFrame, keys: Sequence[SortKey], cuts: pl.DataFrame, *, task: int
) -> pl.Series:
    """Return the number of the range (UInt32) of each row of a task.

    Most rows are placed by their first key. Those whose first key is equal to that of a cut, or is
    null or NaN, are sorted together with the cuts.
    """
    if cuts.height == 0:
        return pl.zeros(frame.height, dtype=pl.UInt32, eager=True)
    rows = frame.select(_named(keys)).with_row_index("number")
    first, *_ = _names(keys)
    if not _is_searchable(rows.schema[first]):
        return _by_sort(rows, keys, cuts, task)
    ranges = _by_first_key(rows[first], cuts[first], keys[0])
    rest = rows.filter(ranges.is_null())
    return ranges.scatter(rest["number"], _by_sort(rest, keys, cuts, task))


def _is_searchable(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float() or dtype.is_temporal() or dtype == pl.String


def _by_first_key(values: pl.Series, cuts: pl.Series, key: SortKey) -> pl.Series:
    """Return the range of each value that is not equal to a cut, null for all other values."""
    known = cuts.drop_nulls()
    before = 0 if key.nulls_last else cuts.null_count()
    unknown = values.is_null()
    if known.dtype.is_float():
        numbers = known.drop_nans()
        before += len(known) - len(numbers) if key.descending else 0
        known, unknown = numbers, unknown | values.is_nan().fill_null(value=True)
    if key.descending:
        known = known.reverse()
    left, right = (known.search_sorted(values, side=side) for side in ("left", "right"))
    place = (len(known) - left if key.descending else left) + before
    return place.cast(pl.UInt32).set(unknown | (left != right), None)


def _by_sort(
    rows: pl.DataFrame, keys: Sequence[SortKey], cuts: pl.DataFrame, task: int
) -> pl.Series:
    # In this task, a cut of an earlier task is before all rows with its key, of a later one behind.
    row = pl.when(pl.col("task") < task).then(-1).when(pl.col("task") > task).then(_LAST_ROW)
    both = pl.concat(
        [
            rows.with_columns(pl.col("number").cast(pl.Int64).alias("row"), pl.lit(1).alias("cut")),
            cuts.select(
                pl.lit(None, pl.UInt32).alias("number"),
                *_names(keys),
                row.otherwise(pl.col("row")).alias("row"),
                pl.lit(0).alias("cut"),
            ),
        ]
    )
    return (
        _sorted(both.lazy(), keys, ["row", "cut"])
        .with_columns((pl.col("cut") == 0).cum_sum().cast(pl.UInt32).alias("range"))
        .filter(pl.col("cut") == 1)
        .sort("number")
        .select("range")
        .collect(engine="in-memory")
        .to_series()
    )


def _names(keys: Sequence[SortKey]) -> list[str]:
    return [f"key{number}" for number in range(len(keys))]


def _named(keys: Sequence[SortKey]) -> list[pl.Expr]:
    return [key.key.alias(name) for key, name in zip(keys, _names(keys), strict=True)]


def _sorted(rows: pl.LazyFrame, keys: Sequence[SortKey], last: list[str]) -> pl.LazyFrame:
    more = [False] * len(last)
    return rows.sort(
        [*_names(keys), *last],
        descending=[*(key.descending for key in keys), *more],
        nulls_last=[*(key.nulls_last for key in keys), *more],
    )
