"""Windows: what they compute, by which keys, in which order and mapping."""

from __future__ import annotations

import polars as pl
from polars import col
from tests.plan.differential.case import Case, bag, each, exact, few

_WINDOWS = {
    "sum": col("u").sum().over("g"),
    "mean": col("u").mean().over("g"),
    "min and max": (col("u").max().over("g") - col("u").min().over("g")).alias("z"),
    "count": col("k").count().over("s"),
    "len": pl.len().over("g"),
    "first": col("id").first().over("g"),
    "last": col("id").last().over("s"),
    "std": col("u").std().over("g"),
    "median": col("u").median().over("g"),
    "n_unique": col("s").n_unique().over("g"),
    "share": (col("u") / col("u").sum().over("g")).alias("z"),
    "centred": (col("u") - col("u").mean().over("g", "b")).alias("z"),
    "rank": col("u").rank("ordinal").over("g"),
    "rank dense": col("u").rank("dense", descending=True).over("s"),
    "cum_sum": col("u").cum_sum().over("g"),
    "shift": col("id").shift(1).over("g"),
    "diff": col("id").diff().over("s"),
    "row number": pl.int_range(pl.len()).over("g").alias("z"),
    "reverse": col("id").reverse().over("g"),
    "forward": col("k").fill_null(strategy="forward").over("g"),
    "rolling": col("u").rolling_sum(2).over("g"),
    "sorted": col("u").sort().over("g"),
    "filtered": col("u").filter(col("b")).sum().over("g"),
    "of an expression": (col("u") * 2).max().over("g"),
    "by an expression": col("u").sum().over(col("id") % 4),
    "by floats": col("u").sum().over("f"),
    "by a category": col("u").sum().over("cat"),
    "by a struct": col("u").sum().over("st"),
    "by a list": col("u").sum().over("ls"),
    "by days": col("u").sum().over("day"),
    "by two": col("u").sum().over("g", "s"),
    "by a constant": col("u").sum().over(pl.lit(1)),
    "by many": col("u").sum().over("id"),
    "in an order": col("id").cum_sum().over("g", order_by="u"),
    "in an order, down": col("id").first().over("g", order_by="u", descending=True),
    "in an order of two": col("u").shift(1).over("g", order_by=["b", "id"]),
    "as lists": col("id").over("g", mapping_strategy="join"),
    "in no group": col("u").cum_sum().over(order_by="id"),
    "of nested": col("ls").first().over("g"),
    "of text": col("s").max().over("g"),
    "of decimals": col("dec").sum().over("g"),
    "of a window": (col("u").sum().over("g") > col("u").sum().over("g").mean()).alias("z"),
    "of two kinds": (col("u").sum().over("g") + col("u").sum().over("s")).alias("z"),
    "beside a scalar": (col("u").sum().over("g") / col("u").sum()).alias("z"),
    "quantile": col("u").quantile(0.5).over("g"),
    "unique": col("u").is_unique().over("g"),
    "first distinct": col("s").is_first_distinct().over("g"),
}

CASES: dict[str, Case] = {
    **each(_WINDOWS, lambda e: exact(lambda t, _: few(t).with_columns(e)), "with_columns"),
    "filter": exact(lambda t, _: t.filter(col("u") == col("u").max().over("g"))),
    "filter by rank": exact(lambda t, _: t.filter(col("u").rank("dense").over("g") <= 2)),
    "filter by row number": exact(lambda t, _: t.filter(pl.int_range(pl.len()).over("g") == 0)),
    "filter by size": exact(lambda t, _: t.filter(pl.len().over("g") > 15)),
    "several": exact(
        lambda t, _: t.with_columns(a=col("u").sum().over("g"), b=col("u").rank().over("g"))
    ),
    "several keys": exact(
        lambda t, _: t.with_columns(a=col("u").sum().over("g"), b=col("u").sum().over("s"))
    ),
    "all columns": exact(
        lambda t, _: t.select("g", "u", "id").with_columns(
            pl.all().max().over("g").name.suffix("_z")
        )
    ),
    "one after another": exact(
        lambda t, _: few(t).with_columns(a=col("u").sum().over("g")).with_columns(
            b=col("a").rank().over("s")
        )
    ),
    "exploded": bag(
        lambda t, _: t.sort("g", "id").select(
            col("id").head(2).over("g", mapping_strategy="explode")
        )
    ),
    "then groups": bag(
        lambda t, _: t.with_columns(a=col("u").sum().over("g")).group_by("s").agg(col("a").max())
    ),
    "then a sort": exact(lambda t, _: t.with_columns(a=col("u").sum().over("g")).sort("a", "id")),
    "then a head": exact(lambda t, _: t.with_columns(a=col("u").sum().over("g")).head(7)),
    "then a filter on the key": exact(
        lambda t, _: t.with_columns(a=col("u").sum().over("g")).filter(col("g") == 2)
    ),
    "after a sort": exact(
        lambda t, _: few(t).sort("u", "id").with_columns(a=col("id").cum_sum().over("g"))
    ),
    "after a join": bag(
        lambda t, r: t.select("id", "g").join(r.select("g", "w"), on="g").with_columns(
            a=col("w").sum().over("g")
        )
    ),
    "after groups": bag(
        lambda t, _: t.group_by("g", "s").agg(col("u").sum()).with_columns(
            a=col("u").sum().over("g")
        )
    ),
    "after a head": exact(lambda t, _: t.head(40).with_columns(a=col("u").sum().over("g"))),
    "in an aggregate": exact(lambda t, _: t.select(col("u").sum().over("g").mean())),
    "rolling by": exact(lambda t, _: t.with_columns(z=col("u").rolling_sum_by("at", "30m"))),
    "rolling by, in groups": exact(
        lambda t, _: t.with_columns(z=col("u").rolling_sum_by("at", "1h").over("g"))
    ),
    "rolling expression": exact(
        lambda t, _: t.with_columns(z=col("u").sum().rolling("at", period="1h"))
    ),
}  # fmt: skip
