"""Every operator of a JSON job, on a cluster, against the same in plain Polars."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.system.tables import FORMATS, SCHEMAS, scan

from minispark.client.local_cluster import LocalCluster

if TYPE_CHECKING:
    from polars._typing import JoinStrategy

pytestmark = pytest.mark.process

Oracle = Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]
Steps = list[dict[str, Any]]


def _words(sales: pl.LazyFrame) -> pl.LazyFrame:
    """Tokens found by Polars' own regular expression, one null text giving none."""
    return (
        sales.select(col("text").str.extract_all(r"\S+").alias("token"))
        .explode("token")
        .drop_nulls()
    )


def _join(**fields: Any) -> dict[str, Any]:
    return {"op": "join", "with": "goods", **fields}


JOINS: tuple[JoinStrategy, ...] = ("inner", "left", "right", "full", "semi", "anti")


def _grouped(fn: str) -> Oracle:
    return lambda s, g: s.group_by("sku", "shop").agg(getattr(col("qty"), fn)())


def _reduced(fn: str) -> Oracle:
    return lambda s, g: s.select(getattr(col("price"), fn)())


def _joined(how: JoinStrategy) -> Oracle:
    return lambda s, g: s.join(g, on="sku", how=how, coalesce=True)


SUM_SQL = "select shop, sum(qty) as q, count(*) as n from {0} where qty > 1 group by shop"

# name: (the nodes after `read`, the same in plain Polars, whether the order is promised)
OPERATORS: dict[str, tuple[Steps, Oracle, bool]] = {
    "read": ([], lambda s, g: s, True),
    "flat_map": ([{"op": "flat_map", "fn": "tokenize"}], lambda s, g: _words(s), True),
    "split_words": (
        [{"op": "flat_map", "fn": "split_words", "column": "shop"}],
        lambda s, g: _words(s.select(col("shop").alias("text"))),
        True,
    ),
    "map to_lower": (
        [{"op": "map", "fn": "to_lower", "column": "text"}],
        lambda s, g: s.with_columns(col("text").str.to_lowercase()),
        True,
    ),
    "map to_upper and trim": (
        [
            {"op": "map", "fn": "to_upper", "column": "text"},
            {"op": "map", "fn": "trim", "column": "text"},
        ],
        lambda s, g: s.with_columns(col("text").str.to_uppercase().str.strip_chars()),
        True,
    ),
    "map expr": (
        [{"op": "map", "expr": {"revenue": "qty * price", "qty": "qty + 1"}}],
        lambda s, g: s.with_columns(revenue=col("qty") * col("price"), qty=col("qty") + 1),
        True,
    ),
    "filter where": (
        [{"op": "filter", "where": "qty > 2 and shop <> 'x'"}],
        lambda s, g: s.filter((col("qty") > 2) & (col("shop") != "x")),
        True,
    ),
    "filter to nothing": (
        [{"op": "filter", "where": "qty > 1000"}],
        lambda s, g: s.filter(col("qty") > 1000),
        True,
    ),
    "filter non_empty": (
        [{"op": "filter", "fn": "non_empty", "column": "text"}],
        lambda s, g: s.filter(col("text") != ""),
        True,
    ),
    "word count": (
        [
            {"op": "flat_map", "fn": "split_words"},
            {"op": "map", "fn": "pair_with_one"},
            {"op": "reduce_by_key", "fn": "sum"},
        ],
        lambda s, g: _words(s).group_by(col("token").alias("key")).agg(pl.len().alias("value")),
        False,
    ),
    "word count without value": (
        [
            {"op": "flat_map", "fn": "tokenize"},
            {"op": "map", "fn": "to_lower"},
            {"op": "reduce_by_key", "key": "token", "fn": "sum"},
        ],
        lambda s, g: _words(s).group_by(col("token").str.to_lowercase()).agg(count=pl.len()),
        False,
    ),
    **{
        f"reduce_by_key {fn}": (
            [{"op": "reduce_by_key", "key": ["sku", "shop"], "value": "qty", "fn": fn}],
            _grouped(fn),
            False,
        )
        for fn in ("sum", "count", "min", "max", "mean")
    },
    **{
        f"reduce {fn}": (
            [{"op": "reduce", "value": "price", "fn": fn}],
            _reduced(fn),
            True,
        )
        for fn in ("sum", "count", "min", "max", "mean")
    },
    **{
        f"join {how}": (
            [_join(on="sku", how=how)],
            _joined(how),
            False,
        )
        for how in JOINS
    },
    "join on two sides": (
        [_join(left_on="qty", right_on="sku", how="inner", suffix="_of_goods")],
        lambda s, g: s.join(g, left_on="qty", right_on="sku", suffix="_of_goods", coalesce=True),
        False,
    ),
    "join cross": ([_join(how="cross")], lambda s, g: s.join(g, how="cross"), False),
    "aggregate": (
        [
            {
                "op": "aggregate",
                "by": ["shop"],
                "aggs": {
                    "revenue": "sum(qty * price)",
                    "rows": "count(*)",
                    "mean": "avg(price)",
                    "spread": "max(qty) - min(qty)",
                    "kinds": "count(distinct sku)",
                },
            }
        ],
        lambda s, g: s.group_by("shop").agg(
            pl.sql_expr("sum(qty * price)").alias("revenue"),
            pl.sql_expr("count(*)").alias("rows"),
            pl.sql_expr("avg(price)").alias("mean"),
            pl.sql_expr("max(qty) - min(qty)").alias("spread"),
            pl.sql_expr("count(distinct sku)").alias("kinds"),
        ),
        False,
    ),
    "aggregate all": (
        [{"op": "aggregate", "by": [], "aggs": {"q": "sum(qty)", "n": "count(*)"}}],
        lambda s, g: s.select(
            pl.sql_expr("sum(qty)").alias("q"), pl.sql_expr("count(*)").alias("n")
        ),
        True,
    ),
    "select list": (
        [{"op": "select", "columns": ["shop", "id"]}],
        lambda s, g: s.select("shop", "id"),
        True,
    ),
    "select expressions": (
        [{"op": "select", "columns": {"id": "id", "twice": "qty * 2"}}],
        lambda s, g: s.select("id", (col("qty") * 2).alias("twice")),
        True,
    ),
    "sql": (
        [{"op": "sql", "query": SUM_SQL.format("read")}],
        lambda s, g: pl.SQLContext(t=s).execute(SUM_SQL.format("t")),
        False,
    ),
    "union": (
        [{"op": "union", "with": "read"}],
        lambda s, g: pl.concat([s, s]),
        True,
    ),
    "distinct": (
        [{"op": "select", "columns": ["sku", "shop"]}, {"op": "distinct"}],
        lambda s, g: s.select("sku", "shop").unique(),
        False,
    ),
    "distinct subset": (
        [{"op": "distinct", "subset": ["sku"]}, {"op": "select", "columns": ["sku"]}],
        lambda s, g: s.unique(subset=["sku"]).select("sku"),
        False,
    ),
    "sort": (
        [{"op": "sort", "by": ["shop", "qty"], "descending": [False, True]}],
        lambda s, g: s.sort("shop", "qty", descending=[False, True], maintain_order=True),
        True,
    ),
    "sort nulls last": (
        [{"op": "sort", "by": "price", "nulls_last": True}],
        lambda s, g: s.sort("price", nulls_last=True, maintain_order=True),
        True,
    ),
    "sort and limit": (
        [{"op": "sort", "by": "qty", "descending": True}, {"op": "limit", "n": 25}],
        lambda s, g: s.sort("qty", descending=True, maintain_order=True).head(25),
        True,
    ),
    "limit": ([{"op": "limit", "n": 7}], lambda s, g: s.head(7), True),
    "limit 0": ([{"op": "limit", "n": 0}], lambda s, g: s.head(0), True),
    "repartition": ([{"op": "repartition", "n": 5}], lambda s, g: s, False),
}


def build_job(steps: Steps, form: str, partitions: int | None) -> dict[str, Any]:
    """A chain of nodes after ``read``; ``with`` names a second input of a node."""
    nodes: Steps = [{"id": "read", **_read("sales", form)}]
    edges: list[list[str]] = []
    if any(step.get("with") == "goods" for step in steps):
        nodes.append({"id": "goods", **_read("goods", form)})
    ids = ["read", *(f"n{number}" for number in range(len(steps)))]
    edges += [list(pair) for pair in pairwise(ids)]
    for name, step in zip(ids[1:], steps, strict=True):
        fields = {key: value for key, value in step.items() if key != "with"}
        nodes.append({"id": name, **fields})
        if "with" in step:
            edges.append([step["with"], name])
    job: dict[str, Any] = {"name": "operators", "dag": {"nodes": nodes, "edges": edges}}
    return job if partitions is None else {**job, "parallelism": partitions}


def _read(table: str, form: str) -> dict[str, Any]:
    read: dict[str, Any] = {"op": f"read_{form}", "path": f"{table}.{form}"}
    if form == "csv":
        read["schema"] = {name: dtype.__name__ for name, dtype in SCHEMAS[table].items()}
    return read


def run(cluster: LocalCluster, job: dict[str, Any]) -> pl.DataFrame:
    """Submit, wait, and fetch the result."""
    client = cluster.client
    job_id = client.submit_json(job)
    view = client.wait(job_id)
    assert view.status == "SUCCEEDED", view.error
    return client.result_frame(job_id)


# Tasks by the thousand tell little more on three formats than on one: all of it if asked for.
FULL = bool(os.environ.get("MINISPARK_TEST_FULL"))
CASES = [
    (form, partitions)
    for form in FORMATS
    for partitions in ((1, 2, 7, 64) if form == "csv" or FULL else (7,))
]


@pytest.mark.parametrize("name", OPERATORS, ids=lambda name: re.sub(r"\W+", "-", name))
def test_rows_equal_plain_polars(cluster: LocalCluster, tables: Path, name: str) -> None:
    steps, oracle, ordered = OPERATORS[name]
    for form, partitions in CASES:
        expected = oracle(*(scan(tables, table, form) for table in ("sales", "goods"))).collect()
        found = run(cluster, build_job(steps, form, partitions))
        where = f"{name} on {form} in {partitions} partitions"
        assert found.columns == expected.columns, where
        assert_frame_equal(
            found, expected, check_row_order=ordered, check_dtypes=name[:10] != "word count"
        )
