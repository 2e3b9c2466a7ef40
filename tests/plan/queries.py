"""Queries over two tables, for every engine: cut in any way, they give the rows of plain Polars."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs
from polars import col

if TYPE_CHECKING:
    from polars._typing import JoinStrategy

Query = Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]

JOINS: tuple[JoinStrategy, ...] = ("inner", "left", "right", "full", "semi", "anti")


def _join(how: JoinStrategy) -> Query:
    return lambda left, right: left.join(right, on="a", how=how)


# Polars promises the order of their rows.
ORDERED: dict[str, Query] = {
    "scan": lambda left, right: left,
    "filter": lambda left, right: left.filter(col("a") > 5).select("a", "s"),
    "group_by keeps order": lambda left, right: left.group_by("s", maintain_order=True).agg(
        col("b").sum()
    ),
    "aggregates": lambda left, right: left.select(
        col("b").sum(), col("id").mean(), col("s").min(), pl.len()
    ),
    "decimals, all": lambda left, right: left.select(
        m=col("b").cast(pl.Decimal(30, 2)).mean(), s=(col("b").cast(pl.Decimal(30, 2)) + 1).sum()
    ),
    "aggregate of nothing": lambda left, right: left.filter(col("a") > 99).select(
        col("b").sum(), col("id").mean().alias("m"), col("s").min(), pl.len()
    ),
    "median": lambda left, right: left.select(col("b").median()),
    "unique keeps order": lambda left, right: left.unique(
        subset=["a"], keep="first", maintain_order=True
    ),
    "sort": lambda left, right: left.sort(
        "s", "a", descending=[True, False], nulls_last=True, maintain_order=True
    ),
    "sort by several columns at once": lambda left, right: left.sort(
        pl.sum_horizontal(cs.by_name("a", "b")), maintain_order=True
    ),
    "sort by a constant too": lambda left, right: left.sort(
        pl.lit(1), "a", descending=[True, True], maintain_order=True
    ),
    "sort by fields": lambda left, right: left.select("id", p=pl.struct(x=-col("a"), y="b")).sort(
        col("p").struct.field("*"), maintain_order=True
    ),
    "several columns at once in groups": lambda left, right: (
        left.group_by("s")
        .agg((cs.by_name("a", "b") + pl.max_horizontal(cs.by_name("a", "b"))).sum())
        .sort("s")
    ),
    "top-k": lambda left, right: left.sort("a", maintain_order=True).head(17),
    "top-k of nulls": lambda left, right: left.sort(
        "b", descending=True, nulls_last=False, maintain_order=True
    ).slice(3, 140),
    "head": lambda left, right: left.filter(col("a") > 2).head(23),
    "head of nothing": lambda left, right: left.filter(col("a") > 2).head(0),
    "tail": lambda left, right: left.tail(31),
    "slice": lambda left, right: left.slice(100, 50),
    "slice past the end": lambda left, right: left.slice(490, 50),
    "row index": lambda left, right: left.filter(col("a") > 1).with_row_index(),
    "window": lambda left, right: left.with_columns(col("b").sum().over("a").alias("o")),
    "cumulative": lambda left, right: left.select(col("id").cum_sum()),
    "shift": lambda left, right: left.select(col("id").shift(1), "a"),
    "union": lambda left, right: pl.concat([left, left.filter(col("a") < 4)]),
    "union with itself": lambda left, right: pl.concat([left, left]),
    "diagonal": lambda left, right: pl.concat([left, right], how="diagonal"),
    "diagonal with no columns": lambda left, right: pl.concat(
        [left.select("a"), right.drop(cs.all())], how="diagonal"
    ),
    "relaxed": lambda left, right: pl.concat(
        [left.select("a"), right.select(col("v").alias("a"))], how="vertical_relaxed"
    ),
    "horizontal": lambda left, right: pl.concat(
        [left.select("a"), left.select("b")], how="horizontal"
    ),
    "literal alone": lambda left, right: left.select(pl.lit(1)),
    "literal beside": lambda left, right: left.select("a", pl.lit(1).alias("one")),
    "literal added": lambda left, right: left.with_columns(pl.lit(1).alias("one")),
    "enum filled with text": lambda left, right: (
        left.select(col("s").cast(pl.Enum(["x", "y", "zz", "q w", "w  e"])).fill_null("x"), "id")
        .sort("id", maintain_order=True)
        .head(40)
    ),
    "drop and rename": lambda left, right: left.drop("b").rename({"a": "A"}),
    "drop nulls of a column": lambda left, right: left.select(col("b").drop_nulls()),
    "drop nulls": lambda left, right: left.drop_nulls(),
    "fill with mean": lambda left, right: left.with_columns(col("b").fill_null(col("b").mean())),
    "fill all": lambda left, right: left.fill_null(0),
    "two groups": lambda left, right: (
        left.group_by("a", "s")
        .agg(col("b").sum())
        .group_by("s")
        .agg(col("b").max(), pl.len())
        .sort("s")
        .filter(col("b") > 0)
    ),
    "join, group, sort": lambda left, right: (
        left.join(right, on="a")
        .group_by("w")
        .agg((col("b") * col("v")).sum(), pl.len().alias("n"))
        .sort("w")
    ),
    "rows only": lambda left, right: left.select(pl.len()),
    "rows of a join": lambda left, right: left.join(right, on="a").select(pl.len()),
    "python": lambda left, right: left.map_batches(lambda batch: batch.head(3)),
    "head of groups": lambda left, right: left.group_by("a").agg(pl.len()).sort("len", "a").head(5),
    "pivot": lambda left, right: (
        left.group_by("a", "s")
        .agg(col("b").sum())
        .pivot("s", on_columns=["x", "y", "zz"], index="a", values="b", maintain_order=True)
        .sort("a")
    ),
    "unpivot": lambda left, right: left.unpivot(index="a", on=["b"]),
    "fields of a struct": lambda left, right: left.select(
        "id", pl.struct("a", "b").struct.unnest()
    ),
    "fields of a struct beside": lambda left, right: left.with_columns(
        pl.struct(x="a", y="b").struct.field("x", "y") * 2
    ),
    "fields of a struct pass": lambda left, right: left.filter(
        pl.all_horizontal(pl.struct("a", "b").struct.unnest() > 3)
    ),
    "choice of one value": lambda left, right: left.select(
        n=pl.when(pl.len() > 3).then(col("a").count()).otherwise(0),
        f=pl.when(col("b").is_null().any()).then(1).otherwise(0),
    ),
    "choice by row beside one value": lambda left, right: left.select(
        n=pl.len(), f=pl.when(col("a") > 3).then(1).otherwise(col("b").max())
    ),
    "runs": lambda left, right: left.select(col("a").rle()),
    "runs of what was sorted": lambda left, right: left.sort("a", maintain_order=True).select(
        col("a").rle().struct.field("len")
    ),
    "rank": lambda left, right: left.select(col("id").rank()),
    "explode keeps rows": lambda left, right: left.select(
        "id", col("s").str.split(" ").alias("word")
    ).explode("word"),
    "asof": lambda left, right: left.sort("a").join_asof(
        right.filter(col("a").is_not_null()).sort("a"), on="a"
    ),
    "explode of a column that goes": lambda left, right: (
        left.with_columns(col("s").str.split(" ").alias("l")).explode("l").select("id", "a")
    ),
    "window of columns that go": lambda left, right: left.with_columns(n=pl.len().over("a")).select(
        "a", "n"
    ),
    "window of rows": lambda left, right: left.select(
        d=col("id").diff(), o=col("id").diff().over("a"), r=col("b").rank().over("s")
    ),
    "sql window": lambda left, right: pl.SQLContext(t=left).execute(
        "select id, row_number() over (partition by a order by id) as n from t"
    ),
    "left join keeps order": lambda left, right: left.join(
        right.unique("a", keep="first", maintain_order=True),
        on="a",
        how="left",
        maintain_order="left",
    ),
}

# Polars does not promise the order of their rows.
UNORDERED: dict[str, Query] = {
    "join by selected keys": lambda left, right: left.join(
        left.select("a", "b", w="id"), on=cs.by_name("a", "b")
    ),
    "join by fields of a struct": lambda left, right: left.join(
        left.select("a", "b", w="id"),
        left_on=pl.struct("a", "b").struct.unnest(),
        right_on=["a", "b"],
        suffix="_other",
    ),
    "group by fields of a struct": lambda left, right: left.group_by(
        pl.struct("a", "s").struct.unnest()
    ).agg(col("b").sum()),
    "group_by": lambda left, right: left.group_by("a").agg(
        col("b").sum(),
        pl.len().alias("n"),
        col("b").mean().alias("m"),
        col("s").max().alias("mx"),
        col("b").min().alias("mn"),
        (col("id").sum() / pl.len()).alias("z"),
    ),
    "all columns": lambda left, right: left.group_by("s").agg(pl.all().count()),
    "all by expression": lambda left, right: left.group_by("s").agg(
        (pl.exclude("s", "id") + 1).sum()
    ),
    "first and median": lambda left, right: left.group_by("a").agg(
        col("id").first(), col("b").median().alias("q"), col("id").implode().alias("all")
    ),
    "having": lambda left, right: (
        left.group_by("a").having(pl.len() > 25, col("b").sum() > 0).agg(col("b").sum().alias("x"))
    ),
    "quantile of truths": lambda left, right: left.group_by("a").agg(
        (col("b") > 1).quantile(0.5).alias("q")
    ),
    "decimals": lambda left, right: (
        left.with_columns(
            d=(col("b") * 3).cast(pl.Decimal(14, 3)), long=col("id").cast(pl.Decimal(38, 4))
        )
        .group_by("a")
        .agg(
            col("d").sum(),
            pl.col("d", "long").mean().name.suffix("_mean"),
            col("d").filter(col("b") > 1).mean().alias("m"),
            col("long").sum(),
            col("long").max().alias("most"),
            col("d").min().alias("least"),
            (col("b") > 1).mean().alias("share"),
        )
    ),
    "keys by selector": lambda left, right: left.group_by(pl.selectors.string()).agg(
        col("b").median()
    ),
    "keys only": lambda left, right: left.group_by("a", "s").agg(),
    "least of an enum": lambda left, right: (
        left.with_columns(col("s").cast(pl.Enum(["x", "y", "zz", "q w", "w  e"])))
        .group_by("a")
        .agg(col("s").filter(col("a") > 5).min(), pl.struct(t=col("s").filter(col("a") > 9).min()))
    ),
    "computed keys": lambda left, right: left.group_by(
        col("a") % 3, col("s").str.len_chars().alias("l")
    ).agg(col("b").filter(col("a") > 5).sum()),
    "sql": lambda left, right: pl.SQLContext(t=left, r=right).execute(
        "select t.a, sum(b) x, count(*) n from t join r on t.a = r.a where id > 10 group by t.a"
    ),
    "sql intersect all": lambda left, right: pl.SQLContext(t=left, r=right).execute(
        "select a from t intersect all select a from r"
    ),
    "sql except all": lambda left, right: pl.SQLContext(t=left, r=right).execute(
        "select a from t except all select a from r"
    ),
    "sql qualify": lambda left, right: pl.SQLContext(t=left).execute(
        "select id, a from t qualify row_number() over (partition by a order by id) = 1"
    ),
    "sql unnest": lambda left, right: pl.SQLContext(
        t=left.with_columns(col("s").str.split(" ").alias("l"))
    ).execute("select a, id from (select a, id, unnest(l) as e from t)"),
    "group_by no key": lambda left, right: left.group_by([]).agg(pl.len(), col("b").sum()),
    "group_by a selector of nothing": lambda left, right: left.group_by(pl.selectors.date()).agg(
        col("b").median()
    ),
    "aggregates beside a literal": lambda left, right: left.group_by("a").agg(
        pl.len(), pl.lit("x").alias("x"), (pl.lit(1) + 1).alias("two"), pl.lit(None).alias("n")
    ),
    "group_by a literal": lambda left, right: left.group_by(pl.lit(1)).agg(
        col("b").median(), pl.len()
    ),
    "group_by a literal, split": lambda left, right: left.group_by(pl.lit(1)).agg(
        col("b").sum(), pl.len()
    ),
    "sql aggregates": lambda left, right: left.group_by("a").agg(
        pl.sql_expr("sum(b * id)").alias("x"),
        pl.sql_expr("count(*)").alias("n"),
        pl.sql_expr("avg(b)").alias("m"),
        pl.sql_expr("round(sum(b) / count(*), 2)").alias("r"),
    ),
    "word count": lambda left, right: (
        left.select(col("s").str.split(" ").alias("w")).explode("w").group_by("w").agg(pl.len())
    ),
    **{f"join {how}": _join(how) for how in JOINS},
    "join null keys": lambda left, right: left.join(right, on="a", how="full", nulls_equal=True),
    "join coalesced": lambda left, right: left.join(right, on="a", how="full", coalesce=True),
    "join validated": lambda left, right: left.join(
        right.unique("a", keep="first"), on="a", validate="m:1"
    ),
    "cross": lambda left, right: left.join(right, how="cross"),
    "join with itself": lambda left, right: left.join(left, on="a"),
    "join with own groups": lambda left, right: (
        left.group_by("a").agg(col("b").sum().alias("t")).join(left, on="a")
    ),
    "join of other types": lambda left, right: left.with_columns(col("a").cast(pl.Int32)).join(
        right.with_columns(col("a").cast(pl.Int64)), on="a"
    ),
    "join on an expression": lambda left, right: left.join(
        right, left_on=col("a") + 1, right_on="a"
    ),
    "join on inequality": lambda left, right: left.head(40).join_where(right, col("a") < col("w")),
    "a use that Polars drops": lambda left, right: (
        (totals := left.select(n=col("a").count(), m=col("b").count() > 3))
        .select("n")
        .join(
            totals.filter(col("m").is_null(), col("m").is_not_null()).select("n"),
            on="n",
            how="anti",
        )
        .group_by("n")
        .agg(pl.len())
    ),
    "a use that Polars drops, in SQL": lambda left, right: pl.SQLContext(
        t=left.select(n=col("a").count(), m=col("b").count() > 3)
    ).execute("SELECT n FROM t INTERSECT ALL SELECT n FROM t WHERE m IS NULL AND m IS NOT NULL"),
    "shared groups": lambda left, right: (
        groups := left.group_by("a").agg(pl.len().alias("n"))
    ).join(groups.select("a", (col("n") + 1).alias("k")), on="a"),
    "unique": lambda left, right: left.select("a", "s").unique(),
    "unique last": lambda left, right: left.unique(subset=["a"], keep="last"),
    "unique none": lambda left, right: left.select("a", "b").unique(keep="none"),
    "union then group": lambda left, right: (
        pl.concat([left.select("a"), right.select("a")]).group_by("a").len()
    ),
    "filter on the key": lambda left, right: (
        left.group_by("a").agg(col("b").sum()).filter(col("a") == 3)
    ),
    "filter above a join": lambda left, right: (
        left.join(right, on="a", how="left").filter(col("w") > 3, col("b") > 0).select("a", "w")
    ),
    "integer sums keep their dtype": lambda left, right: (
        left.select(
            "s", col("a").cast(pl.Int8), (col("a") > 3).alias("f"), col("b").cast(pl.Float32)
        )
        .group_by("s")
        .agg(pl.col("a", "f", "b").sum(), pl.col("b").mean().alias("m"))
    ),
}


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write two small tables with nulls, repeated keys and some text."""
    dice = random.Random(7)
    rows = 500
    left = pl.DataFrame(
        {
            "a": [dice.randint(0, 20) for _ in range(rows)],
            "b": [dice.choice([None, 1.5, 2.25, -3.0]) for _ in range(rows)],
            "s": [dice.choice(["x", "y", "zz", None, "q w", "w  e"]) for _ in range(rows)],
            "id": range(rows),
        }
    )
    right = pl.DataFrame(
        {
            "a": [dice.choice([None, *range(25)]) for _ in range(40)],
            "v": [dice.randint(0, 64) / 8 for _ in range(40)],
            "w": range(40),
        }
    )
    left.write_csv(folder / "left.csv")
    right.write_csv(folder / "right.csv")
    return folder / "left.csv", folder / "right.csv"
