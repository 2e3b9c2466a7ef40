"""Expressions that need other rows are computed in steps and give the rows of plain Polars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import polars as pl
import polars.selectors as cs
import pytest
from polars import col
from polars.exceptions import PolarsError
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.layers import HIDDEN, Layer, NotInStepsError
from minispark.plan.polars_plan import expression_body
from minispark.settings import PlanSettings

Query = Callable[[pl.LazyFrame], pl.LazyFrame]
V, X, N, K = col("v"), col("x"), col("i"), col("k")

AGGREGATES: dict[str, Query] = {
    "a filter": lambda f: f.filter(V.gt(V.mean())),
    "a column": lambda f: f.with_columns(V - V.mean(), n=pl.len(), top=V.max()),
    "of all columns": lambda f: f.with_columns(cs.integer() - cs.integer().min()),
    "a selection": lambda f: f.select("i", m=V.mean()),
    "nothing else": lambda f: f.with_columns(m=V.mean()).select("m"),
    "an aggregate of an aggregate": lambda f: f.with_columns(a=(V - V.mean()).pow(2).mean()),
    "filtered by an aggregate": lambda f: f.with_columns(a=V.filter(V.gt(V.mean())).sum()),
    "as an argument": lambda f: f.with_columns(V.clip(V.min() + 3, V.max() - 3)),
    "of distinct values": lambda f: f.filter(V.gt(V.n_unique() - 20)),
    "names": lambda f: f.select(N, V.mean().name.suffix("_m"), s=pl.struct(V.max(), K)),
    "filled": lambda f: f.with_columns(
        a=V.fill_null(strategy="mean"),
        b=X.fill_null(strategy="min"),
        c=V.fill_null(strategy="max"),
    ),
    "over groups": lambda f: (
        f.group_by("k", "j").agg(V.sum()).filter(V.gt(V.mean())).sort("k", "j")
    ),
}
WHOLE_AGGREGATES: dict[str, Query] = {
    "median": lambda f: f.filter(V.gt(V.median())),
    "quantiles": lambda f: f.filter(V.is_between(V.quantile(0.2), V.quantile(0.8))),
    "of one value": lambda f: f.with_columns(a=V.mean().sum()),
    "sorted": lambda f: f.with_columns(a=V.unique().sort().first()),
}
PLACED: dict[str, Query] = {
    "cumulative": lambda f: f.with_columns(
        V.cum_sum(),
        a=N.cum_sum(reverse=True),
        b=V.cum_max(),
        c=V.cum_min(reverse=True),
        d=(V % 3).cum_prod(),
        e=V.cum_count(),
        f=(V > 3).cum_sum(),
    ),
    "cumulative over NaN": lambda f: f.with_columns(
        a=X.cum_max(), b=X.cum_min(), c=X.cum_min(reverse=True), d=X.fill_nan(1).cum_sum()
    ),
    "shifted": lambda f: f.with_columns(
        a=V.shift(1), b=V.shift(-2), c=V.shift(3, fill_value=0), d=K.shift(50), e=N.shift(900)
    ),
    "differences": lambda f: f.with_columns(a=V.diff(2), b=V.pct_change(), c=N.diff(-1)),
    "filled": lambda f: f.with_columns(
        a=V.forward_fill(), b=V.backward_fill(), c=X.forward_fill(2), d=X.backward_fill(1)
    ),
    "rolling": lambda f: f.with_columns(
        a=N.rolling_sum(5),
        b=V.rolling_max(4, min_samples=1),
        c=V.rolling_mean(7, center=True, min_samples=1),
        d=N.rolling_std(3),
        e=N.rolling_median(4),
        f=N.rolling_mean(3, weights=[0.2, 0.3, 0.5]),
    ),
    "peaks": lambda f: f.with_columns(V.fill_null(0).peak_max(), b=N.peak_min()),
    "runs": lambda f: f.with_columns(a=V.rle_id(), b=X.rle_id(), c=K.rle_id()),
    "numbers": lambda f: f.with_columns(
        a=pl.int_range(pl.len()), b=pl.int_range(0, pl.len(), dtype=pl.UInt32)
    ),
    "first and last": lambda f: f.with_columns(
        a=V.is_first_distinct(), b=X.is_last_distinct(), c=X.is_unique(), d=K.is_duplicated()
    ),
    "ranks": lambda f: f.with_columns(
        a=V.rank("dense", descending=True), b=X.rank(), c=K.rank("ordinal")
    ),
    "ranks of others": lambda f: f.filter(V.shift(1).rank("max") - V.min() < 50),
    "all columns": lambda f: f.shift(2).fill_null(strategy="forward"),
    "a filter": lambda f: f.filter(V.gt(V.shift(1))),
    "a constant beside it": lambda f: f.select(V.cum_sum(), z=pl.lit(3)),
    "after a sort": lambda f: f.sort("v", "i").with_columns(a=N.shift(1), b=N.cum_sum()),
    "after groups": lambda f: (
        f.group_by("k", "j").agg(V.sum()).sort("k", "j").with_columns(V.cum_sum())
    ),
    "nested": lambda f: f.with_columns(
        a=(V - V.mean()).cum_sum() / V.sum(),
        b=V.cum_sum().diff(),
        c=V.cum_sum().over("k") - V.shift(1),
        d=V.diff().abs().mean(),
    ),
}
SPLIT = {**AGGREGATES, **PLACED}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    folder = tmp_path_factory.mktemp("steps")
    floats = [0.0, -0.0, math.nan, 1.5, None]
    for part in range(3):
        numbers = range(part * 100, part * 100 + 100)
        pl.DataFrame(
            {
                "k": [("a", "b", "c", None)[n * 7 % 11 % 4] for n in numbers],
                "j": [n * 5 % 3 for n in numbers],
                "x": [floats[n * 3 % 5] for n in numbers],
                "v": [None if n % 17 == 0 else n * 31 % 50 for n in numbers],
                "i": numbers,
            }
        ).write_parquet(folder / f"{part}.parquet", row_group_size=5)
    return pl.scan_parquet(folder / "*.parquet")


def run(
    query: pl.LazyFrame, parallelism: int, folder: Path, fallback: Literal["raise", "silent"]
) -> pl.DataFrame:
    settings = PlanSettings(
        single_task_bytes=0, parallelism=parallelism, fallback=fallback, large_bytes=0
    )
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    return run_inline(graph, folder).results["out"]


@pytest.mark.parametrize("name", SPLIT)
def test_split_in_steps(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = SPLIT[name](rows)
    found = run(query, 3, tmp_path, "raise")
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize(
    "name", ["cumulative", "shifted", "filled", "rolling", "runs", "all columns", "ranks of others"]
)
def test_most_partitions_are_empty(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    few = rows.filter(N.is_between(50, 57) | N.is_between(199, 200))
    query = PLACED[name](few)
    found = run(query, 8, tmp_path, "raise")
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", ["a filter", "cumulative", "rolling"])
def test_no_rows(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = SPLIT[name](rows.filter(N < 0))
    found = run(query, 3, tmp_path, "raise")
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", WHOLE_AGGREGATES)
def test_aggregates_of_whole_columns(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = WHOLE_AGGREGATES[name](rows)
    settings = PlanSettings(single_task_bytes=0, parallelism=3)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    gathers = [stage for stage in graph.stages if stage.why]
    assert [[column for column, _ in stage.output.columns] for stage in gathers] == [["v"]]
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


def test_a_column_with_the_name_of_a_step_is_kept(rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.with_columns(V.alias(f"{HIDDEN}0")).filter(V.gt(V.mean()))
    found = run(query, 3, tmp_path, "silent")
    assert_frame_equal(found, query.collect(engine="in-memory"))


def test_an_error_in_a_step_is_the_error_of_polars(rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.with_columns(V.cast(pl.Int8) - (V * 100).sum().cast(pl.Int8))
    with pytest.raises(PolarsError) as expected:
        query.collect(engine="in-memory")
    with pytest.raises(type(expected.value)):
        run(query, 3, tmp_path, "silent")


def test_a_function_that_polars_refuses_is_refused(rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.with_columns(V.cast(pl.Decimal(12, 2)).cum_prod())
    with pytest.raises(PolarsError) as expected:
        query.collect(engine="in-memory")
    with pytest.raises(type(expected.value)):
        run(query, 3, tmp_path, "silent")


SCHEMA: Mapping[str, pl.DataType] = {"x": pl.Int64(), "y": pl.Int64()}
A, B = col("x"), col("y")


def steps_of(expr: pl.Expr) -> tuple[int, int, int]:
    layer = Layer(SCHEMA)
    layer.lift([expression_body(expr)])
    return len(layer.scalars), len(layer.placed), len(layer.windows)


def test_the_innermost_parts_come_first() -> None:
    assert steps_of((A - A.mean()).cum_sum() / A.sum()) == (2, 0, 0)
    assert steps_of(A.sum() + A.sum()) == (1, 0, 0)
    assert steps_of(A.shift(1) - A.sum().over("y")) == (0, 1, 1)
    assert steps_of(A.cum_sum().diff()) == (0, 1, 0)


@pytest.mark.parametrize(
    "expr",
    [
        A.drop_nulls() - A.mean(),
        A.head(3),
        A.shift(B.max()),
        A.sort(),
        A.map_elements(hash, return_dtype=pl.Int64) + A.max(),
        A.ewm_mean(com=1),
    ],
    ids=str,
)
def test_parts_of_no_known_kind(expr: pl.Expr) -> None:
    layer = Layer(SCHEMA)
    with pytest.raises(NotInStepsError):
        layer.lift(layer.lift([expression_body(expr)]))
