"""How each kind of exchange splits rows, what it delivers, and how it is described."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from polars import col
from tests.runners.inline import run_inline

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.port import BlockFiles
from minispark.ids import TaskKey
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.exchanges import (
    Exchange,
    Hash,
    Partitioning,
    Sink,
    describe_move,
    describe_output,
    exchange_of,
)
from minispark.plan.stages import Output, OutputKind, ReadMode, SinkSpec, StageInput
from minispark.settings import PlanSettings
from minispark.task import outputs
from minispark.task.collect import TaskRows
from minispark.task.inputs import Inputs
from minispark.task.spec import TaskSpec

ROWS = pl.DataFrame({"k": [3, 1, 2, 9], "v": [1, 2, 3, 4]})
HASH = Hash(3, (col("k"),))
FILES = Sink(sink=SinkSpec("csv", "out"))


def reads(mode: ReadMode) -> StageInput:
    return StageInput("in", 0, mode)


@pytest.mark.parametrize("exchange", [Exchange(), HASH, FILES], ids=lambda one: one.kind.value)
def test_an_exchange_is_read_back_from_what_a_stage_says_of_it(exchange: Exchange) -> None:
    output = exchange.output({"k": pl.Int64()}, 5)
    again = exchange_of(output)
    assert type(again) is type(exchange)
    assert [str(key) for key in again.keys] == list(output.key_texts)
    assert again.output({"k": pl.Int64()}, 5) == output


def test_there_is_a_class_for_each_kind() -> None:
    for kind in OutputKind:
        assert exchange_of(Output(kind)).kind is kind


@pytest.mark.parametrize(
    ("exchange", "fitting"),
    [
        (
            Exchange(),
            {(ReadMode.ALL, 1), (ReadMode.ALL, 2), (ReadMode.ALL, 3), (ReadMode.FORWARD, 2)},
        ),
        (HASH, {(ReadMode.PARTITION, 3)}),
        (FILES, set()),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Exchange) else "",
)
def test_who_can_read_the_blocks_of_two_tasks(
    exchange: Exchange, fitting: set[tuple[ReadMode, int]]
) -> None:
    every = {(mode, readers) for mode in ReadMode for readers in (1, 2, 3)}
    fits = {(m, n) for m, n in every if exchange.fits(reads(m), tasks=2, readers=n)}
    assert fits == fitting


@pytest.mark.parametrize(
    ("ranges", "fits"),
    [
        (((0, 0), (1, 2)), True),
        (((0, 1), (2, 2)), True),
        (((0, 2),), False),
        (((0, 0), (2, 2)), False),
        (((0, 1), (1, 2)), False),
        (((1, 2), (0, 0)), False),
        (((0, 1), (2, 3)), False),
        (((0, 2), (3, 2)), False),
    ],
)
def test_ranges_give_each_partition_to_one_of_two_readers(
    ranges: tuple[tuple[int, int], ...], *, fits: bool
) -> None:
    entry = replace(reads(ReadMode.PARTITION), ranges=ranges)
    assert HASH.fits(entry, tasks=2, readers=2) is fits
    for mode in (ReadMode.ALL, ReadMode.FORWARD):
        assert not replace(entry, mode=mode).fits(2)


def test_which_rows_a_reader_has() -> None:
    assert Exchange().delivers(reads(ReadMode.ALL)) == Partitioning(everywhere=True)
    assert Exchange().delivers(reads(ReadMode.FORWARD)) == Partitioning()
    assert HASH.delivers(reads(ReadMode.PARTITION)) == Partitioning(keys=HASH.keys)


def test_what_explain_and_the_pages_say() -> None:
    hashed, single = HASH.output({}, None), Exchange().output({}, None)
    assert describe_output(hashed) == "shuffle by k into 3 partitions"
    computed = replace(hashed, key_texts=('col("k").strict_cast(Int64)', 'col("b c")'))
    assert describe_move(computed, ReadMode.PARTITION, readers=3) == (
        'shuffle by col("k").strict_cast(Int64), b c → 3'
    )
    assert describe_output(single) == "one partition a task"
    assert describe_output(FILES.output({}, None)) == "csv files in out"
    descriptions = [
        describe_move(output, mode, readers=readers)
        for output, mode, readers in (
            (hashed, ReadMode.PARTITION, 3),
            (single, ReadMode.ALL, 1),
            (single, ReadMode.ALL, 4),
            (single, ReadMode.FORWARD, 4),
        )
    ]
    assert descriptions == ["shuffle by k → 3", "gather", "broadcast to 4", "same partition"]


@dataclass(frozen=True, slots=True)
class _ByBounds(Exchange):
    """Splits by the rows of another stage, as an exchange by ranges would."""

    side_input: str | None = "bounds"

    def split(
        self, frame: pl.DataFrame, side: pl.DataFrame | None = None, *, task: int = 0
    ) -> list[pl.DataFrame]:
        del task
        assert side is not None
        (bound,) = side["bound"]
        return [frame.filter(col("k") < bound), frame.filter(col("k") >= bound)]


def test_a_new_kind_splits_by_the_rows_of_its_side_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "exchange_of", lambda output: _ByBounds())
    key = TaskKey("j", 0, 0, 0, 0)
    spec = TaskSpec(key, b"", (), (), Output(OutputKind.SINGLE, 2), block_directory=str(tmp_path))
    inputs = Inputs({"bounds": pl.DataFrame({"bound": [3]})}, 0, 0, 0)
    port = BlockFiles(tmp_path, FetchSettings())
    written = outputs.write_output(spec, TaskRows(ROWS), port=port, inputs=inputs)
    assert [part.rows for part in written.block.partitions] == [2, 2]


@pytest.mark.parametrize("ranges", [((0, 0), (1, 3)), ((0, 2), (3, 3)), ((0, 3),)])
def test_a_query_gives_the_same_rows_with_fewer_readers(
    ranges: tuple[tuple[int, int], ...], tmp_path: Path
) -> None:
    """The number of readers is chosen after the plan, as once the sizes of its parts are known."""
    rows = pl.DataFrame({"k": [n % 17 for n in range(200)], "v": range(200)})
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=40)
    query = pl.scan_parquet(tmp_path / "rows.parquet").group_by("k").agg(pl.col("v").sum())
    settings = PlanSettings(parallelism=4, single_task_bytes=0)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    last = graph.stages[-1]
    (branch,) = last.branches
    (entry,) = branch.inputs
    assert (entry.mode, branch.partitions) == (ReadMode.PARTITION, 4)
    fewer = replace(branch, partitions=len(ranges), inputs=(replace(entry, ranges=ranges),))
    graph = replace(graph, stages=(*graph.stages[:-1], replace(last, branches=(fewer,))))
    run = run_inline(graph, tmp_path)
    assert run.results["out"].sort("k").equals(query.collect().sort("k"))
