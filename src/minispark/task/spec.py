"""What a task is told and what it reports: plain data, the same on every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from minispark.blocks.meta import BlockMeta, BlockSource
from minispark.bounds import Checksum, Count, Data, Entries, Id, Items, Path, Seconds, Signed, Text
from minispark.errors import Failure, JobFailedError
from minispark.ids import TaskKey
from minispark.plan.stages import OptimizerFlags, Output, ScanInput, ScanSpec, Split


@dataclass(frozen=True, slots=True)
class TaskInput:
    """The blocks of one leaf, in partition order."""

    leaf: Id
    stage: Count
    generation: Count
    blocks: Annotated[tuple[BlockSource, ...], Items]
    take: Signed | None = None
    """How many rows the task needs: the first ones, the last ones where negative; None is all."""

    def needed(self) -> tuple[BlockSource, ...]:
        """Return the blocks that hold the rows which the task needs.

        Raises
        ------
        JobFailedError
            A task that made one of them failed over rows that are needed.
        """
        backwards = self.take is not None and self.take < 0
        needed: list[BlockSource] = []
        rows = 0
        for source in reversed(self.blocks) if backwards else self.blocks:
            if self.take is not None and rows >= abs(self.take):
                break
            needed.append(source)
            rows += source.meta.rows
            error = source.meta.error
            if error is not None and rows < abs(self.take or 0):
                raise JobFailedError.from_info(error)
        return tuple(reversed(needed) if backwards else needed)


@dataclass(frozen=True, slots=True)
class ScanTask:
    """The splits of one leaf for this task."""

    leaf: Id
    spec: ScanSpec
    splits: Annotated[tuple[Split, ...], Items]
    quotes: Id | None = None


def scan_task(scan: ScanInput, partition: int) -> ScanTask:
    """Take the splits of one partition of a branch."""
    return ScanTask(scan.leaf, scan.spec, scan.tasks[partition], scan.quotes)


@dataclass(frozen=True, slots=True)
class FragmentKey:
    """Name of a fragment: all tasks of a branch of a stage run the same."""

    job: Id
    stage: Count
    branch: Count


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Fragment + named inputs -> output, and nothing else."""

    key: TaskKey
    fragment: Data
    """Empty on its way to a worker, which has it under `fragment_key` and fills it in."""
    scans: Annotated[tuple[ScanTask, ...], Items]
    inputs: Annotated[tuple[TaskInput, ...], Items]
    output: Output
    block_directory: Path = ""
    """Where the block goes; the worker fills it in."""
    data_root: Path | None = None
    """What relative paths mean; the worker fills it in."""
    timeout_s: Seconds | None = None
    in_memory: bool = False
    """Use Polars' in-memory engine; so it is tried again after a panic of the streaming engine."""
    keep: TaskKey | None = None
    """Under which name the worker keeps the block for later jobs."""
    optimizations: Annotated[OptimizerFlags, Items] = ()
    branch: Count = 0
    """Index of the branch in its stage."""

    @property
    def fragment_key(self) -> FragmentKey:
        """Name of the fragment."""
        return FragmentKey(self.key.job, self.key.stage, self.branch)


@dataclass(frozen=True, slots=True)
class InputGeneration:
    """Which generation of an input stage an attempt read."""

    stage: Count
    generation: Count


@dataclass(frozen=True, slots=True)
class SinkFile:
    """A file that an attempt wrote under its staging name, and the name it gets at commit."""

    staged: Path
    final: Path
    rows: Count
    bytes: Count
    rows_checksum: Checksum | None = None
    """Of its rows, whatever their order (`minispark.blocks.checksums`)."""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task that ended well. Times in seconds, sizes in bytes."""

    key: TaskKey
    block: BlockMeta
    inputs: Annotated[tuple[InputGeneration, ...], Items] = ()
    nodes: Annotated[Mapping[Text, Count], Entries] = field(default_factory=dict)
    """Rows out of each counted DAG node that ran in this task."""
    rows_in: Count = 0
    bytes_read: Count = 0
    bytes_fetched: Count = 0
    duration_s: Seconds = 0.0
    sink: SinkFile | None = None


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task that did not."""

    key: TaskKey
    failure: Failure
    inputs: Annotated[tuple[InputGeneration, ...], Items] = ()
    duration_s: Seconds = 0.0
    log: Annotated[tuple[Text, ...], Items] = ()
    """The last lines that it printed."""
