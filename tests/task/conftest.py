from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.task.bench import Bench, RowsOf

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockSource
from minispark.blocks.store import BlockStore
from minispark.task.spec import TaskReport, TaskSpec


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(BlockStore(tmp_path / "blocks"))


@pytest.fixture
def rows_of(bench: Bench) -> RowsOf:
    def read(spec: TaskSpec, report: TaskReport) -> list[pl.DataFrame]:
        directory = str(bench.store.directory)
        return [
            read_block(
                BlockSource(spec.key, number, part, host_identity(), directory),
                settings=FetchSettings(),
            )
            for number, part in enumerate(report.block.partitions)
        ]

    return read
