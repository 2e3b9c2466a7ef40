"""Distinct rows are those of plain Polars, in their order where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.plan.every_dtype import KINDS, every_dtype
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

if TYPE_CHECKING:
    from polars._typing import UniqueKeepStrategy

KEEPS: list[UniqueKeepStrategy] = ["any", "first", "last", "none"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    path = tmp_path_factory.mktemp("distinct") / "rows.parquet"
    every_dtype().with_row_index("i").write_parquet(path, row_group_size=13)
    return pl.scan_parquet(path)


def plan_of(query: pl.LazyFrame, parallelism: int) -> StageGraph:
    settings = PlanSettings(
        single_task_bytes=0, parallelism=parallelism, fallback="raise", large_bytes=0
    )
    return plan_outputs([PlanOutput("out", query)], settings=settings)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_dtype(kind: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.select("i", kind).unique(kind, keep="first", maintain_order=True)
    found = run_inline(plan_of(query, 3), tmp_path).results["out"]
    assert_frame_equal(found, query.collect())


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize(
    "subset",
    [["k", "i64"], None, [col("i64") % 3]],
    ids=["columns", "all columns", "expression"],
)
@pytest.mark.parametrize("parallelism", [2, 30])
def test_rows_in_their_order(
    keep: UniqueKeepStrategy,
    subset: list[str | pl.Expr] | None,
    parallelism: int,
    rows: pl.LazyFrame,
    tmp_path: Path,
) -> None:
    rows = rows if subset else rows.select("k", "flag", "point")
    query = rows.unique(subset, keep=keep, maintain_order=True)
    graph = plan_of(query, parallelism)
    assert "order" in {stage.name for stage in graph.stages}
    found = run_inline(graph, tmp_path).results["out"]
    expected = rows.unique(subset, keep="first" if keep == "any" else keep, maintain_order=True)
    assert_frame_equal(found, expected.collect())


@pytest.mark.parametrize("keep", KEEPS)
def test_rows_in_any_order(keep: UniqueKeepStrategy, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.select("i", "k", "point").unique(["k", "point"], keep=keep)
    found = run_inline(plan_of(query, 3), tmp_path).results["out"]
    if keep == "any":
        found, query = found.drop("i"), query.drop("i")
    assert_frame_equal(found, query.collect(), check_row_order=False)
