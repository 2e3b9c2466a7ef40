"""Sorts, slices and operators by position."""

from __future__ import annotations

from typing import Any

import polars as pl
import polars.selectors as cs
from polars import col
from tests.plan.differential.case import Case, bag, each, exact, few

_SORT_KEYS = ("g", "s", "f", "b", "cat", "en", "dec", "day", "tm", "dur", "bin", "big", "i8", "h")
_NESTED_KEYS = ("st", "ls", "ar")
_POSITIONS = {
    "cum_sum": col("u").cum_sum(),
    "cum_sum of nulls": col("k").cum_sum(),
    "cum_sum reversed": col("u").cum_sum(reverse=True),
    "cum_count": col("g").cum_count(),
    "cum_min": col("k").cum_min(),
    "cum_max": col("k").cum_max(),
    "cum_prod": (col("u") % 2 + 1).cum_prod(),
    "shift": col("id").shift(1),
    "shift back": col("s").shift(-2),
    "shift filled": col("id").shift(3, fill_value=0),
    "diff": col("id").diff(),
    "diff of two": col("u").diff(2),
    "pct_change": col("u").pct_change(),
    "rank": col("u").rank(),
    "rank dense": col("k").rank("dense"),
    "rank ordinal": col("k").rank("ordinal", descending=True),
    "forward": col("g").fill_null(strategy="forward"),
    "forward with a limit": col("g").fill_null(strategy="forward", limit=1),
    "backward": col("g").fill_null(strategy="backward"),
    "fill with min": col("g").fill_null(strategy="min"),
    "fill with zero": col("g").fill_null(strategy="zero"),
    "interpolate": col("k").interpolate(),
    "interpolate nearest": col("k").interpolate("nearest"),
    "first distinct": col("g").is_first_distinct(),
    "last distinct": col("s").is_last_distinct(),
    "unique ones": col("k").is_unique(),
    "duplicated": col("k").is_duplicated(),
    "reverse": col("id").reverse(),
    "rolling_sum": col("u").rolling_sum(3),
    "rolling_mean": col("u").rolling_mean(4, min_samples=1),
    "rolling_max": col("k").rolling_max(3),
    "rle_id": col("g").rle_id(),
    "int_range": pl.int_range(pl.len()).alias("z"),
    "backward and sum": (col("u").cum_sum() - col("u").shift(1)).alias("z"),
    "gather by position": col("id").gather([0, 0, 0]).max(),
    "set_sorted": col("id").set_sorted(),
    "ewm_mean": col("u").ewm_mean(alpha=0.5),
    "arg_sort": col("u").arg_sort(),
    "peaks": col("u").peak_max(),
    "sorted": col("u").sort(),
}
_SLICES: dict[str, tuple[int, int | None]] = {
    "start": (0, 5),
    "inside": (17, 20),
    "to the end": (50, None),
    "past the end": (100, 500),
    "beyond": (900, 3),
    "last": (-7, 7),
    "before the last": (-30, 10),
    "from the end": (-30, None),
    "longer than the rows": (-900, 5),
    "none": (3, 0),
}


def _down(descending: Any, nulls_last: Any) -> Case:
    return exact(
        lambda t, _: t.sort(
            "g", "s", "k", descending=descending, nulls_last=nulls_last, maintain_order=True
        )
    )


def _sort(key: str, **options: Any) -> Case:
    return exact(lambda t, _: t.select("id", key).sort(key, maintain_order=True, **options))


def _slice(offset: int, length: int | None) -> Case:
    return exact(lambda t, _: t.slice(offset, length))


CASES: dict[str, Case] = {
    **{f"sort by {key}": _sort(key) for key in (*_SORT_KEYS, *_NESTED_KEYS)},
    **{f"sort by {key}, down": _sort(key, descending=True, nulls_last=True) for key in _SORT_KEYS},
    "sort by three": _down([False, True, False], [True, False, True]),
    "sort by three, down": _down(True, False),
    "sort by three, nulls last": _down(False, True),
    "sort by an expression": exact(lambda t, _: t.sort(col("id") % 7, -col("id"))),
    "sort by a length": exact(lambda t, _: t.sort(col("s").str.len_chars(), "id")),
    "sort by a selector": exact(lambda t, _: t.sort(cs.boolean(), cs.string(), "id")),
    "sort by a rank": exact(lambda t, _: t.sort(col("u").rank("ordinal"))),
    "sort, nothing promised": bag(lambda t, _: t.sort("g")),
    "sort twice": exact(lambda t, _: t.sort("k").sort("g", maintain_order=True).select("g")),
    "sort, then filter": exact(lambda t, _: t.sort("u", "id").filter(col("g") > 2)),
    "sort, then sum": exact(lambda t, _: t.sort("u", "id").select(col("u").cum_sum(), "id")),
    "sort, then groups in order": exact(
        lambda t, _: t.sort("u", "id").group_by("g", maintain_order=True).agg(col("id").first())
    ),
    "sort, then first": exact(lambda t, _: t.sort("u", "id").select(col("id").first())),
    "sort of groups": exact(lambda t, _: t.group_by("k").agg(n=pl.len()).sort("n", "k")),
    "sort of a concat": exact(lambda t, _: pl.concat([t, t]).sort("id", maintain_order=True)),
    "sort, head": exact(lambda t, _: t.sort("u", "id").head(9)),
    "sort, slice": exact(lambda t, _: t.sort("u", "id", descending=True).slice(3, 9)),
    "sort, tail": exact(lambda t, _: t.sort("u", "id").tail(9)),
    "sort, nulls, head": exact(lambda t, _: t.sort("g", "id", nulls_last=True).head(30)),
    "top_k": bag(lambda t, _: t.select("u", "id").top_k(5, by=["u", "id"])),
    "bottom_k": bag(lambda t, _: t.select("u", "id").bottom_k(5, by=["u", "id"])),
    "top_k of the other order": bag(
        lambda t, _: t.select("u", "id").top_k(5, by=["u", "id"], reverse=[True, False])
    ),
    "top_k in select": exact(lambda t, _: t.select(col("id").top_k(4).sort())),
    "top_k_by in select": bag(lambda t, _: t.select(col("s").top_k_by("id", 4))),
    "largest in groups": bag(lambda t, _: t.group_by("g").agg(col("id").top_k(2).sort())),
    **{f"slice, {name}": _slice(*at) for name, at in _SLICES.items()},
    "head": exact(lambda t, _: t.head(10)),
    "limit": exact(lambda t, _: t.limit(3)),
    "tail": exact(lambda t, _: t.tail(10)),
    "first": exact(lambda t, _: t.first()),
    "last": exact(lambda t, _: t.last()),
    "head of a tail": exact(lambda t, _: t.tail(50).head(10)),
    "head, filter": exact(lambda t, _: t.head(60).filter(col("g") > 2)),
    "filter, head": exact(lambda t, _: t.filter(col("g") > 2).head(11)),
    "filter, tail": exact(lambda t, _: t.filter(col("g") > 2).tail(11)),
    "head, groups": bag(lambda t, _: t.head(33).group_by("g").agg(col("u").sum())),
    "head of a concat": exact(lambda t, _: pl.concat([t, t]).head(130)),
    "head of columns": exact(lambda t, _: t.select(col("id").head(4), col("s").tail(4))),
    "reverse": exact(lambda t, _: t.reverse()),
    "gather_every": exact(lambda t, _: t.gather_every(7, 3)),
    "shift": exact(lambda t, _: t.select("id", "s").shift(2)),
    "with_row_index": exact(lambda t, _: t.with_row_index()),
    "with_row_index, offset": exact(lambda t, _: t.with_row_index("n", offset=10)),
    "filter, with_row_index": exact(lambda t, _: t.filter(col("b")).with_row_index()),
    "with_row_index, filter": exact(lambda t, _: t.with_row_index().filter(col("index") % 9 == 2)),
    "with_row_index, groups": bag(
        lambda t, _: t.with_row_index().group_by("g").agg(col("index").max())
    ),
    "interpolate": exact(lambda t, _: t.select("k", "u").interpolate()),
    "fill forward": exact(lambda t, _: t.select("g", "s").fill_null(strategy="forward")),
    **each(_POSITIONS, lambda e: exact(lambda t, _: few(t).with_columns(e)), "with_columns"),
    **each(
        dict(list(_POSITIONS.items())[::3]),
        lambda e: exact(lambda t, _: t.select("id", e.name.suffix("_p"))),
        "select",
    ),
    "filter by position": exact(lambda t, _: t.filter(pl.int_range(pl.len()) % 5 == 1)),
    "filter by shift": exact(lambda t, _: t.filter(col("u") > col("u").shift(1))),
    "filter by rank": exact(lambda t, _: t.filter(col("id").rank() <= 10)),
    "filter by first": exact(lambda t, _: t.filter(col("g").is_first_distinct())),
    "filter by cum_count": exact(lambda t, _: t.filter(col("s").cum_count() < 20)),
    "select filter": exact(lambda t, _: t.select(col("id").filter(col("b")))),
    "select drop_nulls": exact(lambda t, _: t.select(col("g").drop_nulls())),
    "select unique": bag(lambda t, _: t.select(col("g").unique())),
    "select unique in order": exact(lambda t, _: t.select(col("s").unique(maintain_order=True))),
    "select value_counts": bag(lambda t, _: t.select(col("g").value_counts()).unnest("g")),
    "select mode": bag(lambda t, _: t.select(col("en").mode())),
    "select rle": exact(lambda t, _: t.select(col("b").rle()).unnest("b")),
    "select implode": exact(lambda t, _: t.select(col("id").implode())),
    "select sorted": exact(lambda t, _: t.select(col("u").sort())),
    "select sort_by": exact(lambda t, _: t.select(col("id").sort_by("u", "id"))),
    "select arg_unique": exact(lambda t, _: t.select(col("g").arg_unique())),
    "select gather": exact(lambda t, _: t.select(col("id").gather([0, 0]))),
    "select explode": exact(lambda t, _: t.select(col("ls").explode())),
}  # fmt: skip
