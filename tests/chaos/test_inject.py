"""The suite again, with a lost block in every exchange, after a task has read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.chaos.faulty import QUERIES, check_operator, check_query
from tests.runners.inject import InjectingRunner
from tests.system.test_json_operators import OPERATORS

from minispark.plan.leaves import Leaf
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    Stage,
    StageGraph,
    StageInput,
)


@pytest.fixture(scope="module")
def runner(tables: Path) -> Iterator[InjectingRunner]:
    made = InjectingRunner(2, data_root=tables)
    with made:
        yield made


@pytest.mark.parametrize("name", QUERIES)
def test_queries(runner: InjectingRunner, files: tuple[Path, Path], name: str) -> None:
    before = len(runner.losses)
    check_query(runner, name, files)
    _assert_noticed(runner, before)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(runner: InjectingRunner, tables: Path, name: str) -> None:
    before = len(runner.losses)
    check_operator(runner, name, tables)
    _assert_noticed(runner, before)


def _assert_noticed(runner: InjectingRunner, before: int) -> None:
    """If several tasks had not read the lost block yet, one of them must have noticed the loss."""
    losses = runner.losses[before:]
    if sum(loss.readers_left for loss in losses) > 2:
        assert any(loss.noticed for loss in losses), losses


def test_most_losses_are_noticed(runner: InjectingRunner, files: tuple[Path, Path]) -> None:
    """Without this, all readers of a lost block could have run before it was lost."""
    before = len(runner.losses)
    for name in ("group_by", "join full", "two groups", "word count", "unique last"):
        check_query(runner, name, files)
    losses = [loss for loss in runner.losses[before:] if loss.readers_left]
    noticed = [loss for loss in losses if loss.noticed]
    assert len(losses) >= 20
    assert len(noticed) >= 0.7 * len(losses), losses


def _graph(label: Label) -> StageGraph:
    """Two tasks whose rows tell which attempt made them, dealt out to six tasks by a key."""

    def stamped(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(made_by=pl.lit(os.urandom(8).hex()))

    schema = pl.Schema({"key": pl.Int64(), "made_by": pl.String()})
    source = pl.LazyFrame({"key": range(200)}).map_batches(stamped, schema=schema)
    map_stage = Stage(
        0,
        "map",
        (Branch(source.serialize(), 1), Branch(source.serialize(), 1)),
        Output(OutputKind.HASH, 6, (pl.col("key").meta.serialize(),)),
        label,
    )
    read = StageInput("rows", 0, ReadMode.PARTITION)
    above = Branch(Leaf("rows", schema).lazy().serialize(), 6, inputs=(read,))
    reduce_stage = Stage(1, "reduce", (above,), Output(OutputKind.SINGLE), label)
    results = (ResultSpec("out", 1, ("key", "made_by")),)
    return StageGraph((map_stage, reduce_stage), results)


@pytest.mark.parametrize("label", [Label.INDETERMINATE, Label.DETERMINATE])
def test_no_task_keeps_rows_of_a_version_that_was_replaced(
    runner: InjectingRunner, label: Label
) -> None:
    """Also if the plan calls the stage repeatable: the receipts show that it is not."""
    before = len(runner.losses)
    found = runner.run(_graph(label), name="stamped").frame()
    assert sorted(found["key"]) == sorted([*range(200)] * 2)
    assert found["made_by"].n_unique() == 2
    assert any(loss.noticed for loss in runner.losses[before:])
