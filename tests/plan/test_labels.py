"""Labels say what a second run gives; `settled` makes it give the same in the same order."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars import col
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.exchanges import Hash
from minispark.plan.labels import label_of
from minispark.plan.polars_plan import Node, leaf_node, on_top, parse
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.stages import Label, StageGraph
from minispark.settings import PlanSettings

SCHEMA = {"k": pl.Int64(), "v": pl.Float64()}
Step = Callable[[pl.LazyFrame], pl.LazyFrame]

# name: (what is done with the rows, label over determinate rows, label over unordered rows)
LABELS: dict[str, tuple[Step, str, str]] = {
    "nothing": (lambda rows: rows, "determinate", "unordered"),
    "filter": (lambda rows: rows.filter(col("k") > 1), "determinate", "unordered"),
    "unpivot": (lambda rows: rows.unpivot(["v"], index=["k"]), "unordered", "unordered"),
    "head": (lambda rows: rows.head(3), "determinate", "indeterminate"),
    "row index": (lambda rows: rows.with_row_index(), "determinate", "indeterminate"),
    "cumulative": (lambda rows: rows.select(col("v").cum_sum()), "determinate", "indeterminate"),
    "sums": (lambda rows: rows.select(col("v").sum()), "determinate", "determinate"),
    "groups": (lambda rows: rows.group_by("k").agg(col("v").max()), "unordered", "unordered"),
    "ordered groups": (
        lambda rows: rows.group_by("k", maintain_order=True).agg(col("v").max()),
        "determinate",
        "unordered",
    ),
    "first of a group": (
        lambda rows: rows.group_by("k").agg(col("v").first()),
        "unordered",
        "indeterminate",
    ),
    "unique": (lambda rows: rows.unique(), "unordered", "unordered"),
    "any of equals": (lambda rows: rows.unique("k"), "indeterminate", "indeterminate"),
    "first of equals": (
        lambda rows: rows.unique("k", keep="first", maintain_order=True),
        "determinate",
        "indeterminate",
    ),
    "unstable sort": (lambda rows: rows.sort("k"), "unordered", "unordered"),
    "join": (lambda rows: rows.join(rows, on="k"), "unordered", "unordered"),
    "sample": (lambda rows: rows.select(pl.all().sample(2)), "indeterminate", "indeterminate"),
    "a user's function": (
        lambda rows: rows.map_batches(lambda batch: batch),
        "indeterminate",
        "indeterminate",
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_label(name: str) -> None:
    step, over_determinate, over_unordered = LABELS[name]
    node = on_top_all(step)
    assert label_of(node, {"in": Label.DETERMINATE}, {}) == over_determinate
    assert label_of(node, {"in": Label.UNORDERED}, {}) == over_unordered
    assert label_of(node, {"in": Label.INDETERMINATE}, {}) == "indeterminate"


def on_top_all(step: Step) -> Node:
    return on_top(leaf_node("in", SCHEMA), SCHEMA, step)


POSITIONAL: dict[str, Step] = {
    "head of groups": lambda rows: rows.group_by("k").agg(col("v").sum()).head(5),
    "top-k of groups": lambda rows: rows.group_by("k").agg(pl.len()).sort("len").head(5),
    "row index of unique": lambda rows: rows.select("k").unique().with_row_index(),
    "head of a join": lambda rows: rows.join(rows.unique("k"), on="k").head(7),
    "row index of a join that keeps the order of one side": lambda rows: rows.join(
        rows.head(9), on="k", how="left", maintain_order="left"
    ).with_row_index(),
    "one of equals": lambda rows: rows.unique("k"),
}


def test_a_stage_that_cuts_by_places_needs_one_order() -> None:
    def other_order(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.join_where(rows.select(w="k"), col("k") > col("w"))

    cutter = Cutter(PlanSettings(), None)
    scan = Relation((Part(parse(pl.LazyFrame(schema=SCHEMA)), 3),), 0)
    rows = cutter.then(scan, other_order)
    stamped = cutter.close(rows, "window", exchange=Hash(3, (col("k"),), stamped=True))
    assert cutter.close(rows, "join", exchange=Hash(3, (col("k"),))).label is Label.UNORDERED
    assert stamped.label is Label.INDETERMINATE
    cutter.settle(cutter.read(stamped))
    assert stamped.label is Label.INDETERMINATE


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "rows.parquet"
    rows = pl.DataFrame({"k": [n * 7 % 97 for n in range(4000)], "v": [n / 4 for n in range(4000)]})
    rows.write_parquet(path, row_group_size=500)
    return path


def _planned(step: Step, table: Path) -> StageGraph:
    settings = PlanSettings(parallelism=3, single_task_bytes=0)
    return plan_outputs([PlanOutput("out", step(pl.scan_parquet(table)))], settings=settings)


@pytest.mark.parametrize("name", POSITIONAL)
def test_below_a_position_every_fragment_keeps_order(name: str, table: Path) -> None:
    graph = _planned(POSITIONAL[name], table)
    for stage in graph.stages:
        assert stage.label is Label.DETERMINATE, stage.name
        for branch in stage.branches:
            plan = pl.LazyFrame.deserialize(io.BytesIO(branch.fragment))
            assert "maintain_order: false" not in plan.explain(engine="streaming").lower()


@pytest.mark.parametrize("name", POSITIONAL)
def test_a_second_run_gives_the_same_rows_in_the_same_order(
    name: str, table: Path, tmp_path: Path
) -> None:
    graph = _planned(POSITIONAL[name], table)
    first = run_inline(graph, tmp_path, job="job-first-0-0").results["out"]
    for number in range(4):
        again = run_inline(graph, tmp_path, job=f"job-again-0-{number}").results["out"]
        assert again.equals(first)
