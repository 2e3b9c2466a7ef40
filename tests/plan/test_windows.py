"""Windows are split by their keys and give the rows of plain Polars, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.exchanges import STAMP
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

Query = Callable[[pl.LazyFrame], pl.LazyFrame]
V = col("v")

SPLIT: dict[str, Query] = {
    "aggregate": lambda f: f.with_columns(s=V.sum().over("k")),
    "several": lambda f: f.with_columns(
        V.mean().over("k", "j").alias("m"), d=V - V.median().over("k")
    ),
    "positions": lambda f: f.with_columns(
        V.rank("ordinal").over("k"), c=V.cum_sum().over("k"), s=V.shift(1).over("k")
    ),
    "order": lambda f: f.with_columns(
        col("i").cum_sum().over("k", order_by="v"),
        z=V.first().over("j", "k", order_by="i", descending=True),
    ),
    "selected": lambda f: f.select("i", V.sum().over("k"), n=pl.len().over("k") / 2),
    "all columns": lambda f: f.with_columns(pl.all().first().over("k").name.suffix("_first")),
    "several columns at once": lambda f: f.with_columns(
        pl.sum_horizontal(cs.by_name("v", "j")).sum().over("k")
    ).filter(pl.any_horizontal(cs.by_name("v", "i").rank().over("k") < 5)),
    "floats as keys": lambda f: f.with_columns(n=V.count().over("x")),
    "an expression as key": lambda f: f.with_columns(V.sum().over(col("j") % 2)),
    "keys of one name": lambda f: f.with_columns(
        V.sum().over(col("i") % 2, col("i") % 3, "k", "k")
    ),
    "a list as key": lambda f: f.with_columns(V.sum().over(pl.concat_list("j", "j"))),
    "filter": lambda f: f.filter(V.rank("dense", descending=True).over("k") <= 2),
    "lists": lambda f: f.with_columns(l=col("i").over("k", mapping_strategy="join")),
    "filled": lambda f: f.with_columns(V.fill_null(strategy="forward").over("k")),
    "after a sort": lambda f: f.sort("v", "i").with_columns(c=col("i").cum_sum().over("k")),
    "then a head": lambda f: f.with_columns(s=V.sum().over("k")).filter(V > 3).head(20),
    "no common key": lambda f: f.with_columns(V.sum().over("k"), col("i").sum().over("j")),
    "an aggregate beside it": lambda f: f.with_columns(V.sum().over("k") / V.sum()),
    "a new column with the name of the stamp": lambda f: f.select(V.sum().over("k").alias(STAMP)),
    "after groups": lambda f: (
        f.group_by("k", "j").agg(V.sum()).with_columns(r=V.rank().over("k")).sort("k", "j")
    ),
}
FLAG = col("v") > 20
FEW: dict[str, Query] = {
    "aggregate": lambda f: f.with_columns(V.sum().over(FLAG)),
    "several keys": lambda f: f.with_columns(
        V.mean().over(FLAG) - V, a=V.max().over("n", FLAG), b=col("k").first().over("n")
    ),
    "selected": lambda f: f.select("i", V.var().over("e"), s=V.sum().over("e")),
    "filter": lambda f: f.filter(V.max().over(FLAG) == V),
    "all columns": lambda f: f.with_columns(pl.all().last().over("e").name.suffix("_last")),
    "a constant": lambda f: f.with_columns(V.n_unique().over(pl.lit(1)), pl.len().over(1)),
    "no rows": lambda f: f.filter(V > 99).with_columns(V.sum().over(pl.lit(1))),
    "then a slice": lambda f: f.with_columns(V.sum().over("e")).slice(100, 50),
}
WHOLE: dict[str, Query] = {
    "rows that move": lambda f: f.sort("k", "i").select(V.over("k", mapping_strategy="explode")),
    "a constant key": lambda f: f.with_columns(V.median().over(pl.lit(1))),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    folder = tmp_path_factory.mktemp("windows")
    floats = [0.0, -0.0, math.nan, 1.5, None]
    for part in range(3):
        numbers = range(part * 200, part * 200 + 200)
        pl.DataFrame(
            {
                "k": [("a", "b", "c", None)[n * 7 % 11 % 4] for n in numbers],
                "j": [n * 5 % 3 for n in numbers],
                "x": [floats[n * 3 % 5] for n in numbers],
                "v": [None if n % 17 == 0 else n * 31 % 50 for n in numbers],
                "i": numbers,
                "n": [None] * len(numbers),
                "e": pl.Series(["yx"[n % 2] for n in numbers], dtype=pl.Enum(["x", "y"])),
            }
        ).write_parquet(folder / f"{part}.parquet", row_group_size=50)
    return pl.scan_parquet(folder / "*.parquet")


def plan_of(query: pl.LazyFrame, parallelism: int) -> StageGraph:
    settings = PlanSettings(single_task_bytes=0, parallelism=parallelism)
    return plan_outputs([PlanOutput("out", query)], settings=settings)


@pytest.mark.parametrize("parallelism", [2, 5])
@pytest.mark.parametrize("name", SPLIT)
def test_split_windows(name: str, parallelism: int, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = SPLIT[name](rows)
    graph = plan_of(query, parallelism)
    assert [stage.why for stage in graph.stages if stage.why] == []
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", FEW)
def test_rows_of_few_groups_do_not_move(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = FEW[name](rows)
    graph = plan_of(query, 3)
    assert {stage.name for stage in graph.stages} <= {"partial window", "head", "result"}
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", WHOLE)
def test_windows_that_run_whole(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = WHOLE[name](rows)
    graph = plan_of(query, 3)
    assert any(stage.why for stage in graph.stages)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


def test_a_column_with_the_name_of_the_stamp_is_kept(rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.with_columns(V.alias(STAMP)).with_columns(V.sum().over("k"))
    graph = plan_of(query, 3)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))
