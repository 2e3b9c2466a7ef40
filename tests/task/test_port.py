"""A task knows nothing of where blocks are: it reads and writes through a port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import pytest

from minispark.blocks.fetch import Fetched
from minispark.blocks.format import rows_checksum
from minispark.blocks.meta import BlockMeta, BlockSource, BlockUnavailable, PartitionMeta
from minispark.errors import FetchFailed
from minispark.ids import TaskKey
from minispark.plan.exchanges import Hash
from minispark.plan.leaves import Leaf
from minispark.plan.stages import Output, OutputKind
from minispark.task.run import attempt, run_task
from minispark.task.spec import TaskFailure, TaskInput, TaskSpec

ROWS = pl.DataFrame({"word": ["a", "b", "a", "c"], "n": [1, 2, 3, 4]})
SCHEMA = ROWS.schema


class ObjectStore:
    """Blocks as objects of this process, as an engine of another kind may keep them."""

    def __init__(self) -> None:
        self.parts: dict[TaskKey, list[pl.DataFrame]] = {}

    def read(self, sources: Sequence[BlockSource]) -> Iterator[Fetched]:
        for source in sources:
            if source.key not in self.parts:
                raise BlockUnavailable(source.key, "it was evicted")
            yield Fetched(self.parts[source.key][source.partition], 0)

    def write(self, key: TaskKey, parts: Sequence[pl.DataFrame]) -> BlockMeta:
        self.parts[key] = list(parts)
        return BlockMeta(tuple(_meta(part) for part in parts))


def _meta(part: pl.DataFrame) -> PartitionMeta:
    size = int(part.estimated_size())
    return PartitionMeta(0, size, part.height, 0, rows_checksum=rows_checksum(part))


def _task(number: int, plan: pl.LazyFrame, output: Output, *inputs: TaskInput) -> TaskSpec:
    key = TaskKey("job-a-1-1", number, 0, 0, 0)
    return TaskSpec(key, plan.serialize(), (), inputs, output)


def test_rows_go_from_task_to_task_through_any_port() -> None:
    store = ObjectStore()
    hashed = Hash(2, (pl.col("word"),)).output(SCHEMA, None)
    first = run_task(_task(0, ROWS.lazy(), hashed), port=store)
    for partition in range(2):
        block = BlockSource(first.key, partition, first.block.partitions[partition], "", "")
        wanted = TaskInput("rows", 0, 0, (block,))
        query = Leaf("rows", dict(SCHEMA)).lazy().group_by("word").agg(pl.col("n").sum())
        second = run_task(
            _task(partition + 1, query, Output(OutputKind.SINGLE), wanted), port=store
        )
        (summed,) = store.parts[second.key]
        expected = store.parts[first.key][partition].group_by("word").agg(pl.col("n").sum())
        assert summed.sort("word").equals(expected.sort("word"))
    assert sum(part.height for part in store.parts[first.key]) == ROWS.height


def test_a_block_that_a_port_has_not_is_a_failed_fetch() -> None:
    gone = BlockSource(TaskKey("job-a-1-1", 0, 0, 3, 0), 0, PartitionMeta(0, 1, 1, 0), "", "")
    query = Leaf("rows", dict(SCHEMA)).lazy()
    spec = _task(1, query, Output(OutputKind.SINGLE), TaskInput("rows", 0, 0, (gone,)))
    outcome = attempt(spec, port=ObjectStore())
    assert isinstance(outcome, TaskFailure)
    assert isinstance(outcome.failure, FetchFailed)
    assert outcome.failure.partition == 3


def test_what_a_port_raises_is_the_failure_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: ObjectStore, key: TaskKey, parts: Sequence[pl.DataFrame]) -> BlockMeta:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ObjectStore, "write", full)
    outcome = attempt(_task(0, ROWS.lazy(), Output(OutputKind.SINGLE)), port=ObjectStore())
    assert isinstance(outcome, TaskFailure)
    assert "No space left" in str(outcome.failure)
