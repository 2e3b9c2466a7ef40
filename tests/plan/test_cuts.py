"""Ranges of a sort: even, in order, and the same rows in the same places as Polars' own sort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispark.plan.cuts import SortKey, chosen_cuts, range_of_rows, sampled

_FLOATS = st.none() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1.5])
_TEXTS = st.none() | st.sampled_from(["", "a", "ab", "b", "ä"])
_ENUMS = st.none() | st.sampled_from(["z", "a"])
_KEYS: dict[str, tuple[Any, Any]] = {
    "float": (pl.Float64, _FLOATS),
    "text": (pl.String, _TEXTS),
    "integer": (pl.Int8, st.none() | st.integers(-2, 2)),
    "enum": (pl.Enum(["z", "a"]), _ENUMS),
    "struct": (pl.Struct({"x": pl.Float64}), st.none() | st.fixed_dictionaries({"x": _FLOATS})),
}


def parts_of(
    tasks: Sequence[pl.DataFrame], keys: Sequence[SortKey], ranges: int
) -> list[pl.DataFrame]:
    """Split the rows of tasks as a range exchange does, and put each range together."""
    samples = [sampled(rows.lazy(), keys, ranges).collect() for rows in tasks]
    cuts = chosen_cuts(pl.concat(samples).lazy(), keys, ranges).collect()
    assert cuts.height < ranges
    places = [range_of_rows(rows, keys, cuts, task=n) for n, rows in enumerate(tasks)]
    return [
        pl.concat(rows.filter(place == number) for rows, place in zip(tasks, places, strict=True))
        for number in range(ranges)
    ]


@st.composite
def sorts(draw: st.DrawFn) -> tuple[list[pl.DataFrame], list[SortKey], int]:
    names = draw(st.lists(st.sampled_from(sorted(_KEYS)), min_size=1, max_size=2, unique=True))
    sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    frames, row = [], 0
    for size in sizes:
        columns: dict[str, Any] = {"row": pl.Series(range(row, row + size), dtype=pl.Int64)}
        for name in names:
            dtype, values = _KEYS[name]
            drawn = draw(st.lists(values, min_size=size, max_size=size))
            columns[name] = pl.Series(drawn, dtype=dtype)
        frames.append(pl.DataFrame(columns))
        row += size
    keys = [SortKey(pl.col(name), draw(st.booleans()), draw(st.booleans())) for name in names]
    return frames, keys, draw(st.integers(2, 5))


@given(sorts())
def test_ranges_sorted_one_by_one_are_the_sorted_rows(
    case: tuple[list[pl.DataFrame], list[SortKey], int],
) -> None:
    tasks, keys, ranges = case
    by = [key.key for key in keys]
    descending, nulls_last = [key.descending for key in keys], [key.nulls_last for key in keys]

    def ordered(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.sort(by, descending=descending, nulls_last=nulls_last, maintain_order=True)

    ours = pl.concat(map(ordered, parts_of(tasks, keys, ranges)))
    theirs = ordered(pl.concat(tasks))
    assert ours["row"].to_list() == theirs["row"].to_list()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("case", ["different", "half equal", "all equal", "sorted", "all null"])
def test_ranges_are_even(case: str, descending: bool) -> None:
    tasks, rows, ranges = 6, 20_000, 8
    numbers = pl.int_range(tasks * rows, eager=True)
    values = {
        "different": numbers.hash(seed=1).cast(pl.Float64),
        "half equal": (numbers % 2) * (numbers.hash(seed=1) % 1_000_003).cast(pl.Int64),
        "all equal": numbers * 0,
        "sorted": numbers,
        "all null": pl.Series([None] * len(numbers), dtype=pl.Int64),
    }[case]
    frame = pl.DataFrame({"k": values})
    cut = [frame.slice(start, rows) for start in range(0, len(numbers), rows)]
    sizes = [part.height for part in parts_of(cut, [SortKey(pl.col("k"), descending)], ranges)]
    assert sum(sizes) == len(numbers)
    assert max(sizes) <= 1.3 * len(numbers) / ranges


def test_tasks_of_other_sizes_count_by_their_rows() -> None:
    numbers = pl.int_range(100_000, eager=True)
    frame = pl.DataFrame({"k": numbers})
    ends = [0, 90_000, 90_000, 95_000, 100_000]
    cut = [frame[start:end] for start, end in pairwise(ends)]
    sizes = [part.height for part in parts_of(cut, [SortKey(pl.col("k"))], 4)]
    assert max(sizes) <= 1.3 * len(numbers) / 4


def test_rounding_of_weights_adds_no_range() -> None:
    # The streaming engine rounds 253 / 130 in two ways, so the first row had a place below 0.
    rows = list(range(130))
    lists = [rows, [], []]
    samples = pl.LazyFrame({"key0": lists, "row": lists, "rows": [253, 0, 0]})
    keys = [SortKey(pl.col("key0"))]
    cuts = chosen_cuts(samples, keys, 3).collect(engine="streaming")
    assert cuts["row"].to_list() == [44, 87]
