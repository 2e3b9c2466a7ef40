"""Operators by row, scalars, concatenations and nested columns."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs
from polars import col
from tests.plan.differential.case import Case, bag, each, exact

_FILTERS = {
    "number": col("f") > 1,
    "null": col("g").is_null(),
    "nan": col("f").is_nan(),
    "text": col("s").str.contains("a"),
    "list": col("ls").list.len() > 1,
    "struct": col("st").struct.field("x") == 1,
    "day": col("day") > pl.date(2024, 2, 25),
    "between": col("id").is_between(20, 70),
    "in": col("g").is_in([1, 2, None]),
    "not in": ~col("s").is_in(["a", "b"]),
    "boolean": col("b"),
    "nothing": pl.lit(value=False),
    "everything": pl.lit(value=True),
    "several": (col("g") > 2) & (col("k") < 20) | col("b"),
    "any": pl.any_horizontal(cs.integer() > 30),
    "all": pl.all_horizontal(cs.float().is_not_null()),
    "eq missing": col("g").eq_missing(None),
}
_SCALAR_FILTERS = {
    "mean": col("f").fill_nan(0) > col("f").fill_nan(0).mean(),
    "median": col("id") > col("id").median(),
    "max": col("k") == col("k").max(),
    "count": col("id") < pl.len() / 2,
    "first": col("g") == col("g").first(),
    "quantile": col("id") >= col("id").quantile(0.9),
    "two": (col("id") > col("id").mean()) & (col("u") < col("u").max()),
    "share": col("u") / col("u").sum() > 0.01,
}
_COLUMNS = {
    "arithmetic": (col("g") * 2 + col("k")).alias("z"),
    "division": (col("id") // 3).alias("z"),
    "modulo": (col("i8") % 7).alias("z"),
    "cast": col("i8").cast(pl.Int64),
    "text": col("s").str.to_uppercase().alias("z"),
    "concat": pl.concat_str("s", "id", separator="-", ignore_nulls=True).alias("z"),
    "when": pl.when(col("b")).then("g").otherwise("k").alias("z"),
    "fill": col("g").fill_null(-1),
    "fill nan": col("f").fill_nan(None),
    "coalesce": pl.coalesce("g", "k", pl.lit(0)).alias("z"),
    "hour": col("at").dt.hour().alias("z"),
    "zone": col("at").dt.convert_time_zone("UTC"),
    "offset": col("day").dt.offset_by("1mo"),
    "truncate": col("at").dt.truncate("1h"),
    "list sum": col("ls").list.sum().alias("z"),
    "list sort": col("ls").list.sort().alias("z"),
    "list eval": col("ls").list.eval(pl.element() + 1).alias("z"),
    "struct": pl.struct("g", "s").alias("z"),
    "field": col("st").struct.field("x").alias("z"),
    "array": col("ar").arr.max().alias("z"),
    "decimal": (col("dec") * 2).alias("z"),
    "duration": (col("dur") * 2).alias("z"),
    "binary": col("bin").bin.encode("hex").alias("z"),
    "wide": (col("big") + 1).alias("z"),
    "horizontal": pl.sum_horizontal(cs.integer().cast(pl.Int64)).alias("z"),
    "replace": col("s").replace({"a": "b"}).alias("z"),
    "category": col("cat").cast(pl.String).alias("z"),
    "hash": col("s").str.len_bytes().alias("z"),
    "suffix": cs.float().name.suffix("_z"),
    "literal": pl.lit("x").alias("z"),
    "clip": col("k").clip(3, 30),
}
_SCALARS = {
    "minus mean": (col("id") - col("id").mean()).alias("z"),
    "share": (col("u") / col("u").sum()).alias("z"),
    "centred": ((col("k") - col("k").min()) / (col("k").max() - col("k").min())).alias("z"),
    "fill with mean": col("k").fill_null(col("k").mean()),
    "total": col("u").sum().alias("z"),
    "rows": pl.len().alias("z"),
    "median": (col("k") - col("k").median()).alias("z"),
    "std": (col("u") / col("u").std()).alias("z"),
    "first": (col("id") - col("id").first()).alias("z"),
    "last": (col("id") - col("id").last()).alias("z"),
    "unique": col("s").n_unique().alias("z"),
    "filtered": col("u").filter(col("b")).sum().alias("z"),
}


def _odd_function(number: int) -> int | None:
    return number * number % 7 if number > 3 else None


CASES: dict[str, Case] = {
    **each(_FILTERS, lambda e: exact(lambda t, _: t.filter(e)), "filter"),
    **each(_SCALAR_FILTERS, lambda e: exact(lambda t, _: t.filter(e)), "filter by"),
    **each(_COLUMNS, lambda e: exact(lambda t, _: t.with_columns(e)), "with_columns"),
    **each(_SCALARS, lambda e: exact(lambda t, _: t.with_columns(e)), "with scalar"),
    **each(_SCALARS, lambda e: exact(lambda t, _: t.select("id", e)), "select scalar"),
    "all": exact(lambda t, _: t),
    "select": exact(lambda t, _: t.select("s", "id")),
    "select by dtype": exact(lambda t, _: t.select(cs.numeric())),
    "select a literal": exact(lambda t, _: t.select(pl.lit(1))),
    "select nested": exact(lambda t, _: t.select(cs.nested(), "id")),
    "drop": exact(lambda t, _: t.drop("f", "ls")),
    "rename": exact(lambda t, _: t.rename({"id": "a b", "g": "ñ"})),
    "cast": exact(lambda t, _: t.cast({"k": pl.Int64, "u": pl.String})),
    "drop_nulls": exact(lambda t, _: t.drop("nul").drop_nulls()),
    "drop_nulls of some": exact(lambda t, _: t.drop_nulls(["g", "f"])),
    "drop_nans": exact(lambda t, _: t.drop_nans("f")),
    "fill_null": exact(lambda t, _: t.fill_null(0)),
    "fill_nan": exact(lambda t, _: t.fill_nan(1.5)),
    "fill_null of a dtype": exact(lambda t, _: t.with_columns(cs.string().fill_null("?"))),
    "with no columns": exact(lambda t, _: t.with_columns()),
    "explode": exact(lambda t, _: t.select("id", "ls").explode("ls")),
    "explode two": exact(
        lambda t, _: t.select("id", a=pl.concat_list("g", "k"), b=pl.concat_list("k", "g")).explode(
            "a", "b"
        )
    ),
    "explode an array": exact(lambda t, _: t.select("id", "ar").explode("ar")),
    "explode words": exact(lambda t, _: t.select("id", col("s").str.split(" ")).explode("s")),
    "unnest": exact(lambda t, _: t.select("id", "st").unnest("st")),
    "unnest then filter": exact(lambda t, _: t.unnest("st").filter(col("x") == 1)),
    "unpivot": bag(lambda t, _: t.unpivot(["g", "u"], index="id")),
    "unpivot all": bag(lambda t, _: t.select("g", "u").unpivot()),
    "pivot": bag(
        lambda t, _: t.pivot("cat", on_columns=["lo", "hi"], index="g", values="u",
                             aggregate_function="sum")
    ),
    "pivot by first": bag(
        lambda t, _: t.pivot("en", on_columns=["x", "y"], index="g", values="id",
                             aggregate_function="first")
    ),
    "pivot len": bag(
        lambda t, _: t.pivot("b", on_columns=[True, False], index="s", values="id",
                             aggregate_function="len")
    ),
    "concat": exact(lambda t, _: pl.concat([t, t.filter(col("g") > 3)])),
    "concat of three": exact(lambda t, _: pl.concat([t.head(5), t, t.tail(5)])),
    "concat relaxed": exact(
        lambda t, r: pl.concat([t.select("k"), r.select("k")], how="vertical_relaxed")
    ),
    "concat diagonal": exact(
        lambda t, r: pl.concat([t.select("id", "g"), r.select("g", "v")], how="diagonal")
    ),
    "concat diagonal relaxed": exact(
        lambda t, r: pl.concat([t.select("id", "k"), r.select("k", "v")], how="diagonal_relaxed")
    ),
    "concat horizontal": exact(
        lambda t, r: pl.concat([t.select("id"), r.select("rid")], how="horizontal")
    ),
    "concat horizontal of one table": exact(
        lambda t, _: pl.concat([t.select("id"), t.select("g")], how="horizontal")
    ),
    "concat of nothing and rows": exact(lambda t, _: pl.concat([t.filter(False), t])),
    "concat of groups": bag(
        lambda t, r: pl.concat([t.group_by("g").agg(n=pl.len()), r.group_by("g").agg(n=pl.len())])
    ),
    "filter above concat": exact(
        lambda t, r: pl.concat([t.select("g"), r.select("g")]).filter(col("g") > 2)
    ),
    "filter above and below": exact(
        lambda t, _: t.filter(col("id") > 10).with_columns(z=col("id") * 2).filter(col("z") < 150)
    ),
    "map_batches by row": exact(
        lambda t, _: t.select("id").map_batches(lambda rows: rows.with_columns(z=1),
                                               schema={"id": pl.Int64, "z": pl.Int32})
    ),
    "map_elements": exact(
        lambda t, _: t.select(col("id").map_elements(_odd_function, return_dtype=pl.Int64))
    ),
    "pipe": exact(lambda t, _: t.pipe(lambda rows: rows.filter(col("g") == 1))),
    "strict cast fails": exact(lambda t, _: t.select(col("s").cast(pl.Int64))),
    "no such column": exact(lambda t, _: t.select("none")),
}  # fmt: skip
