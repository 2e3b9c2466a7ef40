"""Random queries over random tables: cut in any way, they give the rows of plain Polars."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars import col

if TYPE_CHECKING:
    from polars._typing import JoinStrategy
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings

# Dyadic fractions: their sums are exact, whatever the order.
_VALUES = st.one_of(st.none(), st.integers(-40, 40).map(lambda n: n / 8))
_WORDS = st.one_of(st.none(), st.lists(st.sampled_from(["a", "B", "ñ", "b"])).map(" ".join))


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(0, 60))
    column = {
        "k": st.one_of(st.none(), st.integers(0, 5)),
        "v": _VALUES,
        "s": _WORDS,
    }
    data = {name: draw(st.lists(of, min_size=rows, max_size=rows)) for name, of in column.items()}
    return pl.DataFrame(data, schema={"k": pl.Int64, "v": pl.Float64, "s": pl.String})


Step = Callable[[pl.LazyFrame, pl.LazyFrame, int], pl.LazyFrame]
_ALL = [col("k"), col("v"), col("s")]


def _join(rows: pl.LazyFrame, other: pl.LazyFrame, number: int) -> pl.LazyFrame:
    hows: list[JoinStrategy] = ["inner", "left", "semi", "anti"]
    return rows.join(other.select("k", w="v"), on="k", how=hows[number % 4])


def _outer(rows: pl.LazyFrame, other: pl.LazyFrame, number: int) -> pl.LazyFrame:
    hows: list[JoinStrategy] = ["full", "right"]
    side = other.select("k", "v", t="s")
    joined = rows.join(side, on="k", how=hows[number % 2], coalesce=True)
    return joined.with_columns(s=pl.coalesce("t", "s"), v=pl.coalesce("v_right", "v"))


def _having(rows: pl.LazyFrame, other: pl.LazyFrame, number: int) -> pl.LazyFrame:
    groups = rows.group_by((col("k") % 3).alias("k"), "s").having(pl.len() > 1)
    return groups.agg((col("v").sum() + col("v").count()).alias("v"))


def _twice(rows: pl.LazyFrame, other: pl.LazyFrame, number: int) -> pl.LazyFrame:
    groups = rows.group_by("k").agg(col("v").sum(), col("s").max())
    return groups.join(groups.select("k", w="v"), on="k").with_columns(col("v") + col("w"))


def _sql(rows: pl.LazyFrame, other: pl.LazyFrame, number: int) -> pl.LazyFrame:
    text = "select k, sum(v) as v, max(s) as s from t where k > 0 group by k"
    return pl.SQLContext(t=rows).execute(text)


STEPS: dict[str, Step] = {
    "filter": lambda rows, other, n: rows.filter(col("k") > n),
    "change": lambda rows, other, n: rows.with_columns(col("v") * 2, s=col("s").str.to_uppercase()),
    "words": lambda rows, other, n: rows.with_columns(col("s").str.split(" ")).explode("s"),
    "group": lambda rows, other, n: rows.group_by("k", "s").agg(col("v").sum()),
    "means": lambda rows, other, n: rows.group_by("k").agg(col("v").mean(), col("s").max()),
    "middle": lambda rows, other, n: rows.group_by("k").agg(col("v").median(), col("s").min()),
    "join": _join,
    "outer": _outer,
    "having": _having,
    "window": lambda rows, other, n: rows.with_columns(
        col("v").sum().over("k"), s=col("s").max().over("k")
    ),
    "reduce": lambda rows, other, n: rows.select(col("k").max(), col("v").sum(), col("s").min()),
    "nulls": lambda rows, other, n: rows.with_columns(
        col("v").fill_null(col("v").max())
    ).drop_nulls("k"),
    "twice": _twice,
    "sql": _sql,
    "distinct": lambda rows, other, n: rows.unique(),
    "union": lambda rows, other, n: pl.concat([rows, other]),
    "top": lambda rows, other, n: rows.sort(_ALL, nulls_last=n % 2 == 0).head(n * 3),
    "shift": lambda rows, other, n: rows.sort(_ALL).with_columns(col("v").shift(1)),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    left=tables(),
    right=tables(),
    steps=st.lists(st.tuples(st.sampled_from(list(STEPS)), st.integers(0, 5)), max_size=5),
    partitions=st.sampled_from([1, 2, 7]),
    broadcast=st.booleans(),
)
def test_any_chain_of_operators(
    left: pl.DataFrame,
    right: pl.DataFrame,
    steps: list[tuple[str, int]],
    partitions: int,
    broadcast: bool,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="minispark-test-"))
    try:
        left.write_parquet(folder / "left.parquet", row_group_size=16)
        right.write_ndjson(folder / "right.jsonl")
        schema = left.schema
        other = pl.scan_ndjson(folder / "right.jsonl", schema=schema)
        query = pl.scan_parquet(folder / "left.parquet")
        for name, number in steps:
            query = STEPS[name](query, other, number).select("k", "v", "s")
        plan = PlanSettings(
            parallelism=partitions, single_task_bytes=0, broadcast_bytes=1 << 20 if broadcast else 0
        )
        graph = plan_outputs([PlanOutput("out", query)], settings=plan)
        assert not any("could not be cut" in stage.why for stage in graph.stages)
        actual = run_inline(graph, folder).results["out"]
        expected = query.collect(engine="in-memory")
        assert_frame_equal(actual, expected, check_row_order=False)
    finally:
        shutil.rmtree(folder)
