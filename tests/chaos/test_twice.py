"""The suite again with every task run twice: what a label promises is so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.chaos.faulty import NO_BROADCAST, QUERIES, check_operator, check_query
from tests.runners.twice import TwiceRunner
from tests.system.test_json_operators import OPERATORS

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import Label, StageGraph


@pytest.fixture(scope="module")
def runner(tables: Path) -> Iterator[TwiceRunner]:
    made = TwiceRunner(2, data_root=tables)
    with made:
        yield made


@pytest.mark.parametrize("name", QUERIES)
def test_queries(runner: TwiceRunner, files: tuple[Path, Path], name: str) -> None:
    compared, disagreements = runner.compared, len(runner.disagreements)
    check_query(runner, name, files)
    assert runner.compared > compared
    assert runner.disagreements[disagreements:] == ()


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(runner: TwiceRunner, tables: Path, name: str) -> None:
    compared, disagreements = runner.compared, len(runner.disagreements)
    check_operator(runner, name, tables)
    assert runner.compared > compared
    assert runner.disagreements[disagreements:] == ()


def _labelled(query: pl.LazyFrame, label: Label) -> StageGraph:
    graph = plan_outputs([PlanOutput("out", query)], settings=NO_BROADCAST)
    return replace(graph, stages=tuple(replace(stage, label=label) for stage in graph.stages))


def _stamped(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(made_by=pl.lit(os.urandom(8).hex()))


RANDOM = pl.LazyFrame({"key": range(100)}).map_batches(
    _stamped, schema={"key": pl.Int64, "made_by": pl.String}
)
LOOSE = pl.LazyFrame({"key": [f"k{n}" for n in range(1000)]}).group_by("key").len()


@pytest.mark.parametrize(
    ("query", "label", "what"),
    [
        (RANDOM, Label.DETERMINATE, {"other rows"}),
        (RANDOM, Label.UNORDERED, {"other rows"}),
        (LOOSE, Label.DETERMINATE, {"another order"}),
        (RANDOM, Label.INDETERMINATE, set()),
        (LOOSE, Label.UNORDERED, set()),
    ],
)
def test_a_wrong_label_is_found(
    runner: TwiceRunner, query: pl.LazyFrame, label: Label, what: set[str]
) -> None:
    disagreements, allowed = len(runner.disagreements), runner.allowed
    runner.run(_labelled(query, label), name="labelled")
    assert {found.what for found in runner.disagreements[disagreements:]} == what
    assert bool(what) or runner.allowed > allowed
