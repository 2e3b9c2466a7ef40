"""Makes blocks and tasks without a planner, and reads what tasks wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockSource
from minispark.blocks.port import BlockFiles
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task import run
from minispark.task.spec import ScanTask, TaskFailure, TaskInput, TaskReport, TaskSpec

JOB = "job-a-1-1"


def run_task(spec: TaskSpec, *, fetch: FetchSettings) -> TaskReport:
    """Run a task over block files."""
    return run.run_task(spec, port=BlockFiles(Path(spec.block_directory), fetch))


def attempt(spec: TaskSpec, *, fetch: FetchSettings) -> TaskReport | TaskFailure:
    """As `run_task`, whatever is raised."""
    return run.attempt(spec, port=BlockFiles(Path(spec.block_directory), fetch))


class Bench:
    """Makes blocks and tasks in one block directory."""

    def __init__(self, store: BlockStore) -> None:
        self.store = store
        self._made = 0

    def block(self, *parts: pl.DataFrame, stage: int = 0, partition: int = 0) -> BlockSource:
        """Write a block and return its first partition."""
        key = TaskKey(JOB, stage, 0, self._made, 0)
        self._made += 1
        meta = write_block(self.store.directory, key, parts)
        directory = str(self.store.directory)
        return BlockSource(key, partition, meta.partitions[partition], host_identity(), directory)

    def leaf(self, name: str, *frames: pl.DataFrame, stage: int = 0) -> TaskInput:
        """Write one block for each frame."""
        return TaskInput(name, stage, 0, tuple(self.block(frame) for frame in frames))

    def task(
        self,
        plan: pl.LazyFrame,
        *inputs: TaskInput,
        output: Output | None = None,
        scans: Sequence[ScanTask] = (),
        partition: int = 0,
        attempt: int = 0,
        data_root: Path | None = None,
    ) -> TaskSpec:
        return TaskSpec(
            key=TaskKey(JOB, 9, 0, partition, attempt),
            fragment=plan.serialize(),
            scans=tuple(scans),
            inputs=inputs,
            output=output or Output(OutputKind.SINGLE),
            block_directory=str(self.store.directory),
            data_root=None if data_root is None else str(data_root),
        )


class RowsOf(Protocol):
    """Reads the partitions that a report promises."""

    def __call__(self, spec: TaskSpec, report: TaskReport) -> list[pl.DataFrame]: ...
