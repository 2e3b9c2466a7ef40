"""The suite again, while of every exchange a block is lost after somebody has read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.chaos.faulty import NO_BROADCAST, QUERIES, check_operator, check_query
from tests.system.test_json_operators import OPERATORS

from minispark.plan import PlanOutput, plan_outputs
from minispark.plan.stages import Label, StageGraph
from minispark.testing.inject import InjectingRunner


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InjectingRunner]:
    folder = tmp_path_factory.mktemp("blocks")
    with InjectingRunner(2, temp_dir=folder, data_root=None) as made:
        yield made


@pytest.fixture(scope="module")
def rooted(tables: Path) -> Iterator[InjectingRunner]:
    with InjectingRunner(2, data_root=tables) as made:
        yield made


@pytest.mark.parametrize("name", QUERIES)
def test_queries(runner: InjectingRunner, files: tuple[Path, Path], name: str) -> None:
    before = len(runner.losses)
    check_query(runner, name, files)
    _assert_hit(runner, before)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(rooted: InjectingRunner, tables: Path, name: str) -> None:
    before = len(rooted.losses)
    check_operator(rooted, name, tables)
    _assert_hit(rooted, before)


def _assert_hit(runner: InjectingRunner, before: int) -> None:
    losses = runner.losses[before:]
    # Where others were still to read, at least one of a query's losses was felt.
    if any(loss.readers_left > 1 for loss in losses):
        assert any(loss.noticed for loss in losses), losses
    # Nobody complains of a block that nobody was to read any more, unless a reader was lost too.
    assert losses or runner.losses


def test_most_losses_are_felt(runner: InjectingRunner, files: tuple[Path, Path]) -> None:
    """The suite would be worth little if the tasks that read a lost block had all run before."""
    before = len(runner.losses)
    for name in ("group_by", "join full", "two groups", "word count", "unique last"):
        check_query(runner, name, files)
    losses = [loss for loss in runner.losses[before:] if loss.readers_left]
    felt = [loss for loss in losses if loss.noticed]
    assert len(losses) >= 20
    assert len(felt) >= 0.7 * len(losses), losses


def _graph(*, label: Label) -> StageGraph:
    """Rows that tell which attempt made them, dealt out to five tasks by a key."""

    def stamped(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(made_by=pl.lit(os.urandom(8).hex()))

    schema = {"key": pl.Int64, "made_by": pl.String}
    rows = pl.LazyFrame({"key": range(100)}).map_batches(stamped, schema=schema)
    query = rows.group_by("key").agg(pl.col("made_by").first())
    graph = plan_outputs([PlanOutput("out", query)], settings=NO_BROADCAST)
    assert graph.stages[0].label is Label.INDETERMINATE
    stages = (replace(graph.stages[0], label=label), *graph.stages[1:])
    return replace(graph, stages=stages)


@pytest.mark.parametrize("label", [Label.INDETERMINATE, Label.DETERMINATE])
def test_nobody_keeps_rows_of_a_version_that_was_replaced(
    runner: InjectingRunner, label: Label
) -> None:
    """Also where the plan takes the stage for repeatable: the receipts tell that it is not."""
    before = len(runner.losses)
    found = runner.run(_graph(label=label), name="stamped").frame()
    assert sorted(found["key"]) == list(range(100))
    assert found["made_by"].n_unique() == 1
    assert any(loss.noticed for loss in runner.losses[before:])
