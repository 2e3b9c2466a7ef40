"""Counters on every node count the rows of the node, and change no row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.plan.queries import ORDERED, UNORDERED, write_files
from tests.runners.inline import InlineRun, run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

Query = Callable[[pl.LazyFrame], pl.LazyFrame]
ROWS = pl.LazyFrame({"a": [3, 1, 2, 1], "b": ["x", "y", "x", None]})
NAMES: dict[str, Query] = {
    "filter a > 1": lambda f: f.filter(col("a") > 1),
    "filter (a > 1) & (b == '…')": lambda f: f.filter((col("a") > 1) & (col("b") == "secret")),
    "select a, a.sum().over(b) as s": lambda f: f.select("a", s=col("a").sum().over("b")),
    "with_columns a + 1 as c": lambda f: f.with_columns(c=col("a") + 1),
    "group_by b": lambda f: f.group_by("b").agg(pl.len()),
    "sort by a, b": lambda f: f.sort("a", "b"),
    "head 2": lambda f: f.head(2),
    "tail 2": lambda f: f.tail(2),
    "slice 1, 2": lambda f: f.slice(1, 2),
    "unique": lambda f: f.unique(),
    "unique by b": lambda f: f.unique("b"),
    "left join on b": lambda f: f.join(f, on="b", how="left"),
    "concat": lambda f: pl.concat([f, f]),
    "row_index": lambda f: f.with_row_index(),
    "map_batches": lambda f: f.map_batches(lambda rows: rows),
}


def planned(query: pl.LazyFrame, parallelism: int = 3) -> StageGraph:
    settings = PlanSettings(single_task_bytes=0, parallelism=parallelism)
    return plan_outputs([PlanOutput("out", query)], settings=settings, count=True)


def counts(graph: StageGraph, run: InlineRun) -> dict[str, int]:
    return {name: run.nodes[name] for name in graph.flow}


@pytest.mark.parametrize("name", NAMES)
def test_a_node_has_the_name_that_a_user_would_give_it(name: str) -> None:
    last = list(planned(NAMES[name](ROWS)).flow)[-1]
    assert last.partition(" ")[2] == name


def test_a_long_name_is_cut() -> None:
    query = ROWS.select(pl.sum_horizontal([col("a") + n for n in range(50)]))
    assert max(map(len, planned(query).flow)) < 70


def test_a_subplan_that_two_nodes_read_is_counted_once(tmp_path: Path) -> None:
    groups = ROWS.group_by("b").agg(col("a").sum())
    query = groups.join(ROWS.group_by("b").agg(col("a").sum()), on="b")
    graph = planned(query)
    found = counts(graph, run_inline(graph, tmp_path))
    assert list(found.values()) == [4, 3, 2]
    assert graph.flow["3 inner join on b"] == ("2 group_by b",)


def test_a_head_of_a_sort_stays_a_top_k(tmp_path: Path) -> None:
    ROWS.collect().write_parquet(tmp_path / "rows.parquet", row_group_size=1)
    graph = planned(pl.scan_parquet(tmp_path / "rows.parquet").sort("a").head(2))
    assert "top-k" in {stage.name for stage in graph.stages}
    run = run_inline(graph, tmp_path)
    assert counts(graph, run) == {"1 scan_parquet rows.parquet": 4, "2 head 2": 2}


def test_counters_change_no_row(tmp_path: Path) -> None:
    left, right = (pl.scan_csv(file) for file in write_files(tmp_path))
    for name in list({**ORDERED, **UNORDERED})[::4]:
        query = (ORDERED.get(name) or UNORDERED[name])(left, right)
        graph = planned(query)
        run = run_inline(graph, tmp_path)
        expected = query.collect(engine="in-memory")
        assert_frame_equal(run.results["out"], expected, check_row_order=name in ORDERED)
        if graph.flow:
            last = list(graph.flow)[-1]
            assert run.nodes[last] == expected.height, name
