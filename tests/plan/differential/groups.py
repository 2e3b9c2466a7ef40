"""group_by with every aggregate and kind of key, distinct rows, aggregates of all rows."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs
from polars import col
from tests.plan.differential.case import Case, bag, each, exact

AGGREGATES = {
    "sum": col("u").sum(),
    "sum of floats": col("f").fill_nan(0).sum(),
    "sum of small": col("i8").sum(),
    "sum of truths": col("b").sum(),
    "sum of decimals": col("dec").sum(),
    "sum of durations": col("dur").sum(),
    "sum of wide": col("big").sum(),
    "sum of single": col("h").fill_nan(0).sum(),
    "mean": col("k").mean(),
    "mean of decimals": col("dec").mean(),
    "mean of durations": col("dur").mean(),
    "mean of truths": col("b").mean(),
    "mean of days": col("day").mean(),
    "mean of single": col("h").fill_nan(0).mean(),
    "min": col("k").min(),
    "min of floats": col("f").min(),
    "max of text": col("s").max(),
    "max of days": col("day").max(),
    "max of decimals": col("dec").max(),
    "min of an enum": col("en").min(),
    "nan_max": col("f").nan_max(),
    "count": col("g").count(),
    "len": pl.len().alias("n"),
    "null_count": col("s").null_count(),
    "first": col("id").first(),
    "last": col("s").last(),
    "first not null": col("k").drop_nulls().first(),
    "any": col("b").any(),
    "all": col("b").all(),
    "all, nulls too": col("b").all(ignore_nulls=False),
    "std": col("u").std(),
    "var": col("k").var(ddof=0),
    "corr": pl.corr("u", "id"),
    "cov": pl.cov("u", "id"),
    "n_unique": col("s").n_unique(),
    "n_unique of two": pl.struct("s", "b").n_unique().alias("z"),
    "median": col("u").median(),
    "quantile": col("u").quantile(0.3, "nearest"),
    "mode": col("cat").mode().sort(),
    "implode": col("id").implode(),
    "product": (col("u") % 3 + 1).product(),
    "bitwise_and": col("u").bitwise_and(),
    "bitwise_or": col("u").bitwise_or(),
    "bitwise_xor": col("u").bitwise_xor(),
    "top_k": col("id").top_k(2).sort(),
    "arg_max": col("id").arg_max(),
    "skew": col("u").skew(),
    "kurtosis": col("u").kurtosis(),
    "value_counts": col("en").value_counts().struct.field("count").sort().implode(),
    "filtered": col("u").filter(col("b")).sum(),
    "filtered by another": col("u").filter(col("u") > col("u").mean()).count(),
    "combined": (col("u").sum() / pl.len()).alias("z"),
    "difference": (col("u").max() - col("u").min()).alias("z"),
    "of an expression": (col("u") * col("id")).sum().alias("z"),
    "weighted": ((col("u") * col("id")).sum() / col("id").sum()).alias("z"),
    "sorted first": col("id").sort_by("u", "id").first(),
    "unique": col("g").unique().sort().implode().alias("z"),
    "list": col("ls").first(),
    "struct": col("st").last(),
}
_NO_SCALAR = ("mode",)
_SCALARS = {name: expr for name, expr in AGGREGATES.items() if name not in _NO_SCALAR}
_KEYS: dict[str, str | pl.Expr] = {
    "text": "s",
    "floats": "f",
    "truths": "b",
    "category": "cat",
    "enum": "en",
    "decimal": "dec",
    "day": "day",
    "moment": col("at").dt.truncate("3h"),
    "time": "tm",
    "duration": "dur",
    "binary": "bin",
    "null": "nul",
    "wide": "big",
    "struct": "st",
    "list": "ls",
    "array": "ar",
    "expression": (col("id") % 7).alias("z"),
    "constant": pl.lit(1),
    "struct of two": pl.struct("g", "s").alias("z"),
}
_SUM = col("u").sum()


def _by(key: str | pl.Expr, **more: pl.Expr) -> Case:
    return bag(lambda t, _: t.group_by(key).agg(_SUM, n=pl.len(), **more))


CASES: dict[str, Case] = {
    **each(AGGREGATES, lambda e: bag(lambda t, _: t.group_by("g").agg(x=e)), "group_by"),
    **each(
        dict(list(AGGREGATES.items())[::2]),
        lambda e: exact(lambda t, _: t.group_by("s", maintain_order=True).agg(x=e)),
        "group_by in order",
    ),
    **each(_SCALARS, lambda e: exact(lambda t, _: t.select(x=e)), "select"),
    **{f"group_by {name}": _by(key) for name, key in _KEYS.items()},
    **{f"group_by {name}, whole": _by(key, m=col("id").median()) for name, key in _KEYS.items()},
    "two keys": bag(lambda t, _: t.group_by("g", "b").agg(_SUM)),
    "keys by selector": bag(lambda t, _: t.group_by(cs.string() | cs.boolean()).agg(_SUM)),
    "keys only": bag(lambda t, _: t.group_by("g", "s").agg()),
    "no keys": exact(lambda t, _: t.group_by([]).agg(_SUM)),
    "all columns": bag(lambda t, _: t.select("g", "u", "k").group_by("g").agg(pl.all().sum())),
    "several": bag(
        lambda t, _: t.group_by("g").agg(
            cs.integer().exclude("g", "big").max().name.suffix("_max"), pl.len(), m=col("u").mean()
        )
    ),
    "split and not": bag(lambda t, _: t.group_by("g").agg(_SUM, m=col("id").median())),
    "having": bag(lambda t, _: t.group_by("g").having(pl.len() > 10).agg(_SUM)),
    "having a median": bag(lambda t, _: t.group_by("g").having(col("u").median() > 10).agg(_SUM)),
    "group_by().len()": bag(lambda t, _: t.group_by("s").len()),
    "group_by().first()": bag(lambda t, _: t.select("g", "id", "s").group_by("g").first()),
    "group_by().head()": bag(lambda t, _: t.select("g", "id").group_by("g").head(2)),
    "group_by().tail()": bag(lambda t, _: t.select("g", "id").group_by("g").tail(2)),
    "group_by().all()": bag(lambda t, _: t.select("g", "id").group_by("g").all()),
    "map_groups": bag(
        lambda t, _: t.select("g", "id").group_by("g").map_groups(
            lambda rows: rows.head(1), schema={"g": pl.Int64, "id": pl.Int64})
    ),
    "map_groups in order": exact(
        lambda t, _: t.select("g", "id").group_by("g", maintain_order=True).map_groups(
            lambda rows: rows.head(1), schema={"g": pl.Int64, "id": pl.Int64})
    ),
    "groups of groups": bag(
        lambda t, _: t.group_by("g", "s").agg(_SUM).group_by("g").agg(col("u").max(), pl.len())
    ),
    "groups of a filter": bag(lambda t, _: t.filter(col("u") > 9).group_by("g").agg(_SUM)),
    "filter of groups": bag(lambda t, _: t.group_by("g").agg(_SUM).filter(col("u") > 100)),
    "filter on the key": bag(lambda t, _: t.group_by("g").agg(_SUM).filter(col("g") == 2)),
    "groups, sorted": exact(lambda t, _: t.group_by("g").agg(_SUM).sort("g")),
    "head of groups in order": exact(
        lambda t, _: t.group_by("g", maintain_order=True).agg(_SUM).head(2)
    ),
    "pass through": bag(lambda t, _: t.group_by("g").agg(col("id").sort())),
    "group_by_dynamic": exact(lambda t, _: t.group_by_dynamic("at", every="2h").agg(_SUM)),
    "group_by_dynamic, wide": exact(
        lambda t, _: t.group_by_dynamic("at", every="1h", period="3h").agg(_SUM, pl.len())
    ),
    "group_by_dynamic of integers": exact(
        lambda t, _: t.group_by_dynamic("id", every="10i").agg(_SUM)
    ),
    "group_by_dynamic by group": bag(
        lambda t, _: t.group_by_dynamic("at", every="3h", group_by="g").agg(_SUM)
    ),
    "group_by_dynamic closed right": exact(
        lambda t, _: t.group_by_dynamic("at", every="90m", closed="right", label="right").agg(_SUM)
    ),
    "group_by_dynamic with bounds": exact(
        lambda t, _: t.group_by_dynamic("at", every="1d", include_boundaries=True).agg(_SUM)
    ),
    "rolling": exact(lambda t, _: t.rolling("at", period="30m").agg(_SUM)),
    "rolling of integers": exact(lambda t, _: t.rolling("id", period="5i").agg(_SUM, pl.len())),
    "rolling by group": bag(lambda t, _: t.rolling("at", period="2h", group_by="g").agg(_SUM)),
    "rolling closed both": exact(
        lambda t, _: t.rolling("id", period="4i", offset="-2i", closed="both").agg(_SUM)
    ),
    "unique": bag(lambda t, _: t.select("g", "s").unique()),
    "unique of nested": bag(lambda t, _: t.select("st", "ls").unique()),
    "unique of floats": bag(lambda t, _: t.select("f").unique()),
    "unique in order": exact(lambda t, _: t.select("g", "s").unique(maintain_order=True)),
    "unique first": bag(lambda t, _: t.unique("g", keep="first")),
    "unique last": bag(lambda t, _: t.unique("g", keep="last")),
    "unique none": bag(lambda t, _: t.select("k", "g").unique(keep="none")),
    "unique first in order": exact(lambda t, _: t.unique("s", keep="first", maintain_order=True)),
    "unique last in order": exact(lambda t, _: t.unique("s", keep="last", maintain_order=True)),
    "unique none in order": exact(lambda t, _: t.unique("k", keep="none", maintain_order=True)),
    "unique by two": bag(lambda t, _: t.unique(["g", "b"], keep="first")),
    "unique by struct": bag(lambda t, _: t.unique("st", keep="first")),
    "unique by list, in order": exact(
        lambda t, _: t.unique("ls", keep="first", maintain_order=True)
    ),
    "unique, then head": exact(
        lambda t, _: t.unique("k", keep="first", maintain_order=True).head(3)
    ),
    "n_unique of all": exact(lambda t, _: t.select(cs.integer().n_unique())),
    "sum of all": exact(lambda t, _: t.select(cs.integer()).sum()),
    "mean of all": exact(lambda t, _: t.select(cs.integer() | cs.decimal()).mean()),
    "median of all": exact(lambda t, _: t.select("u", "k").median()),
    "null_count of all": exact(lambda t, _: t.null_count()),
    "count of all": exact(lambda t, _: t.count()),
    "scalars of two kinds": exact(lambda t, _: t.select(a=col("u").sum(), b=col("u").median())),
    "describe by hand": exact(
        lambda t, _: t.select(
            cs.integer().exclude("big").min().name.suffix("_min"),
            cs.integer().exclude("big").max().name.suffix("_max"),
            cs.integer().exclude("big").std().name.suffix("_std"),
        )
    ),
}  # fmt: skip
