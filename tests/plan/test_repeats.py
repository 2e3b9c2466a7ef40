"""Fragments run several times: rows and their order are as the label of the stage promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.plan.repeats import BrokenLabelError, Repeater
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import Label, StageGraph
from minispark.settings import PlanSettings

ROWS = 20_000
TIMES = 6
SETTINGS = PlanSettings(single_task_bytes=0, parallelism=2, broadcast_bytes=0)
GROUPS = pl.LazyFrame({"g": range(8), "name": list("abcdefgh")})
Query = Callable[[pl.LazyFrame], pl.LazyFrame]
CHOICE = pl.when(col("v") > 40).then(pl.lit("high")).otherwise(pl.lit("low"))

QUERIES: dict[str, Query] = {
    "scan": lambda rows: rows,
    "filter": lambda rows: rows.filter(col("v") > 30),
    "choice": lambda rows: rows.select(CHOICE),
    "choice within functions": lambda rows: rows.select(
        pl.concat_str(CHOICE.str.to_uppercase(), pl.lit("!"))
    ),
    "choice between aggregates": lambda rows: rows.select(
        pl.when(col("v") > col("v").mean()).then(col("v").max()).otherwise(col("v").min())
    ),
    "number of a choice": lambda rows: rows.select(CHOICE.alias("c")).with_row_index(),
    "choice added": lambda rows: rows.with_columns(c=CHOICE).select("c"),
    "explode": lambda rows: rows.explode("l"),
    "unpivot": lambda rows: rows.unpivot(["v", "g"], index=["id"]),
    "head": lambda rows: rows.filter(col("v") > 30).head(3000),
    "groups": lambda rows: rows.group_by("v").agg(col("id").sum()),
    "groups in order": lambda rows: rows.group_by("v", maintain_order=True).agg(col("id").first()),
    "first of groups": lambda rows: rows.group_by("v").agg(a=col("id").first(), z=col("id").last()),
    "unique": lambda rows: rows.unique(["v", "g"], keep="last"),
    "sort": lambda rows: rows.sort("v", maintain_order=True),
    "unstable sort": lambda rows: rows.sort("v"),
    "join": lambda rows: rows.join(GROUPS, on="g"),
    "join, then number": lambda rows: rows.join(GROUPS, on="g").with_row_index(),
    "range join, then number": lambda rows: (
        rows.head(2000).join_where(GROUPS, col("g") < col("g_right")).with_row_index()
    ),
    "window": lambda rows: rows.select("id", col("v").cum_sum().over("g")),
    "union": lambda rows: pl.concat([rows, rows.filter(col("v") > 3)]),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    file = tmp_path_factory.mktemp("repeats") / "rows.parquet"
    numbers = pl.DataFrame({"id": range(ROWS)})
    rows = numbers.with_columns(
        v=col("id").hash(1) % 97, g=col("id").hash(2) % 9, l=pl.concat_list("id", col("id") + 1)
    )
    rows.cast({"v": pl.Int64, "g": pl.Int64}).write_parquet(file, row_group_size=500)
    return pl.scan_parquet(file)


def _graph(query: pl.LazyFrame) -> StageGraph:
    return plan_outputs([PlanOutput("out", query)], settings=SETTINGS)


@pytest.mark.parametrize("name", QUERIES)
def test_a_task_gives_what_its_label_promises(
    name: str, table: pl.LazyFrame, tmp_path: Path
) -> None:
    graph = _graph(QUERIES[name](table))
    run_inline(graph, tmp_path, run_one=Repeater(graph, TIMES))


def test_a_choice_keeps_the_order_of_the_rows(table: pl.LazyFrame, tmp_path: Path) -> None:
    graph = _graph(table.select(CHOICE.alias("c")))
    assert {stage.label for stage in graph.stages} == {Label.DETERMINATE}
    # Polars itself does not read a file in order for this query, with either engine.
    expected = table.collect().select(CHOICE.alias("c"))
    assert_frame_equal(run_inline(graph, tmp_path).results["out"], expected)


def test_a_label_that_promises_too_much_is_found(tmp_path: Path) -> None:
    letters = pl.LazyFrame({"key": [f"k{number}" for number in range(1000)]})
    graph = _graph(letters.group_by("key").len())
    stages = tuple(replace(stage, label=Label.DETERMINATE) for stage in graph.stages)
    with pytest.raises(BrokenLabelError, match="is labelled determinate"):
        run_inline(graph, tmp_path, run_one=Repeater(replace(graph, stages=stages), 10))
